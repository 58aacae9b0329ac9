"""Rows 7, 8, 9, 31 and 35: masters and forkers that die, double, or are replaced."""
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

from daemon import BUILD, PATIENCE, descendants, processes, wait_for
from scene import next_epochs, odd, running_at, two_pools

LONG, LONG_SECONDS = 30, 10  # how many requests are open at any time, each for so long
EX_CONFIG = 78
PROBE_SECONDS = 10           # as master_lease_ms: who waits longer takes the master for one that hangs


def agent_programs(daemon):
    return {pid for pid, command in descendants(daemon.process.pid).items() if "example-agent" in command}


def next_master(daemon, before):
    return daemon.find_master() not in (None, before)


def master_killed(scene):
    daemon = scene.start()
    targets = scene.spawn(daemon, "programs", 20)
    before = {agent["agent_id"]: daemon.whoami(agent["agent_id"])["pid"] for agent in targets}
    with scene.clients(daemon, ["modules"], targets, number=8, most=30) as clients:
        for _ in range(20):
            master = daemon.master_pid()
            scene.pause(0.05)
            scene.injected("kill -9")
            os.kill(master, signal.SIGKILL)
            scene.recovered(lambda: next_master(daemon, master) and scene.is_ready(daemon), "the API to answer again")
            clients.flow()
    assert clients.book.refused == 0, f"{clients.book.refused} connections were refused"
    assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in before} == before, "an agent noticed"
    assert agent_programs(daemon) == set(before.values())
    scene.figures.append(f"{clients.book.cut + clients.book.closed} requests cut off and repeated, none refused")


def refusal(scene, daemon, holder, what, expected=1):
    """It ends, and its log names the one that it must not disturb."""
    scene.injected(what)
    daemon.launch()
    status = daemon.process.wait(timeout=PATIENCE)
    scene.recovered(lambda: True, "the refusal")
    assert status == expected, f"exit status {status}"
    assert holder in daemon.log(), daemon.log().strip()[-500:]
    daemon.process = None


def second_daemon(scene):
    daemon = scene.start()
    targets = scene.spawn(daemon, "programs", 3)
    with scene.clients(daemon, ["modules", "programs"], targets, number=2) as clients:
        for _ in range(3):
            same_place, same_address = scene.make_daemon(), scene.make_daemon()
            same_place.config["run_dir"] = str(daemon.run_dir)
            same_place.config["database"] = daemon.config["database"]
            refusal(scene, same_place, f"pid {daemon.process.pid}", "the same run_dir")
            same_address.config["server"]["listen"] = [daemon.url.removeprefix("http://")]
            refusal(scene, same_address, f"pid {daemon.process.pid}", "the same address")
            clients.flow()


def second_daemon_of_servers(scene):
    """In a place of its own, but with the first one's Redis, or its database."""
    redis, sql = scene.redis().url(0), scene.postgres().url("faults")
    daemon = scene.start(redis={"url": redis}, database={"url": sql})
    targets = scene.spawn(daemon, "programs", 12)
    before = {agent["agent_id"]: daemon.whoami(agent["agent_id"])["pid"] for agent in targets}
    with scene.clients(daemon, ["modules"], targets, errors=()) as clients:
        for _ in range(3):
            same_redis, same_database = scene.make_daemon(redis={"url": redis}), scene.make_daemon(database={"url": sql})
            refusal(scene, same_redis, f"run_dir {daemon.run_dir}", "the same Redis", EX_CONFIG)
            refusal(scene, same_database, f"run_dir {daemon.run_dir}", "the same database", EX_CONFIG)
            clients.flow()
            assert not daemon.pool("programs")["degraded"], daemon.pool("programs")["degraded_reason"]
    assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in before} == before, "an agent noticed"


def forker_killed(scene):
    daemon = scene.start()
    targets = scene.spawn(daemon, "programs", 15)
    with scene.clients(daemon, ["modules"], targets) as clients:
        clients.flow()
    for _ in range(5):
        ids = [agent["agent_id"] for agent in daemon.agents()]
        after = next_epochs(daemon, ids)
        below = daemon.note_processes()
        scene.injected("kill -9")
        daemon.process.kill()
        daemon.process.wait()
        scene.recovered(lambda: not below & set(processes()), "everything below it to end")
        daemon.seen.clear()
        daemon.start()
        wait_for(lambda: running_at(daemon, after), "all to be restored")
    with scene.clients(daemon, ["modules"], targets) as clients:
        clients.flow()


def replace(program):
    """As a package manager does: the running program keeps its file."""
    new = program.with_name("new")
    shutil.copy(BUILD / "agentpoold", new)
    new.rename(program)


def ask(daemon, method, path, body=None, timeout=PATIENCE):
    """(status, text) on a connection of its own."""
    address = daemon.url.removeprefix("http://").split(":")
    with contextlib.closing(http.client.HTTPConnection(address[0], int(address[1]), timeout=timeout)) as connection:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def ask_slowly(daemon, agent_id, number):
    body = {"jsonrpc": "2.0", "id": number, "method": "slow", "params": {"seconds": LONG_SECONDS}}
    status, text = ask(daemon, "POST", f"/api/v1/agents/{agent_id}/messages", json.dumps(body), LONG_SECONDS + PATIENCE)
    assert status == 200 and json.loads(text) == {"jsonrpc": "2.0", "id": number, "result": "slow"}, f"{status} {text}"


def probe(daemon):
    status, text = ask(daemon, "GET", "/livez", timeout=PROBE_SECONDS)
    assert status == 200, f"a probe: {status} {text}"
    time.sleep(0.005)


class LongRequests:
    """Open all the time, as many as LONG, with probes beside them. The last ones are answered before it ends."""

    def __init__(self, daemon, agent_id):
        self.done, self.problems, self.answered, self.slowest = threading.Event(), [], 0, 0
        self.lock = threading.Lock()
        calls = [(ask_slowly, daemon, agent_id, number) for number in range(LONG)]
        self.threads = [threading.Thread(target=self.repeat, args=call) for call in [*calls, (probe, daemon)]]

    def repeat(self, call, *arguments):
        while not self.done.is_set():
            begin = time.monotonic()
            try:
                call(*arguments)
            except (OSError, http.client.HTTPException, ValueError, AssertionError) as error:
                self.problems.append(f"{call.__name__}: {error!r}")
            with self.lock:
                if call is probe:
                    self.slowest = max(self.slowest, time.monotonic() - begin)
                else:
                    self.answered += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()


def reloads_and_upgrades(scene):
    program = scene.directory / "agentpoold"
    replace(program)
    daemon = scene.make_daemon(pools={**two_pools(), "odd": odd()})
    daemon.program = program
    daemon.start()
    targets = scene.spawn(daemon, "programs", 12)
    before = {agent["agent_id"]: daemon.whoami(agent["agent_id"])["pid"] for agent in targets}
    slow = scene.spawn(daemon, "odd", 1)[0]["agent_id"]
    with scene.clients(daemon, ["modules"], targets, most=20, errors=()) as clients, LongRequests(daemon, slow) as long_ones:
        wait_for(lambda: daemon.agent(slow)["messages_in_flight"] == LONG, "the long requests to be open")
        for turn in range(1, 121):
            upgrade, master = turn % 6 == 0, daemon.master_pid()
            if upgrade:
                replace(program)
            scene.injected("USR2" if upgrade else "HUP")
            daemon.process.send_signal(signal.SIGUSR2 if upgrade else signal.SIGHUP)
            scene.recovered(lambda: next_master(daemon, master) and scene.is_ready(daemon), "the next master to answer")
            clients.flow(5)
    assert not long_ones.problems, f"{len(long_ones.problems)} failed: {long_ones.problems[:5]}"
    assert daemon.log().count("upgrade.done") == 20
    assert clients.book.cut == clients.book.refused == 0, f"{clients.book.cut} requests cut off, {clients.book.refused} refused"
    assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in before} == before, "an agent noticed"
    scene.figures.append(f"{clients.book.succeeded()} requests answered, and {long_ones.answered} of {LONG_SECONDS} s;"
                         f" the slowest probe took {1000 * long_ones.slowest:.0f} ms")
