"""A fault at each point of the path, under load: killed, stopped for a while, failed. Afterwards the seven checks hold.

CI runs a few of each kind; AGENTPOOL_TEST_FAULT_POINTS=all runs every point with every action.
"""
import fcntl
import os
import re
import signal
import subprocess
import time

import pytest

import docs
from clients import ERRORS, Clients
from daemon import BUILD, TOP, command_pool, module_pool, wait_for

ALL = os.environ.get("AGENTPOOL_TEST_FAULT_POINTS") == "all"
FEW = {("fork.before", "kill"), ("fork.after", "stop"), ("upgrade.exec", "error:ENOEXEC"), ("spawn.reserved", "error:EAGAIN"), ("spawn.answer", "kill"),
       ("worker.adopt", "kill"), ("store.before_commit", "stop"), ("agent.report", "kill"), ("worker.register", "error:EAGAIN"),
       ("redis.connect", "error:EAGAIN")}
PAUSE_S = 5 if ALL else 1
FAST = {"heartbeat_interval_ms": 300, "worker_lease_ms": 3000, "worker_idle_timeout_ms": 500,
        "restart": {"intensity": 100000, "delay_ms": 10, "delay_max_ms": 200, "healthy_seconds": 1}}
REFUSED = {"agent.start", "runtime.start", "runtime.started", "worker.begin"}  # what is refused there is the agent's fault, as far as anybody can tell


def points():
    """(point, process) as MULTIPROCESSING.md lists them."""
    table = docs.rows(docs.section((TOP / "MULTIPROCESSING.md").read_text(), "Fault points"))
    return [(docs.codes(row[0])[0], row[1], row[3]) for row in table]


def cases():
    for point, process, error in points():
        for action in ("kill", "stop", "error:EAGAIN"):
            if action.startswith("error") and not error:
                continue
            if ALL:
                yield point, action
    if not ALL:
        yield from sorted(FEW)


@pytest.fixture(scope="session")
def faulty_program():
    if BUILD not in (TOP / "build", TOP / "build/faults"):
        pytest.skip("one build of its own is enough")
    build = TOP / "build/faults"
    build.mkdir(parents=True, exist_ok=True)
    with open(build / "lock", "w") as lock:  # others test at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", "-j2", "FAULTS=1", "BUILD=build/faults", "build/faults/agentpoold"], cwd=TOP, check=True,
                       stdout=subprocess.DEVNULL)
    return build / "agentpoold"


def kill_worker(daemon):
    pids = list(daemon.worker_pids("modules").values()) + list(daemon.worker_pids("programs").values())
    if pids:
        os.kill(pids[0], signal.SIGKILL)


def kill_master(daemon):
    os.kill(daemon.master_pid(), signal.SIGKILL)


def reload(daemon):
    daemon.process.send_signal(signal.SIGHUP)


def upgrade(daemon):
    daemon.process.send_signal(signal.SIGUSR2)


def cut_redis(daemon):
    for kind in ("normal", "pubsub"):
        daemon.redis.client_kill_filter(_type=kind, skipme=True)


# What leads to a point that the load alone does not reach.
LEAD = {"fork.before": kill_worker, "fork.child": kill_worker, "fork.after": kill_worker, "upgrade.exec": upgrade, "master.start": kill_master,
        "master.ready": kill_master, "master.hand_over": reload, "restore.load": kill_master, "worker.adopt": kill_master,
        "worker.reap": kill_worker, "store.connect": kill_master, "redis.connect": cut_redis, "redis.subscribe": cut_redis,
        "worker.begin": kill_worker, "worker.register": kill_worker, "command.send": kill_master}


def strike(daemon, armed, point, action):
    """Arms the point and leads there; returns the pid of who was struck."""
    new = armed.with_name("action")
    new.write_text(action)
    new.rename(armed / point)
    led = 0
    deadline = time.monotonic() + 60
    while (armed / point).exists():
        assert time.monotonic() < deadline, f"{point} was never passed"
        if point in LEAD and time.monotonic() > led + 2 and daemon.process.poll() is None:
            LEAD[point](daemon)
            led = time.monotonic()
        time.sleep(0.01)
    found = wait_for(lambda: re.findall(rf"\[(\d+)\] fault.strike point=\S*{re.escape(point)} ", daemon.log()), "the strike to be logged")
    return int(found[-1])


def wake(pid):
    time.sleep(PAUSE_S)
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass  # somebody did not wait for it


def start_again(daemon):
    daemon.process.wait()
    daemon.launch()


def is_up(daemon):
    if daemon.process.poll() is not None:
        start_again(daemon)
    return (daemon.run_dir / "agentpoold.listen").exists() and daemon.is_ready()


def seven_checks(daemon, book, directory):
    ids = directory / "ids"
    ids.write_text("".join(f"{agent_id}\n" for agent_id in book.answered))
    done = subprocess.run([TOP / "scripts/check", "--run-dir", daemon.run_dir, "--url", daemon.url, "--ids", ids,
                           "--settle", "60"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("point,action", cases())
def test_holds_its_promises_when_struck(make_daemon, faulty_program, run_base, point, action):
    armed = run_base / "armed"
    armed.mkdir()
    pools = {"programs": command_pool(BUILD / "example-agent", **FAST), "modules": module_pool(max_agents_per_worker=5, **FAST)}
    daemon = make_daemon(start=False, pools=pools, env={"AGENTPOOL_FAULT_DIR": str(armed)}, shutdown_timeout=10)
    daemon.program = faulty_program
    daemon.start()
    targets = daemon.spawn("programs", count=4)["agents"] + daemon.spawn("modules", count=4)["agents"]
    errors = ERRORS | ({422} if point in REFUSED and action.startswith("error") else set())
    clients = Clients(daemon, pools, targets, number=3, most=8, errors=errors)
    clients.book.living |= {agent["agent_id"] for agent in targets}
    with clients:
        clients.flow()
        pid = strike(daemon, armed, point, action)
        daemon.note_processes()
        if action == "stop":
            wake(pid)
        wait_for(lambda: is_up(daemon), "the daemon to be ready", timeout=60)
        clients.flow(50)
    assert not clients.book.problems, clients.book.problems
    seven_checks(daemon, clients.book, run_base)
    rows = {agent["agent_id"]: agent["state"] for agent in daemon.agents()}
    assert all(rows.get(agent_id) in ("idle", "busy", "starting") for agent_id in clients.book.living)
