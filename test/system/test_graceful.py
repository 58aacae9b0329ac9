"""Nothing under way is cut: what an agent works on is answered before it ends, whoever ends it and why."""
import concurrent.futures
import signal
import socket
import threading

import pytest

from daemon import wait_for
from test_policy import shorten_idle_time
from test_refusals import check_problem

SECONDS = 3  # of work: longer than the graces of the pools here


@pytest.fixture
def start(make_daemon, odd_pool):
    """start(*flags, **settings of the pool): a daemon with one pool, whose agents have next to no grace."""
    def start(*flags, daemon=None, **settings):
        settings = {"stop_grace_ms": 50, "kill_grace_ms": 50, "heartbeat_interval_ms": 300, **settings}
        return make_daemon(pools={"pool": odd_pool(*flags, **settings)}, **(daemon or {}))
    return start


@pytest.fixture
def executor():
    with concurrent.futures.ThreadPoolExecutor(20) as executor:
        yield executor


def work(daemon, executor, agent, seconds=SECONDS, size=0):
    """A message that its agent works on already, answered later."""
    slow = executor.submit(daemon.message, agent["agent_id"], "slow", {"seconds": seconds, "size": size})
    wait_for(lambda: daemon.agent(agent["agent_id"])["state"] == "busy", "the agent to work")
    return slow


def check_answered(slow):
    answer = slow.result()
    assert (answer.status_code, answer.json().get("result", "").rstrip("x")) == (200, "slow"), answer.text[:300]


def without_redis(make_redis, start, **settings):
    server = make_redis()
    daemon = start(daemon={"redis": {"url": server.url(0), "connect_timeout_ms": 1000, "request_timeout_ms": 1000,
                                     "ping_interval_ms": 300}}, **settings)
    server.stop()
    wait_for(lambda: daemon.pool("pool")["degraded"], "the daemon to do without Redis")
    return daemon


@pytest.fixture(params=["with Redis", "without Redis"])
def daemon(request, start, make_redis):
    return start() if request.param == "with Redis" else without_redis(make_redis, start)


def state(daemon, agent):
    return daemon.agent(agent["agent_id"])["state"]


@pytest.mark.sanitize
def test_answers_first_when_it_is_terminated(daemon, executor):
    agent = daemon.spawn("pool")
    slow = work(daemon, executor, agent)
    terminated = executor.submit(daemon.terminate, agent)
    wait_for(lambda: state(daemon, agent) == "stopping", "the agent to be told")
    check_problem(daemon.message(agent["agent_id"], "echo", {}), 409, "stopping")
    assert not slow.done()
    check_answered(slow)
    assert terminated.result().status_code == 200
    assert state(daemon, agent) == "terminated"


def test_answers_first_and_new_messages_wait_when_it_is_restarted(daemon, executor):
    agent = daemon.spawn("pool")
    slow = work(daemon, executor, agent)
    assert daemon.post(f"/agents/{agent['agent_id']}/restart").status_code == 200
    waiting = [executor.submit(daemon.message, agent["agent_id"], "whoami", message_id=n) for n in range(5)]
    assert daemon.post(f"/agents/{agent['agent_id']}/messages", {"jsonrpc": "2.0", "method": "mute"}).status_code == 202
    check_answered(slow)
    for n, future in enumerate(waiting):
        answer = future.result()
        assert answer.status_code == 200, answer.text
        assert answer.json()["id"] == n and answer.json()["result"]["epoch"] == 2


@pytest.mark.sanitize
def test_says_so_when_a_message_waits_for_the_start_in_vain(start, executor):
    daemon = start()
    agent = daemon.spawn("pool")
    slow = work(daemon, executor, agent)
    daemon.post(f"/agents/{agent['agent_id']}/restart")
    answer = daemon.post(f"/agents/{agent['agent_id']}/messages?timeout_ms=100", {"jsonrpc": "2.0", "id": 1, "method": "echo"})
    assert answer.status_code == 504 and "did not start in time" in answer.json()["detail"]
    waiting = executor.submit(daemon.message, agent["agent_id"], "echo", {})
    wait_for(lambda: "agentpool_waiting_messages 2\n" in daemon.get("/metrics").text, "the message to wait")
    terminated = executor.submit(daemon.terminate, agent)
    check_answered(slow)
    check_problem(waiting.result(), 409, "the agent is")
    assert terminated.result().status_code == 200
    counted = [e["method"] for e in daemon.get("/agents/executions").json()]
    assert sorted(counted) == ["echo", "echo", "slow"]


@pytest.mark.sanitize
def test_answers_first_when_its_pool_is_rolled_out(daemon, executor):
    agents = daemon.spawn("pool", count=12)["agents"]
    slow = [work(daemon, executor, agent) for agent in agents[:4]]
    daemon.post("/agents/pools/pool/drain")
    assert daemon.post("/agents/pools/pool/rollout", {"min_healthy_seconds": 0}).status_code == 202
    for future in slow:
        check_answered(future)
    wait_for(lambda: daemon.pool("pool")["rollout"]["state"] == "finished", "the rollout to finish")
    assert all(daemon.call_odd(agent, "whoami")["epoch"] >= 2 for agent in agents)
    assert "killing" not in daemon.log() and "worker_stale" not in daemon.log()


def test_no_request_fails_when_agents_are_restarted_and_rolled_out_under_load(start, executor):
    daemon = start(max_agents_per_worker=3)
    agents = daemon.spawn("pool", count=9)["agents"]
    stop, failed, answered = threading.Event(), [], []

    def ask(agent):
        while not stop.is_set():
            answer = daemon.message(agent["agent_id"], "slow", {"seconds": 0.05})
            (answered if answer.status_code == 200 else failed).append(answer.text)

    loads = [executor.submit(ask, agent) for agent in agents]
    for epoch, action in ((2, "restart"), (3, "rollout"), (4, "restart")):
        path = f"/agents/pools/pool/{action}"
        wait_for(lambda: daemon.post(path, {"min_healthy_seconds": 0} if action == "rollout" else None).status_code == 202, action)
        wait_for(lambda: all(agent["epoch"] >= epoch for agent in daemon.agents()), "all agents to be moved")
        wait_for(lambda: daemon.pool("pool")["agents_by_state"]["starting"] == 0, "all agents to run")
    stop.set()
    for load in loads:
        load.result()
    assert not failed and len(answered) >= len(agents), failed[:3]


def test_answers_first_when_it_is_idle_for_its_time_otherwise(start, executor):
    daemon = start()
    agent = daemon.spawn("pool")
    shorten_idle_time(daemon, [agent], 1)
    slow = work(daemon, executor, agent)
    check_answered(slow)
    wait_for(lambda: state(daemon, agent) == "terminated", "the idle agent to end")


@pytest.mark.parametrize("end", [
    lambda daemon, agents: daemon.post("/agents/bulk/terminate", [agent["agent_id"] for agent in agents]),
    lambda daemon, agents: daemon.post("/agents/pools/pool/restart"),
    lambda daemon, agents: daemon.post("/agents/pools/pool/rollout", {"min_healthy_seconds": 0}),
    lambda daemon, agents: daemon.stop(),
], ids=["terminate", "restart", "rollout", "end of the daemon"])
def test_answers_first_when_the_answers_are_large(daemon, executor, end):
    """They travel by another way than the news that the agents have ended."""
    agents = daemon.spawn("pool", count=4)["agents"]
    slow = [work(daemon, executor, agent, size=4_000_000) for agent in agents]
    end(daemon, agents)
    for future in slow:
        check_answered(future)


def test_answers_first_when_the_daemon_ends(daemon, executor):
    agents = daemon.spawn("pool", count=3)["agents"]
    slow = [work(daemon, executor, agent) for agent in agents]
    assert daemon.stop() == 0
    for future in slow:
        check_answered(future)


@pytest.fixture
def untaken(start):
    """untaken(shutdown_timeout): a daemon with a large answer that its client asked for and does not read."""
    clients = []

    def begin(shutdown_timeout):
        daemon = start(daemon={"shutdown_timeout": shutdown_timeout, "server": {"write_timeout_ms": 600000}})
        path = f"/api/v1/agents/{daemon.spawn('pool')['agent_id']}/messages"
        body = '{"jsonrpc":"2.0","id":1,"method":"slow","params":{"seconds":0,"size":15000000}}'
        host, port = daemon.url.removeprefix("http://").split(":")
        client = socket.socket()
        clients.append(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert client.recv(1) == b"H"
        return daemon, client
    yield begin
    for client in clients:
        client.close()


def test_does_not_wait_longer_than_told_for_a_client_that_takes_no_answer(untaken):
    daemon, _ = untaken(1)
    assert daemon.stop() == 0
    assert "shutdown.unanswered requests=1" in daemon.log()


def test_hurries_when_told_again_while_a_client_takes_no_answer(untaken):
    daemon, _ = untaken(3600)
    daemon.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "worker_exited" in daemon.log(), "nothing but the answer to be left")
    assert daemon.stop() == 0
    assert "shutdown.unanswered requests=1" in daemon.log() and "killing" not in daemon.log()


def test_gives_the_whole_answer_to_a_client_that_takes_it_late(untaken):
    daemon, client = untaken(3600)
    daemon.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "worker_exited" in daemon.log(), "nothing but the answer to be left")
    size = 1
    while data := client.recv(1 << 20):
        size += len(data)
    assert size > 15_000_000
    assert daemon.process.wait(timeout=60) == 0
    assert "shutdown.unanswered" not in daemon.log()


@pytest.mark.sanitize
@pytest.mark.parametrize("settings, end", [
    ({"drain_timeout_ms": 300}, lambda daemon, agent: daemon.terminate(agent)),
    ({"drain_timeout_ms": 300}, lambda daemon, agent: daemon.post(f"/agents/{agent['agent_id']}/restart")),
    ({"daemon": {"shutdown_timeout": 5}}, lambda daemon, agent: daemon.process.send_signal(signal.SIGTERM)),
])
def test_says_why_when_the_time_for_answers_is_over(start, executor, settings, end):
    daemon = start("--stubborn", **settings)
    agent = daemon.spawn("pool")
    slow = work(daemon, executor, agent, seconds=3600)
    ended = executor.submit(end, daemon, agent)
    check_problem(slow.result(), 503, "drain_timeout_ms")
    assert "killed by signal" in slow.result().json()["detail"]
    ended.result()
    assert daemon.stop() == 0


def test_does_not_wait_for_answers_when_told_to_end_at_once(start, executor):
    daemon = start(drain_timeout_ms=3600000)
    agent = daemon.spawn("pool")
    slow = work(daemon, executor, agent, seconds=3600)
    graceful = executor.submit(daemon.terminate, agent)
    wait_for(lambda: state(daemon, agent) == "stopping", "the agent to be told")
    another = executor.submit(daemon.terminate, agent)
    many = executor.submit(daemon.post, "/agents/bulk/terminate", [agent["agent_id"]])
    wait_for(lambda: not (another.done() or many.done()) and state(daemon, agent) == "stopping", "all three to wait")
    assert daemon.terminate(agent, graceful=False).status_code == 200
    check_problem(slow.result(), 503, "killed by signal 9")
    assert graceful.result().status_code == another.result().status_code == 200
    assert many.result().json()[0]["status"] == 200


def test_does_not_wait_for_answers_when_nobody_hears_them(start, executor):
    daemon = start(drain_timeout_ms=3600000)
    agent = daemon.spawn("pool")
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        slow = work(daemon, other, agent, seconds=3600)
        daemon.note_processes()
        daemon.process.kill()
        daemon.process.wait()
        assert slow.exception()
    daemon.start()
    wait_for(lambda: state(daemon, agent) == "idle", "the agent to be restored")
