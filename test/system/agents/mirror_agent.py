#!/usr/bin/python3
"""An agent that gives back the bytes it was given: a request's params as its result, spelled as they were. Other methods: seen (the
lines it has read, as strings), say (params.lines: lines to write as they are, %id for the request's id), quiet (no answer), progress
(params.count notifications for its token, each with params.filler, then the answer), last (params.text without a newline; it ends)."""
import json
import sys

seen = []


def write(text):
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()


def answer(message, result):
    write('{"jsonrpc":"2.0","id":%d,"result":%s}' % (message["id"], result))


def progress(message, number):
    params = message["params"]
    write('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"message":"%s"}}'
          % (json.dumps(params["_meta"]["progressToken"]), number, params.get("filler", "")))


def take(line):
    message = json.loads(line)
    method = message["method"]
    if method == "mirror":
        answer(message, line.split('"params":', 1)[1][:-1])
    elif method == "seen":
        answer(message, json.dumps(seen))
    elif method == "say":
        for text in message["params"]["lines"]:
            write(text.replace("%id", str(message["id"])))
    elif method == "last":
        sys.stdout.write(message["params"]["text"].replace("%id", str(message["id"])))
        sys.exit()
    elif method == "progress":
        for number in range(message["params"]["count"]):
            progress(message, number)
        answer(message, '"done"')


for line in sys.stdin.buffer:
    line = line.decode("utf-8", "surrogateescape").rstrip("\n")
    seen.append(line)
    take(line)
