"""What a row of the table works with: a directory, daemons, servers, clients, dice, a clock for recoveries, and the seven checks."""
import argparse
import collections
import contextlib
import ctypes
import dataclasses
import http.client
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import time

import requests
import redis

import check
from clients import ERRORS, Book, Clients
from daemon import BUILD, TOP, Daemon, command_pool, module_pool, processes, wait_for
from postgres import Postgres
from servers import RedisServer

SETTLE = 90  # s in which the checks must come to hold
# Faster than the defaults, so that leases end within a row's time; and more faults than a policy would ever put up with.
QUICK = {"heartbeat_interval_ms": 300, "worker_lease_ms": 3000,
         "restart": {"intensity": 100000, "delay_ms": 10, "delay_max_ms": 200, "healthy_seconds": 1}}
ODD_AGENT = TOP / "test/system/agents/odd_agent.py"


class Skip(Exception):
    """This machine cannot run the row."""


def programs(**settings):
    return command_pool(BUILD / "example-agent", **{**QUICK, **settings})


def modules(**settings):
    return module_pool(**{"max_agents_per_worker": 50, **QUICK, **settings})


def odd(*flags, **settings):
    return command_pool(ODD_AGENT, *flags, **{**QUICK, **settings})


def two_pools():
    return {"programs": programs(), "modules": modules()}


def pids_in(state):
    """Processes of the scene in this state of the kernel's, e.g. T."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "stat").read_text().rpartition(")")[2].split()[0] == state:
                found.append(int(entry.name))
    return found


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Scene:
    def __init__(self, number, directory, seed):
        self.number, self.directory, self.seed = number, pathlib.Path(directory), seed
        self.dice = random.Random(f"{seed}/{number}")
        self.injections, self.recoveries, self.figures = {}, [], []
        self.checks = {n: [] for n in range(1, 8)}
        self.daemons, self.books, self.baselines = [], {}, {}
        self.begin, self.checked, self.named, self.stack = None, 0, 0, contextlib.ExitStack()

    def part(self, number):
        """A scene of its own within this one, for a thread of its own."""
        directory = self.directory / f"p{number}"
        directory.mkdir()
        return Scene(self.number, directory, f"{self.seed}/{number}")

    def absorb(self, part):
        """Its daemons are judged and ended with the whole's."""
        for what, times in part.injections.items():
            self.injections[what] = self.injections.get(what, 0) + times
        self.recoveries += part.recoveries
        self.figures += part.figures
        self.daemons += part.daemons
        self.books |= part.books
        self.baselines |= part.baselines
        self.stack.push(part.stack)

    # --- what it works with ---

    def make_daemon(self, pools=None, **settings):
        """Not started yet."""
        daemon = Daemon(self.directory / f"d{len(self.daemons)}", pools=pools or two_pools(), **settings)
        daemon.holds_contract = False
        self.daemons.append(daemon)
        self.books[daemon] = Book()
        return daemon

    def start(self, pools=None, **settings):
        daemon = self.make_daemon(pools, **settings)
        return daemon.start()

    def redis(self, name="redis", **settings):
        server = RedisServer(self.directory / name, **settings)
        self.stack.callback(server.stop)
        return server.start()

    def postgres(self):
        return self.stack.enter_context(Postgres(self.directory))

    def clients(self, daemon, pools, targets=(), errors=ERRORS, **settings):
        """A context in which they load the daemon. The baseline is taken in it first, once they are answered."""
        clients = Clients(daemon, pools, targets, seed=self.seed, errors=errors, book=self.books[daemon], **settings)

        @contextlib.contextmanager
        def running():
            with clients:
                clients.flow(50)
                if daemon not in self.baselines:
                    self.take_baseline(daemon, clients)
                yield clients
        return running()

    def take_baseline(self, daemon, clients=None):
        """What there was before anything was injected; the checks must hold already."""
        if clients:
            clients.hold()
        facts, findings = self.settle(daemon)
        assert not any(findings.values()), f"not well before anything was injected: {findings}"
        self.baselines[daemon] = check.resources(facts)
        if clients:
            clients.go_on()

    def compile(self, source):
        """A shared object to be preloaded."""
        target = self.directory / source.replace(".c", ".so")
        subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", target,
                        pathlib.Path(__file__).with_name(source), "-ldl"], check=True)
        return target

    def name_of(self, what):
        """A name for something outside of the directory; the runner knows its beginning."""
        base = next(part for part in self.directory.parts if part.startswith("ap-faults-"))
        self.named += 1
        return f"{base}-{self.number}-{what}{self.named}"

    def fault_directory(self):
        """Where files arm fault points of the daemon whose AGENTPOOL_FAULT_DIR this is (common/fault.h)."""
        path = self.directory / "armed"
        path.mkdir()
        return path

    def arm(self, point, action):
        new = self.directory / "action"
        new.write_text(action)
        new.rename(self.directory / "armed" / point)

    def small_disk(self, name, size):
        """A file system of its own; gone with the row's mount namespace."""
        path = self.directory / name
        path.mkdir()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"tmpfs", str(path).encode(), b"tmpfs", 0, f"size={size}".encode()) != 0:
            raise Skip(f"cannot mount a small file system: {os.strerror(ctypes.get_errno())}")
        return path

    # --- injections and recoveries ---

    def injected(self, what, times=1):
        """Starts the clock."""
        if times:
            self.injections[what] = self.injections.get(what, 0) + times
        self.clock()

    def clock(self):
        """From now on: where what must happen can only follow the end of the fault."""
        self.begin = time.monotonic()

    def recovered(self, condition, what, timeout=SETTLE):
        """Waits until the condition holds; the time since injected() is a recovery."""
        value = wait_for(condition, what, timeout, pause=0.003)
        self.recoveries.append(round((time.monotonic() - self.begin) * 1000))
        return value

    def pause(self, most):
        """So that the next fault strikes at no special moment."""
        time.sleep(self.dice.random() * most)

    @staticmethod
    def run_tool(*command):
        """E.g. nft, in the row's network namespace."""
        if not shutil.which(command[0]):
            raise Skip(f"no {command[0]} here; scripts/install-deps --test")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Skip(f"{' '.join(command)}: {done.stderr.strip().splitlines()[0]}")
        return done.stdout

    # --- the seven checks ---

    def gather(self, daemon):
        redis_url = daemon.config["redis"]["url"]
        options = argparse.Namespace(
            url=daemon.url, run_dir=daemon.run_dir, database=daemon.env.get("DATABASE_URL", daemon.config["database"]["url"]),
            redis=f"unix://{daemon.run_dir}/redis.sock" if redis_url == "embedded:" else redis_url, ids=[], load=[], command=[],
            schema=daemon.config["database"].get("schema"), baseline=None)
        facts = check.gather(options)
        book = self.books[daemon]
        return dataclasses.replace(facts, answered=set(book.answered), loads=[book.report()],
                                   baseline=self.baselines.get(daemon))

    def judge(self, facts, book):
        findings = {number: list(found) for number, (_, found, _) in enumerate(check.judge(facts), 1)}
        rows = facts.sql_agents if facts.sql_agents is not None else facts.agents
        findings[1] += [f"{agent_id} was answered, nobody terminated it, and it is terminated" for agent_id in book.living
                        if rows.get(agent_id, {}).get("state") == "terminated"]
        findings[1] += [f"{agent_id} was terminated, and is {rows[agent_id]['state']}" for agent_id in book.ended
                        if rows.get(agent_id, {}).get("state", "terminated") != "terminated"]
        findings[7] += book.problems
        if not book.requests:
            findings[7].append("no client asked anything")
        return findings

    def settle(self, daemon, timeout=SETTLE):
        """(facts, {number: findings}) once there are none, or at the deadline."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                facts = self.gather(daemon)
                findings = self.judge(facts, self.books[daemon])
            except (OSError, ValueError, sqlite3.Error, http.client.HTTPException, subprocess.SubprocessError) as error:
                facts, findings = None, {7: [f"cannot gather the facts: {error}"]}
            if not any(findings.values()) or time.monotonic() > deadline:
                return facts, findings
            time.sleep(0.1)

    def check(self, daemon):
        """The seven, of a daemon that runs."""
        if daemon not in self.baselines:
            self.checks[6].append("no baseline was taken")
        for number, found in self.settle(daemon)[1].items():
            self.checks[number] += found
        self.checked += 1

    def check_all(self):
        """After the row's last recovery, with every daemon that it still runs."""
        for daemon in self.daemons:
            if daemon.process is not None and daemon.process.poll() is None:
                self.check(daemon)
        assert self.checked, "no daemon was checked"

    def refusals(self):
        """How many requests were answered with a clear error, as a figure."""
        sums = collections.Counter()
        for book in self.books.values():
            sums.update({status: times for status, times in book.statuses.items() if status not in ("200", "202")})
        return [f"{times} answers {status}" for status, times in sorted(sums.items())]

    def finish(self):
        """Ends everything; what was left behind fails check 4."""
        for daemon in self.daemons:
            for pid in pids_in("T"):
                os.kill(pid, signal.SIGCONT)
            self.checks[4] += daemon.finish()
        self.stack.close()
        wait = time.monotonic() + 5
        while (left := self.left_behind()) and time.monotonic() < wait:
            time.sleep(0.05)
        self.checks[4] += [f"left behind: {pid} {command}" for pid, command in left.items()]

    @staticmethod
    def left_behind():
        """In the row's own process namespace: all but its init and itself."""
        return {pid: command for pid, (_, command) in processes().items() if pid not in (1, os.getpid())} \
            if os.getppid() == 1 else {}

    def reveal(self):
        """The ends of the logs."""
        texts = []
        for daemon in self.daemons:
            lines = [line for line in daemon.log().splitlines() if not any(word in line for word in (" agent.ended ", " agent.stderr ", " audit "))]
            texts.append("\n".join([f"--- {daemon.log_path}", *lines[-15:], ""]))
        return "".join(texts)

    # --- helpers of many rows ---

    def spawn(self, daemon, pool, number):
        """Agents that the checks then expect to live."""
        agents = daemon.spawn(pool, count=number)["agents"]
        self.books[daemon].living |= {agent["agent_id"] for agent in agents}
        return agents

    def ask(self, daemon, method, path, body=None, **arguments):
        """A single request with its place in the book."""
        book = self.books[daemon]
        try:
            answer = daemon.request(method, path, json=body, **arguments)
        except requests.RequestException:
            book.note(0)
            raise
        book.note(answer.status_code)
        if answer.status_code == 200 and path.endswith("/spawn"):
            book.living.add(answer.json()["agent_id"])
        return answer

    def terminate(self, daemon, agent, **fields):
        answer = self.ask(daemon, "POST", "/agents/terminate",
                          {"pool_name": agent["pool_name"], "agent_id": agent["agent_id"], **fields})
        book = self.books[daemon]
        book.living.discard(agent["agent_id"])
        (book.ended if answer.status_code == 200 else book.ending).add(agent["agent_id"])
        return answer

    def is_ready(self, daemon):
        try:
            return daemon.is_ready()
        except (requests.RequestException, OSError):
            return False


def states_of(daemon, agent_ids):
    """{agent id: (state, epoch)} of these, as the API has it now; {} when it does not answer."""
    try:
        known = {agent["agent_id"]: agent for agent in daemon.agents()}
    except (requests.RequestException, redis.RedisError, AssertionError, OSError):
        return {}
    return {agent_id: (known[agent_id]["state"], known[agent_id]["epoch"]) for agent_id in agent_ids if agent_id in known}


def running_at(daemon, epochs):
    """True when each runs at this epoch or a later one."""
    now = states_of(daemon, epochs)
    return all(agent_id in now and now[agent_id][0] in ("idle", "busy") and now[agent_id][1] >= epoch
               for agent_id, epoch in epochs.items())


def next_epochs(daemon, agent_ids):
    return {agent_id: epoch + 1 for agent_id, (_, epoch) in states_of(daemon, agent_ids).items()}
