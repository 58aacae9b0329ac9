"""Moving from one store to the other with agentpool export and import."""
import json
import subprocess
import uuid

import pytest

from daemon import BUILD, command_pool, module_pool, wait_for
from stores import comparable, rows, settings_for, states

FAST_RESTART = {"delay_ms": 10, "delay_max_ms": 50}
WAYS = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "pgbouncer")]


def agentpool(daemon, *arguments, **options):
    return subprocess.run([BUILD / "agentpool", "-u", daemon.url, *arguments], capture_output=True, text=True, timeout=120,
                          **options)


@pytest.fixture
def make_pair(make_daemon, request, odd_pool):
    """make_pair(kind, kind): two daemons with the same pools and stores of these kinds."""
    def make(*kinds):
        pools = {"programs": command_pool(BUILD / "example-agent", allowed_args=["model"]), "modules": module_pool(),
                 "doomed": odd_pool("--dies", "7", restart=FAST_RESTART | {"intensity": 1})}
        return [make_daemon(pools=pools, **settings_for(kind, lambda: request.getfixturevalue("postgres"))) for kind in kinds]
    return make


def populate(daemon):
    """Agents with all that an agent can have: labels, args, restarts, a last exit, a failure."""
    agents = [daemon.spawn("programs", labels={"n": str(n), "ü": "\"\\"}, args={"model": f"m{n}\n"},
                           heartbeat_interval=30 + n, max_idle_time=(0, 600)[n % 2]) for n in range(8)]
    agents += daemon.spawn("modules", count=600)["agents"] + daemon.spawn("modules", count=600)["agents"]
    for agent in agents[:2]:
        daemon.post(f"/agents/{agent['agent_id']}/restart")
    wait_for(lambda: all(daemon.agent(a["agent_id"])["epoch"] == 2 and daemon.agent(a["agent_id"])["state"] == "idle"
                         for a in agents[:2]), "the restarts")
    doomed = daemon.post("/agents/spawn?wait=false", daemon.spawn_body("doomed")).json()["agent_id"]
    wait_for(lambda: daemon.agent(doomed)["state"] == "failed", "the policy to give up")
    for agent in (agents.pop(5), agents.pop()):
        daemon.terminate(agent)
    return {agent["agent_id"] for agent in agents} | {doomed}


def records(daemon):
    return {agent["agent_id"]: agent for agent in daemon.agents()}


def running(daemon, number):
    wait_for(lambda: sum(agent["state"] == "idle" for agent in daemon.agents()) == number, f"{number} agents to run")


@pytest.mark.parametrize("kinds", WAYS, ids="-to-".join)
def test_answers_the_same_when_moved_to_another_store(make_pair, kinds):
    source, target = make_pair(*kinds)
    ids = populate(source)
    exported = agentpool(source, "export")
    assert exported.returncode == 0, exported.stderr
    lines = exported.stdout.splitlines()
    assert json.loads(lines[0])["format"] == "agentpool-export" and len(lines) == 1 + len(ids)
    assert source.stop() == 0
    answer = agentpool(target, "import", input=exported.stdout)
    assert answer.returncode == 0, answer.stderr
    assert f"{len(ids)} agents imported" in answer.stdout
    running(target, len(ids) - 1)
    before, after = {a["agent_id"]: a for a in map(json.loads, lines[1:])}, records(target)
    assert after.keys() == ids
    for agent_id, agent in after.items():
        assert comparable(agent) == comparable(before[agent_id])
        assert (agent["state"] == "failed") == (before[agent_id]["state"] == "failed")
        assert agent["epoch"] > before[agent_id]["epoch"] or agent["state"] == "failed"
    for agent_id in list(ids)[:40]:
        if after[agent_id]["state"] != "failed":
            assert target.whoami(agent_id)["agent_id"] == agent_id
    target.kill_everything()
    target.start()
    running(target, len(ids) - 1)
    assert records(target).keys() == ids


@pytest.mark.sanitize
def test_doubles_nothing_when_imported_twice(make_pair):
    source, target = make_pair("sqlite", "postgresql")
    ids = {agent["agent_id"] for agent in source.spawn("modules", count=20)["agents"]}
    exported = agentpool(source, "export").stdout
    assert agentpool(target, "import", input=exported).returncode == 0
    running(target, 20)
    before = records(target)
    again = agentpool(target, "import", input=exported)
    assert again.returncode == 1 and again.stdout == "0 agents imported\n"
    assert all(f"agent {agent_id}: an agent with this id exists already" in again.stderr for agent_id in ids)
    after = records(target)
    assert {a: agent["epoch"] for a, agent in after.items()} == {a: agent["epoch"] for a, agent in before.items()}
    assert after.keys() == ids and rows(target, "SELECT count(*) FROM agents") == [("20",)]


@pytest.mark.sanitize
@pytest.mark.parametrize("broken, words, imported", [
    ('{"agent_id": ', "line 4, column", 0),
    ('{"agent_id": "no id", "pool_name": "modules"}', "line 4: agent no id: not the record of an agent", 6),
    ('{"agent_id": "elsewhere", "pool_name": "nowhere"}', "line 4: agent elsewhere: no such pool", 6),
])
def test_names_what_is_broken_and_loses_nothing(make_pair, broken, words, imported):
    source, target = make_pair("sqlite", "sqlite")
    source.spawn("modules", count=6)
    lines = agentpool(source, "export").stdout.splitlines()
    answer = agentpool(target, "import", input="\n".join(lines[:3] + [broken] + lines[3:]) + "\n")
    assert answer.returncode == 1 and words in answer.stderr, answer.stderr
    assert answer.stdout == f"{imported} agents imported\n" and len(target.agents()) == imported
    agentpool(target, "import", input="\n".join(lines) + "\n")
    running(target, 6)
    assert records(target).keys() == {json.loads(line)["agent_id"] for line in lines[1:]}


def test_refuses_a_record_that_could_not_be_read_again(make_pair):
    daemon, = make_pair("sqlite")
    daemon.spawn("modules")
    one = {**daemon.agents()[0], "agent_id": str(uuid.uuid4())}
    wrong = [{**one, "epoch": one["epoch"] + 1}, {**one, "agent_id": str(uuid.UUID(int=0))},
             {**one, "agent_id": str(uuid.uuid4()), "created_at": "0001-01-01T00:00:00.000Z"}, "text"]
    answer = daemon.post("/agents/import", {"agents": [one, one, *wrong]}).json()
    assert answer["imported"] == 1 and sorted(failure["index"] for failure in answer["failed"]) == [1, 2, 3, 4, 5], answer
    by_index = {failure["index"]: failure["detail"] for failure in answer["failed"]}
    assert "exists already" in by_index[1] and "exists already" in by_index[2]
    assert all("not the record" in by_index[index] for index in (3, 4, 5)), by_index
    running(daemon, 2)


def test_refuses_when_the_file_is_no_export(make_pair):
    daemon, = make_pair("sqlite")
    for text in ("", "{}\n", '{"format": "agentpool-export", "version": 99}\n'):
        answer = agentpool(daemon, "import", input=text)
        assert answer.returncode == 1 and "line 1" in answer.stderr, answer.stderr
    assert states(daemon) == {}
