"""Bulk routes: one result per item, in order, each as if asked alone."""
import pytest

from daemon import PROJECT, wait_for

pytestmark = pytest.mark.sanitize


def items(daemon, *pools, **fields):
    return [daemon.spawn_body(pool, **fields) for pool in pools]


def test_answers_each_item_when_some_are_wrong(daemon):
    body = items(daemon, "developer_pool", "tester_pol", "tester_pool")
    body.insert(1, {"project_id": PROJECT, "role_type": "x", "pool_name": "tester_pool", "heartbeat_interval": 9})
    body.append(3)
    answer = daemon.post("/agents/bulk/spawn", body)
    assert answer.status_code == 200
    results = answer.json()
    assert [result["status"] for result in results] == [200, 422, 404, 200, 400]
    assert "/heartbeat_interval" in results[1]["detail"]
    assert "tester_pool" in results[2]["detail"]
    for result in (results[0], results[3]):
        assert daemon.agent(result["agent"]["agent_id"])["state"] == "idle"
    assert len(daemon.agents()) == 2


def test_spawns_once_when_a_key_is_repeated(daemon):
    body = items(daemon, *["tester_pool"] * 20)
    first, second = (daemon.post("/agents/bulk/spawn", body, headers={"Idempotency-Key": "bulk-1"}) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert len(daemon.agents()) == 20


def test_ends_and_restarts_each_agent_when_asked_for_a_list(daemon):
    ids = [result["agent"]["agent_id"] for result in
           daemon.post("/agents/bulk/spawn", items(daemon, *["developer_pool"] * 5)).json()]
    answer = daemon.post("/agents/bulk/restart", ids[:2] + ["nonsense"])
    assert [result["status"] for result in answer.json()] == [200, 200, 400]
    for agent_id in ids[:2]:
        wait_for(lambda: daemon.agent(agent_id)["epoch"] == 2 and daemon.agent(agent_id)["state"] == "idle", "the restart")
        assert daemon.whoami(agent_id)["start_reason"] == "restart"
    answer = daemon.post("/agents/bulk/terminate", ids[:4] + [{"agent_id": ids[4], "graceful": False}])
    assert [result["status"] for result in answer.json()] == [200] * 5
    assert daemon.agents() == []
    assert daemon.pool()["used_capacity"] == 0


def test_refuses_the_whole_when_it_is_no_list_of_items(daemon):
    for body in ({}, [], [daemon.spawn_body()] * 1001):
        answer = daemon.post("/agents/bulk/spawn", body)
        assert answer.status_code == 400, answer.text
        assert "list of 1 to 1000" in answer.json()["detail"]
    assert daemon.agents() == []
