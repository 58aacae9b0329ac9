#!/usr/bin/python3
"""An agent that misbehaves when asked to: JSON-RPC methods exit, mute, slow, flood, emit, torn, close, fork_daemons, eat, daemon; flags
--stubborn, --dies STATUS, --dies-if FILE."""
import json
import os
import signal
import subprocess
import sys
import threading
import time

lock = threading.Lock()


def answer(message, result):
    with lock:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


def answer_later(message, seconds, size=0):
    time.sleep(seconds)
    answer(message, "slow" + "x" * size)


NONSENSE = {
    "64 MB line": b'{"jsonrpc":"2.0","method":"' + b"x" * (64 << 20) + b'"}\n',
    "NUL bytes": b'{"jsonrpc":"2.0",\0\0"method":"x"}\n',
    "deep JSON": b'{"jsonrpc":"2.0","method":"x","params":' + b"[" * 50000 + b"]" * 50000 + b"}\n",
    "broken JSON": b'{"jsonrpc":"2.0","method":"x",}{]\n',
    "no JSON": b"Listening on \xff\xfe\n",
}


def emit(data):
    with lock:
        while data:
            data = data[os.write(1, data):]


def fork_daemons(number):
    """Each in a session of its own, as a daemon makes itself."""
    script = "import os, sys, time\nos.setsid()\nif os.fork(): os._exit(0)\nprint(os.getpid(), flush=True)\nos.close(1)\ntime.sleep(3600)"
    forked = [subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) for _ in range(number)]
    return [int(done.stdout) for done in forked]


def yell(seconds):
    """Lines on standard error, as `yes` writes them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.write(2, b"y\n" * 8192)


def flood(seconds):
    """Notifications, as many as are taken."""
    line = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"filler": "x" * 200}}) + "\n"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with lock:
            sys.stdout.write(line * 50)
            sys.stdout.flush()
        time.sleep(0.001)  # others want the lock, too


def leave_daemon():
    """A process in a session of its own, whose parent is dead and whose environment is empty. Its pid."""
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write_end, b"%d" % os.getpid())
            os.execve("/bin/sleep", ["sleep", "1000"], {})
        os._exit(0)
    os.wait()
    return int(os.read(read_end, 32))


def main():
    eaten = []
    if "--dies" in sys.argv:
        sys.exit(int(sys.argv[sys.argv.index("--dies") + 1]))
    if "--dies-if" in sys.argv and os.path.exists(sys.argv[sys.argv.index("--dies-if") + 1]):
        sys.exit(7)
    if "--stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        message = json.loads(line)
        method, params = message["method"], message.get("params", {})
        if method == "exit":
            os._exit(params["status"])
        elif method == "slow":
            threading.Thread(target=answer_later, args=(message, params["seconds"], params.get("size", 0)),
                             daemon=True).start()
        elif method == "flood":
            loud = yell if params.get("stream") == "stderr" else flood
            threading.Thread(target=loud, args=(params["seconds"],), daemon=True).start()
            if "stream" in params:
                answer(message, "loud")
        elif method == "emit" and params["what"] == "64 MB answer":
            answer(message, "x" * (64 << 20))
        elif method == "emit":
            emit(NONSENSE[params["what"]])
            answer(message, "now")
        elif method == "torn":
            emit(b'{"jsonrpc":"2.0","id":')
            os._exit(3)
        elif method == "close":
            answer(message, "now")
            for file in params["files"]:
                os.close(file)
            while True:
                signal.pause()
        elif method == "fork_daemons":
            answer(message, {"pids": fork_daemons(params["number"])})
        elif method == "eat":
            eaten.append(b"x" * params["bytes"])
            answer(message, len(eaten))
        elif method == "daemon":
            answer(message, leave_daemon())
        elif method == "whoami":
            answer(message, {"pid": os.getpid(), "epoch": int(os.environ["AGENTPOOL_EPOCH"])})
        elif method != "mute" and "id" in message:
            answer(message, params)
    while "--stubborn" in sys.argv:
        signal.pause()


main()
