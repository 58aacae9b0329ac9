"""Workers that hang, and a master, or a whole machine, that stood still: who hangs is ended, nobody else."""
import os
import signal
import subprocess
import time

import pytest

from daemon import BUILD, TOP, command_pool, descendants, module_pool, processes, wait_for
from stores import rows

SHORT = {"heartbeat_interval_ms": 200, "worker_lease_ms": 1500}


def program_pool(**settings):
    return command_pool(BUILD / "example-agent", **SHORT | settings)


@pytest.fixture
def blocking_module(run_base):
    path = run_base / "blocking.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", f"-I{TOP}/worker", "-o", path, TOP / "test/system/agents/blocking_module.c"],
                   check=True)
    return path


def send(number, *pids):
    for pid in pids:
        os.kill(pid, number)


def wait_until_settled(daemon, agents, epoch):
    def settled():
        now = [daemon.agent(agent["agent_id"]) for agent in agents]
        return all((agent["state"], agent["epoch"]) == ("idle", epoch) for agent in now)
    wait_for(settled, f"all agents to run at epoch {epoch}")


def check_order(daemon, process_id, moved):
    """Given up, gone, and only then placed again."""
    def history():
        found = rows(daemon, "SELECT event, agent_id, process_id, epoch FROM agent_events ORDER BY event_id")
        return found if sum(1 for event, *_, epoch in found if (event, epoch) == ("agent_spawned", "2")) == len(moved) else None
    found = wait_for(history, "the events to be stored")
    stale = found.index(("worker_stale", "", process_id, "0"))
    exited = found.index(("worker_exited", "", process_id, "0"))
    again = [i for i, (event, *_, epoch) in enumerate(found) if (event, epoch) == ("agent_spawned", "2")]
    assert stale < exited < min(again)


def test_ends_a_stopped_worker_before_its_agents_run_again(make_daemon):
    daemon = make_daemon(pools={"pool": program_pool(max_agents_per_worker=3)})
    moved = [daemon.spawn("pool") for _ in range(3)]
    stay = [daemon.spawn("pool") for _ in range(2)]
    programs = [daemon.whoami(agent["agent_id"])["pid"] for agent in moved]
    process_id, pid = moved[0]["process_id"], daemon.worker_pids("pool")[moved[0]["process_id"]]
    send(signal.SIGSTOP, pid)
    wait_until_settled(daemon, moved, 2)
    assert pid not in processes(), "it was killed although it was stopped"
    wait_for(lambda: not set(programs) & set(descendants(daemon.process.pid)), "what it left behind to be gone")
    check_order(daemon, process_id, moved)
    assert {daemon.whoami(agent["agent_id"])["epoch"] for agent in stay} == {1}
    assert daemon.redis.hget(f"process:{process_id}", "status") == "exited"  # whatever it might still have written is refused
    assert process_id not in daemon.scores("pool")
    assert "master.suspects_itself" not in daemon.log()


def test_ends_a_worker_that_is_silent_to_the_next_master(make_daemon):
    daemon = make_daemon(pools={"pool": program_pool(max_agents_per_worker=3, worker_start_timeout_ms=600000)})
    moved = [daemon.spawn("pool") for _ in range(3)]
    pid = daemon.worker_pids("pool")[moved[0]["process_id"]]
    before = daemon.master_pid()
    send(signal.SIGSTOP, pid)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: daemon.find_master() not in (None, before), "the next master")
    wait_until_settled(daemon, moved, 2)
    assert pid not in processes(), "it was killed although it was stopped"
    assert "it does not answer" in daemon.log()


@pytest.mark.sanitize
def test_ends_a_worker_whose_module_blocks(make_daemon, blocking_module):
    daemon = make_daemon(pools={"pool": module_pool(blocking_module, max_agents_per_worker=2, **SHORT)})
    moved = [daemon.spawn("pool") for _ in range(2)]
    stay = daemon.spawn("pool")
    answer = daemon.message(moved[0]["agent_id"], "block")
    assert answer.status_code == 503 and "worker process ended" in answer.json()["detail"]
    wait_until_settled(daemon, moved, 2)
    check_order(daemon, moved[0]["process_id"], moved)
    assert daemon.message(stay["agent_id"], "echo", {}).status_code == 200
    assert daemon.agent(stay["agent_id"])["epoch"] == 1


def three_workers(make_daemon, **settings):
    daemon = make_daemon(pools={"pool": program_pool(max_agents_per_worker=1, **settings)})
    agents = [daemon.spawn("pool") for _ in range(3)]
    return daemon, agents, list(daemon.worker_pids("pool").values())


def check_all_as_before(daemon, agents, pids, seconds=2.0):
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end, "time to pass")
    wait_for(lambda: daemon.is_ready(), "the master to serve")
    assert set(daemon.worker_pids("pool").values()) == set(pids)
    assert [daemon.whoami(agent["agent_id"])["epoch"] for agent in agents] == [1] * len(agents)
    assert "worker_stale" not in daemon.log()


def test_suspects_itself_first_when_all_workers_are_silent(make_daemon):
    daemon, agents, pids = three_workers(make_daemon, worker_lease_ms=4000)
    send(signal.SIGSTOP, *pids)
    wait_for(lambda: "master.suspects_itself" in daemon.log(), "the master to suspect itself")
    send(signal.SIGCONT, *pids)
    check_all_as_before(daemon, agents, pids, seconds=6)


def test_ends_all_workers_when_they_stay_silent(make_daemon):
    daemon, agents, pids = three_workers(make_daemon)
    send(signal.SIGSTOP, *pids)
    wait_until_settled(daemon, agents, 2)
    assert daemon.log().index("master.suspects_itself") < daemon.log().index("worker_stale")
    assert not set(pids) & set(processes())


def test_ends_nobody_when_the_master_was_stopped(make_daemon):
    daemon, agents, pids = three_workers(make_daemon)
    master, end = daemon.master_pid(), time.monotonic() + 2 * SHORT["worker_lease_ms"] / 1000
    send(signal.SIGSTOP, master)
    wait_for(lambda: time.monotonic() > end, "two leases to pass")
    send(signal.SIGCONT, master)
    check_all_as_before(daemon, agents, pids)


def test_ends_nobody_when_the_whole_machine_was_paused(make_daemon):
    daemon, agents, pids = three_workers(make_daemon)
    everybody = [*descendants(daemon.process.pid), daemon.process.pid]
    send(signal.SIGSTOP, *everybody)
    end = time.monotonic() + 2 * SHORT["worker_lease_ms"] / 1000
    wait_for(lambda: time.monotonic() > end, "two leases to pass")
    send(signal.SIGCONT, *everybody)
    check_all_as_before(daemon, agents, pids)
    assert daemon.agent(agents[0]["agent_id"])["restarts"] == 0
