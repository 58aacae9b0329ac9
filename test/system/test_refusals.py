"""What the API refuses: with which status, naming what, and that none of it starts an agent."""
import json

import pytest

from daemon import BUILD, PROJECT, command_pool, module_pool

pytestmark = pytest.mark.sanitize

BODY = {"project_id": PROJECT, "role_type": "developer", "pool_name": "developer_pool"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One daemon for the whole table: in the end it must hold no agent."""
    from daemon import Daemon
    pools = {"developer_pool": command_pool(BUILD / "example-agent"), "other_pool": module_pool()}
    daemon = Daemon(tmp_path_factory.mktemp("refusals") / "d", pools=pools, server={"max_body_bytes": 4096})
    daemon.start()
    yield daemon
    assert daemon.agents() == []
    assert daemon.get("/stats").json()["agents"] == {"wanted": 0, "placed": 0, "spawns_ok": 0, "spawns_failed": 0}
    assert daemon.scores() == {} and daemon.redis.smembers("pool:developer_pool:agents") == set()
    problems = daemon.finish()
    assert not problems, "\n".join(problems)


def check_problem(answer, status, words):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"] and problem["title"]
    assert words in problem["detail"], problem
    return problem


@pytest.mark.parametrize("change, status, pointer, words", [
    ({"heartbeat_intervall": 30}, 400, "/heartbeat_intervall", 'did you mean "heartbeat_interval"?'),
    ({"nonsense": 1}, 400, "/nonsense", 'unknown field "nonsense"'),
    ({"heartbeat_interval": "30"}, 400, "/heartbeat_interval", "integer"),
    ({"heartbeat_interval": 30.5}, 422, "/heartbeat_interval", "integer"),
    ({"heartbeat_interval": None}, 400, "/heartbeat_interval", "integer"),
    ({"heartbeat_interval": 9}, 422, "/heartbeat_interval", "10"),
    ({"max_idle_time": 59}, 422, "/max_idle_time", "60"),
    ({"max_idle_time": -1}, 422, "/max_idle_time", ""),
    ({"count": 0}, 422, "/count", "from 1 to 1000"),
    ({"count": 1001}, 422, "/count", "from 1 to 1000"),
    ({"project_id": "6f1c8a52"}, 422, "/project_id", "UUID"),
    ({"project_id": 7}, 400, "/project_id", ""),
    ({"pool_name": ...}, 400, "/pool_name", "is required"),
    ({"role_type": "two words"}, 422, "/role_type", ""),
    ({"labels": {"a": 1}}, 400, "/labels/a", "string"),
    ({"labels": ["a"]}, 400, "/labels", "object"),
    ({"args": {"model": "x"}}, 422, "/args/model", "allowed_args"),
])
def test_names_the_field_when_it_is_wrong(shared, change, status, pointer, words):
    body = {name: value for name, value in (BODY | change).items() if value is not ...}
    problem = check_problem(shared.post("/agents/spawn", body), status, words)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert words in problem["errors"][0]["detail"]


def test_names_every_field_when_several_are_wrong(shared):
    problem = check_problem(shared.post("/agents/spawn", {"role_type": 1, "count": 0, "x": 1}), 400, "")
    assert {error["pointer"] for error in problem["errors"]} == {"/role_type", "/count", "/x", "/pool_name"}


@pytest.mark.parametrize("body, words", [
    (b"", ""),
    (b"{", "line 1, column 2"),
    (b"[]", "object"),
    (b"nonsense", "line 1"),
    (b'{"count": 9007199254740994}', "2^53"),
    (json.dumps(BODY).encode()[:-1] + b', "count": 1, "count": 2}', "count"),
    (json.dumps(BODY).encode() + b"x", ""),
    (json.dumps(BODY).encode()[:-1] + b',"labels":{"a":"\xff"}}', ""),
    (b'{"labels":' + b"[" * 100 + b"]" * 100 + b"}", ""),
])
def test_says_where_when_the_body_is_no_json(shared, body, words):
    answer = shared.request("POST", "/agents/spawn", data=body, headers={"Content-Type": "application/json"})
    check_problem(answer, 400, words)


def test_suggests_the_nearest_when_the_pool_is_unknown(shared):
    check_problem(shared.post("/agents/spawn", BODY | {"pool_name": "developer_pol"}), 404, 'did you mean "developer_pool"?')
    check_problem(shared.get("/agents/pools/developerpool"), 404, '"developer_pool"')
    body = {"pool_name": "developer_pol", "agent_id": PROJECT}
    check_problem(shared.post("/agents/terminate", body), 404, '"developer_pool"')


def test_refuses_when_the_type_of_the_body_is_another(shared):
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        check_problem(shared.request("POST", "/agents/spawn", data=json.dumps(BODY), headers=headers), 415, "application/json")


def test_refuses_when_the_body_is_too_large(shared):
    body = BODY | {"labels": {"a": "x" * 5000}}
    check_problem(shared.post("/agents/spawn", body), 413, "")


@pytest.mark.parametrize("method, path, allowed", [
    ("GET", "/agents/spawn", "POST"),
    ("DELETE", "/agents/spawn", "POST"),
    ("PUT", "/agents/terminate", "POST"),
    ("POST", "/agents/pools/developer_pool", "GET"),
    ("POST", "/livez", "GET"),
])
def test_names_the_allowed_when_the_method_is_another(shared, method, path, allowed):
    answer = shared.request(method, path)
    check_problem(answer, 405, "")
    assert allowed in answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/nothing", "/agents/spawn/more", "/agents/pools/developer_pool/nothing", "/api/v2/agents"])
def test_refuses_when_there_is_no_such_route(shared, path):
    check_problem(shared.get(path), 404, "")


@pytest.mark.parametrize("path, words", [
    ("/agents?colour=red", '"colour"'),
    ("/agents?limit=0", "limit"),
    ("/agents?limit=1001", "limit"),
    ("/agents?limit=ten", "limit"),
    ("/agents?state=sleeping", "state"),
    ("/agents?project_id=7", "project_id"),
    ("/agents?cursor=nonsense", "cursor"),
])
def test_names_the_parameter_when_it_is_wrong(shared, path, words):
    check_problem(shared.get(path), 400, words)


def test_names_the_parameter_when_wait_is_wrong(shared):
    check_problem(shared.post("/agents/spawn?wait=maybe", BODY), 400, "wait")


def test_refuses_when_the_agent_is_unknown(shared):
    check_problem(shared.get(f"/agents/{PROJECT}"), 404, PROJECT)
    check_problem(shared.get("/agents/no-uuid"), 400, "no UUID")
    check_problem(shared.post("/agents/terminate", {"pool_name": "developer_pool", "agent_id": PROJECT}), 404, PROJECT)
    check_problem(shared.message(PROJECT, "ping"), 404, PROJECT)


def test_gives_its_numbers_when_the_pool_is_full(make_daemon):
    pool = command_pool(BUILD / "example-agent", max_agents_per_worker=2, max_workers=2, spawn_timeout_ms=1000)
    daemon = make_daemon(pools={"small": pool})
    daemon.spawn("small", count=4)
    answer = daemon.post("/agents/spawn", daemon.spawn_body("small"))
    check_problem(answer, 503, "small: 4 of 4 slots in 2 of 2 workers")
    assert "max_workers" in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) >= 1
    assert daemon.pool("small")["agent_count"] == 4
    assert set(daemon.scores("small").values()) == {0}
