"""The API says one thing everywhere: lists, counts, names, refusals."""
import http.client
import json
import os
import signal
import subprocess

import pytest

from daemon import BUILD, PATIENCE, TOP, command_pool, module_pool, wait_for
from test_policy import shorten_idle_time
from test_refusals import check_problem

pytestmark = pytest.mark.sanitize


def ended_counts(daemon):
    return [daemon.pool(pool)["agents_by_state"]["terminated"] for pool in ("a", "b", "c")]


def test_lists_ended_agents_when_asked_for_them(make_daemon):
    daemon = make_daemon(pools={"b": module_pool(), "a": module_pool(), "c": command_pool("/nowhere/program")})
    agents = [daemon.spawn(pool, labels={"n": str(n)}) for pool in ("a", "b") for n in range(3)]
    for agent in agents[1:]:
        assert daemon.terminate(agent).status_code == 200
    ended = {agent["agent_id"] for agent in agents[1:]}

    def listed(**query):
        return [agent["agent_id"] for agent in daemon.agents(state="terminated", **query)]
    assert set(listed()) == ended and len(listed()) == 5
    assert listed(limit=2) == listed() == listed(limit=1)
    assert all(agent["state"] == "terminated" for agent in daemon.agents(state="terminated"))
    assert set(listed(pool_name="b")) == {agent["agent_id"] for agent in agents[3:]}
    assert listed(pool_name="b", label="n=1") == [agents[4]["agent_id"]]
    assert listed(project_id="6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e12") == []
    check_problem(daemon.get("/agents?state=terminated&cursor=x"), 400, "cursor")
    assert [agent["agent_id"] for agent in daemon.agents()] == [agents[0]["agent_id"]]
    assert ended_counts(daemon) == [2, 3, 0]
    daemon.stop()
    daemon.start()
    assert set(listed()) == ended and ended_counts(daemon) == [2, 3, 0]
    assert daemon.terminate(agents[0]).status_code == 200
    assert daemon.terminate(agents[0]).status_code == 200
    assert daemon.post("/agents/spawn", daemon.spawn_body("c")).status_code == 422
    assert ended_counts(daemon) == [3, 3, 0]
    master = daemon.master_pid()
    os.kill(master, signal.SIGKILL)
    wait_for(lambda: daemon.find_master() not in (None, master) and daemon.is_ready(), "a new master")
    assert ended_counts(daemon) == [3, 3, 0] and len(listed()) == 6


def test_an_idle_end_is_a_line_of_the_log(make_daemon, odd_pool):
    daemon = make_daemon(pools={"pool": odd_pool()})
    idle, told = daemon.spawn("pool"), daemon.spawn("pool")
    daemon.terminate(told)
    shorten_idle_time(daemon, [idle], 1)
    wait_for(lambda: daemon.agent(idle["agent_id"])["state"] == "terminated", "the idle agent to end")
    lines = [line for line in daemon.log().splitlines() if " agent_terminated " in line]
    assert len(lines) == 1 and " info " in lines[0] and idle["agent_id"] in lines[0] and "idle for 1 s" in lines[0]


def test_capacity_is_what_can_be_taken_when_the_setting_is_lowered(make_daemon):
    daemon = make_daemon(pools={"pool": module_pool(max_agents_per_worker=10, max_workers=1)})
    daemon.spawn("pool", count=3)
    daemon.config["pools"]["pool"]["max_agents_per_worker"] = 2
    daemon.write_config()
    master = daemon.master_pid()
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: daemon.find_master() not in (None, master), "a new master")
    wait_for(daemon.is_ready, "it to be ready")
    wait_for(lambda: daemon.pool("pool")["total_capacity"] == 10, "its worker")
    pool = daemon.pool("pool")
    assert (pool["used_capacity"], pool["available_capacity"], pool["utilization"]) == (3, 7, 0.3)
    assert list(daemon.scores("pool").values()) == [7]
    daemon.spawn("pool", count=7)
    check_problem(daemon.post("/agents/spawn", daemon.spawn_body("pool")), 503, "10 of 10 slots in 1 of 1 workers")
    assert list(daemon.scores("pool").values()) == [0]


@pytest.mark.parametrize("labels", [{"a=b": "x"}, {"a": "x\ny"}, {"a\tb": "x"}, {"a": "\x7f"}])
def test_refuses_labels_that_could_not_be_found(daemon, labels):
    body = daemon.spawn_body("tester_pool", labels=labels)
    answer = daemon.post("/agents/spawn", body)
    check_problem(answer, 422, "could not find it")
    assert answer.json()["errors"][0]["pointer"].startswith("/labels/")
    assert daemon.post("/agents/bulk/spawn", [body]).json()[0]["status"] == 422
    record = daemon.agent(daemon.spawn("tester_pool")["agent_id"])
    record |= {"labels": labels, "agent_id": "6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e13"}
    failed = daemon.post("/agents/import", {"agents": [record]}).json()["failed"]
    assert "could not find it" in failed[0]["detail"]


def test_finds_every_label_that_it_takes(daemon):
    labels = {"n" * 128: "v", "ü &?%": "a=b=c", "": "empty", "value": "", "long": "x" * 1000}
    agent = daemon.spawn("tester_pool", labels=labels)
    daemon.spawn("tester_pool", labels={"n" * 127: "v"})
    for name, value in labels.items():
        for label in (name, f"{name}={value}"):
            assert [found["agent_id"] for found in daemon.agents(label=label)] == [agent["agent_id"]], label


def test_is_not_ready_when_every_pool_drains(make_daemon):
    daemon = make_daemon(pools={"a": module_pool(), "b": module_pool()})
    daemon.post("/agents/pools/a/drain")
    assert daemon.get("/readyz").status_code == 200
    daemon.post("/agents/pools/b/drain")
    check_problem(daemon.get("/readyz"), 503, "every pool was told to drain")
    daemon.post("/agents/pools/a/resume")
    assert daemon.get("/readyz").status_code == 200


def ask(daemon, path, method="GET"):
    """(status, JSON) of a path that goes out as it is written: other clients decode what they can."""
    connection = http.client.HTTPConnection(daemon.url.removeprefix("http://"), timeout=PATIENCE)
    connection.request(method, path)
    answer = connection.getresponse()
    status, body = answer.status, json.loads(answer.read())
    connection.close()
    return status, body


def test_takes_a_path_for_what_it_means(daemon):
    agent_id = daemon.spawn("tester_pool")["agent_id"]
    status, pools = ask(daemon, "/%61pi/v1/agents/%70ool%73")
    assert status == 200 and [pool["pool_name"] for pool in pools] == ["developer_pool", "tester_pool"]
    assert ask(daemon, f"/api/v1/agents/{agent_id.replace('-', '%2d')}")[1]["agent_id"] == agent_id
    assert ask(daemon, "/api/v1/agents/pools/tester%5Fpool")[1]["pool_name"] == "tester_pool"
    for path in ("/api/v1/agents%2Fpools", "/no/such/path", "/"):
        status, problem = ask(daemon, path)
        assert (status, problem["detail"]) == (404, "there is nothing at this path")
    status, problem = ask(daemon, "/api/v1/agents/pools", "DELETE")
    assert status == 405 and "Allow" in problem["detail"]
    status, problem = ask(daemon, "/api/v1/agents/%7z")
    assert status == 400 and "percent-encoded" in problem["detail"]


def test_names_what_is_there_twice(daemon):
    check_problem(daemon.get("/agents?limit=1&limit=2"), 400, '"limit" is there more than once')
    check_problem(daemon.get("/agents/executions?limit=1&status=failed&status=failed"), 400, '"status" is there more than once')


def test_takes_a_body_whose_encoding_is_none(daemon):
    for encoding, status in (("", 200), ("identity", 200), ("gzip", 415)):
        answer = daemon.post("/agents/spawn", daemon.spawn_body("tester_pool"), headers={"Content-Encoding": encoding})
        assert answer.status_code == status, answer.text


def test_refuses_a_pool_that_is_named_like_a_route(run_base):
    """Every word that follows /agents/pools/ in a route of its own."""
    contract = json.loads((TOP / "etc/openapi.json").read_text())
    names = {path.split("/")[5] for path in contract["paths"] if path.startswith("/api/v1/agents/pools/")}
    names = {name for name in names if not name.startswith("{")}
    assert names
    for name in names:
        config = {"run_dir": str(run_base / "run"), "pools": {name: command_pool(BUILD / "example-agent")}}
        path = run_base / "config.json"
        path.write_text(json.dumps(config))
        done = subprocess.run([BUILD / "agentpoold", "-t", "-c", path], capture_output=True, text=True, check=False)
        assert done.returncode == 78 and "choose another name" in done.stderr, done


def test_counts_workers_over_masters(make_daemon):
    daemon = make_daemon(pools={"pool": module_pool(max_agents_per_worker=1), "other": module_pool()})
    daemon.spawn("pool", count=3)
    os.kill(next(iter(daemon.worker_pids("pool").values())), signal.SIGKILL)

    def counts(pool="pool"):
        pool = daemon.pool(pool)
        return pool["total_workers_spawned"], pool["total_workers_terminated"]
    wait_for(lambda: counts() == (4, 1), "a worker in its place")
    for number in (signal.SIGKILL, signal.SIGHUP):
        master = daemon.master_pid()
        os.kill(master if number == signal.SIGKILL else daemon.process.pid, number)
        wait_for(lambda: daemon.find_master() not in (None, master), "a new master")
        wait_for(daemon.is_ready, "it to be ready")
        assert (counts(), counts("other")) == ((4, 1), (0, 0))
    daemon.stop()
    daemon.start()
    wait_for(lambda: daemon.pool("pool")["agents_by_state"]["idle"] == 3, "the agents to run")
    assert counts() == (3, 0)
