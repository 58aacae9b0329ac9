"""What was answered is never lost, whichever store there is: SQLite, PostgreSQL, PostgreSQL through PgBouncer."""
import concurrent.futures
import contextlib
import os
import random
import signal
import sqlite3
import time
import uuid

import pytest
import requests

from daemon import BUILD, PATIENCE, command_pool, module_pool, wait_for
from stores import STORES, comparable, psql, rows, settings_for, states, write

FAST_RESTART = {"delay_ms": 10, "delay_max_ms": 50}


@pytest.fixture(params=STORES)
def store(request):
    return settings_for(request.param, lambda: request.getfixturevalue("postgres"))


STRANGERS = "CREATE TABLE schema_migrations (version text PRIMARY KEY); CREATE TABLE agents (id integer PRIMARY KEY)"


@pytest.mark.sanitize
@pytest.mark.parametrize("way", ["direct", "pgbouncer"])
def test_keeps_its_tables_apart_when_the_database_has_another_applications(make_daemon, postgres, way):
    name = f"shared_{way}"
    direct = postgres.url(name)
    psql(direct, STRANGERS, schema="public")
    url = (direct if way == "direct" else postgres.bouncer_url(name, create=False)).replace("postgresql:", "postgresql+psycopg:")
    daemon = make_daemon(pools={"modules": module_pool()}, database={"url": url, "pooled": way == "pgbouncer"})
    agent = daemon.spawn("modules")
    assert psql(direct, "SELECT agent_id FROM agents").split() == [agent["agent_id"]]
    assert psql(direct, "SELECT count(*) FROM agents", schema="public").split() == ["0"]
    other = make_daemon(start=False, database={"url": url, "schema": "public"})
    other.launch()
    assert other.process.wait(timeout=PATIENCE) == 78
    assert "another application" in other.log() and "database.schema" in other.log()
    third = make_daemon(pools={"modules": module_pool()}, database={"url": url, "schema": "third"})
    assert third.agents() == [] and third.spawn("modules")
    assert len(daemon.agents()) == 1


def test_ends_with_78_when_the_file_is_another_applications(make_daemon, run_base):
    path = run_base / "app.db"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.executescript(STRANGERS)
    before = path.read_bytes()
    daemon = make_daemon(start=False, database={"url": f"sqlite:{path}"})
    daemon.launch()
    assert daemon.process.wait(timeout=PATIENCE) == 78
    assert "another application" in daemon.log() and "database.url" in daemon.log()
    assert path.read_bytes() == before


@pytest.mark.parametrize("way", ["postgresql", "pgbouncer"])
def test_belongs_to_one_daemon_when_two_are_started_on_one_database(make_daemon, postgres, way):
    settings = settings_for(way, lambda: postgres)
    first = make_daemon(pools={"modules": module_pool()}, **settings)
    agent = first.spawn("modules")
    second = make_daemon(start=False, pools={"modules": module_pool()}, **settings)
    second.launch()
    wait_for(lambda: (second.run_dir / "agentpoold.listen").exists(), "it to listen")
    assert second.process.wait(timeout=PATIENCE) == 78
    assert "store.taken" in second.log() and str(first.run_dir) in second.log() and "database.schema" in second.log()
    assert "agent.spawned" not in second.log() and first.agent(agent["agent_id"])["epoch"] == 1
    first.kill_everything()
    first.start()  # another life of the same: at once
    assert "waiting" not in first.log()
    first.kill_everything()
    second.launch()  # the first stands still
    wait_for(second.is_ready, "it to take over", timeout=PATIENCE + 20)
    assert "store.taken_over" in second.log()
    wait_for(lambda: second.agent(agent["agent_id"])["state"] == "idle", "its agent to run there")
    first.launch()
    assert first.process.wait(timeout=PATIENCE) == 78


@pytest.mark.sanitize
def test_ends_with_78_when_its_sqlite_file_was_emptied(make_daemon):
    daemon = make_daemon(pools={"modules": module_pool()})
    daemon.spawn("modules")
    assert daemon.stop() == 0
    path, known = daemon.run_dir / "agentpool.db", daemon.run_dir / "database_id"
    kept = path.read_bytes()
    for empty in (lambda: path.write_bytes(b""), path.unlink):
        empty()
        daemon.launch()
        assert daemon.process.wait(timeout=PATIENCE) == 78
        assert f"remove {known}" in daemon.log()
    path.write_bytes(kept)
    daemon.start()
    settled(daemon, "modules", 1)
    assert daemon.stop() == 0
    path.unlink()
    known.unlink()  # the operator accepts the loss
    daemon.start()
    assert daemon.agents() == [] and daemon.stop() == 0
    daemon.config["database"]["url"] = f"sqlite:{daemon.run_dir}/other.db"  # a change on purpose
    daemon.start()
    assert daemon.stop() == 0
    assert known.read_text().splitlines()[1] == daemon.config["database"]["url"]


@pytest.mark.sanitize
def test_leaves_a_row_out_when_somebody_broke_it(make_daemon, store):
    daemon = make_daemon(pools={"modules": module_pool()}, **store)
    agents = [daemon.spawn("modules", labels={"n": str(n)}) for n in range(3)]
    assert daemon.message(agents[0]["agent_id"], "tools/list").status_code == 200
    broken = agents[1]["agent_id"]
    wait_for(lambda: rows(daemon, "SELECT count(*) FROM agent_executions") == [("1",)], "the execution to be written")
    daemon.kill_everything()
    write(daemon, f"UPDATE agents SET labels = '{{broken' WHERE agent_id = '{broken}'",
          "UPDATE agent_executions SET completed_at = 999999999999999999")
    daemon.start()
    settled(daemon, "modules", 2)
    assert {agent["agent_id"] for agent in daemon.agents()} == {agents[0]["agent_id"], agents[2]["agent_id"]}
    assert daemon.get("/agents", params={"label": "n=2"}).json()[0]["agent_id"] == agents[2]["agent_id"]
    answer = daemon.get(f"/agents/{broken}")
    assert answer.status_code == 503 and broken in answer.json()["detail"]
    assert daemon.get("/agents/executions").json() == []
    assert f'table=agents key="{broken}" column=labels' in daemon.log()
    assert "table=executions" in daemon.log()
    assert "agentpool_store_broken_rows_total 0" not in daemon.get("/metrics").text
    write(daemon, f"UPDATE agents SET labels = '{{}}' WHERE agent_id = '{broken}'")
    daemon.kill_everything()
    daemon.start()
    settled(daemon, "modules", 3)


def settled(daemon, pool, number):
    wait_for(lambda: daemon.pool(pool)["agents_by_state"]["idle"] == number, f"{number} agents of {pool} to run")


def test_exactly_the_wanted_come_back_when_everything_was_killed(make_daemon, store):
    pools = {"programs": command_pool(BUILD / "example-agent", allowed_args=["model"]), "modules": module_pool()}
    daemon = make_daemon(pools=pools, **store)
    agents = [daemon.spawn("programs", labels={"number": str(n), "Straße": "\"ä\\n"}, args={"model": f"m{n}"},
                           heartbeat_interval=40 + n, max_idle_time=n % 2 * 600) for n in range(20)]
    agents += daemon.spawn("modules", count=20)["agents"]
    ended, living = agents[::4], [agent for n, agent in enumerate(agents) if n % 4]
    before = {agent["agent_id"]: daemon.agent(agent["agent_id"]) for agent in living}
    for agent in ended:
        assert daemon.terminate(agent).status_code == 200
    for life in (2, 3):
        daemon.redis.flushall()
        daemon.kill_everything()
        daemon.start()
        settled(daemon, "programs", 15)
        settled(daemon, "modules", 15)
        after = {agent["agent_id"]: agent for agent in daemon.agents()}
        assert after.keys() == before.keys()
        for agent_id, agent in after.items():
            assert comparable(agent) == comparable(before[agent_id])
            assert agent["epoch"] >= life
            answer = daemon.whoami(agent_id)
            assert (answer["agent_id"], answer["start_reason"], answer["epoch"]) == (agent_id, "restore", agent["epoch"])
    in_sql = states(daemon)
    assert {agent_id for agent_id, (state, _) in in_sql.items() if state == "terminated"} == {a["agent_id"] for a in ended}
    assert {agent_id: in_sql[agent_id][1] for agent_id in before} == {a: after[a]["epoch"] for a in before}
    for agent in ended:
        assert daemon.message(agent["agent_id"], "ping").status_code == 404
        assert daemon.terminate(agent).status_code == 200


def test_stays_failed_when_the_daemon_starts_again(make_daemon, odd_pool, store):
    daemon = make_daemon(pools={"doomed": odd_pool("--dies", "7", restart=FAST_RESTART | {"intensity": 1})}, **store)
    agent_id = daemon.post("/agents/spawn?wait=false", daemon.spawn_body("doomed")).json()["agent_id"]
    wait_for(lambda: states(daemon).get(agent_id, [""])[0] == "failed", "the policy to give up")
    before = daemon.agent(agent_id)
    daemon.kill_everything()
    daemon.start()
    after = daemon.agent(agent_id)
    assert (after["state"], after["epoch"], after["process_id"]) == ("failed", before["epoch"], None)
    assert comparable(after) == comparable(before)
    assert daemon.get(f"/agents/{agent_id}/why").json()["placement"] == "the restart policy gave up on it"
    assert daemon.terminate(after).status_code == 200
    daemon.kill_everything()
    daemon.start()
    assert daemon.agents() == []


def test_never_comes_back_when_everything_was_killed_while_it_ended(make_daemon, odd_pool, store):
    daemon = make_daemon(pools={"odd": odd_pool("--stubborn", stop_grace_ms=60000)}, **store)
    agent = daemon.spawn("odd")
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        answer = executor.submit(daemon.terminate, agent)
        wait_for(lambda: states(daemon)[agent["agent_id"]][0] == "terminated", "the wish to be recorded")
        assert daemon.agent(agent["agent_id"])["state"] == "stopping"
        daemon.kill_everything()
        with pytest.raises(requests.ConnectionError):
            answer.result()
    daemon.start()
    assert daemon.agents() == [] and daemon.terminate(agent).status_code == 200


def test_answers_the_same_when_a_key_is_repeated_after_everything_was_killed(make_daemon, store):
    daemon = make_daemon(**store)
    key = {"Idempotency-Key": "the key"}
    body = daemon.spawn_body("tester_pool", count=3)
    first = daemon.post("/agents/spawn", body, headers=key)
    ended = daemon.spawn("tester_pool")
    gone = {"pool_name": "tester_pool", "agent_id": ended["agent_id"]}
    assert daemon.post("/agents/terminate", gone, headers=key).status_code == 200
    # The answer to a key is written after it was given.
    wait_for(lambda: rows(daemon, "SELECT count(*) FROM idempotency_keys WHERE answer IS NOT NULL") == [("2",)], "both answers")
    daemon.kill_everything()
    daemon.start()
    second = daemon.post("/agents/spawn", body, headers=key)
    assert (second.status_code, second.json()) == (200, first.json())
    assert daemon.post("/agents/terminate", gone, headers=key).status_code == 200
    assert daemon.post("/agents/spawn", body | {"count": 4}, headers=key).status_code == 422
    assert len(daemon.agents()) == 3


def repeat_until_answered(daemon, path, body, key):
    """As a client does that must know: the same request again until it is answered. How often it was cut off."""
    cut, deadline = 0, time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            answer = requests.post(daemon.url + "/api/v1" + path, json=body, headers={"Idempotency-Key": key}, timeout=PATIENCE)
        except requests.ConnectionError:
            cut += 1
            continue
        if answer.status_code == 200:
            return answer.json(), cut
        assert answer.status_code in (409, 503), answer.text
        time.sleep(0.01)
    raise AssertionError(f"{path}: not answered in time")


def test_spawns_and_ends_once_when_the_master_is_killed_before_it_answers(make_daemon, store):
    daemon = make_daemon(pools={"modules": module_pool(max_agents_per_worker=1000)}, **store)
    dice, rounds, cuts, agents = random.Random(3), 0, 0, []
    daemon.spawn("modules")
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        # How soon spawns are answered is the machine's: more rounds, should no kill have cut one.
        while rounds < 15 or (cuts == 0 and rounds < 100):
            rounds += 1
            keys = [str(uuid.uuid4()) for _ in range(8)]
            spawns = [executor.submit(repeat_until_answered, daemon, "/agents/spawn", daemon.spawn_body("modules"), key)
                      for key in keys]
            time.sleep(dice.random() * (0.012 if rounds % 2 else 0.003))  # where the kill lands is the point, not how long it takes
            os.kill(daemon.master_pid(), signal.SIGKILL)
            answers = [spawn.result() for spawn in spawns]
            cuts += sum(cut for _, cut in answers)
            agents += [agent["agent_id"] for agent, _ in answers]
            wait_for(lambda: daemon.master_pid() is not None, "the next master")
    assert cuts > 0, "no kill came between a request and its answer"
    assert len(set(agents)) == rounds * 8
    settled(daemon, "modules", rounds * 8 + 1)
    assert {agent_id for agent_id, (state, _) in states(daemon).items() if state != "terminated"} >= set(agents)
    for agent_id in agents:
        daemon.whoami(agent_id)
    victim = {"pool_name": "modules", "agent_id": agents[0]}
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        end = executor.submit(repeat_until_answered, daemon, "/agents/terminate", victim, "end")
        os.kill(daemon.master_pid(), signal.SIGKILL)
        end.result()
    wait_for(lambda: daemon.is_ready() and daemon.pool("modules")["agent_count"] == rounds * 8, "exactly the others")


def ended_executions(daemon, number, **query):
    def found():
        executions = daemon.get("/agents/executions", params=query).json()
        return len(executions) == number and executions
    return wait_for(found, f"{number} executions")


@pytest.mark.sanitize
def test_remembers_messages_when_started_again(make_daemon, odd_pool, store):
    daemon = make_daemon(pools={"odd": odd_pool(restart=FAST_RESTART), "other": odd_pool()}, **store)
    agent, other = daemon.spawn("odd"), daemon.spawn("other")
    agent_id = agent["agent_id"]
    for _ in range(3):
        assert daemon.message(agent_id, "echo", {"a": 1}).status_code == 200
    assert daemon.message(other["agent_id"], "echo", {}).status_code == 200
    assert daemon.post(f"/agents/{agent_id}/messages?timeout_ms=100",
                       {"jsonrpc": "2.0", "id": 1, "method": "mute"}).status_code == 504
    assert daemon.message(agent_id, "exit", {"status": 3}).status_code == 503
    ended_executions(daemon, 6)
    daemon.kill_everything()
    daemon.start()
    executions = ended_executions(daemon, 5, pool_name="odd")
    assert [(one["method"], one["status"]) for one in executions] == [
        ("exit", "failed"), ("mute", "timeout"), ("echo", "completed"), ("echo", "completed"), ("echo", "completed")]
    failed, timeout = executions[:2]
    assert "exit status 3" in failed["error"] and timeout["duration_ms"] >= 99
    assert all(one["agent_id"] == agent_id and one["project_id"] == agent["project_id"] for one in executions)
    assert daemon.get(f"/executions/{failed['execution_id']}").json() == failed
    assert daemon.get(f"/executions/{uuid.uuid4()}").status_code == 404
    assert len(ended_executions(daemon, 3, pool_name="odd", status="completed")) == 3
    page = daemon.get("/agents/executions", params={"limit": 4})
    rest = daemon.get(page.links["next"]["url"].removeprefix(daemon.url))
    assert [len(page.json()), len(rest.json())] == [4, 2] and "next" not in rest.links
    assert len({one["execution_id"] for one in page.json() + rest.json()}) == 6
    summary = daemon.get("/executions/stats/summary", params={"pool_name": "odd"}).json()
    assert summary["success_rate"] == pytest.approx(3 / 5)
    assert {name: number for name, number in summary.items() if name.endswith("_executions")} == {
        "total_executions": 5, "running_executions": 0, "successful_executions": 3, "failed_executions": 1,
        "timed_out_executions": 1}


def test_tells_an_agents_history_when_it_was_placed_again(make_daemon, odd_pool, store):
    daemon = make_daemon(pools={"odd": odd_pool(restart=FAST_RESTART)}, **store)
    agent_id = daemon.spawn("odd")["agent_id"]
    daemon.message(agent_id, "exit", {"status": 3})
    wait_for(lambda: daemon.agent(agent_id)["epoch"] == 2 and daemon.agent(agent_id)["state"] == "idle", "its restart")
    wait_for(lambda: len(daemon.agent(agent_id)["history"]) == 3, "the history to be written")
    daemon.kill_everything()
    daemon.start()
    settled(daemon, "odd", 1)
    agent = wait_for(lambda: (lambda now: len(now["history"]) == 4 and now)(daemon.agent(agent_id)), "its restoration to be written")
    assert [(event["event"], event["epoch"]) for event in agent["history"]] == [
        ("agent_spawned", 3), ("agent_spawned", 2), ("agent_crashed", 1), ("agent_spawned", 1)]
    assert agent["history"][0]["detail"] == "restore" and "exit status 3" in agent["history"][2]["detail"]
    assert (agent["restarts"], agent["last_exit"]["code"]) == (1, 3)
    why = daemon.get(f"/agents/{agent_id}/why").json()
    assert (why["placement"], why["start_reason"]) == ("it runs where it was placed", "restore")
    assert why["history"] == agent["history"]


def test_gives_a_point_for_each_metric_when_asked_for_series(make_daemon, request):
    daemons = []
    for kind in STORES:  # together: a snapshot is taken once a minute
        daemon = make_daemon(pools={"modules": module_pool()}, **settings_for(kind, lambda: request.getfixturevalue("postgres")))
        for agent in daemon.spawn("modules", count=5)["agents"]:
            daemon.whoami(agent["agent_id"])
        daemons.append(daemon)
    for daemon in daemons:
        def series(metric_type):
            return daemon.get("/agents/metrics/timeseries", params={"metric_type": metric_type, "time_range": "1h",
                                                                    "pool_name": "modules"}).json()
        wait_for(lambda: sum(point["value"] for point in series("executions")["points"]) == 5, "a snapshot", timeout=90)
        assert [point["value"] for point in series("success_rate")["points"] if point["value"] is not None] == [1]
        assert series("utilization")["points"][-1]["value"] == pytest.approx(0.5)
        assert series("utilization")["bucket_ms"] == 60000
