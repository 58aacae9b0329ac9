"""Limits, cgroups, memory, processes and descriptors: what agents and workers may use, and what happens when there is no more."""
import concurrent.futures
import os
import pathlib
import resource
import signal
import socket
import subprocess
import tempfile
import time

import pytest
import requests

from daemon import BUILD, TOP, Daemon, command_pool, module_pool, processes, wait_for
from users import as_others

CONTROLLERS = pathlib.Path("/sys/fs/cgroup")
MIB = 1 << 20


def status_of(pid, name):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(name + ":"))


def soft_limit(pid, name):
    line = next(line for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith(name))
    return line[len(name):].split()[0]


def mount_of(kind, option=""):
    """Where a cgroup file system of that kind is mounted, writable; None: this machine has none."""
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, point, found, options, *_ = line.split()
        if found == kind and option in [*options.split(","), ""] and os.access(point, os.W_OK):
            return pathlib.Path(point)
    return None


def new_cgroup(kind, option=""):
    mount = mount_of(kind, option)
    if not mount:
        pytest.skip(f"this machine offers no {kind} {option} to write to")
    return pathlib.Path(tempfile.mkdtemp(prefix="agentpool-test-", dir=mount))


def remove_cgroup(path):
    """Bottom up; what is in it is dying."""
    for below in sorted(path.rglob("*"), key=lambda p: -len(p.parts)):
        if below.is_dir():
            below.rmdir()
    wait_for(lambda: not (path / "cgroup.procs").read_text(), f"{path} to be empty")
    path.rmdir()


@pytest.fixture
def unified():
    """A directory of cgroup v2, as a manager of cgroups would delegate one."""
    path = new_cgroup("cgroup2")
    yield path
    remove_cgroup(path)


@pytest.fixture
def controlled():
    """controlled(controller, file=limit): a cgroup v1 of that controller."""
    made = []

    def make(controller, **limits):
        path = new_cgroup("cgroup", controller)
        made.append(path)
        for name, value in limits.items():
            (path / f"{controller}.{name}").write_text(str(value))
        return path

    yield make
    for path in made:
        remove_cgroup(path)


def put(cgroup, *pids):
    for pid in pids:
        (cgroup / "cgroup.procs").write_text(str(pid))


def cgroup_of(pid):
    return next(line[3:] for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))


def reload(daemon, status, **settings):
    """With other settings, until /readyz answers with that status."""
    daemon.config |= settings
    daemon.write_config()
    daemon.process.send_signal(signal.SIGHUP)

    def answers():
        try:
            return daemon.get("/readyz").status_code == status
        except requests.ConnectionError:
            return False
    wait_for(answers, "the new settings")


def gone(pid):
    return pid not in processes()


# --- limits and cgroups ---

@pytest.mark.sanitize
def test_agents_have_the_limits_of_the_start_and_of_their_pool(make_daemon, odd_pool):
    daemon = make_daemon(pools={"free": odd_pool(), "tight": odd_pool(limits={"open_files": 50, "memory_bytes": 512 * MIB, "processes": 9})})
    free, tight = (daemon.whoami_of_odd(pool) for pool in ("free", "tight"))
    assert soft_limit(free, "Max open files") == str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    assert soft_limit(daemon.process.pid, "Max open files") == str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert soft_limit(tight, "Max open files") == "50"
    assert soft_limit(tight, "Max data size") == str(512 * MIB)
    assert soft_limit(free, "Max core file size") == "0"
    assert "limits.not_enforced pool=tight limits=processes" in daemon.log()


@pytest.mark.sanitize
def test_everything_of_an_agent_is_in_its_cgroup_and_gone_with_it(unified, make_daemon, odd_pool):
    daemon = make_daemon(cgroup=str(unified), pools={"odd": odd_pool(stop_grace_ms=100)})
    first, second = daemon.spawn("odd"), daemon.spawn("odd")
    left = [daemon.message(agent["agent_id"], "daemon").json()["result"] for agent in (first, second)]
    below = cgroup_of(left[0]).partition(unified.name)[2]
    assert below == f"/agents/{first['process_id']}/{first['agent_id']}-1"
    for pid in (daemon.process.pid, daemon.master_pid(), *daemon.worker_pids("odd").values()):
        assert cgroup_of(pid).endswith(f"{unified.name}/daemon")
    assert daemon.terminate(first).status_code == 200
    assert gone(left[0]) and not gone(left[1])
    assert not (unified / below[1:]).exists()


@pytest.mark.sanitize
def test_cgroups_of_dead_workers_are_removed_and_agents_run_again(unified, make_daemon, odd_pool):
    daemon = make_daemon(cgroup=str(unified), pools={"odd": odd_pool(heartbeat_interval_ms=100, worker_lease_ms=60000)})
    agent = daemon.spawn("odd")
    left = daemon.message(agent["agent_id"], "daemon").json()["result"]
    os.kill(*daemon.worker_pids("odd").values(), signal.SIGKILL)
    wait_for(lambda: daemon.agent(agent["agent_id"])["epoch"] == 2 and daemon.agent(agent["agent_id"])["state"] == "idle",
             "the agent to run again")
    wait_for(lambda: gone(left), "what it left behind to be gone")
    wait_for(lambda: [path.name for path in (unified / "agents").iterdir() if path.is_dir()] == list(daemon.worker_pids("odd")),
             "the dead worker's cgroups to be gone")
    daemon.process.send_signal(signal.SIGUSR2)
    wait_for(lambda: "upgrade.done" in daemon.log(), "the upgrade")
    wait_for(daemon.is_ready, "the new master")
    again = daemon.whoami_of_odd("odd")
    assert f"{unified.name}/agents/" in cgroup_of(again)
    assert soft_limit(again, "Max open files") == str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


@as_others
def test_agents_have_cgroups_when_root_is_given_up(unified, make_daemon, run_base):
    run_base.chmod(0o755)
    unified.chmod(0o755)
    pools = {"same": command_pool(BUILD / "example-agent"), "own": command_pool(BUILD / "example-agent", user="games")}
    daemon = make_daemon(cgroup=str(unified), user="nobody", pools=pools)
    for pool in [*pools, None, *pools]:
        if not pool:
            daemon.process.send_signal(signal.SIGUSR2)
            wait_for(lambda: "upgrade.done" in daemon.log(), "the upgrade")
            wait_for(daemon.is_ready, "the new master")
            continue
        agent = daemon.spawn(pool)
        program = daemon.whoami(agent["agent_id"])["pid"]
        assert cgroup_of(program).endswith(f"{unified.name}/agents/{agent['process_id']}/{agent['agent_id']}-1"), pool
        assert daemon.terminate(agent).status_code == 200
        agent = daemon.spawn(pool)
        os.kill(daemon.worker_pids(pool)[agent["process_id"]], signal.SIGKILL)
        wait_for(lambda: (now := daemon.agent(agent["agent_id"]))["epoch"] == 2 and now["state"] == "idle", "it to run again")
        assert cgroup_of(daemon.whoami(agent["agent_id"])["pid"]).endswith(f"{agent['agent_id']}-2"), pool  # in a new worker
        wait_for(lambda: not (unified / "agents" / agent["process_id"]).exists(), "the dead worker's cgroups to be gone")


def test_a_cgroup_belongs_to_one_daemon(unified, make_daemon, run_base):
    make_daemon(cgroup=str(unified))
    other = Daemon(run_base / "other", cgroup=str(unified)).launch()
    assert other.process.wait(timeout=30) == 78
    assert "another daemon does" in other.log()


def test_says_so_when_the_cgroup_cannot_be_used(run_base):
    daemon = Daemon(run_base / "d", cgroup=str(run_base)).launch()
    assert daemon.process.wait(timeout=30) == 78
    assert f"cannot use the cgroup {run_base}: Operation not supported" in daemon.log()


# --- accounting ---

@pytest.mark.sanitize
def test_tells_what_agents_and_their_workers_use(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(), "module": module_pool()})
    eater, idler = daemon.spawn("odd"), daemon.spawn("odd")
    daemon.call_odd(eater, "eat", bytes=100 * MIB)
    daemon.call_odd(eater, "fork_daemons", number=3)
    before = daemon.agent(idler["agent_id"])
    now = daemon.agent(eater["agent_id"])
    assert now["processes"] == 4 and before["processes"] == 1
    assert 0 < before["rss_bytes"] and 100 * MIB < now["rss_bytes"] < 1000 * MIB
    assert 0 < before["cpu_ms"] < now["cpu_ms"] + 1000
    worker, = daemon.workers("odd")
    assert worker["agents_processes"] == 5 and worker["agents_rss_bytes"] > 100 * MIB
    assert worker["agents_cpu_ms"] >= now["cpu_ms"]
    listed = {agent["agent_id"]: agent for agent in daemon.agents(pool_name="odd")}
    assert listed[eater["agent_id"]]["processes"] == 4  # as of the last time that anybody asked
    module = daemon.agent(daemon.spawn("module")["agent_id"])
    assert (module["cpu_ms"], module["rss_bytes"], module["processes"]) == (None, None, None)
    assert daemon.workers("module")[0]["agents_processes"] == 0
    daemon.message(eater["agent_id"], "exit", {"status": 1})
    wait_for(lambda: daemon.agent(eater["agent_id"])["epoch"] == 2 and daemon.agent(eater["agent_id"])["processes"] == 1,
             "its next life")


def test_answers_when_a_worker_does_not_say_what_its_agents_use(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool()})
    agent = daemon.spawn("odd")
    worker, = daemon.worker_pids("odd").values()
    os.kill(worker, signal.SIGSTOP)
    try:
        assert daemon.agent(agent["agent_id"])["processes"] is None
        assert daemon.workers("odd")[0]["agents_processes"] == 0
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_for(lambda: daemon.agent(agent["agent_id"])["processes"] == 1, "its answer")


# --- out of memory ---

def test_names_memory_when_the_kernel_kills_an_agent(controlled, make_daemon, odd_pool):
    memory = controlled("memory", limit_in_bytes=400 * MIB)
    daemon = make_daemon(pools={"odd": odd_pool(restart={"policy": "temporary"})})
    agent, other = daemon.spawn("odd"), daemon.spawn("odd")
    put(memory, daemon.call_odd(agent, "whoami")["pid"])
    assert daemon.message(agent["agent_id"], "eat", {"bytes": 500 * MIB}).status_code == 503
    wait_for(lambda: daemon.agent(agent["agent_id"])["state"] == "failed", "its end")
    assert daemon.agent(agent["agent_id"])["last_exit"] == {
        "code": -1, "signal": 9, "reason": "out of memory: killed by the kernel"}
    assert daemon.agent(other["agent_id"])["epoch"] == 1 and daemon.agent(other["agent_id"])["state"] == "idle"


def test_names_memory_when_the_kernel_kills_a_worker(controlled, make_daemon, odd_pool):
    memory = controlled("memory", limit_in_bytes=MIB // 2)
    daemon = make_daemon(pools={"odd": odd_pool(max_agents_per_worker=1)})
    agent, other = daemon.spawn("odd"), daemon.spawn("odd")
    put(memory, daemon.worker_pids("odd")[agent["process_id"]])
    body = {"jsonrpc": "2.0", "id": 1, "method": "echo", "params": {"x": "x" * 900000}}
    wait_for(lambda: daemon.post(f"/agents/{agent['agent_id']}/messages", body).status_code == 503, "its end")
    wait_for(lambda: daemon.agent(agent["agent_id"])["epoch"] == 2, "the agent to be placed again")
    assert daemon.agent(agent["agent_id"])["last_exit"]["reason"] == "its worker ended: out of memory: killed by the kernel"
    assert daemon.agent(other["agent_id"])["epoch"] == 1


def test_names_memory_when_an_agent_is_over_its_limit(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(restart={"policy": "temporary"}, limits={"memory_bytes": 512 * MIB})})
    agent, other = daemon.spawn("odd"), daemon.spawn("odd")
    while daemon.message(agent["agent_id"], "eat", {"bytes": 32 * MIB}).status_code == 200:
        pass
    wait_for(lambda: daemon.agent(agent["agent_id"])["state"] == "failed", "its end")
    reason = daemon.agent(agent["agent_id"])["last_exit"]["reason"]
    assert reason.startswith("exit status 1, probably out of memory: it used 4") and "limits.memory_bytes" in reason
    assert daemon.agent(other["agent_id"])["epoch"] == 1 and daemon.agent(other["agent_id"])["state"] == "idle"


@pytest.mark.skipif("address" in str(BUILD), reason="the address sanitizer needs more than any limit")
def test_names_memory_when_a_worker_is_over_its_limit(make_daemon, odd_pool, run_base):
    path = run_base / "hungry.so"
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{TOP}/worker", "-o", path, TOP / "test/system/agents/hungry_module.c"], check=True)
    pool = module_pool(path, heartbeat_interval_ms=50, worker_lease_ms=60000, worker_limits={"memory_bytes": 128 * MIB})
    daemon = make_daemon(pools={"hungry": pool, "odd": odd_pool()})
    agent, other = daemon.spawn("hungry"), daemon.spawn("odd")

    def known():
        return daemon.workers("hungry")[0]["rss_bytes"]
    while known() < 100 * MIB:  # the heartbeats tell
        before = known()
        assert daemon.message(agent["agent_id"], "eat").status_code == 200
        wait_for(lambda: known() > before, "a heartbeat")
    wait_for(lambda: daemon.message(agent["agent_id"], "eat").status_code == 503, "the end")
    wait_for(lambda: daemon.agent(agent["agent_id"])["epoch"] == 2, "the agent to be placed again")
    reason = daemon.agent(agent["agent_id"])["last_exit"]["reason"]
    assert reason.startswith("its worker ended: killed by signal 6 (ABRT), probably out of memory: it used 1"), reason
    assert "of 128 MiB (worker_limits.memory_bytes)" in reason
    assert daemon.agent(other["agent_id"])["epoch"] == 1


# --- admission ---

def test_refuses_spawns_and_goes_on_with_what_exists_when_memory_is_short(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(restart={"delay_ms": 10})})
    agent = daemon.spawn("odd")
    reload(daemon, 503, admission={"min_available_memory_percent": 100})
    for path, body in (("/agents/spawn", daemon.spawn_body("odd")), ("/agents/spawn", daemon.spawn_body("odd", count=3))):
        answer = daemon.post(path, body)
        assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
        assert "is under admission.min_available_memory_percent 100.0 %" in answer.json()["detail"]
    item, = daemon.post("/agents/bulk/spawn", [daemon.spawn_body("odd")]).json()
    assert item["status"] == 503 and "admission" in item["detail"]
    daemon.message(agent["agent_id"], "exit", {"status": 1})
    wait_for(lambda: daemon.agent(agent["agent_id"])["epoch"] == 2 and daemon.agent(agent["agent_id"])["state"] == "idle",
             "the agent to run again")
    reload(daemon, 200, admission={"min_available_memory_bytes": 1 << 20, "max_memory_pressure": 100})
    daemon.spawn("odd")


# --- nothing left ---

def spawn_until(daemon, status, pool="odd"):
    """Spawns that must succeed until one is answered with that status; (their agents, that answer)."""
    agents = []
    while True:
        answer = daemon.post("/agents/spawn", daemon.spawn_body(pool))
        if answer.status_code == status:
            return agents, answer
        assert answer.status_code == 200, answer.text
        agents.append(answer.json())


def check_refusal(daemon, answer, words):
    assert words in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    assert not daemon.pool("odd")["degraded"]


def test_refuses_and_recovers_when_an_agent_cannot_be_forked(controlled, make_daemon, odd_pool):
    pids = controlled("pids")
    daemon = make_daemon(pools={"odd": odd_pool(min_workers=1, max_agents_per_worker=50, restart={"delay_ms": 10, "intensity": 2})})
    first = daemon.spawn("odd")
    put(pids, *daemon.worker_pids("odd").values())
    (pids / "pids.max").write_text("5")
    agents, answer = spawn_until(daemon, 503)
    check_refusal(daemon, answer, "Resource temporarily unavailable")
    assert len(agents) == 4  # and their worker
    assert daemon.pool("odd")["used_capacity"] == 5
    (pids / "pids.max").write_text("4")
    daemon.message(agents[0]["agent_id"], "exit", {"status": 1})
    wait_for(lambda: "Resource temporarily unavailable" in str(daemon.agent(agents[0]["agent_id"])["last_exit"]), "the refusal")
    for _ in range(4):  # more often than restart.intensity
        epoch = daemon.agent(agents[0]["agent_id"])["epoch"]
        wait_for(lambda: daemon.agent(agents[0]["agent_id"])["epoch"] > epoch, "another try")
    (pids / "pids.max").write_text("max")
    wait_for(lambda: daemon.agent(agents[0]["agent_id"])["state"] == "idle", "the agent to run again")
    assert daemon.agent(agents[0]["agent_id"])["restarts"] == 1
    daemon.spawn("odd")
    assert daemon.agent(first["agent_id"])["epoch"] == 1


def test_refuses_and_recovers_when_a_worker_cannot_be_forked(controlled, make_daemon, odd_pool):
    pids = controlled("pids")
    daemon = make_daemon(pools={"odd": odd_pool(max_agents_per_worker=1, spawn_timeout_ms=1000)})
    daemon.spawn("odd")
    put(pids, daemon.process.pid)
    (pids / "pids.max").write_text("1")
    answer = daemon.post("/agents/spawn", daemon.spawn_body("odd"))
    assert answer.status_code == 503
    assert "fork: Resource temporarily unavailable" in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    assert daemon.pool("odd")["used_capacity"] == daemon.pool("odd")["agent_count"] == 1
    (pids / "pids.max").write_text("max")
    wait_for(lambda: daemon.post("/agents/spawn", daemon.spawn_body("odd")).status_code == 200, "a spawn to succeed")
    wait_for(lambda: not daemon.pool("odd")["degraded"], "the pool to recover")


def test_refuses_and_recovers_when_a_worker_has_no_descriptors(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(max_agents_per_worker=100, worker_limits={"open_files": 64})})
    agents, answer = spawn_until(daemon, 503)
    check_refusal(daemon, answer, "Too many open files")
    assert 8 <= len(agents) <= 16  # four each
    for agent in agents:
        assert daemon.call_odd(agent, "whoami")["epoch"] == 1
    daemon.terminate(agents[0])
    daemon.spawn("odd")


def limit_descriptors(pid, number=None):
    """Lets a process open number more, or as many as before."""
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard if number is None else used + 1 + number, hard))


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_pauses_and_recovers_when_the_master_has_no_descriptors(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(max_agents_per_worker=1, worker_start_timeout_ms=1000, spawn_timeout_ms=8000)})
    agent, master = daemon.spawn("odd"), daemon.master_pid()
    address = daemon.url.removeprefix("http://").split(":")
    limit_descriptors(master, 0)
    waiting = [socket.create_connection((address[0], int(address[1]))) for _ in range(20)]
    wait_for(lambda: "http.accept_paused" in daemon.log(), "the pause")
    before, begin = cpu_seconds(master), time.monotonic()
    assert daemon.call_odd(agent, "whoami")["epoch"] == 1  # connections that are there are served
    with concurrent.futures.ThreadPoolExecutor() as executor:  # a new worker's socket does not come through either
        spawned = executor.submit(daemon.post, "/agents/spawn", daemon.spawn_body("odd"))
        wait_for(lambda: time.monotonic() > begin + 2, "two seconds")
        used = (cpu_seconds(master) - before) / (time.monotonic() - begin)
        limit_descriptors(master)
        assert spawned.result().status_code in (200, 503)  # the pool's breaker may have opened
    wait_for(lambda: daemon.post("/agents/spawn", daemon.spawn_body("odd")).status_code == 200, "a spawn to succeed")
    assert used < 0.5, used  # 1 % when nothing else runs
    assert daemon.log().count("http.accept_paused") == 1
    for connection in waiting:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        connection.close()
    assert daemon.master_pid() == master
    print(f"master's CPU while out of descriptors: {100 * used:.1f} %")


def test_starts_again_and_serves_when_a_master_finds_no_descriptors(make_daemon, odd_pool):
    daemon = make_daemon(pools={"odd": odd_pool(max_agents_per_worker=1)})
    agents = [daemon.spawn("odd") for _ in range(6)]
    pids, workers = [daemon.call_odd(agent, "whoami")["pid"] for agent in agents], daemon.worker_pids("odd")
    said = set()
    for number in (0, 2, 4, 6):  # not even a socket to fork a master with; then ever more of what it begins with
        deaths = len(daemon.log())
        limit_descriptors(daemon.process.pid, number)
        os.kill(daemon.master_pid(), signal.SIGKILL)
        wait_for(lambda: "Too many open files" in daemon.log()[deaths:] or "EMFILE" in daemon.log()[deaths:], "the reason")
        said |= {name for name in ("master.fork_failed", "master.no_descriptors", "master.start_failed") if name in daemon.log()}
        limit_descriptors(daemon.process.pid)
        wait_for(daemon.is_ready, "a master that serves")
        assert [daemon.call_odd(agent, "whoami")["pid"] for agent in agents] == pids
    assert {"master.fork_failed", "master.no_descriptors"} <= said, said
    assert daemon.worker_pids("odd") == workers and "listen.refused" not in daemon.log()
