"""POST /agents/spawn: what it answers, what it takes, and that a refused or failed spawn leaves nothing."""
import concurrent.futures
import re
import sqlite3
import uuid

import pytest

from daemon import BUILD, PROJECT, command_pool, default_pools, wait_for

pytestmark = pytest.mark.sanitize

WANTED = {"starting", "idle", "busy"}  # states of agents that a restore brings back


def desired(daemon):
    """{agent_id: state} of the store's rows, read beside the daemon."""
    with sqlite3.connect(f"file:{daemon.run_dir}/agentpool.db?mode=ro", uri=True) as store:
        return {str(uuid.UUID(bytes=i) if isinstance(i, bytes) else i): s
                for i, s in store.execute("SELECT agent_id, state FROM agents")}


def assert_nothing_left(daemon, pool):
    assert daemon.agents(pool_name=pool) == []
    assert daemon.pool(pool)["used_capacity"] == 0
    assert daemon.redis.smembers(f"pool:{pool}:agents") == set()
    assert all(score == 10 for score in daemon.scores(pool).values())
    wait_for(lambda: not set(desired(daemon).values()) & WANTED, "no desired row")


def test_answers_with_the_whole_agent_when_spawned(daemon):
    agent = daemon.spawn()
    assert list(agent) == ["agent_id", "human_name", "display_name", "role_type", "project_id", "pool_name", "process_id",
                           "state", "epoch", "created_at"]
    assert uuid.UUID(agent["agent_id"]) and uuid.UUID(agent["process_id"])
    assert agent["display_name"] == f"{agent['human_name']} (developer)"
    assert (agent["role_type"], agent["project_id"], agent["pool_name"]) == ("developer", PROJECT, "developer_pool")
    assert (agent["state"], agent["epoch"]) == ("idle", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", agent["created_at"])
    assert agent["process_id"] == daemon.workers()[0]["process_id"]
    rows = desired(daemon)
    assert list(rows) == [agent["agent_id"]] and rows[agent["agent_id"]] in WANTED


def test_fills_in_defaults_when_fields_are_left_out(daemon):
    agent = daemon.agent(daemon.post("/agents/spawn", {"pool_name": "developer_pool"}).json()["agent_id"])
    assert (agent["heartbeat_interval"], agent["max_idle_time"]) == (30, 0)
    assert (agent["labels"], agent["args"]) == ({}, {})
    assert (agent["project_id"], agent["role_type"]) == ("00000000-0000-0000-0000-000000000000", "developer")
    other = daemon.spawn()["agent_id"]
    found = daemon.get(f"/agents?project_id={agent['project_id']}").json()
    assert [item["agent_id"] for item in found] == [agent["agent_id"]]
    for agent_id in (agent["agent_id"], other):
        assert daemon.message(agent_id, "ping").status_code == 200
    found = daemon.get(f"/agents/executions?project_id={agent['project_id']}").json()
    assert [item["agent_id"] for item in found] == [agent["agent_id"]]


def test_takes_what_the_pool_says_when_a_request_says_nothing(make_daemon):
    pool = command_pool(BUILD / "example-agent", role_type="writer", project_id=PROJECT, max_idle_time=600)
    daemon = make_daemon(pools={"writers": pool})
    agent = daemon.agent(daemon.post("/agents/spawn", {"pool_name": "writers"}).json()["agent_id"])
    assert (agent["project_id"], agent["role_type"], agent["max_idle_time"]) == (PROJECT, "writer", 600)
    asked = {"project_id": "00000000-0000-0000-0000-000000000000", "role_type": "reader", "max_idle_time": 0}
    agent = daemon.agent(daemon.post("/agents/spawn", {"pool_name": "writers", **asked}).json()["agent_id"])
    assert agent | asked == agent


def test_takes_the_bounds_when_numbers_are_at_their_limits(daemon):
    for fields in ({"heartbeat_interval": 10}, {"max_idle_time": 60}, {"max_idle_time": 0}):
        agent = daemon.agent(daemon.spawn(**fields)["agent_id"])
        assert agent | fields == agent


def test_answers_a_list_when_count_is_given(daemon):
    assert len(daemon.spawn(count=1)["agents"]) == 1
    answer = daemon.spawn(count=14)
    assert len({agent["agent_id"] for agent in answer["agents"]}) == 14
    assert answer["failed"] == []
    assert daemon.pool()["process_count"] == 2


def test_names_each_failure_when_only_some_fit(make_daemon):
    pool = command_pool(BUILD / "example-agent", max_agents_per_worker=2, max_workers=1, spawn_timeout_ms=1000)
    daemon = make_daemon(pools={"small": pool})
    answer = daemon.spawn("small", count=5)
    assert len(answer["agents"]) == 2
    assert len(answer["failed"]) == 3
    assert all("2 of 2 slots" in failed["detail"] for failed in answer["failed"])
    assert daemon.pool("small")["agent_count"] == 2
    assert daemon.redis.scard("pool:small:agents") == 2


def test_answers_at_once_when_told_not_to_wait(daemon):
    answer = daemon.post("/agents/spawn?wait=false", daemon.spawn_body())
    assert answer.status_code == 202
    agent_id = answer.json()["agent_id"]
    assert answer.headers["Location"] == f"/api/v1/agents/{agent_id}"
    wait_for(lambda: daemon.get(answer.headers["Location"]).json()["state"] == "idle", "the agent to run")
    assert daemon.whoami(agent_id)["agent_id"] == agent_id


def test_finds_by_label_when_listed(daemon):
    red = daemon.spawn(labels={"colour": "red", "size": "1"})
    daemon.spawn(labels={"colour": "blue"})
    daemon.spawn()
    assert [agent["agent_id"] for agent in daemon.agents(label="colour=red")] == [red["agent_id"]]
    assert daemon.agent(red["agent_id"])["labels"] == {"colour": "red", "size": "1"}
    assert daemon.agents(label="colour=green") == []


def test_passes_args_when_the_pool_allows_them(make_daemon):
    pools = {"open": command_pool(BUILD / "example-agent", allowed_args=["model"])}
    daemon = make_daemon(pools=pools)
    agent = daemon.spawn("open", args={"model": "large; rm -rf ~"})
    assert daemon.whoami(agent["agent_id"])["args"] == {"MODEL": "large; rm -rf ~"}
    refused = daemon.post("/agents/spawn", daemon.spawn_body("open", args={"program": "sh"}))
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/args/program"
    assert "allowed_args" in refused.json()["detail"]
    assert daemon.pool("open")["agent_count"] == 1


def spawn_with_key(daemon, key, **fields):
    return daemon.post("/agents/spawn", daemon.spawn_body(**fields), headers={"Idempotency-Key": key})


def test_answers_the_same_when_a_key_is_repeated(daemon):
    first, second = spawn_with_key(daemon, "k1"), spawn_with_key(daemon, "k1")
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content
    assert daemon.pool()["agent_count"] == 1
    other = spawn_with_key(daemon, "k1", labels={"a": "b"})
    assert other.status_code == 422
    assert other.headers["Content-Type"] == "application/problem+json"
    assert spawn_with_key(daemon, "k2").json()["agent_id"] != first.json()["agent_id"]
    assert daemon.pool()["agent_count"] == 2


def test_spawns_one_when_a_key_is_used_concurrently(daemon):
    with concurrent.futures.ThreadPoolExecutor(20) as executor:
        answers = list(executor.map(lambda _: spawn_with_key(daemon, "same", count=3), range(20)))
    succeeded = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 409}, [answer.text for answer in answers]
    assert succeeded and all(answer == succeeded[0] for answer in succeeded)
    assert daemon.pool()["agent_count"] == 3
    assert spawn_with_key(daemon, "same", count=3).json() == succeeded[0]


def test_leaves_nothing_when_the_agent_never_gets_ready(make_daemon):
    pool = command_pool("/bin/sleep", "1000", start_timeout_ms=300, spawn_timeout_ms=2000)
    pool["runtime"]["wait_ready"] = True
    daemon = make_daemon(pools={"mute": pool})
    answer = daemon.post("/agents/spawn", daemon.spawn_body("mute"))
    assert answer.status_code in (422, 503, 504), answer.text
    assert "did not answer ping within 300 ms" in answer.json()["detail"]
    assert_nothing_left(daemon, "mute")


def test_leaves_nothing_when_the_deadline_passes(make_daemon):
    pool = command_pool("/bin/sleep", "1000", start_timeout_ms=60000, spawn_timeout_ms=500)
    pool["runtime"]["wait_ready"] = True
    daemon = make_daemon(pools={"mute": pool})
    answer = daemon.post("/agents/spawn", daemon.spawn_body("mute"))
    assert answer.status_code in (503, 504), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    wait_for(lambda: daemon.pool("mute")["used_capacity"] == 0, "the slot to be free")
    wait_for(lambda: set(daemon.scores("mute").values()) == {10}, "the score to be whole")
    assert_nothing_left(daemon, "mute")


def test_names_the_program_when_it_does_not_exist(make_daemon):
    daemon = make_daemon(pools=default_pools() | {"missing": command_pool("/nowhere/agent-program")})
    for _ in range(3):
        answer = daemon.post("/agents/spawn", daemon.spawn_body("missing"))
        assert answer.status_code in (422, 503)
        assert "/nowhere/agent-program" in answer.json()["detail"]
        assert "No such file" in answer.json()["detail"]
    assert_nothing_left(daemon, "missing")
    daemon.spawn()
