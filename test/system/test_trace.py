"""W3C traceparent: from the request to the worker, to the agent, to the log."""
import pytest

from daemon import PROJECT, command_pool, wait_for

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def spawn(daemon, pool, trace):
    answer = daemon.post("/agents/spawn", {"project_id": PROJECT, "role_type": "developer", "pool_name": pool},
                         headers={"traceparent": trace})
    assert answer.status_code == 200, answer.text
    return answer.json()


def params_of(daemon, agent, params, trace=TRACE):
    """The parameters as they came to the agent, which answers with them."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "echo"} | ({} if params is None else {"params": params})
    answer = daemon.post(f"/agents/{agent['agent_id']}/messages", message, headers={"traceparent": trace})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


@pytest.mark.sanitize
def test_reaches_the_agent_and_the_log(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(), "env": command_pool("/bin/sh", "-c", "echo trace=$TRACEPARENT >&2; cat >/dev/null")},
                         log={"level": "debug"})
    agent = spawn(daemon, "odd", TRACE)
    assert params_of(daemon, agent, {"a": 1}) == {"a": 1, "_meta": {"traceparent": TRACE}}
    assert params_of(daemon, agent, None) == {"_meta": {"traceparent": TRACE}}
    assert params_of(daemon, agent, {"_meta": {"traceparent": OTHER}}) == {"_meta": {"traceparent": OTHER}}
    assert params_of(daemon, agent, [1]) == [1]
    program = spawn(daemon, "env", TRACE)
    def started(): return daemon.get(f"/agents/{program['agent_id']}/logs").text.splitlines()
    wait_for(lambda: len(started()) == 1 and started()[0].endswith(f"trace={TRACE}"), "the variable")
    lines = daemon.log().splitlines()
    assert any(" audit " in line and f"traceparent={TRACE}" in line for line in lines)
    for kind in ("spawn", "message"):
        assert any("command.taken" in line and f"type={kind}" in line and f"traceparent={TRACE}" in line for line in lines)
    # It is of the first start only.
    assert daemon.post(f"/agents/{program['agent_id']}/restart").status_code == 200
    wait_for(lambda: len(started()) == 2 and started()[1].endswith("trace="), "the second start")


@pytest.mark.parametrize("trace", ["", "nonsense", TRACE + "-1", TRACE.upper(), TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32)])
def test_is_passed_over_when_it_is_none(make_daemon, odd_pool, trace):
    daemon = make_daemon(pools={"odd": odd_pool()})
    assert params_of(daemon, spawn(daemon, "odd", trace), {"a": 1}, trace) == {"a": 1}
