"""Allocations fail, every Nth: a clear error or a clean exit, never a crash, and afterwards the seven checks hold."""
import os
import re
import subprocess
import time

import pytest
import requests

from clients import ERRORS, Clients
from daemon import BUILD, PROJECT, TOP, command_pool, module_pool, wait_for

LIBRARY = BUILD / "malloc-fail.so"
FAST = {"heartbeat_interval_ms": 300, "worker_lease_ms": 3000,
        "restart": {"intensity": 100000, "delay_ms": 10, "delay_max_ms": 200, "healthy_seconds": 1}}
SECONDS = float(os.environ.get("AGENTPOOL_TEST_OUT_OF_MEMORY_S", "0.7"))  # with each N

pytestmark = pytest.mark.skipif("address" in BUILD.name, reason="AddressSanitizer has an allocator of its own")


def run(*command, only=0, env=None):
    """(exit status, output, error output, allocations)"""
    read, write = os.pipe()
    done = subprocess.run(command, capture_output=True, text=True, cwd=TOP, pass_fds=[write], timeout=60, env={
        **os.environ, **(env or {}), "LD_PRELOAD": str(LIBRARY), "MALLOC_FAIL_ONLY": str(only), "MALLOC_FAIL_COUNT": str(write)})
    os.close(write)
    with os.fdopen(read) as file:
        counted = file.read()
    return done.returncode, done.stdout, done.stderr, int(counted or 0)


def sweep(*command, step=1, env=None, same=True):
    """Each allocation of the program fails once."""
    status, output, _, number = run(*command, env=env)
    assert status == 0 and number > 50, (status, number)
    failed = 0
    for only in range(1, number + 1, step):
        status, now, error, _ = run(*command, only=only, env=env)
        assert status in (0, 1, 3, 5), f"allocation {only}: status {status}: {error}"
        assert status == 0 or error.strip(), f"allocation {only}: status {status} without a word"
        assert status != 0 or not same or now == output, f"allocation {only}: said to be done, but: {now}"
        failed += status != 0
    return failed


def test_configuration_check_says_so_when_an_allocation_fails():
    assert sweep(BUILD / "agentpoold", "-T", "-c", "etc/agentpool.dev.json", step=5) > 50


def test_command_line_says_so_when_an_allocation_fails(daemon):
    agent = daemon.spawn()
    env = {"AGENTPOOL_URL": daemon.url}
    for command in (["status"], ["ls", "workers"], ["-o", "json", "ls"], ["why", agent["agent_id"]]):
        sweep(BUILD / "agentpool", *command, step=29, env=env, same=False)  # times differ
    before = len(daemon.agents())
    assert run(BUILD / "agentpool", "spawn", "-p", PROJECT, "developer_pool", only=0, env=env)[0] == 0
    assert len(daemon.agents()) == before + 1


def signals_of(daemon):
    """What ended masters and workers, if not their own exit or a KILL that the master asked for."""
    log = daemon.log()
    found = re.findall(r" master\.died .*?signal=([1-9]\d*) ", log) + re.findall(r" worker_exited .*killed by signal (\d+)", log)
    return [number for number in found if number != "9"] + re.findall(r"malloc\(\)|free\(\)|double free|Assertion .* failed|\*\*\* \w", log)


@pytest.mark.parametrize("role", ["master", "worker"])
def test_nothing_is_lost_when_every_nth_allocation_fails(make_daemon, make_redis, run_base, role):
    marks = run_base / "marks"
    marks.mkdir()
    pools = {"programs": command_pool(BUILD / "example-agent", **FAST), "modules": module_pool(max_agents_per_worker=5, **FAST)}
    # Redis brings an allocator of its own, which cannot be preloaded before.
    redis_url = make_redis().url(0)
    daemon = make_daemon(pools=pools, redis={"url": redis_url}, env={"LD_PRELOAD": str(LIBRARY), "MALLOC_FAIL_DIR": str(marks)})
    targets = daemon.spawn("programs", count=4)["agents"] + daemon.spawn("modules", count=4)["agents"]
    # 422: an agent that cannot be started for want of memory.
    clients = Clients(daemon, pools, targets, number=3, most=8, errors=ERRORS | {422}, message_timeout_ms=3000)
    clients.book.living |= {agent["agent_id"] for agent in targets}
    with clients:
        clients.flow()
        for nth in (997, 211, 53, 17, 7):
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                found = daemon.find_master() if role == "master" else next(iter(daemon.worker_pids("programs").values()), None)
                if found and not (marks / str(found)).exists():
                    (marks / str(found)).write_text(str(nth))
                time.sleep(0.01)
            for mark in marks.iterdir():
                mark.unlink()
            wait_for(daemon.is_ready, "the daemon to be ready", timeout=60)
            clients.flow(50)
    assert not signals_of(daemon), f"{signals_of(daemon)}\n" + daemon.log()[-4000:]
    assert not clients.book.problems, clients.book.problems
    ids = run_base / "ids"
    ids.write_text("".join(f"{agent_id}\n" for agent_id in clients.book.answered))
    done = subprocess.run([TOP / "scripts/check", "--run-dir", daemon.run_dir, "--redis", redis_url, "--ids", ids, "--settle", "60"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    states = {agent["agent_id"]: agent["state"] for agent in daemon.agents()}
    assert all(states.get(agent_id) in ("idle", "busy", "starting") for agent_id in clients.book.living)


def ids_in(answer):
    """All ids of a list, however deep."""
    return sorted(re.findall(r'"(?:agent_id|process_id|pool_name|event)":"([^"]*)"', answer.text))


def test_lists_are_whole_or_refused_when_allocations_fail(make_daemon, make_redis, run_base):
    marks = run_base / "marks"
    marks.mkdir()
    # Nothing changes, and nobody asks for anything else: 20 s is longer than this takes.
    pools = {"programs": command_pool(BUILD / "example-agent"), "modules": module_pool(max_agents_per_worker=5)}
    daemon = make_daemon(pools=pools, redis={"url": make_redis().url(0)}, env={"LD_PRELOAD": str(LIBRARY), "MALLOC_FAIL_DIR": str(marks)})
    agent = (daemon.spawn("programs", count=4)["agents"] + daemon.spawn("modules", count=12)["agents"])[0]
    routes = ["/agents", "/agents/pools", "/agents/pools/modules", "/agents/pools/modules/processes", "/agents/metrics/processes",
              f"/agents/{agent['agent_id']}", f"/agents/{agent['agent_id']}/why", "/health", "/stats", "/agents/executions"]
    wait_for(lambda: len(daemon.agent(agent["agent_id"])["history"]) == 1, "its history")
    whole = {route: ids_in(daemon.get(route)) for route in routes}
    refused = answered = 0
    for nth in (2003, 997, 211, 97, 53, 29, 17, 11):
        for turn in range(8):
            master = daemon.master_pid()
            (marks / str(master)).write_text(str(nth))
            for route in routes:
                try:
                    answer = daemon.get(route)
                except requests.ConnectionError:  # nothing could be answered; or the master left
                    refused += 1
                    continue
                if answer.status_code == 200:
                    answered += 1
                    # The history alone may be missing, and says so; or have grown.
                    assert ids_in(answer) == whole[route] or '"history":' in answer.text, f"{route}: {answer.text}"
                else:
                    refused += 1
                    assert answer.status_code in (404, 500, 503), f"{route}: {answer.status_code} {answer.text}"
            (marks / str(master)).unlink()
        wait_for(daemon.is_ready, "the daemon to be ready")
        # The library looks for its file now and then only.
        wait_for(lambda: daemon.get("/agents").text.count('"state":"idle"') == 16, "the agents to be known")
    assert refused > 20 and answered > 20, (refused, answered)
    assert not signals_of(daemon), signals_of(daemon)
