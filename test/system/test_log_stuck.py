"""Nobody reads the log, or it may not grow any more: the service goes on, and ends when it is told to."""
import os
import pty
import re
import signal
import socket

import pytest

from daemon import BUILD, command_pool, module_pool, wait_for

FILE_LIMIT = 64 << 20  # more than what else is written in a test


class Target:
    """Where a daemon logs to. Full from the first line on; drain() reads what there is."""

    def __init__(self, kind, run_base):
        self.kind, self.path = kind, run_base / "target"
        self.settings, self.stderr, self.reader = {}, None, None
        getattr(self, kind)()

    def pipe(self):
        self.reader, self.stderr = os.pipe()
        os.set_blocking(self.stderr, False)
        self.fill(self.stderr)
        os.set_blocking(self.stderr, True)

    def terminal(self):
        self.reader, self.stderr = pty.openpty()
        os.set_blocking(self.stderr, False)
        self.fill(self.stderr)
        os.set_blocking(self.stderr, True)

    def socket(self):
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        self.reader, self.stderr = reader.detach(), writer.detach()
        self.fill(self.stderr)
        os.set_blocking(self.stderr, True)

    def fifo(self):
        os.mkfifo(self.path)
        self.settings = {"file": str(self.path)}
        # Kept open, so that what fills it stays; it reads nothing.
        self.reader = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self.fill(self.reader)

    def fifo_without_a_reader(self):
        os.mkfifo(self.path)
        self.settings = {"file": str(self.path)}

    def journal(self):
        journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        journal.bind(str(self.path))
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.connect(str(self.path))
        sender.setblocking(False)
        self.reader = journal.detach()
        self.fill(sender.fileno())
        sender.close()
        self.settings = {"file": str(self.path), "format": "journal"}

    def file_of_limited_size(self):
        with open(self.path, "wb") as file:
            file.truncate(FILE_LIMIT)
        self.settings = {"file": str(self.path)}

    @staticmethod
    def fill(fd):
        try:
            while os.write(fd, b"f" * 100 + b"\n"):
                pass
        except BlockingIOError:
            pass

    def drain(self):
        """What is there."""
        if self.kind == "file_of_limited_size":
            content = self.path.read_bytes()
            os.truncate(self.path, 0)
            return content.decode(errors="replace")
        if self.reader is None:
            self.reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self.reader, False)
        found = []
        try:
            while part := os.read(self.reader, 1 << 20):
                found.append(part)
        except BlockingIOError:
            pass
        return b"".join(found).decode(errors="replace")

    def close(self):
        for fd in (self.reader, self.stderr):
            if fd is not None:
                os.close(fd)


@pytest.fixture
def make_target(run_base):
    targets = []

    def make(kind):
        targets.append(Target(kind, run_base))
        return targets[-1]

    yield make
    for target in targets:
        target.close()


@pytest.mark.parametrize("kind", ["pipe", "terminal", "socket", "fifo", "fifo_without_a_reader", "journal", "file_of_limited_size"])
def test_service_goes_on_when_nobody_takes_the_log(make_daemon, make_target, kind):
    target = make_target(kind)
    daemon = make_daemon(start=False, log={"level": "debug", "agents": "log", **target.settings}, pools={
        "modules": module_pool(), "programs": command_pool(BUILD / "example-agent"),
        "loud": command_pool("/bin/sh", "-c", "while sleep 0.01; do echo loud >&2; done")})
    daemon.stderr = target.stderr
    if kind == "file_of_limited_size":
        daemon.prefix = ["prlimit", f"--fsize={FILE_LIMIT}"]
    daemon.start()
    loud, program = daemon.spawn("loud"), daemon.spawn("programs")
    for _ in range(100):
        assert daemon.terminate(daemon.spawn("modules")).status_code == 200
    before = daemon.master_pid()
    os.kill(before, signal.SIGKILL)  # the forker has this to tell
    wait_for(lambda: daemon.find_master() not in (None, before), "another master")
    wait_for(daemon.is_ready, "it to be ready")
    assert daemon.call_tool(program["agent_id"], "echo", text="still here") == "still here"
    assert daemon.terminate(loud).status_code == 200
    found = [target.drain()]
    now = daemon.master_pid()
    daemon.process.send_signal(signal.SIGHUP)  # master and forker have something to tell again
    wait_for(lambda: daemon.find_master() not in (None, now), "a reload")

    def told():
        found.append(target.drain())
        daemon.terminate(daemon.spawn("modules"))  # so that a worker has something to tell, too
        pattern = r"AGENTPOOL_ROLE=(\w+)\nAGENTPOOL_EVENT=log\.dropped" if kind == "journal" else r" (\w+)\[\d+\] log\.dropped lines="
        return daemon.is_ready() and {"forker", "worker"} <= set(re.findall(pattern, "".join(found)))
    wait_for(told, "the loss to be said")
    # Full again, to the end.
    for _ in range(100):
        daemon.terminate(daemon.spawn("modules"))
    assert daemon.stop() == 0
