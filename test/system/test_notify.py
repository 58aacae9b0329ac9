"""What the forker tells a service manager, and what it takes from one: this test is the manager, on a socket of its own."""
import os
import signal
import socket
import subprocess

import pytest

from daemon import BUILD, PATIENCE, TOP, descendants, wait_for


class Manager:
    """A notify socket in the abstract namespace, and all that was said there."""

    def __init__(self, name, watchdog_s=0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name)
        self.socket.setblocking(False)
        self.said = []
        self.env = {"NOTIFY_SOCKET": "@" + name}
        if watchdog_s:
            self.env["WATCHDOG_USEC"] = str(watchdog_s * 1000000)

    def listen(self):
        while True:
            try:
                self.said += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.said

    def count(self, line):
        return self.listen().count(line)

    def wait(self, line, times=1):
        wait_for(lambda: self.count(line) >= times, f"{line!r} {times} times, of {self.said[-20:]}")


@pytest.fixture
def manager(run_base):
    manager = Manager(run_base.name, watchdog_s=4)
    yield manager
    manager.socket.close()


@pytest.fixture
def told_daemon(make_daemon, manager):
    daemon = make_daemon(env=manager.env, master_lease_ms=2000)
    manager.wait("READY=1")
    return daemon


@pytest.mark.sanitize
def test_tells_each_state_when_it_changes(told_daemon, manager):
    assert [line for line in manager.said if line.startswith("STATUS=serving; master ")]
    told_daemon.process.send_signal(signal.SIGHUP)
    manager.wait("READY=1", 2)
    assert manager.count("RELOADING=1") == 1 and any(line.startswith("MONOTONIC_USEC=") for line in manager.said)
    told_daemon.process.send_signal(signal.SIGUSR2)
    manager.wait("READY=1", 3)
    assert manager.count("RELOADING=1") == 2
    fed = manager.count("WATCHDOG=1")
    manager.wait("WATCHDOG=1", fed + 1)  # the new program does
    assert told_daemon.stop() == 0
    assert manager.count("STOPPING=1") == 1
    assert manager.said[-1].startswith(("STOPPING=1", "EXTEND_TIMEOUT_USEC=", "STATUS="))


def test_ends_the_reload_when_the_file_is_wrong(told_daemon, manager):
    master = told_daemon.master_pid()
    told_daemon.config_path.write_text("{")
    told_daemon.process.send_signal(signal.SIGHUP)
    manager.wait("READY=1", 2)
    assert manager.count("RELOADING=1") == 1
    assert told_daemon.master_pid() == master


def test_feeds_the_watchdog_only_while_the_loop_turns(told_daemon, manager):
    agent = told_daemon.spawn()
    manager.wait("WATCHDOG=1", 2)
    hung = told_daemon.master_pid()
    os.kill(hung, signal.SIGSTOP)
    manager.wait("READY=1", 2)  # of the next master: the hung one was killed
    assert told_daemon.log().count("master.hung") == 1 and told_daemon.master_pid() != hung
    wait_for(told_daemon.is_ready, "the next master to serve")
    fed = manager.count("WATCHDOG=1")
    manager.wait("WATCHDOG=1", fed + 1)
    assert told_daemon.agent(agent["agent_id"])["epoch"] == agent["epoch"]


def test_lets_the_watchdog_starve_when_no_master_comes_back(make_daemon, manager):
    daemon = make_daemon(env=manager.env, master_lease_ms=3600000)
    manager.wait("WATCHDOG=1")
    os.kill(daemon.master_pid(), signal.SIGSTOP)
    manager.listen()
    manager.socket.settimeout(10)  # more than twice as long as the manager would wait
    with pytest.raises(TimeoutError):
        while "WATCHDOG=1" not in manager.socket.recv(4096).decode():
            pass
    os.kill(daemon.master_pid(), signal.SIGKILL)
    manager.socket.setblocking(False)
    manager.wait("READY=1", 2)


def test_keeps_it_from_those_it_executes(make_daemon, manager, run_base):
    # Redis writes over its environment: what it was given is noted before.
    redis = run_base / "bin/redis-server"
    redis.parent.mkdir()
    redis.write_text(f'#!/bin/sh\nenv >{run_base}/redis.env\nPATH=${{PATH#*:}} exec redis-server "$@"\n')
    redis.chmod(0o755)
    daemon = make_daemon(env={**manager.env, "PATH": f"{redis.parent}:{os.environ['PATH']}"})
    manager.wait("READY=1")
    daemon.spawn()
    agent, = [pid for pid, command in descendants(daemon.process.pid).items() if "example-agent" in command]
    with open(f"/proc/{agent}/environ") as file:
        environments = [file.read(), (run_base / "redis.env").read_text()]
    for text in environments:
        assert "PATH=" in text and "NOTIFY_SOCKET" not in text and "WATCHDOG_USEC" not in text


# ---- sockets that the manager opened ----

@pytest.fixture
def lend(make_daemon, run_base):
    """lend(socket) -> a daemon that finds it as descriptor 3."""
    def start(lent):
        daemon = make_daemon(start=False, server={"listen": ["127.0.0.1:1"]})
        daemon.write_config()
        with open(daemon.log_path, "ab") as log:
            daemon.process = subprocess.Popen(
                ["/bin/bash", "-c", f'exec 3<&{lent.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "sh",
                 BUILD / "agentpoold", "-c", daemon.config_path],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=daemon.env, cwd=TOP, pass_fds=[lent.fileno()])
        return daemon
    return start


@pytest.mark.sanitize
def test_serves_on_the_managers_socket_when_activated(lend):
    lent = socket.create_server(("127.0.0.1", 0))
    address = "{}:{}".format(*lent.getsockname())
    first = lend(lent)
    wait_for(first.is_ready, "the daemon to be ready")
    assert first.url == f"http://{address}"  # not what server.listen says
    agent = first.spawn()
    first.process.send_signal(signal.SIGUSR2)
    wait_for(lambda: "upgrade.done" in first.log(), "the upgrade")
    wait_for(first.is_ready, "the program after it")
    assert first.url == f"http://{address}"
    assert first.agent(agent["agent_id"])["epoch"] == 1
    assert first.stop() == 0
    # Nobody serves now, and yet nobody is refused: the next start answers.
    waiting = socket.create_connection(lent.getsockname(), timeout=PATIENCE)
    waiting.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    second = lend(lent)
    assert waiting.recv(12) == b"HTTP/1.1 200"
    waiting.close()
    assert second.stop() == 0
    lent.close()


def test_refuses_what_is_no_listening_socket(lend):
    lent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    daemon = lend(lent)
    assert daemon.process.wait(PATIENCE) == 1
    assert "descriptor 3 of LISTEN_FDS is no listening stream socket" in daemon.log()
    lent.close()
