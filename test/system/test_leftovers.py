"""The forker is killed, alone or with others, and the daemon started again at once: no agent ever runs twice, none is lost."""
import collections
import contextlib
import os
import pathlib
import signal
import threading

import pytest

from daemon import command_pool, processes, wait_for


def agent_programs(daemon):
    """[(agent id, pid)] of every program that belongs to this daemon, whoever its parent is."""
    wanted, found = (daemon.run_dir / "master_id").read_text().strip(), []
    for pid, (_, command) in processes().items():
        with contextlib.suppress(OSError):
            variables = dict(item.split("=", 1) for item in
                             pathlib.Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0") if "=" in item)
            if variables.get("AGENTPOOL_MASTER_ID") == wanted and "odd_agent" in command:
                found.append((variables["AGENTPOOL_AGENT_ID"], pid))
    return found


class Watch:
    """Looks for agents of which two programs run, all the time."""

    def __init__(self, daemon):
        self.daemon, self.doubled, self.looks, self.done = daemon, [], 0, threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.done.is_set():
            counts = collections.Counter(agent_id for agent_id, _ in agent_programs(self.daemon))
            self.doubled += [agent_id for agent_id, count in counts.items() if count > 1]
            self.looks += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def kill_forker(daemon):
    daemon.process.kill()


def kill_forker_and_master(daemon):
    master = daemon.master_pid()
    daemon.process.kill()
    os.kill(master, signal.SIGKILL)


def kill_all_but_agents(daemon):
    """As pkill -9 agentpoold does."""
    master, workers = daemon.master_pid(), daemon.worker_pids("stubborn").values()
    daemon.process.kill()
    for pid in [master, *workers]:
        os.kill(pid, signal.SIGKILL)


def stop_workers_and_kill_forker(daemon):
    for pid in daemon.worker_pids("stubborn").values():
        os.kill(pid, signal.SIGSTOP)
    daemon.process.kill()


@pytest.fixture
def stubborn_daemon(make_daemon, odd_pool):
    pool = odd_pool("--stubborn", stop_grace_ms=1000, kill_grace_ms=1000, max_agents_per_worker=5)
    daemon = make_daemon(pools={"stubborn": pool})
    daemon.agent_ids = [agent["agent_id"] for agent in daemon.spawn("stubborn", count=12)["agents"]]
    return daemon


@pytest.mark.parametrize("kill", [kill_forker, kill_forker_and_master, pytest.param(kill_all_but_agents, marks=pytest.mark.sanitize),
                                  stop_workers_and_kill_forker])
def test_no_agent_runs_twice_when_started_after(stubborn_daemon, kill):
    daemon = stubborn_daemon
    before = dict(agent_programs(daemon))
    assert set(before) == set(daemon.agent_ids)
    # An agent that ignores SIGTERM from its first line on.
    for agent_id in daemon.agent_ids:
        assert daemon.message(agent_id, "whoami").status_code == 200
    daemon.note_processes()
    with Watch(daemon) as watch:
        kill(daemon)
        daemon.launch()  # while the killed one is not even reaped
        wait_for(lambda: daemon.log().count("daemon.begins") == 2, "the killed one's to be gone", timeout=60)
        wait_for(daemon.is_ready, "the daemon to be ready")
        wait_for(lambda: daemon.pool("stubborn")["agents_by_state"]["idle"] == 12, "all agents to run again")
        looks = watch.looks
        wait_for(lambda: watch.looks > looks + 1, "one more look")
    assert watch.doubled == []
    after = dict(agent_programs(daemon))
    assert set(after) == set(daemon.agent_ids) and not set(after.values()) & set(before.values())
    for agent_id in daemon.agent_ids:
        answer = daemon.message(agent_id, "whoami").json()["result"]
        assert answer["pid"] == after[agent_id] and answer["epoch"] > 1
    assert "run_dir.waiting" in daemon.log() or kill is kill_all_but_agents
    assert ("leftover.killed" in daemon.log()) == (kill in (kill_all_but_agents, stop_workers_and_kill_forker))


def test_everything_ends_when_the_forker_is_killed(stubborn_daemon):
    daemon = stubborn_daemon
    family = set(daemon.note_processes())
    daemon.process.kill()
    daemon.process.wait()
    wait_for(lambda: not family & set(processes()), "master, workers, agents and Redis to end")
    daemon.start()
    wait_for(lambda: daemon.pool("stubborn")["agents_by_state"]["idle"] == 12, "all agents to run again")
    assert {agent["agent_id"] for agent in daemon.agents()} == set(daemon.agent_ids)
    assert "run_dir.waiting" not in daemon.log()


@pytest.mark.sanitize
def test_second_daemon_is_refused_at_once_when_the_first_lives(make_daemon):
    daemon = make_daemon(pools={"p": command_pool("/bin/cat")})
    second = make_daemon(start=False, pools={"p": command_pool("/bin/cat")}, run_dir=str(daemon.run_dir))
    second.launch()
    assert second.process.wait(timeout=60) == 1
    assert f"held by another agentpoold, pid {daemon.process.pid}, listening on" in second.log()
    assert "run_dir.waiting" not in second.log()
    second.process = None
    assert daemon.is_ready()
