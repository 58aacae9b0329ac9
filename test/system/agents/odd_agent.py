#!/usr/bin/python3
"""An agent that misbehaves when asked to: JSON-RPC methods exit, mute, slow, flood; flags --stubborn, --dies STATUS."""
import json
import os
import signal
import sys
import threading
import time

lock = threading.Lock()


def answer(message, result):
    with lock:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


def answer_later(message, seconds):
    time.sleep(seconds)
    answer(message, "slow")


def flood(seconds):
    """Notifications, as many as are taken."""
    line = json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"filler": "x" * 200}}) + "\n"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with lock:
            sys.stdout.write(line * 50)
            sys.stdout.flush()
        time.sleep(0.001)  # others want the lock, too


def main():
    if "--dies" in sys.argv:
        sys.exit(int(sys.argv[sys.argv.index("--dies") + 1]))
    if "--stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        message = json.loads(line)
        method, params = message["method"], message.get("params", {})
        if method == "exit":
            os._exit(params["status"])
        elif method == "slow":
            threading.Thread(target=answer_later, args=(message, params["seconds"]), daemon=True).start()
        elif method == "flood":
            threading.Thread(target=flood, args=(params["seconds"],), daemon=True).start()
        elif method == "whoami":
            answer(message, {"pid": os.getpid(), "epoch": int(os.environ["AGENTPOOL_EPOCH"])})
        elif method != "mute" and "id" in message:
            answer(message, params)
    while "--stubborn" in sys.argv:
        signal.pause()


main()
