"""The end: in order under load, fast, against stubborn agents; nothing stays behind."""
import concurrent.futures
import signal
import threading
import time

import pytest
import requests

from daemon import BUILD, PATIENCE, command_pool, descendants, module_pool, processes, wait_for


def assert_nothing_left(daemon, pids):
    assert not pids & set(processes())
    left = {path.name for path in daemon.run_dir.iterdir()}
    assert not left & {"agentpoold.lock", "agentpoold.listen", "redis.sock"}, left


@pytest.mark.sanitize
def test_answers_or_refuses_each_request_when_ended_under_load(make_daemon, make_redis):
    server = make_redis()
    daemon = make_daemon(redis={"url": server.url(0)})
    agents = daemon.spawn(count=20)["agents"]
    answered, problems, ending = [], [], threading.Event()
    url = daemon.url + "/api/v1/agents"

    def client(n):
        while True:
            try:
                if n % 2:
                    answer = requests.post(url + "/spawn", json=daemon.spawn_body("tester_pool"), timeout=PATIENCE)
                else:
                    answer = requests.post(f"{url}/{agents[n % 20]['agent_id']}/messages", timeout=PATIENCE,
                                           json={"jsonrpc": "2.0", "id": n, "method": "ping"})
            except requests.ConnectionError:
                if not ending.is_set():
                    problems.append("refused while it ran")
                return
            answered.append(answer.status_code)
            if answer.status_code not in (200, 503) or (answer.status_code == 503 and not ending.is_set()):
                problems.append(answer.text)

    with concurrent.futures.ThreadPoolExecutor(20) as executor:
        clients = [executor.submit(client, n) for n in range(20)]
        wait_for(lambda: len(answered) > 200, "load")
        pids = set(daemon.note_processes())
        ending.set()
        assert daemon.stop() == 0
        for one in clients:
            one.result()
    assert not problems, problems[:5]
    assert_nothing_left(daemon, pids)
    assert server.client(0).keys() == []


def test_gives_agents_their_time_when_ended_in_order(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(stop_grace_ms=20000), "developer_pool": command_pool(BUILD / "example-agent")})
    daemon.spawn("odd", count=5)
    daemon.spawn(count=25)
    assert daemon.stop() == 0
    ended = [line for line in daemon.log().splitlines() if " agent.ended " in line]
    assert len(ended) == 30
    assert all('reason="exit status 0"' in line for line in ended), ended


@pytest.mark.sanitize
def test_kills_after_its_grace_when_the_agent_ignores_term(make_daemon, odd_pool):
    stubborn = odd_pool("--stubborn", stop_grace_ms=200, kill_grace_ms=300)
    daemon = make_daemon(pools={"stubborn": stubborn, "developer_pool": command_pool(BUILD / "example-agent")})
    agents = daemon.spawn("stubborn", count=3)["agents"]
    daemon.spawn(count=5)
    for agent in agents:  # so that it surely ignores TERM by now
        assert daemon.message(agent["agent_id"], "echo", {}).status_code == 200
    pids, begin = set(daemon.note_processes()), time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - begin >= 0.5
    assert_nothing_left(daemon, pids)
    reasons = [line for line in daemon.log().splitlines() if " agent.ended " in line]
    assert sum("signal 9" in line for line in reasons) == 3 and sum("exit status 0" in line for line in reasons) == 5


def test_kills_after_its_grace_when_a_stubborn_agent_is_terminated(make_daemon, odd_pool):
    daemon = make_daemon(pools={"stubborn": odd_pool("--stubborn", stop_grace_ms=100, kill_grace_ms=100)})
    agent, other = daemon.spawn("stubborn"), daemon.spawn("stubborn")
    pids = [daemon.message(a["agent_id"], "whoami").json()["result"]["pid"] for a in (agent, other)]
    assert daemon.terminate(agent).status_code == 200
    wait_for(lambda: pids[0] not in processes(), "the program to be gone")
    assert pids[1] in processes()
    assert daemon.agent(agent["agent_id"])["state"] == "terminated"
    assert daemon.message(other["agent_id"], "echo", {}).status_code == 200


def test_does_not_wait_for_grace_when_interrupted(make_daemon, odd_pool):
    hours = odd_pool("--stubborn", stop_grace_ms=3600000, kill_grace_ms=3600000)
    daemon = make_daemon(pools={"stubborn": hours, "module": module_pool()}, shutdown_timeout=3600)
    daemon.spawn("stubborn", count=12)
    daemon.spawn("module", count=12)
    pids = set(daemon.note_processes())
    assert daemon.stop(signal.SIGINT) == 0
    assert_nothing_left(daemon, pids)


def test_keeps_its_budget_when_agents_take_longer(make_daemon, odd_pool):
    hours = odd_pool("--stubborn", stop_grace_ms=3600000, kill_grace_ms=3600000)
    daemon = make_daemon(pools={"stubborn": hours}, shutdown_timeout=1)
    daemon.spawn("stubborn", count=12)
    pids = set(daemon.note_processes())
    assert daemon.stop() == 0
    assert_nothing_left(daemon, pids)


def test_ends_at_once_when_interrupted_while_it_ends(make_daemon, odd_pool):
    hours = odd_pool("--stubborn", stop_grace_ms=3600000, kill_grace_ms=3600000)
    daemon = make_daemon(pools={"stubborn": hours}, shutdown_timeout=3600)
    daemon.spawn("stubborn")
    pids = set(daemon.note_processes())
    daemon.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "shutdown.begins" in daemon.log(), "the end to begin")
    assert daemon.stop(signal.SIGINT) == 0
    assert_nothing_left(daemon, pids)


def test_refuses_connections_when_it_ends(make_daemon, odd_pool):
    hours = odd_pool("--stubborn", stop_grace_ms=3600000, kill_grace_ms=3600000)
    daemon = make_daemon(pools={"stubborn": hours}, shutdown_timeout=3600)
    daemon.spawn("stubborn")
    url = daemon.url
    daemon.process.send_signal(signal.SIGTERM)

    def is_refused():
        try:
            requests.get(url + "/readyz", timeout=PATIENCE)
        except requests.ConnectionError as error:
            return "refused" in str(error)
        return False
    wait_for(is_refused, "new connections to be refused")
    assert descendants(daemon.process.pid)
    daemon.stop(signal.SIGINT)
