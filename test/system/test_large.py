"""What is large travels as what is small does, with Redis and without it; what cannot travel is refused with the reason."""
import concurrent.futures

import pytest

from daemon import module_pool, wait_for
from test_redis_away import QUICK, TIMES, is_degraded

pytestmark = pytest.mark.sanitize

MIB = 1 << 20
RAISED = {"max_line_bytes": 64 * MIB, "queue_bytes": 64 * MIB}


@pytest.fixture
def large(make_daemon, make_redis, odd_pool):
    """A daemon whose limits are raised, and its Redis."""
    pool, server = odd_pool(max_agents_per_worker=4, worker_lease_ms=120000, **QUICK), make_redis()
    pool["runtime"] |= RAISED
    tester = module_pool(allowed_args=["text"], **QUICK)
    daemon = make_daemon(start=False, pools={"developer_pool": pool, "tester_pool": tester},
                         server={"max_body_bytes": 64 * MIB}, redis={"url": server.url(0), **TIMES})
    daemon.holds_contract = False
    return daemon.start(), server


def echo(daemon, agent, size):
    sent = {"text": "0123456789abcdef" * (size // 16)}
    body = {"jsonrpc": "2.0", "id": 1, "method": "echo", "params": sent}
    answer = daemon.post(f"/agents/{agent['agent_id']}/messages?timeout_ms=300000", body, timeout=300)
    assert answer.status_code == 200, (size, answer.text[:300])
    assert answer.json()["result"] == sent


def exchange(daemon, agents):
    for size in (131000, 2 * MIB, 40 * MIB):
        echo(daemon, agents[0], size)
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        list(executor.map(lambda agent: echo(daemon, agent, 4 * MIB), agents))


def test_carries_requests_and_answers_of_any_size_with_redis_and_without(large):
    daemon, server = large
    agents = daemon.spawn_many(4)
    exchange(daemon, agents)
    assert "degraded.begins" not in daemon.log()
    server.stop()
    wait_for(lambda: is_degraded(daemon), "degraded mode")
    exchange(daemon, agents)
    assert [daemon.agent(agent["agent_id"])["restarts"] for agent in agents] == [0] * 4


def test_spawns_with_large_labels_and_arguments_with_redis_and_without(large):
    daemon, server = large
    labels = {f"label{i}": "x" * 4096 for i in range(60)}
    for away in (False, True):
        if away:
            server.stop()
            wait_for(lambda: is_degraded(daemon), "degraded mode")
        agents = [daemon.spawn("tester_pool", labels=labels), daemon.spawn("tester_pool", args={"text": "y" * 140000})]
        assert daemon.agent(agents[0]["agent_id"])["labels"] == labels
        for agent in agents:
            assert daemon.whoami(agent["agent_id"])["epoch"] == 1
            assert daemon.terminate(agent).status_code == 200


def test_names_the_limit_when_labels_and_arguments_are_too_large(large):
    daemon, _ = large
    answer = daemon.post("/agents/spawn", daemon.spawn_body("tester_pool", args={"text": "y" * MIB}))
    assert answer.status_code == 422 and "1048576" in answer.json()["detail"]
    body = daemon.spawn_body("tester_pool", args={"text": "y" * (MIB - 5)}, count=20)  # more than Redis is told at once
    answer = daemon.post("/agents/spawn", body)
    assert answer.status_code in (200, 201), answer.text[:300]
