"""The disk of the log is full, or that of run_dir: the service goes on, what was lost is said once there is room again."""
import collections
import os
import pathlib
import re
import time

import pytest
import requests

from daemon import BUILD, command_pool, module_pool, wait_for


@pytest.fixture
def filled(small_disk):
    """A context: no byte is left on small_disk while it lasts."""
    class Filled:
        ballast = small_disk / "ballast"

        def __enter__(self):
            with open(self.ballast, "wb", buffering=0) as file, pytest.raises(OSError):
                for size in (4096, 1):
                    try:
                        while True:
                            file.write(bytes(size))
                    except OSError:
                        if size == 1:
                            raise

        def __exit__(self, *_):
            self.ballast.unlink()
    return Filled()


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def test_service_goes_on_when_the_log_disk_is_full(small_disk, filled, make_daemon):
    log = small_disk / "log"
    pools = {"programs": command_pool(BUILD / "example-agent"), "modules": module_pool(),
             "loud": command_pool("/bin/sh", "-c", "while sleep 0.01; do echo loud >&2; done")}
    daemon = make_daemon(pools=pools, log={"file": str(log), "level": "debug"})
    agents = daemon.spawn("programs", count=3)["agents"] + daemon.spawn("modules", count=3)["agents"]
    daemon.spawn("loud", count=3)
    family = [daemon.process.pid, daemon.master_pid(), *daemon.worker_pids("programs").values(), *daemon.worker_pids("modules").values()]
    with filled:
        for _ in range(20):
            new = daemon.spawn("modules")
            assert daemon.whoami(new["agent_id"])["agent_id"] == new["agent_id"]
            assert daemon.terminate(new).status_code == 200
        begin, used = time.monotonic(), cpu_seconds(family)
        beats = {worker["process_id"]: daemon.redis.hget(f"process:{worker['process_id']}", "last_heartbeat") for worker in daemon.workers("programs")}
        wait_for(lambda: all(daemon.redis.hget(f"process:{process_id}", "last_heartbeat") != beat for process_id, beat in beats.items()),
                 "the next heartbeats")
        share = (cpu_seconds(family) - used) / (time.monotonic() - begin)
        assert share < 0.5 * len(family), f"no line of log is worth so much of the processors: {share:.2f}"
        lines = log.read_text().splitlines()
    for agent in agents:
        daemon.whoami(agent["agent_id"])
        assert daemon.terminate(agent).status_code == 200

    def losses():
        found = collections.defaultdict(list)
        for line in log.read_text(errors="replace").splitlines()[len(lines) - 1:]:
            match = re.search(r" (\w+)\[\d+\] log\.dropped lines=(\d+)", line)
            if match:
                found[match[1]].append(int(match[2]))
        return found
    found = wait_for(lambda: {"master", "worker"} <= losses().keys() and losses(), "the loss to be said")
    assert len(found["master"]) == 1 and found["master"][0] >= 40, found
    assert daemon.is_ready()


def is_alive(daemon):
    try:
        return daemon.get("/livez").status_code == 200
    except requests.ConnectionError:  # the connection was the dead master's
        return False


def test_agents_go_on_when_the_disk_of_run_dir_is_full(small_disk, filled, make_daemon):
    run_dir = small_disk / "run"
    daemon = make_daemon(start=False, pools={"programs": command_pool(BUILD / "example-agent"), "modules": module_pool()},
                         run_dir=str(run_dir), database={"url": f"sqlite:{run_dir}/agentpool.db", "max_wait_ms": 1500})
    daemon.run_dir = run_dir
    daemon.start()
    agents = daemon.spawn("programs", count=3)["agents"] + daemon.spawn("modules", count=3)["agents"]
    pids = {agent["agent_id"]: daemon.whoami(agent["agent_id"])["pid"] for agent in agents}
    with filled:
        refused = wait_for(lambda: [answer for answer in [daemon.post("/agents/spawn", daemon.spawn_body("modules"))]
                                    if answer.status_code != 200], "a spawn to be refused")[0]
        assert refused.status_code == 503 and "disk full" in refused.json()["detail"], refused.text
        assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in pids} == pids
        os.kill(daemon.master_pid(), 9)
        wait_for(lambda: is_alive(daemon), "the next master")
    wait_for(daemon.is_ready, "the store to be back")
    wait_for(lambda: {agent["agent_id"] for agent in daemon.agents() if agent["state"] == "idle"} >= pids.keys(), "the agents to be known")
    assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in pids} == pids
    daemon.spawn("modules")
