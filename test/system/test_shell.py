"""What the shells owe around the rules: leftovers of an earlier life, pauses of the whole machine, floods, words and
records that people read, a registry that is away."""
import concurrent.futures
import json
import os
import signal
import subprocess
import time
import uuid

import pytest
import requests

from daemon import BUILD, PATIENCE, command_pool, descendants, processes, wait_for

QUICK = {"heartbeat_interval_ms": 50, "worker_lease_ms": 1000}


def test_places_nothing_on_leftovers_when_everything_was_killed(make_daemon, make_redis):
    server = make_redis()
    daemon = make_daemon(redis={"url": server.url(0)})
    agents = daemon.spawn(count=5)["agents"]
    old = set(daemon.scores())
    daemon.kill_everything()
    assert set(daemon.scores()) == old
    daemon.start()
    begin = time.monotonic()
    new = [daemon.spawn() for _ in range(3)]
    # A spawn command that nobody hears is given up after start_timeout_ms and a margin.
    assert time.monotonic() - begin < 5
    assert [agent["epoch"] for agent in new] == [1, 1, 1]
    wait_for(lambda: daemon.pool()["agents_by_state"]["idle"] == 8, "the restored agents to run")
    for agent in agents:
        assert daemon.agent(agent["agent_id"])["epoch"] == 2, "placed once, and not on a worker that is no more"
    assert not old & set(daemon.scores())
    assert not [key for key in server.client(0).keys("process:*:agents") if key.split(":")[1] in old]


def test_places_on_its_own_workers_when_another_daemon_left_some(make_daemon, make_redis):
    server = make_redis()
    daemon = make_daemon(redis={"url": server.url(0)}, pools={"developer_pool": command_pool(BUILD / "example-agent", **QUICK)})
    daemon.spawn()
    old = set(daemon.scores())
    daemon.kill_everything()
    (daemon.run_dir / "master_id").unlink()  # as after a reboot that empties /run
    daemon.start()
    agents = [daemon.spawn() for _ in range(3)]
    wait_for(lambda: daemon.pool()["agents_by_state"]["idle"] == 4, "all agents to run")
    assert not old & {daemon.agent(agent["agent_id"])["process_id"] for agent in agents}
    wait_for(lambda: not old & set(daemon.scores()), "the other daemon's worker to be reaped, its lease over")


def test_ends_its_agents_when_forker_and_master_died_and_the_registry_forgot(make_daemon, make_redis, odd_pool):
    server = make_redis()
    pool = odd_pool("--stubborn", stop_grace_ms=1000, kill_grace_ms=1000, **QUICK)
    daemon = make_daemon(redis={"url": server.url(0)}, pools={"odd": pool})
    agents = daemon.spawn("odd", count=3)["agents"]
    programs = [daemon.message(a["agent_id"], "whoami").json()["result"]["pid"] for a in agents]
    pids = daemon.note_processes()
    for pid in (daemon.process.pid, daemon.master_pid()):
        os.kill(pid, signal.SIGKILL)
    daemon.process.wait()
    server.client(0).flushall()  # the workers register again while they end their agents
    wait_for(lambda: not set(pids) & set(processes()), "all to be gone")
    assert not set(programs) & set(processes())


def test_keeps_its_workers_when_the_whole_machine_stood_still(make_daemon):
    daemon = make_daemon(pools={"developer_pool": command_pool(BUILD / "example-agent", **QUICK)})
    daemon.spawn_many(25, clients=5)
    before = daemon.worker_pids()
    for _ in range(3):
        pids = [daemon.process.pid, *descendants(daemon.process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2 * QUICK["worker_lease_ms"] / 1000)  # the pause itself
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        wait_for(daemon.is_ready, "the daemon to answer")
        beats = daemon.redis.zrange("pool:developer_pool:heartbeats", 0, -1, withscores=True)
        wait_for(lambda: all(new > old for (_, old), (_, new) in zip(
            sorted(beats), sorted(daemon.redis.zrange("pool:developer_pool:heartbeats", 0, -1, withscores=True)))), "heartbeats")
    assert daemon.worker_pids() == before
    assert "worker_stale" not in daemon.log()


def test_kills_a_worker_when_it_alone_stands_still(make_daemon):
    daemon = make_daemon(pools={"developer_pool": command_pool(BUILD / "example-agent", **QUICK)})
    agent = daemon.spawn()
    os.kill(daemon.worker_pids()[agent["process_id"]], signal.SIGSTOP)
    wait_for(lambda: daemon.agent(agent["agent_id"])["epoch"] == 2 and
             daemon.agent(agent["agent_id"])["state"] == "idle", "the agent to run elsewhere")
    assert "worker_stale" in daemon.log()


def test_shows_busy_and_idle_in_redis_when_agents_work(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(**QUICK)})
    agent, other = daemon.spawn("odd"), daemon.spawn("odd")
    status = lambda a: daemon.redis.hget(f"agent:{a['agent_id']}", "status")
    assert status(agent) == "idle"
    with subprocess.Popen(["curl", "-s", "-o", "/dev/null", "-H", "Content-Type: application/json", "-d", json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": "slow", "params": {"seconds": 3}}),
            f"{daemon.url}/api/v1/agents/{agent['agent_id']}/messages"]) as client:
        wait_for(lambda: status(agent) == "busy", "the agent to be shown as busy")
        assert status(other) == "idle"
        daemon.redis.flushall()
        wait_for(lambda: status(agent) == "busy", "the same after FLUSHALL")
        assert client.wait(timeout=PATIENCE) == 0
    wait_for(lambda: status(agent) == "idle", "the agent to be shown as idle")


# Not with sanitizers: a machine of two processors does not emit there what has to be dropped.
def test_counts_what_it_drops_when_an_agent_floods_with_notifications(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool()})
    flooder, neighbour = daemon.spawn("odd"), daemon.spawn("odd")
    assert flooder["process_id"] == neighbour["process_id"]
    daemon.post(f"/agents/{flooder['agent_id']}/messages", {"jsonrpc": "2.0", "method": "flood", "params": {"seconds": 3}})
    begin = time.monotonic()
    while time.monotonic() - begin < 3:
        assert daemon.message(neighbour["agent_id"], "echo", {}).status_code == 200
    assert daemon.message(flooder["agent_id"], "echo", {}).status_code == 200
    wait_for(lambda: "agent.events_dropped" in daemon.log(), "the drops to be told, with a heartbeat")
    lines = [line for line in daemon.log().splitlines() if "agent.events_dropped" in line]
    assert 1 <= len(lines) <= 10
    assert all(flooder["agent_id"] in line for line in lines)
    assert "reply.not_sent" not in daemon.log()


def test_stays_quiet_when_an_agent_floods_and_redis_is_away(make_daemon, make_redis, odd_pool):
    server = make_redis()
    daemon = make_daemon(redis={"url": server.url(0)}, pools={"odd": odd_pool()})
    agent = daemon.spawn("odd")
    daemon.post(f"/agents/{agent['agent_id']}/messages", {"jsonrpc": "2.0", "method": "flood", "params": {"seconds": 4}})
    assert daemon.message(agent["agent_id"], "echo", {}).status_code == 200  # after the word to flood
    server.stop()
    wait_for(lambda: "agent.events_dropped" in daemon.log(), "the drops to be told")
    assert daemon.log().count("agent.events_dropped") <= 6
    assert "reply.not_sent" not in daemon.log()
    server.start()
    wait_for(daemon.is_ready, "Redis to be back")
    wait_for(lambda: daemon.message(agent["agent_id"], "echo", {}).status_code == 200, "the agent to answer again")


def test_says_why_when_an_agent_is_between_two_places(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool("--stubborn", stop_grace_ms=60000, kill_grace_ms=60000)})
    agent = daemon.spawn("odd")
    assert daemon.message(agent["agent_id"], "echo", {}).status_code == 200
    assert daemon.post(f"/agents/{agent['agent_id']}/restart").status_code == 200
    why = daemon.get(f"/agents/{agent['agent_id']}/why")
    assert why.status_code == 200, why.text
    assert "placed again" in why.json()["placement"]
    assert daemon.stop(signal.SIGINT) == 0


def test_says_when_it_tries_again_when_a_restart_is_held_back(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(restart={"delay_ms": 60000, "delay_max_ms": 60000})})
    agent = daemon.spawn("odd")
    daemon.post(f"/agents/{agent['agent_id']}/messages", {"jsonrpc": "2.0", "method": "exit", "params": {"status": 1}})
    wait_for(lambda: "held back" in daemon.get(f"/agents/{agent['agent_id']}/why").json()["placement"], "its restart to be held back")
    assert 0 < daemon.get(f"/agents/{agent['agent_id']}/why").json()["backoff"]["next_try_in_ms"] <= 120000


def test_answers_terminate_when_redis_is_away(make_daemon, make_redis, odd_pool):
    server = make_redis()
    daemon = make_daemon(redis={"url": server.url(0)}, pools={"odd": odd_pool(stop_grace_ms=100, kill_grace_ms=100, spawn_timeout_ms=1000)})
    agent = daemon.spawn("odd")
    server.stop()
    assert daemon.terminate(agent).status_code == 200
    assert daemon.agent(agent["agent_id"])["state"] == "terminated"
    server.start()
    wait_for(lambda: daemon.health()["redis"]["available"], "the daemon to use Redis")
    assert daemon.terminate(agent).status_code == 200
    assert not server.client(0).exists(f"agent:{agent['agent_id']}")


def record(**changes):
    return {"agent_id": str(uuid.uuid4()), "project_id": "6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11", "role_type": "developer",
            "pool_name": "developer_pool", "heartbeat_interval": 30, "max_idle_time": 300, "epoch": 3, "restarts": 1,
            "state": "idle", "labels": {}, "args": {}, "created_at": "2026-01-31T23:59:59.999Z", "last_exit": None, **changes}


def test_refuses_records_when_a_spawn_like_them_would_be_refused(daemon):
    bad = [({"args": {"model": "x"}}, "/args/model"), ({"args": {"model": 5}}, "/args"), ({"labels": {"a": 5}}, "/labels"),
           ({"labels": []}, "/labels"), ({"role_type": "a b\n"}, "/role_type"), ({"heartbeat_interval": 1}, "/heartbeat_interval"),
           ({"epoch": 2**53}, "record"), ({"epoch": -1}, "record"), ({"state": "asleep"}, "record"),
           ({"last_exit": {"code": "x"}}, "record"), ({"pool_name": "none"}, "no such pool")]
    good = record(labels={"team": "red"})
    answer = daemon.post("/agents/import", {"agents": [record(**changes) for changes, _ in bad] + [good, 5]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["imported"] == 1
    failed = answer.json()["failed"]
    for (changes, words), failure in zip(bad, failed):
        assert words in failure["detail"], (changes, failure)
    assert len(failed) == len(bad) + 1
    wait_for(lambda: daemon.agent(good["agent_id"])["state"] == "idle", "the imported agent to run")
    assert daemon.agent(good["agent_id"])["labels"] == {"team": "red"}
    assert daemon.agent(good["agent_id"])["epoch"] == 4


def run_import(daemon, records):
    lines = [{"format": "agentpool-export", "version": 1, "pools": []}, *records]
    return subprocess.run([BUILD / "agentpool", "-u", daemon.url, "import"], input="\n".join(map(json.dumps, lines)) + "\n",
                          capture_output=True, text=True, timeout=PATIENCE)


def test_says_so_when_an_agent_was_not_imported(daemon):
    good, bad = record(), record(pool_name="none")
    done = run_import(daemon, [good, bad])
    assert done.returncode == 1
    assert bad["agent_id"] in done.stderr and "no such pool" in done.stderr
    assert "1 agents imported" in done.stdout


@pytest.mark.sanitize
def test_imports_in_pieces_when_records_are_large(daemon):
    labels = {f"label{n}": "x" * 200 for n in range(60)}
    done = run_import(daemon, [record(labels=labels, pool_name="tester_pool") for _ in range(150)])
    assert done.returncode == 0, done.stderr
    assert len(daemon.agents(pool_name="tester_pool")) == 150


def test_answers_a_message_when_redis_goes_away_meanwhile(make_daemon, make_redis, odd_pool):
    server = make_redis()
    daemon = make_daemon(redis={"url": server.url(0)}, pools={"odd": odd_pool(**QUICK)})
    agent = daemon.spawn("odd")
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        slow = executor.submit(lambda: requests.post(f"{daemon.url}/api/v1/agents/{agent['agent_id']}/messages", json={
            "jsonrpc": "2.0", "id": 1, "method": "slow", "params": {"seconds": 2}}, timeout=PATIENCE))
        wait_for(lambda: daemon.agent(agent["agent_id"])["messages_in_flight"] == 1, "the message to be under way")
        wait_for(lambda: daemon.redis.hget(f"agent:{agent['agent_id']}", "status") == "busy", "the agent to work on it")
        server.stop()
        assert slow.result().json() == {"jsonrpc": "2.0", "id": 1, "result": "slow"}
    assert not daemon.health()["redis"]["available"]


def test_answers_each_message_when_subscriptions_are_cut(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool()})
    agents = daemon.spawn("odd", count=5)["agents"]
    for n in range(20):
        daemon.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        answer = daemon.message(agents[n % 5]["agent_id"], "echo", {"n": n}, message_id=n)
        assert answer.json() == {"jsonrpc": "2.0", "id": n, "result": {"n": n}}


@pytest.mark.sanitize
def test_carries_messages_when_redis_is_away(make_daemon, make_redis, odd_pool):
    server = make_redis()
    daemon = make_daemon(redis={"url": server.url(0)}, pools={"odd": odd_pool()})
    agent = daemon.spawn("odd")
    server.stop()
    wait_for(lambda: not daemon.health()["redis"]["available"], "the loss to be noticed")
    assert daemon.message(agent["agent_id"], "echo", {"a": 1}).json()["result"] == {"a": 1}
    long = {"a": "x" * 200000}
    assert daemon.message(agent["agent_id"], "echo", long).json()["result"] == long, "more than one packet"


def test_keeps_its_agents_when_redis_would_be_refused_and_the_master_dies(make_daemon, make_redis):
    server = make_redis()
    daemon = make_daemon(redis={"url": server.url(0)})
    agent = daemon.spawn()
    pid = daemon.whoami(agent["agent_id"])["pid"]
    server.client(0).config_set("maxmemory-policy", "allkeys-lru")
    master = daemon.master_pid()
    os.kill(master, signal.SIGKILL)
    wait_for(lambda: "set maxmemory-policy noeviction" in daemon.log(), "the next master to refuse this Redis")
    assert daemon.process.poll() is None and pid in processes()
    server.client(0).config_set("maxmemory-policy", "noeviction")
    wait_for(daemon.is_ready, "the daemon to be ready")
    assert daemon.whoami(agent["agent_id"])["pid"] == pid


def test_goes_on_after_the_cursor_when_its_agent_has_ended(daemon):
    agents = [daemon.spawn("tester_pool") for _ in range(6)]
    page = daemon.get("/agents", params={"limit": 3})
    seen = [agent["agent_id"] for agent in page.json()]
    assert daemon.terminate(next(agent for agent in agents if agent["agent_id"] == seen[-1])).status_code == 200
    rest = daemon.get(page.links["next"]["url"].removeprefix(daemon.url))
    assert rest.status_code == 200, rest.text
    assert seen + [agent["agent_id"] for agent in rest.json()] == [agent["agent_id"] for agent in agents]
