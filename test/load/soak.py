"""What scripts/soak runs; see there."""
import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import redis  # noqa: E402
import requests  # noqa: E402

from daemon import BUILD, TOP, Daemon, command_pool, descendants, module_pool, wait_for  # noqa: E402

HEARTBEAT_MS = 200
PROGRAMS = 4            # agents with a process of their own, which live all along
CHUNK = 500             # cycles of one load
SETTLE_S = 120
MIB = 1 << 20
# Figure -> how much more than before it may be: absolute, and as a part of what it was.
BOUNDS = {
    "processes": (0, 0), "threads": (0, 0), "zombies": (0, 0), "workers": (0, 0), "agents": (0, 0), "redis keys": (0, 0),
    "redis connections": (0, 0), "forker files": (0, 0), "master files": (2, 0), "worker files": (0, 0),
    "forker rss": (1 * MIB, 0.5), "master rss": (40 * MIB, 0), "workers rss": (2 * MIB, 0.5), "redis memory": (2 * MIB, 0.5),
}
# (The master: 32 MiB are the page cache of SQLite, which fills as the history grows.)
BYTES_PER_CYCLE = 6000  # of the history, which is kept for database.history_days

class Soak:
    def __init__(self, daemon, options):
        self.daemon, self.options, self.random = daemon, options, random.Random(options.seed)
        self.faults, self.failures, self.requests = collections.Counter(), collections.Counter(), 0

    # --- faults ---

    def kill_worker(self):
        os.kill(self.random.choice(list(self.daemon.worker_pids("soak").values())), signal.SIGKILL)

    def kill_program(self):
        os.kill(self.random.choice([pid for pid, title in descendants(self.daemon.process.pid).items()
                                    if "example-agent" in title]), signal.SIGKILL)

    def kill_master(self):
        os.kill(self.daemon.find_master(), signal.SIGKILL)

    def kill_redis(self):
        os.kill(next(pid for pid, title in descendants(self.daemon.process.pid).items() if "redis-server" in title),
                signal.SIGKILL)

    def flush(self):
        self.daemon.redis.flushall()

    def reload(self):
        self.daemon.process.send_signal(signal.SIGHUP)

    def fault(self):
        kinds = [self.kill_worker] * 4 + [self.kill_program] * 4 + [self.kill_master, self.kill_redis, self.flush, self.reload]
        kind = self.random.choice(kinds)
        # What it was meant for may be away because of the fault before.
        with contextlib.suppress(IndexError, TypeError, StopIteration, ProcessLookupError, redis.ConnectionError):
            kind()
            self.faults[kind.__name__] += 1

    # --- load ---

    def load(self, cycles):
        """One load with faults; what it leaves because a request failed is ended."""
        report = self.daemon.directory / "report.json"
        report.unlink(missing_ok=True)
        loader = subprocess.Popen([BUILD / "loadgen", "--url", self.daemon.url, "--pool", "soak", "--role", "tester", "--mode",
                                   "mix", "--spawns", str(cycles), "--clients", str(self.options.clients), "--report", report],
                                  stdout=subprocess.DEVNULL)
        while loader.poll() is None:
            time.sleep(self.random.uniform(0.2, 1.2))
            if loader.poll() is None:
                self.fault()
        for line in report.read_text().splitlines():
            said = json.loads(line)
            self.requests += sum(said.get("statuses", {}).values())
            self.failures.update({status: count for status, count in said.get("statuses", {}).items() if status[0] != "2"})

    def end_leftovers(self):
        def ended():
            try:
                left = [agent["agent_id"] for agent in self.daemon.agents(pool_name="soak")]
                for at in range(0, len(left), 500):
                    self.daemon.post("/agents/bulk/terminate", left[at:at + 500])
                return not left
            except (requests.RequestException, AssertionError):
                return False
        wait_for(ended, "the agents that failed requests left behind to end", SETTLE_S, 0.2)

    def is_settled(self):
        with contextlib.suppress(requests.RequestException, redis.RedisError, ValueError, KeyError):
            pools = [self.daemon.pool(name) for name in ("soak", "programs")]
            registered = {name.split(":")[1] for name in self.live_keys() if name.startswith("process:") and name.count(":") == 1}
            return (self.daemon.is_ready() and not any(pool["degraded"] or pool["waiting_spawns"] for pool in pools)
                    and [pool["process_count"] for pool in pools] == [2, 1] and pools[1]["agents_by_state"]["idle"] == PROGRAMS
                    and len(registered) == 3)
        return False

    def settle(self):
        self.end_leftovers()
        wait_for(self.is_settled, "two empty workers, one with programs, nothing on its way", SETTLE_S, 0.2)
        time.sleep(10 * HEARTBEAT_MS / 1000)  # the last reports, sweeps and retired connections

    # --- figures ---

    def live_keys(self):
        """Without the tombstones of dead workers, which Redis forgets after an hour."""
        connection = self.daemon.redis
        names = [name for name in connection.scan_iter(count=1000)]
        return [name for name in names if not (name.count(":") == 1 and name.startswith("process:")
                and connection.hget(name, "status") == "exited") and not name.endswith(":exited")]

    def measure(self):
        figures = collections.Counter()
        everybody = {self.daemon.process.pid: "forker", **descendants(self.daemon.process.pid)}
        for pid, title in everybody.items():
            directory = pathlib.Path(f"/proc/{pid}")
            status = dict(line.split(":", 1) for line in (directory / "status").read_text().splitlines())
            role = ("forker" if title == "forker" else "master" if title.startswith("agentpoold: master")
                    else "worker" if title.startswith("agentpoold: worker") else "other")
            figures["processes"] += 1
            figures["threads"] += int(status["Threads"])
            figures["zombies"] += "Z" in status["State"]
            if role != "other":
                figures[f"{role} files"] += len(list((directory / "fd").iterdir()))
                figures["workers rss" if role == "worker" else f"{role} rss"] += int(status["VmRSS"].split()[0]) * 1024
        information = self.daemon.redis.info()
        figures["redis keys"] = len(self.live_keys())
        figures["redis memory"] = information["used_memory"]
        figures["redis connections"] = information["connected_clients"]
        figures["workers"] = sum(self.daemon.pool(name)["process_count"] for name in ("soak", "programs"))
        figures["agents"] = len(self.daemon.agents())
        figures["sqlite"] = (self.daemon.run_dir / "agentpool.db").stat().st_size
        return figures


def say(before, after, cycles):
    """The table; returns what is out of its bounds."""
    passed = []
    print(f"{'figure':20} {'before':>12} {'after':>12} {'delta':>10}   allowed")
    for name, (absolute, part) in BOUNDS.items():
        delta, allowed = after[name] - before[name], max(absolute, int(part * before[name]))
        if delta > allowed:
            passed.append(name)
        print(f"{name:20} {before[name]:12} {after[name]:12} {delta:+10}   {allowed:+}{'   TOO MUCH' if delta > allowed else ''}")
    grown = (after["sqlite"] - before["sqlite"]) / cycles
    print(f"{'sqlite':20} {before['sqlite']:12} {after['sqlite']:12} {after['sqlite'] - before['sqlite']:+10}   "
          f"{grown:.0f} bytes a cycle of history, {BYTES_PER_CYCLE} allowed")
    return passed + ["sqlite"] * (grown > BYTES_PER_CYCLE)


def soak(daemon, options):
    run = Soak(daemon, options)
    for _ in range(PROGRAMS):
        daemon.spawn("programs")
    started = time.monotonic()
    for at in range(0, options.warm_up, CHUNK):
        run.load(min(CHUNK, options.warm_up - at))
    run.settle()
    before = run.measure()
    print(f"warm-up: {options.warm_up} cycles in {time.monotonic() - started:.0f} s, faults {dict(run.faults)}", flush=True)
    started, requests_before = time.monotonic(), run.requests
    run.faults.clear()
    for at in range(0, options.cycles, CHUNK):
        run.load(min(CHUNK, options.cycles - at))
        if at // CHUNK % 20 == 19:
            print(f"  {at + CHUNK} cycles, {(at + CHUNK) / (time.monotonic() - started):.0f}/s", flush=True)
    lasted = time.monotonic() - started
    run.settle()
    after = run.measure()
    print(f"{options.cycles} cycles (spawn, message, terminate) in {lasted:.0f} s: {options.cycles / lasted:.0f} cycles/s, "
          f"{(run.requests - requests_before) / lasted:.0f} requests/s; answered with an error: {dict(run.failures)}")
    print(f"faults: {sum(run.faults.values())}: {dict(run.faults)}")
    passed = say(before, after, options.cycles)
    checked = subprocess.run([TOP / "scripts/check", "--run-dir", daemon.run_dir], check=False).returncode
    if passed:
        print(f"soak: FAILED: {', '.join(passed)}")
    return 1 if passed or checked else 0


def main():
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument("--cycles", type=int, default=50000)
    parser.add_argument("--warm-up", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the directory of the run")
    options = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ap-soak-", dir="/tmp"))
    pools = {
        "soak": module_pool(min_workers=2, max_workers=10, max_agents_per_worker=20, heartbeat_interval_ms=HEARTBEAT_MS,
                            worker_idle_timeout_ms=1000, worker_lease_ms=10000, spawn_timeout_ms=20000),
        "programs": command_pool(BUILD / "example-agent", min_workers=1, max_workers=1, heartbeat_interval_ms=HEARTBEAT_MS,
                                 restart={"intensity": 1000000, "delay_ms": 10, "delay_max_ms": 100}),
    }
    daemon = Daemon(directory / "d", pools=pools, log={"level": "warn"})
    try:
        daemon.start()
        daemon.holds_contract = False
        status = soak(daemon, options)
    finally:
        for problem in daemon.finish():
            print(f"soak: {problem}")
            status = 1
        if not options.keep:
            shutil.rmtree(directory)
    return status


if __name__ == "__main__":
    sys.exit(main())
