"""Servers of the tests' own: a Redis on a free TCP port, and Node.js with the packages of package.json."""
import os
import pathlib
import signal
import socket
import subprocess

import redis

from daemon import TOP, wait_for

NODE_CACHE = pathlib.Path(os.environ.get("AGENTPOOL_NODE_CACHE", TOP / "build" / "node"))


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


RIGHTS = ("+@all", "~pools", "~pool:*", "~agent:*", "~master:*", "~process:*", "&process:*", "&pool:*", "&master:*")


class RedisServer:
    def __init__(self, directory, password="secret of the test", policy="noeviction", databases=16):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True)
        self.port, self.password = free_port(), password
        self.arguments = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no",
                          "--requirepass", password, "--maxmemory-policy", policy, "--databases", str(databases),
                          "--dir", str(self.directory), "--logfile", str(self.directory / "log")]
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL)
        wait_for(self.is_ready, "the test's Redis")
        return self

    def is_ready(self):
        assert self.process.poll() is None, (self.directory / "log").read_text()
        try:
            return self.client(0).ping()
        except redis.ConnectionError:
            return False

    def client(self, database):
        return redis.Redis(port=self.port, db=database, password=self.password, decode_responses=True)

    def url(self, database):
        return f"redis://:{self.password.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def allow(self, *without):
        """The user agentpool has all rights that a daemon needs but these, from now on. Its URL."""
        rights = [right for right in RIGHTS if right not in without]
        self.client(0).execute_command("ACL", "SETUSER", "agentpool", "reset", "on", ">word", *rights)
        return f"redis://agentpool:word@127.0.0.1:{self.port}/0"

    def pause(self, on=True):
        """It hangs: takes what it is sent and answers nothing; or goes on."""
        self.process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()


def node_tools():
    """Where Node.js (bin/node) and the packages of package.json (node_modules) are, installed once."""
    subprocess.run([TOP / "scripts" / "node-tools", NODE_CACHE], check=True, stdin=subprocess.DEVNULL)
    return NODE_CACHE
