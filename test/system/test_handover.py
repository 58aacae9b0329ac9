"""A new master while requests are open: each gets its answer, however long it takes, and everybody else is served."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import threading
import time

import pytest
import requests

from daemon import PATIENCE, PROJECT, command_pool, descendants, module_pool, wait_for
from secure import Authority
from test_upgrade import start_copy  # noqa: F401: a fixture

WAITS = {"jsonrpc": "2.0", "id": 7, "method": "slow", "params": {"seconds": 6}}


@pytest.fixture
def authority(run_base):
    return Authority(run_base)


def retired(daemon):
    return [pid for pid, title in descendants(daemon.process.pid).items() if title.startswith("agentpoold: retired")]


def next_master(daemon, number=signal.SIGHUP):
    """A reload or an upgrade: the new one lets clients in."""
    before, begin = daemon.master_pid(), time.monotonic()
    upgrades = daemon.log().count("upgrade.done")
    daemon.process.send_signal(number)
    wait_for(lambda: daemon.find_master() not in (None, before), "another master")
    if number == signal.SIGUSR2:
        wait_for(lambda: daemon.log().count("upgrade.done") > upgrades, "the next program")
    wait_for(daemon.is_ready, "it to serve")
    return time.monotonic() - begin


@contextlib.contextmanager
def probing(daemon):
    """/livez all the time, each probe on a connection of its own; every one is answered. Says how long they waited."""
    done, waits, problems = threading.Event(), [], []

    def probe():
        while not done.is_set():
            begin = time.monotonic()
            try:
                assert requests.get(daemon.url + "/livez", timeout=PATIENCE).status_code == 200
            except (requests.RequestException, AssertionError) as error:
                problems.append(repr(error))
            waits.append(time.monotonic() - begin)
            time.sleep(0.002)
    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield waits
    finally:
        done.set()
        thread.join()
    assert not problems, problems
    print(f"{len(waits)} probes, the slowest waited {1000 * max(waits):.1f} ms")


def gate_pool(run_base, wait_ready):
    """Agents that answer, be it the probe of wait_ready, only once the file `open` is there."""
    script = run_base / "gated"
    script.write_text(f'''#!/bin/sh
while read -r line; do
  while [ ! -e {run_base}/open ]; do sleep 0.05; done
  case $line in *'"told"'*) echo told >> {run_base}/told; continue ;; esac
  id=${{line#*\\"id\\":}}; id=${{id%%[,\\}}]*}}
  printf '{{"jsonrpc":"2.0","id":%s,"result":{{"pid":%d}}}}\\n' "$id" $$
done
''')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    pool = command_pool(script, start_timeout_ms=60000, spawn_timeout_ms=60000)
    pool["runtime"]["wait_ready"] = wait_ready
    return pool


def gated_programs(daemon):
    return {pid for pid, title in descendants(daemon.process.pid).items() if title.endswith("/gated")}


def post(daemon, path, body, **headers):
    address = daemon.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(address[0], int(address[1]), timeout=2 * PATIENCE)
    connection.request("POST", "/api/v1/agents" + path, json.dumps(body), {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text else None


@pytest.mark.sanitize
@pytest.mark.parametrize("signals", [[signal.SIGHUP], [signal.SIGUSR2], [signal.SIGHUP, signal.SIGUSR2, signal.SIGHUP]])
def test_answers_what_was_open_and_serves_everybody_else(start_copy, odd_pool, run_base, signals):  # noqa: F811
    daemon, _ = start_copy(pools={"odd": odd_pool(), "gated": gate_pool(run_base, True), "held": gate_pool(run_base, False),
                                  "modules": module_pool()}, server={"request_timeout_ms": 60000})
    agent, held, master = daemon.spawn("odd")["agent_id"], daemon.spawn("held")["agent_id"], daemon.master_pid()
    holder = gated_programs(daemon)
    address = daemon.url.removeprefix("http://").split(":")
    upload = json.dumps({"jsonrpc": "2.0", "id": "up", "method": "echo", "params": {"text": "x" * 5000}}).encode()
    slow = socket.create_connection((address[0], int(address[1])), timeout=PATIENCE)
    slow.sendall(b"POST /api/v1/agents/%s/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 b"Content-Length: %d\r\n\r\n" % (agent.encode(), len(upload)) + upload[:1000])
    with concurrent.futures.ThreadPoolExecutor(8) as executor, probing(daemon):
        messages = [executor.submit(post, daemon, f"/{held}/messages?timeout_ms=600000", {**WAITS, "id": i}) for i in range(3)]
        spawns = [executor.submit(post, daemon, "/spawn", daemon.spawn_body("gated")),
                  executor.submit(post, daemon, "/spawn", daemon.spawn_body("gated"), **{"Idempotency-Key": "one"}),
                  executor.submit(post, daemon, "/spawn", daemon.spawn_body("gated", count=2))]
        wait_for(lambda: daemon.agent(held)["messages_in_flight"] == 3 and daemon.pool("gated")["agent_count"] == 4, "all to be open")
        wait_for(lambda: len(gated_programs(daemon)) == 5, "the programs to run")
        pids = gated_programs(daemon) - holder
        for number in signals:
            next_master(daemon, number)
            daemon.spawn("modules")  # everybody else is served
            assert not any(future.done() for future in messages + spawns)
        slow.sendall(upload[1000:])
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["id"]) == (200, "up")
        (run_base / "open").touch()
        for i, message in enumerate(messages):
            assert message.result() == (200, {"jsonrpc": "2.0", "id": i, "result": {"pid": list(holder)[0]}})
        answers = [spawn.result() for spawn in spawns]
    assert [status for status, _ in answers] == [200] * 3, answers
    spawned = [answers[0][1], answers[1][1], *answers[2][1]["agents"]]
    assert {a["agent_id"] for a in spawned} == {a["agent_id"] for a in daemon.agents(pool_name="gated")} and len(spawned) == 4
    assert {daemon.message(a["agent_id"], "who").json()["result"]["pid"] for a in spawned} == pids, "the same programs go on"
    assert daemon.master_pid() != master and "master.died" not in daemon.log()
    slow.close()
    wait_for(lambda: not retired(daemon), "the retired ones to end")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_sends_what_waited_for_an_agents_start(start_copy, run_base, number):  # noqa: F811
    daemon, _ = start_copy(pools={"gated": gate_pool(run_base, True)})
    gate = run_base / "open"
    gate.touch()
    agent = daemon.spawn("gated")["agent_id"]
    gate.unlink()
    before = gated_programs(daemon)
    os.kill(list(before)[0], signal.SIGKILL)
    wait_for(lambda: len(gated_programs(daemon) - before) == 1, "the agent's next start")
    with concurrent.futures.ThreadPoolExecutor() as executor:
        message = executor.submit(post, daemon, f"/{agent}/messages?timeout_ms=600000", WAITS)
        told = {"jsonrpc": "2.0", "method": "told", "params": {"text": "x" * 200000}}  # of several packets
        assert post(daemon, f"/{agent}/messages?timeout_ms=600000", told)[0] == 202
        wait_for(lambda: daemon.agent(agent)["messages_in_flight"] == 2, "the messages to wait")
        for _ in range(2):
            next_master(daemon, number)
        wait_for(lambda: daemon.agent(agent)["messages_in_flight"] == 2, "the messages to be handed over")
        assert not message.done() and not (run_base / "told").exists()
        gate.touch()
        assert message.result() == (200, {"jsonrpc": "2.0", "id": 7, "result": {"pid": list(gated_programs(daemon))[0]}})
        wait_for(lambda: (run_base / "told").exists(), "the notification to be delivered")
        assert (run_base / "told").read_text() == "told\n", "once"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_goes_on_with_spawns_in_bulk(start_copy, run_base, number):  # noqa: F811
    daemon, _ = start_copy(pools={"gated": gate_pool(run_base, True), "modules": module_pool()})
    items = [daemon.spawn_body(pool) for pool in ("gated", "modules", "nowhere", "gated")]
    with concurrent.futures.ThreadPoolExecutor() as executor:
        spawn = executor.submit(post, daemon, "/bulk/spawn", items)
        wait_for(lambda: len(gated_programs(daemon)) == 2 and len(daemon.agents(pool_name="modules", state="idle")) == 1, "all to be begun")
        pids = gated_programs(daemon)
        for _ in range(2):
            next_master(daemon, number)
        assert not spawn.done()
        (run_base / "open").touch()
        status, results = spawn.result()
    assert (status, [result["status"] for result in results]) == (200, [200, 200, 404, 200])
    spawned = [results[i]["agent"]["agent_id"] for i in (0, 1, 3)]
    assert {agent["agent_id"] for agent in daemon.agents()} == set(spawned)
    assert {daemon.message(agent, "who").json()["result"]["pid"] for agent in (spawned[0], spawned[2])} == pids


def hold_open(daemon, executor, agent, count=3):
    """Messages to an agent of a gate pool, which wait for `open`."""
    messages = [executor.submit(post, daemon, f"/{agent}/messages?timeout_ms=600000", {**WAITS, "id": i}) for i in range(count)]
    wait_for(lambda: daemon.agent(agent)["messages_in_flight"] == count, "the messages to be open")
    return messages


def check_answers(run_base, messages, pid):
    assert not any(message.done() for message in messages)
    (run_base / "open").touch()
    for i, message in enumerate(messages):
        assert message.result() == (200, {"jsonrpc": "2.0", "id": i, "result": {"pid": pid}})


def test_answers_what_was_open_when_it_goes_back_to_the_program_before(start_copy, run_base):  # noqa: F811
    daemon, _ = start_copy(pools={"held": gate_pool(run_base, False), "modules": module_pool()})
    agent = daemon.spawn("held")["agent_id"]
    pid = list(gated_programs(daemon))[0]
    next_master(daemon, signal.SIGUSR2)
    with concurrent.futures.ThreadPoolExecutor() as executor, probing(daemon):
        messages = hold_open(daemon, executor, agent)
        master, upgrades = daemon.master_pid(), daemon.log().count("upgrade.done")
        assert daemon.post("/agents/pools/held/rollback").status_code == 202
        wait_for(lambda: daemon.log().count("upgrade.done") > upgrades, "the program before")
        wait_for(lambda: daemon.find_master() not in (None, master) and daemon.is_ready(), "it to serve")
        daemon.spawn("modules")
        check_answers(run_base, messages, pid)
    assert daemon.post("/agents/pools/held/rollback").status_code == 409, "it is the one before"


def test_answers_what_was_open_when_the_file_is_broken_at_an_upgrade(start_copy, run_base):  # noqa: F811
    daemon, _ = start_copy(pools={"held": gate_pool(run_base, False), "modules": module_pool()})
    agent = daemon.spawn("held")["agent_id"]
    pid = list(gated_programs(daemon))[0]
    daemon.config["pools"]["added"] = module_pool()
    daemon.write_config()
    next_master(daemon)
    with concurrent.futures.ThreadPoolExecutor() as executor, probing(daemon):
        messages = hold_open(daemon, executor, agent)
        daemon.config_path.write_text("{")
        master = daemon.master_pid()
        daemon.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: "upgrade.refused" in daemon.log(), "the refusal")
        assert daemon.master_pid() == master and daemon.spawn("added")
        daemon.write_config()
        next_master(daemon, signal.SIGUSR2)
        daemon.spawn("added")
        check_answers(run_base, messages, pid)


def test_does_no_request_twice_that_only_one_master_can_answer(make_daemon, run_base):
    daemon = make_daemon(pools={"held": gate_pool(run_base, False)}, shutdown_timeout=1)
    agent = daemon.spawn("held")["agent_id"]
    with concurrent.futures.ThreadPoolExecutor() as executor:
        executor.submit(post, daemon, f"/{agent}/messages", WAITS)
        wait_for(lambda: daemon.agent(agent)["messages_in_flight"] == 1, "the message to be open")
        terminate = executor.submit(post, daemon, "/terminate", {"pool_name": "held", "agent_id": agent})
        wait_for(lambda: daemon.agent(agent)["state"] == "stopping", "the agent to be told")
        next_master(daemon)
        status, answer = terminate.result()
        assert status == 503 and "under way longer than a reload waits" in answer["detail"]
        (run_base / "open").touch()
        wait_for(lambda: not daemon.agents(), "the agent to end")


@pytest.fixture
def tls_daemon(make_daemon, authority, odd_pool, run_base):
    certificate, key = authority.issue("server")
    daemon = make_daemon(pools={"odd": odd_pool(), "held": gate_pool(run_base, False)}, shutdown_timeout=10,
                         server={"listen": ["127.0.0.1:0", "tls://127.0.0.1:0"],
                                 "tls": {"certificate": str(certificate), "key": str(key)}})
    daemon.port = int((daemon.run_dir / "agentpoold.listen").read_text().split()[1].split(":")[-1])
    daemon.context = ssl.create_default_context(cafile=authority.certificate)
    return daemon


def ask_over_tls(daemon, agent, body):
    connection = http.client.HTTPSConnection("localhost", daemon.port, context=daemon.context, timeout=2 * PATIENCE)
    connection.request("POST", f"/api/v1/agents/{agent}/messages", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def open_over_tls(daemon, executor, agent, **params):
    before = daemon.agent(agent)["messages_in_flight"]
    future = executor.submit(ask_over_tls, daemon, agent, {**WAITS, "params": {"seconds": 6, **params}})
    wait_for(lambda: daemon.agent(agent)["messages_in_flight"] == before + 1, "the message to be open")
    return future


@pytest.mark.sanitize
def test_a_tls_client_gets_its_answer_through_masters_that_retired(tls_daemon):
    daemon = tls_daemon
    agent = daemon.spawn("odd")["agent_id"]
    with concurrent.futures.ThreadPoolExecutor() as executor:
        first = open_over_tls(daemon, executor, agent)
        for _ in range(3):
            next_master(daemon)
        assert len(retired(daemon)) == 1 and not first.done()
        assert ask_over_tls(daemon, agent, {"jsonrpc": "2.0", "id": 1, "method": "echo"})[0] == 200
        assert first.result() == (200, {"jsonrpc": "2.0", "id": 7, "result": "slow"})
    wait_for(lambda: not retired(daemon), "the retired one to end")


def test_says_so_when_the_master_that_went_on_is_killed(tls_daemon):
    daemon = tls_daemon
    agent = daemon.spawn("odd")["agent_id"]
    with concurrent.futures.ThreadPoolExecutor() as executor:
        first = open_over_tls(daemon, executor, agent, seconds=60)
        next_master(daemon)
        os.kill(master := daemon.master_pid(), signal.SIGKILL)
        status, answer = first.result()
        assert status == 503 and "is gone" in answer["detail"]
        wait_for(lambda: daemon.find_master() not in (None, master) and daemon.is_ready(), "the next one")
        assert ask_over_tls(daemon, agent, {"jsonrpc": "2.0", "id": 1, "method": "echo"})[0] == 200
    wait_for(lambda: not retired(daemon), "the retired one to end")


def test_a_ninth_reload_waits_and_says_so(tls_daemon, run_base):
    daemon = tls_daemon
    agent = daemon.spawn("held")["agent_id"]
    with concurrent.futures.ThreadPoolExecutor(9) as executor:
        carried = []
        for number in range(1, 9):
            carried.append(open_over_tls(daemon, executor, agent))
            next_master(daemon)
            wait_for(lambda: len(retired(daemon)) == number, f"{number} retired ones")
        master = daemon.master_pid()
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload.waits" in daemon.log(), "the word in the log")
        assert daemon.master_pid() == master and daemon.is_ready()
        os.kill(retired(daemon)[0], signal.SIGKILL)  # whatever ends it
        wait_for(lambda: daemon.find_master() not in (None, master) and daemon.is_ready(), "the reload that waited")
        (run_base / "open").touch()
        with contextlib.suppress(Exception):
            next(future for future in carried if future.exception() is not None)
        failed = [future for future in carried if future.exception() is not None]
        assert len(failed) == 1
        assert all(future.result()[0] == 200 for future in carried if future not in failed)
    wait_for(lambda: not retired(daemon), "the retired ones to end")


def test_retired_masters_end_with_the_daemon(tls_daemon):
    daemon = tls_daemon
    agent = daemon.spawn("odd")["agent_id"]
    with concurrent.futures.ThreadPoolExecutor() as executor:
        first = open_over_tls(daemon, executor, agent, seconds=60)
        next_master(daemon)
        assert len(retired(daemon)) == 1
        assert daemon.stop() == 0
        assert first.result()[0] == 503
    assert "shutdown.killing" not in daemon.log()
