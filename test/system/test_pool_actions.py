"""POST /agents/pools/{name}/drain, resume, restart."""
import pytest

from daemon import BUILD, command_pool, module_pool, wait_for
from test_refusals import BODY, check_problem


def act(daemon, action, pool="pool"):
    answer = daemon.post(f"/agents/pools/{pool}/{action}")
    assert answer.status_code == 202 and answer.headers["Location"] == f"/api/v1/agents/pools/{pool}", answer.text
    return answer.json()


def try_spawn(daemon, pool="pool"):
    return daemon.post("/agents/spawn", BODY | {"pool_name": pool})


@pytest.mark.sanitize
def test_takes_no_new_agents_when_it_drains_and_keeps_those_it_has(make_daemon):
    daemon = make_daemon(pools={"pool": command_pool(BUILD / "example-agent"), "other": module_pool()})
    agents = daemon.spawn("pool", count=3)["agents"]
    assert act(daemon, "drain")["draining"] and act(daemon, "drain")["draining"]
    check_problem(try_spawn(daemon), 503, "told to drain")
    assert try_spawn(daemon, "other").status_code == 200
    daemon.kill_everything()
    daemon.start()
    wait_for(lambda: daemon.pool("pool")["agents_by_state"]["idle"] == 3, "its agents to run again")
    assert {agent["agent_id"] for agent in daemon.agents(pool_name="pool")} == {agent["agent_id"] for agent in agents}
    check_problem(try_spawn(daemon), 503, "told to drain")
    assert not act(daemon, "resume")["draining"]
    assert try_spawn(daemon).status_code == 200
    assert not daemon.pool("pool")["draining"]


@pytest.mark.sanitize
def test_restarts_every_agent_of_the_pool(make_daemon):
    daemon = make_daemon(pools={"pool": command_pool(BUILD / "example-agent")})
    agents = [agent["agent_id"] for agent in daemon.spawn("pool", count=12)["agents"]]
    pids = {agent: daemon.whoami(agent)["pid"] for agent in agents}
    act(daemon, "restart")
    wait_for(lambda: all(agent["epoch"] == 2 and agent["state"] == "idle" for agent in daemon.agents()), "all to run again")
    for agent in agents:
        answer = daemon.whoami(agent)
        assert answer["pid"] != pids[agent] and answer["start_reason"] == "restart"


def test_refuses_when_there_is_no_such_pool(daemon):
    for action in ("drain", "resume", "restart"):
        check_problem(daemon.post(f"/agents/pools/developer_pol/{action}"), 404, "developer_pool")
