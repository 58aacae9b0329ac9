"""Agents of a pool that is not configured any more: they run nowhere, and can be listed, explained and ended."""
import subprocess

import pytest

from daemon import TOP, Cli, module_pool
from stores import STORES, rows, settings_for, states
from test_handover import next_master
from test_refusals import check_problem

pytestmark = pytest.mark.sanitize

REASON = "pool gone is not configured; configure it again and reload, or terminate the agent"


@pytest.fixture(params=STORES)
def store(request):
    return settings_for(request.param, lambda: request.getfixturevalue("postgres"))


def without_pool(daemon, name="gone"):
    settings = daemon.config["pools"].pop(name)
    daemon.write_config()
    next_master(daemon)
    return settings


def ids(agents):
    return [agent["agent_id"] for agent in agents]


def check_shown(daemon, strays, others):
    listed = daemon.agents()
    assert ids(listed) == ids(others) + ids(strays)
    assert ids(daemon.agents(limit=1)) == ids(daemon.agents(limit=3)) == ids(listed)
    assert ids(daemon.agents(pool_name="gone")) == ids(daemon.agents(pool_name="gone", limit=1)) == ids(strays)
    assert ids(daemon.agents(pool_name="gone", label="n=1")) == ids(strays[1:2])
    assert ids(daemon.get(f"/agents/project/{strays[0]['project_id']}").json()) == ids(listed)
    in_sql = states(daemon)
    for stray in daemon.agents(pool_name="gone"):
        assert (stray["state"], stray["epoch"]) == in_sql[stray["agent_id"]]
        assert (stray["process_id"], stray["reason"]) == (None, REASON)
    assert all("reason" not in agent for agent in listed[:len(others)])
    agent_id = strays[0]["agent_id"]
    assert daemon.agent(agent_id)["reason"] == REASON
    assert daemon.get(f"/agents/{agent_id}/why").json()["placement"] == REASON
    cli = Cli(daemon.url)
    assert agent_id in cli("-q", "ls", "agents", "--pool", "gone") and REASON in cli("why", agent_id)


def test_are_shown_and_ended_while_their_pool_is_not_configured(make_daemon, store):
    daemon = make_daemon(pools={name: module_pool() for name in ("gone", "a", "b")}, **store)
    others = [daemon.spawn("a"), daemon.spawn("b")]
    first, second, third, ended = strays = [daemon.spawn("gone", labels={"n": str(n)}) for n in range(4)]
    assert daemon.terminate(ended).status_code == 200
    without_pool(daemon)
    check_shown(daemon, strays[:3], others)
    for answer in (daemon.post(f"/agents/{first['agent_id']}/restart"), daemon.message(first["agent_id"], "ping")):
        check_problem(answer, 409, REASON)
    bulk = daemon.post("/agents/bulk/restart", [first["agent_id"]]).json()
    assert [(one["status"], one["detail"]) for one in bulk] == [(409, REASON)]
    check_problem(daemon.post("/agents/spawn", daemon.spawn_body("gone")), 404, 'no pool "gone"')
    for _ in range(2):
        assert daemon.terminate(first).status_code == 200
    check_problem(daemon.terminate(second | {"pool_name": "a"}), 404, "no agent")
    check_problem(daemon.terminate(second | {"pool_name": "nowhere"}), 404, "no pool")
    bulk = daemon.post("/agents/bulk/terminate", [second["agent_id"], others[0]["agent_id"]]).json()
    assert [one["status"] for one in bulk] == [200, 200]
    assert ids(daemon.agents()) == ids([others[1], third])
    in_sql = states(daemon)
    assert {agent_id for agent_id, (state, _) in in_sql.items() if state == "terminated"} == set(
        ids([first, second, ended, others[0]]))
    assert ids(daemon.agents(pool_name="gone", state="terminated")) == ids([first, second, ended])
    assert daemon.agent(ended["agent_id"])["state"] == "terminated" and "reason" not in daemon.agent(first["agent_id"])
    check_problem(daemon.get("/agents?pool_name=nowhere&state=terminated"), 404, "no pool")
    history = daemon.get(f"/agents/{first['agent_id']}/why").json()
    assert [event["event"] for event in history["history"]].count("agent_terminated") == 1
    assert [event["detail"] for event in history["asked"]] == ["terminate: 200", "spawn: 200"]
    check = subprocess.run([TOP / "scripts/check", "--run-dir", daemon.run_dir, "--url", daemon.url, "--settle", "60"],
                           capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr


def test_run_again_when_their_pool_is_configured_again(make_daemon, store):
    daemon = make_daemon(pools={name: module_pool() for name in ("gone", "a")}, **store)
    kept, ended = daemon.spawn("gone"), daemon.spawn("gone")
    settings = without_pool(daemon)
    assert daemon.terminate(ended).status_code == 200
    assert ids(daemon.agents()) == [kept["agent_id"]]
    daemon.config["pools"]["gone"] = settings
    daemon.write_config()
    next_master(daemon)
    answer = daemon.whoami(kept["agent_id"])
    assert answer["agent_id"] == kept["agent_id"] and "reason" not in daemon.agent(kept["agent_id"])
    assert ids(daemon.agents()) == [kept["agent_id"]]
    assert len(rows(daemon, "SELECT event_id FROM agent_events WHERE event = 'agent_terminated'")) == 1
