"""The main job: spawns fill workers, every agent answers, Redis shows it, the end leaves nothing."""
import random
import subprocess

from daemon import TOP, descendants, processes, wait_for


def test_fills_two_workers_when_fifteen_are_spawned(daemon):
    agents = [daemon.spawn() for _ in range(15)]
    pool = daemon.pool()
    assert pool["process_count"] == 2
    assert pool["total_capacity"] == 20
    assert pool["used_capacity"] == pool["agent_count"] == 15
    assert pool["available_capacity"] == 5
    assert pool["utilization"] == 0.75
    assert pool["active_worker_processes"] == 2
    assert sorted(daemon.scores().values()) == [0, 5]
    assert len({agent["agent_id"] for agent in agents}) == 15
    for agent in agents:
        assert agent["state"] == "idle"
        assert daemon.whoami(agent["agent_id"])["agent_id"] == agent["agent_id"]


def check_full(daemon, number):
    """Exactly `number` agents in workers of ten, all slots taken, each in a process of its own that answers."""
    wait_for(lambda: daemon.pool()["agent_count"] == number, f"{number} agents")
    pool = daemon.pool()
    assert pool["process_count"] == number // 10
    assert daemon.scores() and set(daemon.scores().values()) == {0}
    agents = daemon.agents(pool_name="developer_pool")
    assert len(agents) == number
    pids = {daemon.whoami(agent["agent_id"])["pid"] for agent in agents}
    assert len(pids) == number


def run_checker(daemon):
    """The seven checks must all hold."""
    result = subprocess.run([TOP / "scripts" / "check", "--run-dir", daemon.run_dir], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout


def test_fills_twenty_workers_exactly_when_clients_are_concurrent(daemon):
    for _ in range(15):
        daemon.spawn()
    daemon.spawn_many(185)
    check_full(daemon, 200)
    for turn in range(10):
        agents = daemon.agents(pool_name="developer_pool")
        for agent in random.Random(turn).sample(agents, 50):
            assert daemon.terminate(agent).status_code == 200
        assert daemon.pool()["agent_count"] == 150
        daemon.spawn_many(50)
        check_full(daemon, 200)
        run_checker(daemon)


def test_leaves_nothing_when_terminated(daemon):
    daemon.spawn_many(25)
    below = set(descendants(daemon.process.pid))
    assert len(below) > 25
    assert daemon.stop() == 0
    assert not below & set(processes())
    assert not (daemon.run_dir / "redis.sock").exists()
    assert not (daemon.run_dir / "agentpoold.listen").exists()
    assert not (daemon.run_dir / "agentpoold.lock").exists()


def test_shows_titles_when_listed_by_ps(daemon):
    daemon.spawn()
    titles = descendants(daemon.process.pid).values()
    worker = daemon.workers()[0]
    assert "agentpoold: master" in titles
    assert f"agentpoold: worker developer_pool {worker['process_id']}" in titles
