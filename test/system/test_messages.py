"""POST /agents/{id}/messages: through to agents of every kind, and back to the one who asked."""
import concurrent.futures
import json
import time

import pytest

from daemon import BUILD, TOP, command_pool, module_pool, wait_for

EXAMPLES = {
    "c": lambda: command_pool(BUILD / "example-agent"),
    "python": lambda: command_pool("/usr/bin/python3", TOP / "etc/examples/agent.py"),
    "module": module_pool,
}


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", EXAMPLES)
def test_works_as_mcp_server_when_it_is_an_example(make_daemon, kind):
    daemon = make_daemon(pools={"pool": EXAMPLES[kind]()})
    agent_id = daemon.spawn("pool")["agent_id"]
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    answer = daemon.message(agent_id, "initialize", params)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json()["jsonrpc"] == "2.0" and answer.json()["id"] == 1
    assert answer.json()["result"]["serverInfo"]["name"].startswith("agentpool-example")
    assert daemon.post(f"/agents/{agent_id}/messages",
                       {"jsonrpc": "2.0", "method": "notifications/initialized"}).status_code == 202
    tools = {tool["name"] for tool in daemon.message(agent_id, "tools/list").json()["result"]["tools"]}
    assert {"echo", "remember", "recall", "whoami"} <= tools
    for text in ("hello", 'ünï "quoted" \\ \n 🙂', "x" * 100000):
        assert daemon.call_tool(agent_id, "echo", text=text) == text
    daemon.call_tool(agent_id, "remember", note="one")
    daemon.call_tool(agent_id, "remember", note="two")
    assert json.loads(daemon.call_tool(agent_id, "recall")) == {"notes": ["one", "two"]}
    assert daemon.whoami(agent_id)["pool"] == "pool"
    error = daemon.message(agent_id, "no/such/method", message_id="e")
    assert (error.status_code, error.json()["id"], error.json()["error"]["code"]) == (200, "e", -32601)


def test_works_when_the_agent_is_a_real_mcp_server(make_daemon, mcp_server):
    node = command_pool(*mcp_server, start_timeout_ms=60000, spawn_timeout_ms=60000)
    daemon = make_daemon(pools={"everything": node})
    agent_id = daemon.spawn("everything")["agent_id"]
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    assert "everything" in daemon.message(agent_id, "initialize", params).json()["result"]["serverInfo"]["name"]
    daemon.post(f"/agents/{agent_id}/messages", {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert "echo" in {tool["name"] for tool in daemon.message(agent_id, "tools/list").json()["result"]["tools"]}
    assert daemon.call_tool(agent_id, "echo", message="to and fro") == "Echo: to and fro"


def test_gives_ids_back_when_clients_choose_them(daemon):
    agent_id = daemon.spawn()["agent_id"]
    for message_id in (0, 1, -5, 2**53, 1.5, "", "text", "ü" * 100, "1"):
        answer = daemon.message(agent_id, "ping", message_id=message_id).json()
        assert answer["id"] == message_id and type(answer["id"]) is type(message_id)


@pytest.mark.sanitize
def test_keeps_answers_apart_when_two_clients_use_one_id(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool()})
    agent_id = daemon.spawn("odd")["agent_id"]
    with concurrent.futures.ThreadPoolExecutor(20) as executor:
        answers = executor.map(lambda n: daemon.message(agent_id, "echo", {"n": n}, message_id=1).json(), range(100))
        assert [(answer["id"], answer["result"]["n"]) for answer in answers] == [(1, n) for n in range(100)]


def test_each_gets_its_own_when_many_talk_to_many(daemon):
    agents = [agent["agent_id"] for agent in daemon.spawn(count=20)["agents"]]

    def ask(n):
        return daemon.call_tool(agents[n % 20], "echo", text=f"message {n}")

    with concurrent.futures.ThreadPoolExecutor(50) as executor:
        assert list(executor.map(ask, range(200))) == [f"message {n}" for n in range(200)]
    wait_for(lambda: daemon.pool()["agents_by_state"]["idle"] == 20, "all agents idle again")


@pytest.mark.sanitize
def test_says_so_when_the_agent_does_not_answer_in_time(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool()})
    agent_id = daemon.spawn("odd")["agent_id"]
    answer = daemon.post(f"/agents/{agent_id}/messages?timeout_ms=200", {"jsonrpc": "2.0", "id": 1, "method": "mute"})
    assert answer.status_code == 504
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert daemon.message(agent_id, "echo", {"still": "there"}).json()["result"] == {"still": "there"}


def test_is_busy_when_a_message_is_in_flight(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool()})
    agent_id = daemon.spawn("odd")["agent_id"]
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        slow = executor.submit(daemon.message, agent_id, "slow", {"seconds": 0.5})
        wait_for(lambda: daemon.agent(agent_id)["state"] == "busy", "the agent to be busy")
        assert slow.result().json()["result"] == "slow"
    wait_for(lambda: daemon.agent(agent_id)["state"] == "idle", "the agent to be idle")


@pytest.mark.sanitize
def test_fails_at_once_when_the_agent_dies_meanwhile(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool()})
    agent_id = daemon.spawn("odd")["agent_id"]
    begin = time.monotonic()
    answer = daemon.message(agent_id, "exit", {"status": 3})
    assert answer.status_code == 503, answer.text
    assert "exit status 3" in answer.json()["detail"]
    assert time.monotonic() - begin < 10  # not the deadline of 30 s
    wait_for(lambda: daemon.agent(agent_id)["epoch"] == 2 and daemon.agent(agent_id)["state"] == "idle", "its restart")
    assert daemon.message(agent_id, "echo", {"a": 1}).json()["result"] == {"a": 1}


def test_refuses_when_the_agent_was_terminated(daemon):
    agent = daemon.spawn()
    assert daemon.terminate(agent).json() == {"message": daemon.terminate(agent).json()["message"],
                                              "pool_name": "developer_pool", "agent_id": agent["agent_id"]}
    answer = daemon.message(agent["agent_id"], "ping")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.sanitize
@pytest.mark.parametrize("body, words", [
    ({"id": 1, "method": "ping"}, "jsonrpc"),
    ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, "jsonrpc"),
    ({"jsonrpc": "2.0", "id": 1}, "method"),
    ({"jsonrpc": "2.0", "id": {}, "method": "ping"}, "id"),
    ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": 7}, "params"),
    ([], "batch"),
])
def test_refuses_when_it_is_no_request(daemon, body, words):
    answer = daemon.post(f"/agents/{daemon.spawn('tester_pool')['agent_id']}/messages", body)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]
