"""Row 34: a master, workers and Redis die at once where there are very many agents."""
import contextlib
import http.client
import multiprocessing
import os
import signal
import time
import urllib.parse

import requests

from daemon import PATIENCE, PROJECT, descendants, wait_for
from scene import modules

SIZE = "AGENTPOOL_FAULTS_AGENTS"  # WORKERSxAGENTS: so many workers with so many agents each
BULK = 1000
KILLED = 10                       # workers; one more is stopped
ROOM = 2                          # workers for what clients spawn beside
PROBE_PAUSE = 0.02                # s
PROBE_SECONDS = 10                # as master_lease_ms: who waits longer takes the master for one that hangs
QUIET = 5                         # s in which Redis would be given up again if it were too slow


def size():
    workers, each = os.environ.get(SIZE, "20x500").split("x")
    return int(workers), int(each)


def budget():
    workers, each = size()
    return 60 + workers * each // 1000


def probe(url, done, slowest):
    """In a process of its own: what it waits for is the daemon, not this interpreter."""
    address = urllib.parse.urlsplit(url)
    with contextlib.suppress(OSError):
        os.nice(-5)
    while not done.is_set():
        begin = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE)) as connection:
            with contextlib.suppress(http.client.HTTPException, ConnectionError):  # cut off with its master: the next one tells
                connection.request("GET", "/livez")
                connection.getresponse().read()
        slowest.value = max(slowest.value, time.monotonic() - begin)
        done.wait(PROBE_PAUSE)


@contextlib.contextmanager
def probes(daemon):
    """Yields the time in s that the slowest of them took so far."""
    done, slowest = multiprocessing.Event(), multiprocessing.Value("d", 0)
    prober = multiprocessing.Process(target=probe, args=(daemon.url, done, slowest))
    prober.start()
    try:
        yield slowest
    finally:
        done.set()
        prober.join()


def spawn_all(scene, daemon, count):
    item = {"project_id": PROJECT, "role_type": "many", "pool_name": "modules", "max_idle_time": 0}
    while count > 0:
        answer = daemon.post("/agents/bulk/spawn", [item] * min(count, BULK))
        assert answer.status_code == 200, answer.text
        results = answer.json()
        assert all(result["status"] == 200 for result in results), next(result for result in results if result["status"] != 200)
        scene.books[daemon].living |= {result["agent"]["agent_id"] for result in results}
        count -= len(results)


def running(daemon):
    """Agents that run, as the counts of the pool say it; 0 when nobody answers."""
    try:
        answer = daemon.get("/agents/pools/modules", timeout=PATIENCE)
    except (requests.RequestException, OSError):
        return 0
    states = answer.json()["agents_by_state"] if answer.status_code == 200 else {}
    return states.get("idle", 0) + states.get("busy", 0)


def lists(daemon, pids):
    """Whether one of these workers is still listed."""
    try:
        return bool(pids & {worker["pid"] for worker in daemon.workers("modules")})
    except (requests.RequestException, KeyError, TypeError, OSError):
        return True


def in_use(daemon):
    """Redis, again."""
    try:
        return "degraded" not in daemon.get("/readyz").json()
    except (requests.RequestException, OSError):
        return False


def healed(daemon, lost, living):
    time.sleep(0.05)  # asking is work for the master, too
    return not lists(daemon, lost) and running(daemon) >= living


def many_agents(scene):
    workers, each = size()
    pool = modules(max_agents_per_worker=each, min_workers=workers, max_workers=workers + KILLED + 1 + ROOM,
                   heartbeat_interval_ms=500, spawn_timeout_ms=60000)
    daemon = scene.start({"modules": pool})
    spawn_all(scene, daemon, workers * each)
    with scene.clients(daemon, ["modules"], number=2, most=5):
        pass
    living = len(scene.books[daemon].living)
    pids = list(daemon.worker_pids("modules").values())
    scene.dice.shuffle(pids)
    master, lost = daemon.master_pid(), set(pids[:KILLED + 1])
    redis_pid = next(pid for pid, command in descendants(daemon.process.pid).items() if command.startswith("redis-server"))
    phases = daemon.log().count("degraded.begins")
    with probes(daemon) as slowest:
        os.kill(pids[KILLED], signal.SIGSTOP)
        for pid in [master, redis_pid, *pids[:KILLED]]:
            os.kill(pid, signal.SIGKILL)
        scene.injected(f"master, {KILLED} workers and Redis killed, a worker stopped")
        scene.recovered(lambda: healed(daemon, lost, living), "all agents to run again")
        running_ms = round(1000 * (time.monotonic() - scene.begin))
        wait_for(lambda: in_use(daemon), "Redis to be used again", pause=0.1)
        used_ms = round(1000 * (time.monotonic() - scene.begin))
        time.sleep(QUIET)
    phases = daemon.log().count("degraded.begins") - phases
    assert phases <= 1, f"Redis was given up {phases} times"
    assert slowest.value < PROBE_SECONDS, f"a probe took {slowest.value:.1f} s"
    assert running(daemon) == living
    scene.figures.append(f"{living} agents in {workers} workers ran again after {running_ms} ms, Redis was used again after"
                         f" {used_ms} ms; the slowest /livez took {1000 * slowest.value:.0f} ms; phases without Redis: {phases}")
