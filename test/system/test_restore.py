"""What was answered is never lost: everything killed, the master killed again and again under load."""
import concurrent.futures
import os
import random
import select
import signal
import socket
import threading
import time
import uuid

import pytest
import requests

from daemon import BUILD, PATIENCE, command_pool, descendants, module_pool, wait_for

pytestmark = pytest.mark.sanitize

CLIENTS = 50
SPAWNS_MAX = 400


def test_exactly_the_living_come_back_when_everything_was_killed(daemon):
    agents = daemon.spawn_many(40, clients=10)
    ended, living = agents[:10], agents[10:]
    for agent in ended:
        assert daemon.terminate(agent).status_code == 200
    daemon.kill_everything()
    daemon.start()
    ids = {agent["agent_id"] for agent in living}
    wait_for(lambda: daemon.pool()["agents_by_state"]["idle"] == 30, "the restored agents to run")
    assert {agent["agent_id"] for agent in daemon.agents()} == ids
    for agent in living:
        answer = daemon.whoami(agent["agent_id"])
        assert (answer["agent_id"], answer["epoch"], answer["start_reason"]) == (agent["agent_id"], 2, "restore")
        assert answer["project_id"] == agent["project_id"]
    for agent in ended:
        assert daemon.message(agent["agent_id"], "ping").status_code == 404
        for answer in (daemon.agent(agent["agent_id"]), daemon.get(f"/agents/{agent['agent_id']}/why").json()):
            assert (answer["agent_id"], answer["state"], answer["process"]) == (agent["agent_id"], "terminated", None)
            assert answer["history"][0]["event"] == "agent_terminated"
    assert daemon.redis.smembers("pool:developer_pool:agents") == ids
    assert sorted(daemon.scores().values()) == [0, 0, 0]


def test_answers_livez_while_other_requests_wait_for_the_workers(make_daemon):
    daemon = make_daemon(pools={"pool": module_pool(worker_lease_ms=600000)})
    agent, address = daemon.spawn("pool"), ("127.0.0.1", int(daemon.url.rpartition(":")[2]))
    worker = daemon.worker_pids("pool")[agent["process_id"]]

    def is_answered_first():
        """It does not know yet what the worker runs: who asks for agents waits for that a while. May be over on a slow machine."""
        os.kill(worker, signal.SIGSTOP)
        master = daemon.master_pid()
        os.kill(master, signal.SIGKILL)
        wait_for(lambda: daemon.find_master() not in (None, master), "the next master")
        with socket.create_connection(address, PATIENCE) as first, socket.create_connection(address, PATIENCE) as second:
            first.sendall(b"GET /api/v1/agents HTTP/1.1\r\nHost: localhost\r\n\r\n")
            second.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert second.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            waits = not select.select([first], [], [], 0)[0]
            os.kill(worker, signal.SIGCONT)
            assert agent["agent_id"].encode() in first.recv(1 << 16)
        return waits
    wait_for(is_answered_first, "/livez to be answered first")


def test_answers_livez_while_all_agents_are_listed(make_daemon):
    daemon = make_daemon(pools={"pool": module_pool(max_agents_per_worker=5000), "other": module_pool()})
    agents = [daemon.spawn("pool", count=1000)["agents"] for _ in range(5)]
    address = ("127.0.0.1", int(daemon.url.rpartition(":")[2]))

    def is_answered_first():
        """May come too late on a slow machine."""
        with socket.create_connection(address, PATIENCE) as first, socket.create_connection(address, PATIENCE) as second:
            first.sendall(b"GET /api/v1/agents/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for _ in range(3):  # with the first of them, what was done in one turn of the loop would be there, too
                second.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert second.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            return not select.select([first], [], [], 0)[0]
    wait_for(is_answered_first, "/livez to be answered first")
    listed = daemon.get("/agents/health").json()
    assert {agent["agent_id"] for agent in listed["pool"]} == {agent["agent_id"] for part in agents for agent in part}
    assert len(listed["pool"]) == 5000 and listed["other"] == []
    assert {(agent["status"], agent["role_type"]) for agent in listed["pool"]} == {("idle", "developer")}


def test_settings_come_back_when_everything_was_killed(make_daemon):
    daemon = make_daemon(pools={"pool": command_pool(BUILD / "example-agent", allowed_args=["model"])})
    agent = daemon.spawn("pool", labels={"team": "red"}, args={"model": "large"}, heartbeat_interval=77, max_idle_time=0)
    before = daemon.agent(agent["agent_id"])
    daemon.kill_everything()
    daemon.start()
    wait_for(lambda: daemon.pool("pool")["agents_by_state"]["idle"] == 1, "the agent to run")
    after = daemon.agent(agent["agent_id"])
    for field in ("labels", "args", "heartbeat_interval", "max_idle_time", "role_type", "project_id", "created_at", "human_name"):
        assert after[field] == before[field]
    assert daemon.whoami(agent["agent_id"])["args"] == {"MODEL": "large"}


def test_agents_come_back_when_the_daemon_was_stopped_in_order(daemon):
    agent, ended = daemon.spawn(), daemon.spawn()
    daemon.terminate(ended)
    assert daemon.stop() == 0
    daemon.start()
    wait_for(lambda: daemon.pool()["agents_by_state"]["idle"] == 1, "the agent to run")
    assert daemon.whoami(agent["agent_id"])["start_reason"] == "restore"
    assert len(daemon.agents()) == 1


def test_start_reason_stays_when_the_master_was_killed(daemon):
    agent, restarted = daemon.spawn(), daemon.spawn("tester_pool")
    daemon.post(f"/agents/{restarted['agent_id']}/restart", {})
    wait_for(lambda: daemon.agent(restarted["agent_id"])["epoch"] == 2 and daemon.agent(restarted["agent_id"])["state"] == "idle",
             "its restart")
    master = daemon.master_pid()
    os.kill(master, signal.SIGKILL)
    wait_for(lambda: daemon.find_master() not in (None, master) and daemon.is_ready(), "the next master")
    for agent_id, reason in ((agent["agent_id"], "spawn"), (restarted["agent_id"], "restart")):
        wait_for(lambda: daemon.agent(agent_id)["state"] == "idle", "the agent to be known")
        assert daemon.get(f"/agents/{agent_id}/why").json()["start_reason"] == reason == daemon.whoami(agent_id)["start_reason"]


def test_key_is_honoured_when_everything_was_killed(daemon):
    headers = {"Idempotency-Key": "the key"}
    first = daemon.post("/agents/spawn", daemon.spawn_body(), headers=headers)
    daemon.kill_everything()
    daemon.start()
    second = daemon.post("/agents/spawn", daemon.spawn_body(), headers=headers)
    assert (second.status_code, second.json()["agent_id"]) == (200, first.json()["agent_id"])
    assert len(daemon.agents()) == 1


class Load:
    """Clients that spawn modules under keys and message command agents, without end; each request is repeated until it is
    answered."""

    def __init__(self, daemon, targets):
        self.daemon, self.targets = daemon, targets
        self.spawned, self.problems, self.messages = [], [], 0
        self.lock, self.done = threading.Lock(), threading.Event()
        self.tickets = SPAWNS_MAX
        self.url = daemon.url + "/api/v1/agents"

    def take_ticket(self):
        with self.lock:
            self.tickets -= 1
            return self.tickets >= 0

    def ask(self, path, body, headers=None):
        """Until it is answered with 200; a connection may break in the middle, but never be refused."""
        begin = time.monotonic()
        while time.monotonic() - begin < 2 * PATIENCE:
            try:
                answer = requests.post(self.url + path, json=body, headers=headers, timeout=PATIENCE)
            except requests.ConnectionError as error:
                if "refused" in str(error):
                    self.problems.append(str(error))
                continue
            if answer.status_code == 200:
                return answer.json()
            if answer.status_code not in (409, 503):  # the first try is still under way; in flight when the master died
                self.problems.append(f"{path}: {answer.status_code} {answer.text}")
                return None
            time.sleep(0.02)
        self.problems.append(f"{path}: not answered in time")
        return None

    def client(self, number):
        dice = random.Random(number)
        while not self.done.is_set() and not self.problems:
            if dice.random() < 0.3 and self.take_ticket():
                agent = self.ask("/spawn", self.daemon.spawn_body("tester_pool"), {"Idempotency-Key": str(uuid.uuid4())})
                if agent:
                    self.spawned.append(agent["agent_id"])
            else:
                text = f"{number} {dice.random()}"
                answer = self.ask(f"/{dice.choice(self.targets)}/messages", {
                    "jsonrpc": "2.0", "id": number, "method": "tools/call",
                    "params": {"name": "echo", "arguments": {"text": text}}})
                if answer and (answer["id"] != number or answer["result"]["content"][0]["text"] != text):
                    self.problems.append(f"somebody else's answer: {answer}")
                self.messages += 1


def agent_programs(daemon):
    return {pid for pid, command in descendants(daemon.process.pid).items() if "example-agent" in command}


def test_nobody_notices_when_the_master_is_killed_twenty_times_under_load(make_daemon, record_property):
    pools = {"developer_pool": command_pool(BUILD / "example-agent"), "tester_pool": module_pool(max_agents_per_worker=50)}
    daemon = make_daemon(pools=pools)
    targets = [agent["agent_id"] for agent in daemon.spawn(count=30)["agents"]]
    programs = {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in targets}
    load, pauses = Load(daemon, targets), []
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as executor:
        clients = [executor.submit(load.client, number) for number in range(CLIENTS)]
        try:
            for _ in range(20):
                messages, master = load.messages, daemon.master_pid()
                os.kill(master, signal.SIGKILL)
                begin = time.monotonic()
                wait_for(lambda: daemon.master_pid() not in (None, master), "the next master")
                wait_for(daemon.is_ready, "the API to answer again")
                pauses.append(time.monotonic() - begin)
                wait_for(lambda: load.messages > messages + 20 or load.problems, "the clients to go on")
        finally:
            load.done.set()
        for client in clients:
            client.result()
    record_property("median_pause_ms", round(sorted(pauses)[10] * 1000))
    assert not load.problems, load.problems[:5]
    assert agent_programs(daemon) == set(programs.values())
    assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in targets} == programs
    wait_for(lambda: daemon.pool("tester_pool")["agents_by_state"]["starting"] == 0, "all spawns to be done")
    existing = {agent["agent_id"] for agent in daemon.agents(pool_name="tester_pool")}
    assert existing == set(load.spawned), "an answered spawn was lost, or an unanswered one doubled"
    for agent_id in load.spawned:
        assert daemon.call_tool(agent_id, "echo", text="here") == "here"
    wait_for(lambda: sum(50 - score for score in daemon.scores("tester_pool").values()) == len(existing), "right scores")
