"""New programs and new settings under load: nobody's request fails, no agent notices; rollouts go on, halt and go back."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse
import uuid

import pytest

from daemon import BUILD, PATIENCE, PROJECT, command_pool, descendants, module_pool, wait_for
from stores import rows

CLIENTS = 8
RELOADS = int(os.environ.get("AGENTPOOL_TEST_RELOADS", "20"))
UPGRADES = int(os.environ.get("AGENTPOOL_TEST_UPGRADES", "20"))


@pytest.fixture
def start_copy(make_daemon, run_base):
    """start_copy(**settings) -> a daemon that runs a copy of the program, and the copy's path."""
    def start(**settings):
        program = run_base / "agentpoold"
        shutil.copy(BUILD / "agentpoold", program)
        daemon = make_daemon(start=False, **settings)
        daemon.write_config()
        with open(daemon.log_path, "ab") as log:
            daemon.process = subprocess.Popen([program, "-c", daemon.config_path], stdin=subprocess.DEVNULL, stdout=log,
                                              stderr=log, env=daemon.env)
        wait_for(daemon.is_ready, "the daemon to be ready")
        return daemon, program
    return start


def replace(program, source):
    """As a package manager does: the running program keeps its file."""
    new = program.with_name("new")
    shutil.copy(source, new)
    new.rename(program)


class Client:
    """One keep-alive connection after the other. A request that was sent and not answered is a failure, but for a connection
    that the server closed before it read anything: that request may be sent again (RFC 9110, 9.2.2; 9112, 9.3.1)."""

    def __init__(self, load, number):
        self.load, self.number, self.dice = load, number, random.Random(number)
        self.address = urllib.parse.urlsplit(load.daemon.url)
        self.connection = None

    def ask(self, path, body, headers):
        reused = self.connection is not None
        self.connection = self.connection or http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=PATIENCE)
        try:
            self.connection.request("POST", "/api/v1/agents" + path, json.dumps(body),
                                    {"Content-Type": "application/json", **headers})
            answer = self.connection.getresponse()
            text = answer.read()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.connection.close()
            self.connection = None
            if not reused:
                raise
            self.load.closed += 1
            return self.ask(path, body, headers)
        if answer.getheader("Connection", "").lower() == "close":
            self.connection.close()
            self.connection = None
        assert answer.status == 200, f"{path}: {answer.status} {text}"
        return json.loads(text)

    def run(self):
        try:
            while not self.load.done.is_set():
                self.step()
        except Exception as error:
            self.load.problems.append(f"{type(error).__name__}: {error}")
            raise

    def step(self):
        if self.dice.random() < 0.1 and len(self.load.spawned) < 600:
            agent = self.ask("/spawn", {"project_id": PROJECT, "role_type": "tester", "pool_name": "modules"},
                             {"Idempotency-Key": str(uuid.uuid4())})
            self.load.spawned.append(agent["agent_id"])
        else:
            text = str(self.dice.random())
            agent_id = self.dice.choice(self.load.targets)
            answer = self.ask(f"/{agent_id}/messages", {"jsonrpc": "2.0", "id": self.number, "method": "tools/call",
                                                        "params": {"name": "echo", "arguments": {"text": text}}}, {})
            assert (answer["id"], answer["result"]["content"][0]["text"]) == (self.number, text)
            self.load.messages += 1
        self.load.answered += 1


class Load:
    def __init__(self, daemon, targets):
        self.daemon, self.targets = daemon, targets
        self.spawned, self.problems, self.answered, self.messages, self.closed = [], [], 0, 0, 0
        self.done = threading.Event()

    @contextlib.contextmanager
    def running(self):
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as executor:
            clients = [executor.submit(Client(self, number).run) for number in range(CLIENTS)]
            try:
                self.flow()
                yield
                self.flow()
            finally:
                self.done.set()
            for client in clients:
                client.result()

    def flow(self, number=50):
        before = self.answered
        wait_for(lambda: self.answered > before + number or self.problems, "requests to be answered")
        assert not self.problems, self.problems


def two_pools():
    return {"programs": command_pool(BUILD / "example-agent"), "modules": module_pool(max_agents_per_worker=50)}


def open_files(daemon):
    """Of the forker, but for the one that it keeps for each worker, and of each worker of programs."""
    return [own_descriptors(daemon)] + [len(os.listdir(f"/proc/{pid}/fd")) for pid in daemon.worker_pids("programs").values()]


def exactly_there(daemon, load, pids):
    """What was answered is there, once; the programs are those from the beginning."""

    def executions():
        return dict(rows(daemon, "SELECT status, count(*) FROM agent_executions GROUP BY status"))
    # One for each that was answered: none was begun and cut off. The first ones asked for the programs.
    wait_for(lambda: executions() == {"completed": str(load.messages + len(pids))}, f"{load.messages} executions, not {executions()}")
    assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in load.targets} == pids
    wait_for(lambda: daemon.pool("modules")["agents_by_state"]["idle"] == len(load.spawned), "all spawned to run")
    assert {agent["agent_id"] for agent in daemon.agents(pool_name="modules")} == set(load.spawned)


def test_no_request_fails_when_upgraded_again_and_again_under_load(start_copy):
    daemon, program = start_copy(pools=two_pools())
    targets = [agent["agent_id"] for agent in daemon.spawn("programs", count=12)["agents"]]
    pids = {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in targets}
    files = open_files(daemon)
    load = Load(daemon, targets)
    with load.running():
        for i in range(1, UPGRADES + 1):
            replace(program, BUILD / "agentpoold")
            master = daemon.master_pid()
            daemon.process.send_signal(signal.SIGUSR2)
            wait_for(lambda: daemon.log().count("upgrade.done") == i and daemon.master_pid() not in (None, master)
                     and daemon.is_ready(), f"upgrade {i}")
            load.flow()
    exactly_there(daemon, load, pids)
    assert "master.died" not in daemon.log()
    # The program before is kept open, to go back to.
    wait_for(lambda: open_files(daemon) == [files[0] + 1, *files[1:]], "as many open files as before")


@pytest.mark.sanitize
def test_no_request_fails_when_reloaded_again_and_again_under_load(make_daemon):
    daemon = make_daemon(pools=two_pools())
    targets = [agent["agent_id"] for agent in daemon.spawn("programs", count=12)["agents"]]
    pids = {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in targets}
    files = open_files(daemon)
    load = Load(daemon, targets)
    with load.running():
        for i in range(1, RELOADS + 1):
            daemon.config["pools"]["programs"]["max_agents_per_worker"] = 11 + i % 20
            daemon.write_config()
            master = daemon.master_pid()
            daemon.process.send_signal(signal.SIGHUP)
            wait_for(lambda: daemon.master_pid() not in (None, master) and daemon.is_ready(), f"reload {i}")
            load.flow()
        daemon.config_path.write_text("{")
        master, refusals = daemon.master_pid(), daemon.log().count("config.kept")
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: daemon.log().count("config.kept") > refusals, "the bad file to be refused")
        load.flow()
        assert daemon.master_pid() == master
    exactly_there(daemon, load, pids)
    assert "master.died" not in daemon.log()
    wait_for(lambda: open_files(daemon) == files, "as many open files as before")
    daemon.write_config()
    daemon.spawn("programs", count=60)
    wait_for(lambda: max(worker["agents"] for worker in daemon.workers("programs")) == 11 + RELOADS % 20, "a worker of the new size")


@pytest.mark.sanitize
def test_goes_on_with_the_settings_of_the_last_reload_when_the_file_is_broken(start_copy):
    daemon, program = start_copy(pools={"first": module_pool()})
    daemon.config["pools"]["added"] = module_pool(max_agents_per_worker=7)
    daemon.config["server"]["max_body_bytes"] = 4096
    daemon.write_config()
    master = daemon.master_pid()
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: daemon.find_master() not in (None, master) and daemon.is_ready(), "the reload")
    agents = {agent["agent_id"] for agent in daemon.spawn("added", count=3)["agents"]}
    workers = daemon.worker_pids("added")
    assert (daemon.run_dir / "agentpoold.config").stat().st_mode & 0o777 == 0o600
    daemon.config_path.write_text("{")

    def same_as_before():
        wait_for(daemon.is_ready, "the next master")
        assert {agent["agent_id"] for agent in daemon.agents(pool_name="added")} == agents
        assert daemon.worker_pids("added") == workers and daemon.workers("added")[0]["capacity"] == 7
        assert daemon.post("/agents/spawn", {"filler": "x" * 5000}).status_code == 413

    for number in range(1, 3):  # the second time nothing but the settings kept says what they are
        os.kill(master := daemon.master_pid(), signal.SIGKILL)
        wait_for(lambda: daemon.find_master() not in (None, master) and daemon.log().count("right last") == number, "another master")
        same_as_before()
    daemon.stop()
    assert not (daemon.run_dir / "agentpoold.config").exists()


@pytest.mark.sanitize
@pytest.mark.parametrize("broken", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\nkill -9 $$\n", "\x7fELF but not really", None])
def test_nothing_changes_when_the_new_program_is_broken(start_copy, broken):
    daemon, program = start_copy(pools=two_pools())
    agent = daemon.spawn("programs")
    before, master = daemon.whoami(agent["agent_id"]), daemon.master_pid()
    files = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    program.unlink()
    if broken is not None:
        program.write_text(broken)
        program.chmod(0o755)
    for i in range(1, 4):
        daemon.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: daemon.log().count("upgrade.refused") == i, "the refusal")
    assert daemon.master_pid() == master
    assert daemon.whoami(agent["agent_id"]) == before
    daemon.spawn("modules")
    assert len(os.listdir(f"/proc/{daemon.process.pid}/fd")) <= files + 1  # the new worker's socket
    replace(program, BUILD / "agentpoold")
    daemon.process.send_signal(signal.SIGUSR2)
    wait_for(lambda: "upgrade.done" in daemon.log() and daemon.is_ready(), "an upgrade that can work")
    assert daemon.whoami(agent["agent_id"]) == before


def rollout_state(daemon, pool):
    return daemon.pool(pool)["rollout"]["state"]


def start_rollout(daemon, pool, batch_size=2):
    answer = daemon.post(f"/agents/pools/{pool}/rollout", {"batch_size": batch_size, "min_healthy_seconds": 0.2})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/api/v1/agents/pools/{pool}"


@pytest.mark.sanitize
def test_replaces_every_worker_when_rolled_out(make_daemon):
    daemon = make_daemon(pools={"programs": command_pool(BUILD / "example-agent")})
    agents = [agent["agent_id"] for agent in daemon.spawn("programs", count=60)["agents"]]
    old, most = set(daemon.worker_pids("programs")), 0
    assert len(old) == 6
    start_rollout(daemon, "programs")
    assert daemon.post("/agents/pools/programs/rollout", {}).status_code == 409

    def finished():
        nonlocal most
        most = max(most, len(daemon.worker_pids("programs")))
        return rollout_state(daemon, "programs") == "finished"
    wait_for(finished, "the rollout to finish")
    assert most <= 6 + 2 + 2, "a batch at a time"
    rollout = daemon.pool("programs")["rollout"]
    assert (rollout["replaced_workers"], rollout["remaining_workers"]) == (6, 0)
    wait_for(lambda: daemon.pool("programs")["agents_by_state"]["idle"] == 60, "all agents to run")
    wait_for(lambda: len(daemon.worker_pids("programs")) >= 6 and not old & set(daemon.worker_pids("programs")), "new workers only")
    assert {agent["agent_id"] for agent in daemon.agents()} == set(agents)
    for agent_id in agents:
        answer = daemon.whoami(agent_id)
        assert (answer["agent_id"], answer["start_reason"]) == (agent_id, "rollout")


def test_halts_with_nothing_lost_when_new_workers_fail(make_daemon, run_base):
    module = run_base / "module.so"
    shutil.copy(BUILD / "example-module.so", module)
    daemon = make_daemon(pools={"modules": module_pool(module)})
    agents = [agent["agent_id"] for agent in daemon.spawn("modules", count=30)["agents"]]
    workers = daemon.worker_pids("modules")
    broken = run_base / "broken.so"
    broken.write_text("no module")
    broken.rename(module)
    start_rollout(daemon, "modules")
    wait_for(lambda: rollout_state(daemon, "modules") == "halted", "the rollout to halt")
    rollout = daemon.pool("modules")["rollout"]
    assert str(module) in rollout["reason"] and (rollout["replaced_workers"], rollout["remaining_workers"]) == (0, 3)
    assert workers.items() <= daemon.worker_pids("modules").items()
    for agent_id in agents:
        assert daemon.whoami(agent_id)["epoch"] == 1
    shutil.copy(BUILD / "example-module.so", run_base / "mended.so")
    (run_base / "mended.so").rename(module)
    start_rollout(daemon, "modules", batch_size=10)
    wait_for(lambda: rollout_state(daemon, "modules") == "finished", "the next rollout to finish")
    wait_for(lambda: daemon.pool("modules")["agents_by_state"]["idle"] == 30, "all agents to run")
    for agent_id in agents:
        daemon.whoami(agent_id)


# mov eax/w0, 3; ret
RETURN_3 = {"x86_64": "b803000000c3", "aarch64": "60008052c0035fd6"}


def with_broken_workers(program):
    """A copy of the program whose workers exit with 3 at once."""
    symbols = subprocess.run(["nm", BUILD / "agentpoold"], check=True, capture_output=True, text=True).stdout
    address = next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" worker_run"))
    segments = subprocess.run(["readelf", "-lW", BUILD / "agentpoold"], check=True, capture_output=True, text=True).stdout
    for fields in (line.split() for line in segments.splitlines() if line.strip().startswith("LOAD")):
        offset, start, size = (int(fields[i], 16) for i in (1, 2, 4))
        if start <= address < start + size:
            break
    shutil.copy(BUILD / "agentpoold", program)
    with open(program, "r+b") as file:
        file.seek(address - start + offset)
        file.write(bytes.fromhex(RETURN_3[os.uname().machine]))


def upgrade(daemon, program, source):
    done = daemon.log().count("upgrade.done")
    replace(program, source)
    daemon.process.send_signal(signal.SIGUSR2)
    wait_for(lambda: daemon.log().count("upgrade.done") == done + 1 and daemon.is_ready(), "the upgrade")


needs_known_machine = pytest.mark.skipif(os.uname().machine not in RETURN_3, reason="no machine code for this processor")


def own_descriptors(daemon):
    """Of the forker, but for the one that it keeps for each worker."""
    workers = [title for title in descendants(daemon.process.pid).values() if title.startswith("agentpoold: worker")]
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd")) - len(workers)


@pytest.mark.sanitize
@needs_known_machine
def test_goes_back_when_workers_of_the_new_program_fail(start_copy, run_base):
    daemon, program = start_copy(pools=two_pools())
    broken = run_base / "broken"
    with_broken_workers(broken)
    targets = [agent["agent_id"] for agent in daemon.spawn("programs", count=30)["agents"]]
    pids = {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in targets}
    workers, files = daemon.worker_pids("programs"), own_descriptors(daemon)
    for i in (1, 2):
        upgrade(daemon, program, broken)
        refused = daemon.post("/agents/spawn", daemon.spawn_body("programs"))
        assert refused.status_code == 503 and "exit status 3" in refused.json()["detail"]
        start_rollout(daemon, "programs")
        wait_for(lambda: daemon.log().count("upgrade.done") == 2 * i and daemon.is_ready(), "the program before it to be back")
        assert "exit status 3" in daemon.log().split("upgrade.rolling_back")[i].splitlines()[0]
        assert daemon.worker_pids("programs").items() >= workers.items()
        assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in targets} == pids
        agent = daemon.spawn("modules")
        assert daemon.terminate(agent).status_code == 200
        answer = daemon.post("/agents/pools/programs/rollback")
        assert answer.status_code == 409 and "nothing to go back to" in answer.json()["detail"]
    upgrade(daemon, program, BUILD / "agentpoold")
    start_rollout(daemon, "programs")
    wait_for(lambda: rollout_state(daemon, "programs") == "finished", "a rollout of a program that works")
    wait_for(lambda: daemon.pool("programs")["agents_by_state"]["idle"] == 30, "all agents to run")
    assert "master.died" not in daemon.log()
    wait_for(lambda: own_descriptors(daemon) <= files + 1, "no descriptor more than the program before this one")


@needs_known_machine
def test_goes_back_when_asked_to_under_load(start_copy, run_base):
    daemon, program = start_copy(pools=two_pools())
    assert daemon.post("/agents/pools/programs/rollback").status_code == 409
    assert daemon.post("/agents/pools/nowhere/rollback").status_code == 404
    targets = [agent["agent_id"] for agent in daemon.spawn("programs", count=12)["agents"]]
    pids = {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in targets}
    load = Load(daemon, targets)
    with load.running():
        for i in range(1, 6):
            upgrade(daemon, program, BUILD / "agentpoold")
            load.flow()
            answer = daemon.post("/agents/pools/programs/rollback")
            assert answer.status_code == 202 and answer.headers["Location"] == "/api/v1/agents/pools/programs"
            wait_for(lambda: daemon.log().count("upgrade.done") == 2 * i and daemon.is_ready(), "the way back")
            load.flow()
    exactly_there(daemon, load, pids)
    assert "master.died" not in daemon.log()


def test_does_not_go_back_when_the_program_is_not_to_blame(start_copy, run_base):
    """Workers of the program before this one are gone already: what fails came with the configuration."""
    module = run_base / "module.so"
    shutil.copy(BUILD / "example-module.so", module)
    daemon, program = start_copy(pools={"modules": module_pool(module)})
    upgrade(daemon, program, BUILD / "agentpoold")
    daemon.spawn("modules", count=20)
    (run_base / "broken.so").write_text("no module")
    (run_base / "broken.so").rename(module)
    start_rollout(daemon, "modules")
    wait_for(lambda: rollout_state(daemon, "modules") == "halted", "the rollout to halt")
    assert "upgrade.rolling_back" not in daemon.log()


def reload(daemon):
    master = daemon.master_pid()
    daemon.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: daemon.find_master() not in (None, master) and daemon.is_ready(), "the reload")


@pytest.mark.sanitize
def test_everybody_logs_as_told_when_reloaded(make_daemon):
    daemon = make_daemon(pools={"modules": module_pool(max_agents_per_worker=3), "other": module_pool()})
    agents = daemon.spawn("modules", count=3)["agents"]
    daemon.config["log"] = {"level": "debug", "format": "json"}
    reload(daemon)
    daemon.spawn("other")

    def events(role):
        lines = [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{")]
        return [line["event"] for line in lines if line["role"] == role]
    wait_for(lambda: "worker.forked" in events("forker") and "agent_spawned" in events("master"), "what is for debugging")
    daemon.terminate(agents[0])
    wait_for(lambda: "agent.ended" in events("worker"), "the old worker's line")
    daemon.config["log"] = {"level": "error", "file": str(daemon.directory / "other-log")}
    reload(daemon)
    daemon.terminate(agents[1])
    daemon.config["log"]["level"] = "info"
    reload(daemon)
    daemon.terminate(agents[2])
    text = wait_for(lambda: [line for line in (daemon.directory / "other-log").read_text().splitlines() if " agent.ended " in line],
                    "the old worker's line in the other file")
    assert len(text) == 1 and agents[2]["agent_id"] in text[0]
    assert events("worker").count("agent.ended") == 1


@pytest.mark.parametrize("change", ["redis.url", "run_dir"])
def test_refuses_to_reload_what_needs_a_start(make_daemon, change):
    daemon = make_daemon(pools={"modules": module_pool()})
    agent, master, kept = daemon.spawn("modules"), daemon.master_pid(), json.dumps(daemon.config)
    if change == "run_dir":
        daemon.config["run_dir"] = str(daemon.directory / "elsewhere")
    else:
        daemon.config["redis"] = {"url": "redis://127.0.0.1:1"}
    daemon.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: f"{change} takes effect with stop and start" in daemon.log(), "the refusal")
    assert daemon.master_pid() == master
    os.kill(master, signal.SIGKILL)  # the next one reads the same file
    wait_for(lambda: daemon.find_master() not in (None, master) and (daemon.run_dir / "agentpoold.listen").exists()
             and daemon.is_ready(), "the next master")
    wait_for(lambda: daemon.agent(agent["agent_id"])["state"] == "idle", "the agent to be known")
    daemon.config = json.loads(kept)
