"""Workers and agents that die, rest, or never start."""
import os
import signal
import time

import pytest

from daemon import BUILD, command_pool, descendants, module_pool, wait_for

FAST_RESTART = {"delay_ms": 10, "delay_max_ms": 50}


def kill(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def check_all_answer(daemon, agents, epochs):
    """All answer from processes of their own, under the ids they had; epochs: {agent_id: epoch}."""
    answers = {agent["agent_id"]: daemon.whoami(agent["agent_id"]) for agent in agents}
    assert {agent_id: answer["epoch"] for agent_id, answer in answers.items()} == epochs
    assert all(answer["agent_id"] == agent_id for agent_id, answer in answers.items())
    assert len({answer["pid"] for answer in answers.values()}) == len(agents)


def wait_for_placement(daemon, epochs):
    """Until all agents run at these epochs."""
    def is_placed():
        now = {agent["agent_id"]: agent for agent in daemon.agents()}
        return all(now[i]["epoch"] == epoch and now[i]["state"] == "idle" for i, epoch in epochs.items())
    wait_for(is_placed, "the agents to run again")


def test_agents_run_elsewhere_when_their_worker_is_killed(daemon):
    agents = [daemon.spawn() for _ in range(15)]
    workers = daemon.workers()
    full = next(worker for worker in workers if worker["agents"] == 10)
    epochs = {a["agent_id"]: 2 if a["process_id"] == full["process_id"] else 1 for a in agents}
    programs = [daemon.whoami(agent["agent_id"])["pid"] for agent in agents if epochs[agent["agent_id"]] == 2]
    kill(full["pid"])
    wait_for_placement(daemon, epochs)
    check_all_answer(daemon, agents, epochs)
    assert full["process_id"] not in {worker["process_id"] for worker in daemon.workers()}
    wait_for(lambda: not set(programs) & set(descendants(daemon.process.pid)), "the programs of the dead worker to be gone")
    assert sorted(daemon.scores().values()) == [0, 5]
    moved = next(agent_id for agent_id, epoch in epochs.items() if epoch == 2)
    assert "9" in str(daemon.agent(moved)["last_exit"]) or "worker" in str(daemon.agent(moved)["last_exit"])


@pytest.mark.sanitize
def test_agents_run_elsewhere_when_five_workers_are_killed_at_once(daemon):
    agents = daemon.spawn_many(60, clients=10)
    victims = daemon.workers()[:5]
    epochs = {a["agent_id"]: 2 if a["process_id"] in {v["process_id"] for v in victims} else 1 for a in agents}
    kill(*(victim["pid"] for victim in victims))
    wait_for_placement(daemon, epochs)
    check_all_answer(daemon, agents, epochs)
    wait_for(lambda: set(daemon.scores().values()) == {0} and len(daemon.scores()) == 6, "six full workers")


def test_ends_idle_workers_when_they_hosted_nothing(make_daemon):
    pool = module_pool(min_workers=2, worker_idle_timeout_ms=300)
    daemon = make_daemon(pools={"pool": pool})
    wait_for(lambda: daemon.pool("pool")["process_count"] == 2, "min_workers")
    agents = daemon.spawn("pool", count=45)["agents"]
    assert daemon.pool("pool")["process_count"] == 5
    for agent in agents:
        daemon.terminate(agent)
    wait_for(lambda: daemon.pool("pool")["process_count"] == 2, "the idle workers to end")
    pids = set(daemon.worker_pids("pool").values())
    assert len(pids) == 2
    end = time.monotonic() + 1.5  # five times the timeout: the last two must stay
    wait_for(lambda: time.monotonic() > end, "time to pass")
    assert set(daemon.worker_pids("pool").values()) == pids


def test_keeps_spare_workers_when_slots_are_used(make_daemon):
    daemon = make_daemon(pools={"pool": module_pool(spare_workers=2)})
    wait_for(lambda: daemon.pool("pool")["process_count"] == 2, "the spare workers")
    daemon.spawn("pool", count=15)
    wait_for(lambda: daemon.pool("pool")["process_count"] == 4, "two more than are used")
    assert sorted(daemon.scores("pool").values()) == [0, 5, 10, 10]


def test_forks_no_more_than_needed_when_many_spawn_at_once(daemon):
    daemon.spawn_many(95, clients=50)
    pool = daemon.pool()
    assert (pool["process_count"], pool["total_workers_spawned"]) == (10, 10)
    assert sorted(daemon.scores().values()) == [0] * 9 + [5]
    daemon.spawn("tester_pool", count=101)
    assert daemon.pool("tester_pool")["total_workers_spawned"] == 11


def test_starts_no_more_than_max_workers_when_more_are_wanted(make_daemon):
    daemon = make_daemon(pools={"pool": module_pool(max_workers=3, max_agents_per_worker=7, spawn_timeout_ms=500)})
    answer = daemon.spawn("pool", count=30)
    assert (len(answer["agents"]), len(answer["failed"])) == (21, 9)
    assert daemon.pool("pool")["total_workers_spawned"] == 3


@pytest.mark.sanitize
def test_restarts_the_agent_when_it_crashes(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(restart=FAST_RESTART)})
    agent, bystander = daemon.spawn("odd"), daemon.spawn("odd")
    pid = daemon.message(bystander["agent_id"], "whoami").json()["result"]["pid"]
    assert daemon.message(agent["agent_id"], "exit", {"status": 3}).status_code == 503
    wait_for_placement(daemon, {agent["agent_id"]: 2})
    now = daemon.agent(agent["agent_id"])
    assert now["restarts"] == 1
    assert (now["last_exit"]["code"], now["last_exit"]["reason"]) == (3, "exit status 3")
    assert daemon.message(agent["agent_id"], "whoami").json()["result"]["epoch"] == 2
    assert daemon.message(bystander["agent_id"], "whoami").json()["result"] == {"pid": pid, "epoch": 1}
    assert set(daemon.scores("odd").values()) == {8}


def test_leaves_the_agent_ended_when_its_policy_says_so(make_daemon, odd_pool):
    pools = {policy: odd_pool(restart={"policy": policy, **FAST_RESTART}) for policy in ("transient", "temporary")}
    daemon = make_daemon(pools=pools)
    done, dead = daemon.spawn("transient"), daemon.spawn("temporary")
    daemon.message(done["agent_id"], "exit", {"status": 0})
    daemon.message(dead["agent_id"], "exit", {"status": 1})
    wait_for(lambda: daemon.agent(done["agent_id"])["state"] == "stopped", "the success to be left alone")
    wait_for(lambda: daemon.agent(dead["agent_id"])["state"] in ("failed", "stopped"), "the failure to be left alone")
    assert daemon.agent(dead["agent_id"])["last_exit"]["code"] == 1
    for pool in pools:
        wait_for(lambda: set(daemon.scores(pool).values()) == {10}, "the slot to be free")


@pytest.mark.sanitize
def test_gives_up_when_the_agent_always_crashes(make_daemon, odd_pool):
    pool = odd_pool("--dies", "7", restart=FAST_RESTART | {"intensity": 3, "period_seconds": 60})
    daemon = make_daemon(pools={"doomed": pool, "fine": odd_pool()})
    answer = daemon.post("/agents/spawn?wait=false", daemon.spawn_body("doomed"))
    assert answer.status_code == 202
    agent_id = answer.json()["agent_id"]
    wait_for(lambda: daemon.agent(agent_id)["state"] == "failed", "the policy to give up")
    agent = daemon.agent(agent_id)
    assert (agent["restarts"], agent["last_exit"]["code"]) == (3, 7)
    assert "exit status 7" in str(daemon.get(f"/agents/{agent_id}/why").json())
    wait_for(lambda: daemon.pool("doomed")["used_capacity"] == 0, "the slot to be free")
    daemon.spawn("fine")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_says_why_and_stays_calm_when_workers_cannot_start(make_daemon):
    pools = {"broken": module_pool("/nowhere/module.so", spawn_timeout_ms=3000), "fine": command_pool(BUILD / "example-agent")}
    daemon = make_daemon(pools=pools)
    master, begin = daemon.master_pid(), time.monotonic()
    before = cpu_seconds(master)
    answer = daemon.post("/agents/spawn", daemon.spawn_body("broken"))
    assert answer.status_code == 503
    assert "/nowhere/module.so" in answer.json()["detail"]
    assert answer.headers["Retry-After"]
    pool = daemon.pool("broken")
    assert pool["degraded"] and "/nowhere/module.so" in pool["degraded_reason"]
    assert pool["total_workers_spawned"] <= 10
    assert pool["agent_count"] == 0 and daemon.agents(pool_name="broken") == []
    assert (cpu_seconds(master) - before) / (time.monotonic() - begin) < 0.2
    daemon.spawn("fine")
    assert not daemon.pool("fine")["degraded"]
