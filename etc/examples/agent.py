#!/usr/bin/env python3
"""An agent in Python, standard library only: the same MCP server as agent.c.

One JSON-RPC 2.0 message per line on stdin and stdout; print nothing else there (stderr goes into agentpool's log).
The end of stdin means: end.
"""
import json
import os
import sys

NOTES_MAX = 100
INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, PARSE_ERROR = -32600, -32601, -32602, -32700

notes = []  # what this agent remembers: for as long as it lives, for nobody else


class RpcError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def text_of(arguments, name):
    value = arguments.get(name)
    if not isinstance(value, str):
        raise RpcError(INVALID_PARAMS, "an argument is missing or no string; see tools/list")
    return value


def echo(arguments):
    return text_of(arguments, "text"), None


def remember(arguments):
    notes.append(text_of(arguments, "note"))
    del notes[:-NOTES_MAX]
    return f"notes: {len(notes)}", None


def recall(_arguments):
    return None, {"notes": notes}


def whoami(_arguments):
    env = os.environ
    prefix = "AGENTPOOL_ARG_"
    return None, {
        "agent_id": env.get("AGENTPOOL_AGENT_ID"),
        "pid": os.getpid(),
        "epoch": int(env.get("AGENTPOOL_EPOCH", "0")),
        "start_reason": env.get("AGENTPOOL_START_REASON"),
        "pool": env.get("AGENTPOOL_POOL"),
        "role": env.get("AGENTPOOL_ROLE"),
        "project_id": env.get("AGENTPOOL_PROJECT_ID"),
        "args": {name[len(prefix):]: value for name, value in env.items() if name.startswith(prefix)},
    }


def schema(**properties):
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()},
            "required": list(properties)}


TOOLS = {
    "echo": (echo, "Gives the text back", schema(text="string")),
    "remember": (remember, "Keeps a note", schema(note="string")),
    "recall": (recall, "Lists the notes", {"type": "object"}),
    "whoami": (whoami, "Tells which agent this is", {"type": "object"}),
}


def initialize(_params):
    return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
            "serverInfo": {"name": "agentpool-example-python", "version": "1.0"}}


def list_tools(_params):
    return {"tools": [{"name": name, "description": description, "inputSchema": input_schema}
                      for name, (_, description, input_schema) in TOOLS.items()]}


def call_tool(params):
    name = params.get("name")
    arguments = params.get("arguments", {})
    if name not in TOOLS or not isinstance(arguments, dict):
        raise RpcError(INVALID_PARAMS, "unknown tool; see tools/list")
    text, structure = TOOLS[name][0](arguments)
    result = {"content": [{"type": "text", "text": json.dumps(structure) if text is None else text}],
              "isError": False}
    if structure is not None:
        result["structuredContent"] = structure
    return result


METHODS = {"initialize": initialize, "ping": lambda _params: {}, "tools/list": list_tools, "tools/call": call_tool}


def handle(message):
    """The answer to message, or None for a notification."""
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        raise RpcError(INVALID_REQUEST, "this is no request: \"method\" is missing")
    if "id" not in message:
        return None  # notifications/initialized and others: nothing to do
    if message["method"] not in METHODS:
        raise RpcError(METHOD_NOT_FOUND, "unknown method")
    params = message.get("params", {})
    return METHODS[message["method"]](params if isinstance(params, dict) else {})


def answer(line):
    """What to write for one line, or None."""
    message = None
    try:
        message = json.loads(line)
        result = handle(message)
        if result is None:
            return None
        body = {"result": result}
    except ValueError:
        body = {"error": {"code": PARSE_ERROR, "message": "this line is not JSON"}}
    except RpcError as error:
        body = {"error": {"code": error.code, "message": str(error)}}
    request_id = message.get("id") if isinstance(message, dict) else None
    return {"jsonrpc": "2.0", "id": request_id, **body}


def main():
    for line in sys.stdin:
        response = answer(line)
        if response is not None:
            sys.stdout.write(json.dumps(response) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
