"""The program around everything: flags, run_dir, listening, signals, deaths and upgrades of the main process."""
import os
import re
import shutil
import signal
import stat
import subprocess

import pytest

from daemon import BUILD, descendants, processes, wait_for


def run(*arguments, **options):
    return subprocess.run([BUILD / "agentpoold", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          **options)


@pytest.fixture
def idle(make_daemon):
    """A daemon with its configuration written, not started."""
    daemon = make_daemon(start=False)
    daemon.write_config()
    return daemon


def start_copy(make_daemon, run_base):
    """A daemon whose program can be replaced."""
    program = run_base / "agentpoold"
    shutil.copy(BUILD / "agentpoold", program)
    daemon = make_daemon(start=False)
    daemon.write_config()
    with open(daemon.log_path, "ab") as log:
        daemon.process = subprocess.Popen([program, "-c", daemon.config_path], stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, env=daemon.env)
    wait_for(daemon.is_ready, "the daemon to be ready")
    return daemon, program


def agent_pids(daemon, number=12):
    """The programs of so many agents; a program's name shows a moment after its start was acknowledged."""
    def find():
        found = {pid for pid, command in descendants(daemon.process.pid).items() if "example-agent" in command}
        return len(found) == number and found
    return wait_for(find, f"{number} agents' programs")


@pytest.mark.parametrize("arguments, status, stream, text", [
    (["-h"], 0, "stdout", "usage: agentpoold"),
    (["-V"], 0, "stdout", "agentpoold 0.1.0"),
    (["-x"], 2, "stderr", "usage: agentpoold"),
    (["-c"], 2, "stderr", "usage: agentpoold"),
    (["surplus"], 2, "stderr", "usage: agentpoold"),
    (["-c", "/nonexistent.json"], 78, "stderr", "/nonexistent.json"),
])
def test_exits_as_documented_when_called_with(arguments, status, stream, text):
    answer = run(*arguments)
    assert answer.returncode == status
    assert text in getattr(answer, stream)


def test_says_right_when_the_configuration_is_checked(idle):
    answer = run("-t", "-c", idle.config_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert str(idle.config_path) in answer.stdout


def test_names_file_line_and_key_when_the_configuration_is_wrong(idle):
    idle.config_path.write_text('{\n  "pols": {}\n}\n')
    for flag in ["-t"], ["-T"], []:
        answer = run(*flag, "-c", idle.config_path)
        assert answer.returncode == 78
        assert f"{idle.config_path}:2:" in answer.stderr and "pols" in answer.stderr and "pools" in answer.stderr
        assert answer.stdout == ""


@pytest.mark.sanitize
def test_masks_secrets_when_the_configuration_is_printed(idle):
    idle.config["redis"]["url"] = "redis://:hunter2@127.0.0.1:1/0"
    idle.write_config()
    answer = run("-T", "-c", idle.config_path)
    assert answer.returncode == 0
    assert "hunter2" not in answer.stdout and '"run_dir"' in answer.stdout
    idle.config_path.write_text(answer.stdout.replace("***", "x"))
    assert run("-t", "-c", idle.config_path).returncode == 0


def test_leaves_only_data_in_run_dir_when_ended(daemon):
    assert stat.S_IMODE(daemon.run_dir.stat().st_mode) == 0o700
    assert {"agentpoold.lock", "agentpoold.listen", "redis.sock"} <= {path.name for path in daemon.run_dir.iterdir()}
    assert f"{daemon.process.pid}, listening on 127.0.0.1:" in (daemon.run_dir / "agentpoold.lock").read_text()
    assert daemon.stop() == 0
    left = {path.name for path in daemon.run_dir.iterdir()}
    assert not left & {"agentpoold.lock", "agentpoold.listen", "redis.sock"}, left


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_ends_with_0_when_asked_by_signal(daemon, number):
    daemon.spawn()
    daemon.note_processes()
    assert daemon.stop(number) == 0
    assert not set(processes()) & daemon.seen


def test_refuses_and_names_the_holder_when_run_dir_is_taken(daemon):
    answer = run("-c", daemon.config_path, env=daemon.env)
    assert answer.returncode == 1
    assert f"pid {daemon.process.pid}, listening on" in answer.stderr
    assert (daemon.run_dir / "agentpoold.listen").exists() and daemon.get("/livez").status_code == 200


@pytest.mark.sanitize
def test_refuses_and_names_the_address_when_it_is_taken(daemon, idle):
    address = daemon.url.removeprefix("http://")
    idle.config["server"]["listen"] = [address]
    idle.write_config()
    answer = run("-c", idle.config_path, env=idle.env)
    assert answer.returncode == 1
    assert address in answer.stderr and "server.listen" in answer.stderr
    assert not (idle.run_dir / "agentpoold.lock").exists()


@pytest.mark.sanitize
def test_listens_on_all_addresses_when_there_are_several(make_daemon, run_base):
    path = run_base / "api.sock"
    daemon = make_daemon(server={"listen": ["127.0.0.1:0", f"unix:{path}", "[::1]:0"]})
    lines = (daemon.run_dir / "agentpoold.listen").read_text().splitlines()
    assert lines[1] == f"unix:{path}" and len(lines) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    for arguments in (["--unix-socket", path, "http://x/livez"], [f"http://{lines[0]}/livez"], [f"http://{lines[2]}/livez"]):
        assert subprocess.run(["curl", "-sfg", *map(str, arguments)], capture_output=True, timeout=30).returncode == 0
    assert daemon.stop() == 0
    assert not path.exists()


def test_refuses_when_embedded_redis_is_not_installed(idle):
    answer = run("-c", idle.config_path, env=idle.env | {"PATH": "/nonexistent"})
    assert answer.returncode == 78
    assert "redis-server" in answer.stderr and "redis.url" in answer.stderr


def test_runs_debians_redis_tools_when_there_is_no_redis_server(make_daemon, run_base):
    (run_base / "bin").mkdir()
    for name in ("redis-check-rdb", "env"):
        (run_base / "bin" / name).symlink_to(shutil.which(name))
    daemon = make_daemon(env={"PATH": str(run_base / "bin")})
    daemon.spawn()
    assert "degraded" not in daemon.get("/readyz").json()


def test_starts_again_when_the_last_one_was_killed(daemon):
    spawned = daemon.spawn()
    daemon.kill_everything()
    assert (daemon.run_dir / "agentpoold.lock").exists()
    daemon.start()
    wait_for(lambda: daemon.agent(spawned["agent_id"]).get("state") == "idle", "the agent to run again")


def test_all_ends_when_the_main_process_is_killed(daemon):
    for _ in range(12):
        daemon.spawn()
    pids = daemon.note_processes()
    os.kill(daemon.process.pid, signal.SIGKILL)
    daemon.process.wait()
    wait_for(lambda: not pids & set(processes()), "everything below to end")


@pytest.mark.sanitize
def test_serves_again_with_the_same_agents_when_the_master_is_killed(daemon):
    agents = [daemon.spawn() for _ in range(12)]
    pids = agent_pids(daemon)
    for _ in range(5):
        master = daemon.master_pid()
        os.kill(master, signal.SIGKILL)
        wait_for(lambda: daemon.master_pid() not in (None, master) and daemon.is_ready(), "the next master")
        assert {agent["agent_id"] for agent in daemon.agents()} == {agent["agent_id"] for agent in agents}
        daemon.whoami(agents[0]["agent_id"])
    assert agent_pids(daemon) == pids
    assert daemon.log().count("master.died") == 5


def test_redis_comes_back_when_killed(daemon):
    agent = daemon.spawn()
    before = [pid for pid, command in descendants(daemon.process.pid).items() if command.startswith("redis-server")]
    os.kill(before[0], signal.SIGKILL)

    def is_back():
        now = [pid for pid, command in descendants(daemon.process.pid).items() if command.startswith("redis-server")]
        return now and now != before and daemon.health()["redis"]["available"]
    wait_for(is_back, "another redis-server")
    wait_for(lambda: daemon.redis.exists(f"agent:{agent['agent_id']}"), "the registry to be rebuilt")


def test_keeps_pid_agents_and_sockets_when_upgraded(make_daemon, run_base):
    daemon, program = start_copy(make_daemon, run_base)
    url = daemon.url
    agents = [daemon.spawn() for _ in range(12)]
    pids, descriptors = agent_pids(daemon), len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    for i in range(1, 4):
        replacement = run_base / "new"
        shutil.copy(BUILD / "agentpoold", replacement)
        replacement.rename(program)
        master = daemon.master_pid()
        daemon.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: daemon.log().count("upgrade.done") == i and daemon.master_pid() not in (None, master)
                 and daemon.is_ready(), "the new program's master")
        assert os.readlink(f"/proc/{daemon.process.pid}/exe") == str(program)
    assert daemon.url == url
    assert agent_pids(daemon) == pids
    assert len(os.listdir(f"/proc/{daemon.process.pid}/fd")) == descriptors + 1  # the program before this one
    for agent in agents:
        daemon.whoami(agent["agent_id"])


@pytest.mark.parametrize("breakage", ["configuration", "program"])
def test_nothing_changes_when_an_upgrade_cannot_work(make_daemon, run_base, breakage):
    daemon, program = start_copy(make_daemon, run_base)
    agent, master = daemon.spawn(), daemon.master_pid()
    if breakage == "program":
        program.unlink()
        program.write_text("not a program")
        program.chmod(0o755)
    else:
        daemon.config_path.write_text("{")
    daemon.process.send_signal(signal.SIGUSR2)
    wait_for(lambda: re.search(r"upgrade\.refused", daemon.log()), "the refusal")
    assert daemon.master_pid() == master
    daemon.whoami(agent["agent_id"])
