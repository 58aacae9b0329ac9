"""Rows 1 to 4 and 11: workers that die, freeze, hang, or never start."""
import os
import signal
import time

from daemon import module_pool, wait_for
from scene import cpu_seconds, next_epochs, odd, programs, running_at, states_of, two_pools


def agents_in(daemon, process_id, pool="programs"):
    return [agent["agent_id"] for agent in daemon.agents(pool_name=pool) if agent["process_id"] == process_id]


def choose_worker(scene, daemon, pool="programs"):
    """A ready worker that hosts something: (process id, pid, epochs that its agents must get elsewhere)."""
    def choose():
        full = [worker for worker in daemon.workers(pool) if worker["state"] == "ready" and worker["agents"]]
        if not full:
            return None
        worker = scene.dice.choice(full)
        after = next_epochs(daemon, agents_in(daemon, worker["process_id"], pool))
        return after and (worker["process_id"], worker["pid"], after)
    return wait_for(choose, "a worker that hosts agents")


def is_free(daemon, process_id, pool="programs"):
    """Registry and API have let go of it."""
    return process_id not in daemon.scores(pool) and process_id not in {w["process_id"] for w in daemon.workers(pool)}


def worker_killed(scene):
    daemon = scene.start()
    targets = scene.spawn(daemon, "programs", 15)
    with scene.clients(daemon, ["modules"], targets) as clients:
        for _ in range(10):
            process_id, pid, after = choose_worker(scene, daemon)
            scene.injected("kill -9")
            os.kill(pid, signal.SIGKILL)
            scene.recovered(lambda: running_at(daemon, after), "its agents to run again in another worker")
            wait_for(lambda: is_free(daemon, process_id), "its slots to be freed")
            clients.flow()


def is_alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


class Frozen:
    """A stopped worker, continued after so many seconds if it still is there (None: never)."""

    def __init__(self, daemon, pid, after, wake):
        self.daemon, self.pid, self.after, self.wake = daemon, pid, after, wake
        os.kill(pid, signal.SIGSTOP)
        self.begin, self.woken = time.monotonic(), None

    def is_settled(self):
        """Placed again; or it woke in time, and all is as before."""
        now, alive = states_of(self.daemon, self.after), is_alive(self.pid)
        again = [agent_id for agent_id, epoch in self.after.items()
                 if now.get(agent_id, ("", 0))[1] >= epoch and now[agent_id][0] in ("idle", "busy")]
        # The line that matters: nobody runs under a new epoch while the old worker still could.
        assert not (alive and again), "placed again while its worker was only frozen"
        if alive and not self.woken and self.wake is not None and time.monotonic() - self.begin > self.wake:
            os.kill(self.pid, signal.SIGCONT)
            self.woken = time.monotonic()
        return len(again) == len(self.after) or (alive and self.woken and time.monotonic() - self.woken > 1)


def worker_frozen(scene):
    lease = 2.0
    pool = {**programs(), "worker_lease_ms": int(lease * 1000)}
    daemon = scene.start(pools={"programs": pool, "modules": two_pools()["modules"]})
    targets, survived = scene.spawn(daemon, "programs", 15), 0
    with scene.clients(daemon, ["modules"], targets) as clients:
        for turn in range(8):
            process_id, pid, after = choose_worker(scene, daemon)
            # Around the moment in which it is given up: it may wake a little before, and then nothing has happened.
            wake = lease * (0.9 + 0.6 * scene.dice.random()) if turn % 2 else None
            scene.injected("SIGSTOP, SIGCONT about the lease's end" if wake else "SIGSTOP")
            frozen = Frozen(daemon, pid, after, wake)
            scene.recovered(frozen.is_settled, "its agents to run again in another worker")
            survived += is_alive(pid)
            assert is_alive(pid) or wait_for(lambda: is_free(daemon, process_id), "its slots to be freed")
            clients.flow()
    scene.figures.append(f"{survived} woke in time")


def worker_hung(scene):
    armed = scene.fault_directory()
    daemon = scene.start(env={"AGENTPOOL_FAULT_DIR": str(armed)})
    targets = scene.spawn(daemon, "programs", 12)
    with scene.clients(daemon, ["modules"], targets) as clients:
        for _ in range(3):
            scene.injected("agent.report=hang")
            scene.arm("agent.report", "hang")
            wait_for(lambda: not (armed / "agent.report").exists(), "the fault to strike")
            scene.recovered(lambda: daemon.log().count("worker_stale") >= len(scene.recoveries) + 1
                            and all(pool["agents_by_state"]["starting"] == 0 for pool in daemon.get("/agents/pools").json()),
                            "the hung worker to be killed, and its agents to run again")
            clients.flow()


def start_fails(scene):
    restart, doom = {"delay_ms": 10, "delay_max_ms": 60000, "intensity": 4, "period_seconds": 60}, scene.directory / "doom"
    pools = {**two_pools(), "doomed": odd("--dies-if", doom, restart=restart),
             "broken": module_pool("/nowhere/module.so", spawn_timeout_ms=3000)}
    pools["doomed"]["runtime"]["wait_ready"] = True
    daemon = scene.start(pools=pools)
    agent_id = scene.spawn(daemon, "doomed", 1)[0]["agent_id"]
    with scene.clients(daemon, ["modules", "programs"], number=2) as clients:
        doom.touch()
        scene.injected("an agent that exits at every start")
        daemon.message(agent_id, "exit", {"status": 7})
        scene.recovered(lambda: daemon.agent(agent_id)["state"] == "failed", "the policy to give up")
        wait_for(lambda: daemon.pool("doomed")["degraded"], "the pool to be degraded")
        for text in (daemon.get(f"/agents/{agent_id}/why").text, daemon.pool("doomed")["degraded_reason"]):
            assert "exit status 7" in text, text
        scene.injected("a worker that cannot load its module")
        answer = scene.ask(daemon, "POST", "/agents/spawn", daemon.spawn_body("broken"))
        assert answer.status_code == 503 and "/nowhere/module.so" in answer.json()["detail"], answer.text
        scene.recovered(lambda: "/nowhere/module.so" in (daemon.pool("broken")["degraded_reason"] or ""), "the reason")
        clients.hold()
        master, begin = daemon.master_pid(), time.monotonic()
        used = cpu_seconds(master)
        time.sleep(5)
        percent = (cpu_seconds(master) - used) / (time.monotonic() - begin) * 100
        scene.figures.append(f"master's CPU {percent:.1f} %")
        assert percent < 2, f"the master is not calm: {percent:.1f} % of a CPU"
        clients.go_on()


def mass_death(scene):
    number = 500
    calm = {"heartbeat_interval_ms": 2000, "worker_lease_ms": 20000, "spawn_timeout_ms": 60000}
    pools = {"crowd": {**programs(), **calm, "max_agents_per_worker": 100},
             "single": {**two_pools()["modules"], **calm, "max_agents_per_worker": 1, "max_workers": number + 20}}
    daemon = scene.start(pools=pools)
    crowd = scene.spawn(daemon, "crowd", number)
    with scene.clients(daemon, ["crowd"], crowd[:4], number=2) as clients:
        clients.hold()
        after = next_epochs(daemon, [agent["agent_id"] for agent in daemon.agents(pool_name="crowd")])
        pids = [pid for agent in crowd for pid in [daemon.whoami(agent["agent_id"])["pid"]]]
        clients.go_on()
        scene.injected("kill -9 of 500 agents")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        victims = {agent["agent_id"]: after[agent["agent_id"]] for agent in crowd}
        scene.recovered(lambda: running_at(daemon, victims), "all of them to run again")
        clients.hold()
        singles = scene.spawn(daemon, "single", number)
        after = next_epochs(daemon, [agent["agent_id"] for agent in singles])
        pids = [worker["pid"] for worker in daemon.workers("single")]
        assert len(pids) == number
        clients.go_on()
        scene.injected("kill -9 of 500 workers")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        scene.recovered(lambda: running_at(daemon, after), "all of theirs to run again")
        for agent in singles:
            scene.terminate(daemon, agent)
