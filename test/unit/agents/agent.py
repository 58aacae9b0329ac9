"""Agents that behave as their first argument says, for test_runtime_command.c."""
import json
import os
import signal
import subprocess
import sys
import time

out = sys.stdout.buffer


def write(data):
    out.write(data)
    out.flush()


def send(message):
    write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def result(request, value):
    send({"id": request["id"], "result": value})


def requests():
    for line in sys.stdin:
        yield json.loads(line)


def wait_for_end():
    sys.stdin.read()


def sleep_for_ever():
    while True:
        time.sleep(3600)


def echo():
    for request in requests():
        if "id" in request:
            result(request, request.get("params"))
        else:
            send({"method": "seen", "params": {"method": request["method"]}})


def environment():
    for request in requests():
        result(request, {"env": dict(os.environ), "argv": sys.argv[2:], "cwd": os.getcwd(), "sid": os.getsid(0),
                         "pgid": os.getpgid(0), "pid": os.getpid(), "fds": sorted(os.listdir("/proc/self/fd")),
                         "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
                         "pipe": open("/proc/self/status").read().split("SigIgn:\t")[1].split()[0]})


def exits3():
    sys.exit(3)


def exits3_on_request():
    next(requests())
    sys.exit(3)


def answers_then_exits():
    result(next(requests()), "last words")
    print("last line without a newline", end="", file=sys.stderr)
    sys.exit(0)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def ignores_term():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    send({"method": "ready"})
    sleep_for_ever()


def ends_on_term():
    send({"method": "ready"})
    sleep_for_ever()


def stops_itself():
    send({"method": "ready"})
    os.kill(os.getpid(), signal.SIGSTOP)
    sleep_for_ever()


def floods_stdout():
    line = json.dumps({"jsonrpc": "2.0", "method": "flood", "params": {"text": "x" * 100}}).encode() + b"\n"
    while True:
        out.write(line * 1000)


def floods_stderr():
    for request in requests():
        for _ in range(3000):
            sys.stderr.write("y" * 99 + "\n")
        sys.stderr.flush()
        result(request, "flooded")


def stops_reading():
    send({"method": "ready"})
    sleep_for_ever()


def long_line():
    next(requests())
    for _ in range(1024):
        write(b"z" * 65536)
    write(b"\n")
    wait_for_end()


def writes(data):
    next(requests())
    write(data)
    wait_for_end()


def nul():
    writes(b'{"jsonrpc":"2.0","method":"a\0b"}\n')


def broken_json():
    writes(b'{"jsonrpc":"2.0","method":\n')


def deep():
    writes(b'{"jsonrpc":"2.0","method":"x","params":' + b"[" * 100000 + b"]" * 100000 + b"}\n")


def banner():
    writes("Welcome to « agent »!\n".encode())


def batch():
    writes(b"[]\n")


def no_version():
    writes(b'{"method":"x"}\n')


def answers_oddly(before, answer):
    """Writes before, then answer with the first request's id in it, and goes on as an orderly agent."""
    reader = requests()
    request = next(reader)
    write(before + answer.replace(b"%id", b"%d" % request["id"]).replace(b"%params", json.dumps(request.get("params")).encode()) + b"\n")
    for request in reader:
        result(request, "there")


def banner_then_echo():
    answers_oddly(b' \t \n\nWelcome!\n{"id":1,"level":"info"}\nnul \0\n', b'{"jsonrpc":"2.0","id":%id,"result":%params}')


def bom_then_echo():
    answers_oddly(b"", b'\xef\xbb\xbf  {"jsonrpc":"2.0",\r"id":%id,"result":%params} \r')


def null_error():
    answers_oddly(b"", b'{"jsonrpc":"2.0","id":%id,"result":7,"error":null}')


def text_code():
    answers_oddly(b"", b'{"jsonrpc":"2.0","id":%id,"error":{"code":"E7","message":"x"}}')


def latin1():
    answers_oddly(b"", b'{"jsonrpc":"2.0","id":%id,"result":"\xe9"}')


def long_answer():
    answers_oddly(b"", b'{"jsonrpc":"2.0","id":%id,"result":"' + b"x" * 3000000 + b'"}')


def long_answer_id_last():
    answers_oddly(b"", b'{"jsonrpc":"2.0","result":{"id":77,"x":"' + b"x" * 3000000 + b'"},"id":%id}')


def deep_answer():
    answers_oddly(b"", b'{"jsonrpc":"2.0","id":%id,"result":' + b"[" * 600 + b"]" * 600 + b"}")


def broken_answer():
    answers_oddly(b"", b'{"jsonrpc":"2.0","id":%id,"result":NaN}')


def two_results():
    answers_oddly(b"", b'{"jsonrpc":"2.0","id":%id,"result":1,"result":2}')


def wrong_ids():
    answers_oddly(b'{"jsonrpc":"2.0","id":"1","result":"wrong"}\n{"jsonrpc":"2.0","id":null,"result":"wrong"}\n',
                  b'{"jsonrpc":"2.0","id":%id,"result":"right"}')


def spells():
    """The params as they were spelled, and nothing else, back as the result."""
    for line in sys.stdin:
        head, params = line.rstrip("\n").split(',"params":')
        write(('{"jsonrpc":"2.0","id":' + str(json.loads(head + "}")["id"]) + ',"result":' + params + "\n").encode())


def mirrors():
    for line in sys.stdin:
        write(b'{"jsonrpc":"2.0","method":"read","params":[' + line.strip().encode() + b"]}\n")


def progresses():
    for request in requests():
        token = request["params"].get("_meta", {}).get("progressToken", 4711)
        send({"method": "notifications/progress", "params": {"progressToken": token}})
        if token == 4711:
            for number in (1, 2, request["id"]):
                result({"id": number}, "done")


def odd_stderr():
    for request in requests():
        sys.stderr.buffer.write(b"x" * 1023 + "äy\n".encode())
        sys.stderr.flush()
        result(request, "told")


def blank_lines():
    next(requests())
    write(b'\n\r\n{"jsonrpc":"2.0","method":"after"}\r\n')
    wait_for_end()


def exits_mid_write():
    next(requests())
    write(b'{"jsonrpc":"2.0","id":1,"resu')
    sys.exit(0)


def closes_stdout():
    os.close(1)
    sleep_for_ever()


def closes_stdin():
    os.close(0)
    send({"method": "ready"})
    sleep_for_ever()


def never():
    wait_for_end()


def reverse():
    todo = []
    for request in requests():
        todo.append(request)
        if len(todo) == 3:
            for each in reversed(todo):
                result(each, each["params"])
            todo = []


def duplicate():
    for request in requests():
        result(request, "first")
        result(request, "second")
        send({"id": 999999, "result": "unknown"})
        send({"id": "text", "result": "unknown"})
        send({"id": None, "error": {"code": 1, "message": "nobody"}})


def asks():
    request = next(requests())
    answers = []
    for method in ("ping", "sampling/createMessage"):
        send({"id": "own", "method": method})
        answers.append(next(requests()))
    result(request, answers)
    wait_for_end()


def asks_without_reading():
    next(requests())
    line = json.dumps({"jsonrpc": "2.0", "id": "i" * 1000, "method": "ping"}).encode() + b"\n"
    while True:
        write(line)


def daemon(clean, stay):
    """Leaves a process behind in a session of its own; prints its pid as an event."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for fd in (0, 1, 2):
            os.close(fd)
        os.set_inheritable(write_end, True)
        code = f"import os, time\nos.write({write_end}, b'%d' % os.getpid())\nos.close({write_end})\ntime.sleep(3600)"
        argv = ["/usr/bin/python3", "-S", "-c", code]
        os.execve(argv[0], argv, {} if clean else dict(os.environ))
    os.waitpid(child, 0)
    os.close(write_end)
    send({"method": "daemon", "params": {"pid": int(os.read(read_end, 32))}})
    if stay:
        wait_for_end()


def child_in_session():
    """A child of its own that left the group and the environment, its parent stays."""
    child = subprocess.Popen(["/usr/bin/python3", "-S", "-c", "import time; time.sleep(3600)"], env={},
                             start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    send({"method": "daemon", "params": {"pid": child.pid}})
    sleep_for_ever()


def zombies():
    """Children that outlive their parent for a moment and die in the worker's care."""
    for request in requests():
        subprocess.run(["/bin/sh", "-c", "(exec sleep 0.01) & exit"], check=True)
        result(request, "left")


def refuses():
    for request in requests():
        send({"method": "asked", "params": {"method": request["method"]}})
        send({"id": request["id"], "error": {"code": -32601, "message": "no such method"}})


def late_ready():
    for request in requests():
        if request["method"] != "ping":
            result(request, None)
        else:
            send({"method": "pinged"})
            result(request, {})


MODES = {
    "daemon": lambda: daemon(False, True), "daemon_then_exit": lambda: daemon(False, False),
    "clean_daemon": lambda: daemon(True, True),
}

mode = sys.argv[1]
MODES.get(mode, globals().get(mode))()
