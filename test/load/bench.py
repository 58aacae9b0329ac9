"""What scripts/bench runs: each case starts a daemon of its own in a temporary directory and prints one line per figure."""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import requests  # noqa: E402

from daemon import BUILD, Daemon, command_pool, descendants, module_pool, wait_for  # noqa: E402
from postgres import Postgres  # noqa: E402

LOADGEN = BUILD / "loadgen"


@contextlib.contextmanager
def running(pool, **sections):
    """A daemon with the one pool "bench", logging little."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ap-bench-", dir="/tmp"))
    sections.setdefault("log", {"level": "warn"})
    daemon = Daemon(directory / "d", pools={"bench": pool}, **sections)
    try:
        yield daemon.start()
    finally:
        daemon.finish()
        shutil.rmtree(directory)


def load(daemon, spawns, clients, mode="spawn", ids=None):
    command = [LOADGEN, "--url", daemon.url, "--pool", "bench", "--role", "bench", "--spawns", str(spawns),
               "--clients", str(clients), "--mode", mode, "--json"]
    if ids:
        command += ["--ids", ids]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def say(what, report):
    print(f"{what:58} {report['per_second']:9.0f}/s   p50 {report['p50_ms']:8.3f}  p99 {report['p99_ms']:8.3f} ms", flush=True)


def pss_kib(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


@contextlib.contextmanager
def stores():
    """{name: database settings}: nothing durable, SQLite, PostgreSQL, PostgreSQL behind PgBouncer."""
    with Postgres() as postgres:
        yield {"none:": {"url": "none:"}, "sqlite": {}, "postgresql": {"url": postgres.url("direct")},
               "postgresql, pgbouncer": {"url": postgres.bouncer_url("pooled"), "pooled": True}}


def warm(daemon):
    wait_for(lambda: daemon.pool("bench")["process_count"] >= 10, "10 warm workers")


def bench_spawn(scale):
    """Warm: 10 workers with room for everything."""
    pool = module_pool(min_workers=10, max_workers=10, max_agents_per_worker=10000, placement="spread")
    with stores() as databases:
        for name, database in databases.items():
            with running(pool, database=database) as daemon:
                warm(daemon)
                load(daemon, 500, 50)
                say(f"module, 10 warm workers, 50 clients, {name}", load(daemon, 30000 // scale, 50))
                say(f"module, 10 warm workers, 1 client, {name}", load(daemon, 4000 // scale, 1))


def bench_command(scale):
    with running(command_pool(BUILD / "example-agent", min_workers=10, max_agents_per_worker=1000,
                              placement="spread")) as daemon:
        warm(daemon)
        say("command (C program), 10 warm workers, 50 clients", load(daemon, 2000 // scale, 50))
        say("command (C program), 10 warm workers, 1 client", load(daemon, 500 // scale, 1))


def bench_elastic(scale):
    for clients in (50, 1):
        with running(module_pool(max_workers=1000)) as daemon:
            say(f"module, from no worker, 10 agents each, {clients} client(s)", load(daemon, 1000 // scale, clients))


def bench_worker(scale):
    """One worker per agent, so each spawn includes a fork, its registration, and the agent."""
    with running(module_pool(max_agents_per_worker=1, max_workers=2000)) as daemon:
        say("module, one worker per agent (fork to ready and spawn)", load(daemon, 300 // scale, 1))


def bench_memory(scale):
    for agents in (100, 1000):
        with running(module_pool(max_workers=200)) as daemon:
            load(daemon, agents, 50)
            below = {pid: what for pid, what in descendants(daemon.process.pid).items() if "redis-server" not in what}
            total = pss_kib([daemon.process.pid, *below])
            workers = [pid for pid, what in below.items() if "worker" in what]
            print(f"memory, {agents} module agents in {len(workers)} workers: {total / 1024:.1f} MiB PSS in all "
                  f"without Redis, {pss_kib(workers) / len(workers):.0f} KiB a worker", flush=True)


def bench_message(scale):
    with running(module_pool(max_agents_per_worker=1000)) as daemon, tempfile.NamedTemporaryFile() as ids:
        load(daemon, 100, 10, ids=ids.name)
        for clients in (1, 50):
            say(f"message to a module and back, {clients} client(s)",
                load(daemon, (4000 if clients == 1 else 40000) // scale, clients, "message", ids.name))


def bench_restore(scale):
    agents = 10000 // scale
    with running(module_pool(max_agents_per_worker=1000, queue_max=100000)) as daemon:
        load(daemon, agents, 50)
        daemon.kill_everything()
        began = time.monotonic()
        daemon.start()
        wait_for(lambda: daemon.pool("bench")["agents_by_state"]["idle"] == agents, "all agents to be restored", 120)
        print(f"restore of {agents} module agents after kill -9 of everything: {time.monotonic() - began:.2f} s", flush=True)


def answers(daemon):
    with contextlib.suppress(requests.ConnectionError):
        return daemon.get("/livez").status_code == 200


def bench_master(scale):
    with running(module_pool(max_agents_per_worker=100)) as daemon:
        load(daemon, 100, 10)
        times = []
        for _ in range(20):
            pid = daemon.master_pid()
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            daemon.session.close()  # its connections died with the master; new ones wait for the next
            wait_for(lambda: answers(daemon), "the API")
            times.append((time.monotonic() - began) * 1000)
            wait_for(lambda: daemon.pool("bench")["agents_by_state"]["idle"] == 100, "all agents to be adopted")
        print(f"API after kill -9 of the master, 20 times: median {statistics.median(times):.1f} ms, "
              f"max {max(times):.1f} ms", flush=True)


def main():
    cases = {name[6:]: run for name, run in globals().items() if name.startswith("bench_")}
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: to see that it runs")
    parser.add_argument("case", nargs="*", choices=[[], *cases], help="all unless given")
    arguments = parser.parse_args()
    for name in arguments.case or cases:
        cases[name](10 if arguments.quick else 1)


if __name__ == "__main__":
    main()
