"""The installed service under a real systemd, as process 1 of a machine that is the test's own (machine.py). With pytest's -v the
journal of each test is printed."""
import json
import pathlib
import re
import tempfile

import pytest

import machine
from daemon import PROJECT, wait_for
from installed import package, release_only

pytestmark = [release_only, pytest.mark.skipif(machine.why_not() is not None, reason=str(machine.why_not()))]

CONFIG = "/etc/agentpool/agentpool.json"
LOG = "/var/log/agentpool/agentpoold.log"
POOL = {"role_type": "developer", "runtime": {"type": "command", "argv": ["/usr/lib/agentpool/example-agent"]},
        "max_agents_per_worker": 2}


class Service:
    """agentpoold.service in its machine."""

    def __init__(self, host):
        self.host = host

    def configure(self, **sections):
        config = {"redis": {"url": "embedded:"}, "run_dir": "/run/agentpool", "master_lease_ms": 2000,
                  "database": {"url": "sqlite:/var/lib/agentpool/agentpool.db"}, "pools": {"developer_pool": POOL}, **sections}
        self.host.path(CONFIG).write_text(json.dumps(config))

    def drop_in(self, text):
        path = self.host.path("/etc/systemd/system/agentpoold.service.d")
        path.mkdir(exist_ok=True)
        (path / "test.conf").write_text(text)
        self.systemctl("daemon-reload")

    def systemctl(self, *argv):
        return self.host.run("systemctl", *argv)

    def start(self):
        self.systemctl("start", "agentpoold")
        assert self.state() == "active"

    def state(self):
        return self.host.show("ActiveState")

    def main_pid(self):
        return int(self.host.show("MainPID"))

    def restarts(self):
        return int(self.host.show("NRestarts"))

    def master_pid(self):
        return wait_for(lambda: self.host.run("pgrep", "-f", "^agentpoold: master", check=False), "a master")

    def kill(self, number, pid):
        self.host.run("kill", f"-{number}", pid)

    def ask(self, path, *arguments):
        return self.host.run("curl", "-s", *arguments, f"http://localhost:8000{path}", check=False)

    def is_ready(self):
        return self.ask("/readyz", "-o", "/dev/null", "-w", "%{http_code}") == "200"

    def spawn(self):
        wait_for(self.is_ready, "a master that serves")
        answer = json.loads(self.host.run("agentpool", "-o", "json", "spawn", "-p", PROJECT, "developer_pool"))
        return answer["agent_id"]

    def agent(self, agent_id):
        return json.loads(self.ask(f"/api/v1/agents/{agent_id}"))

    def runs(self, agent_id, epoch):
        def says():
            try:
                agent = self.agent(agent_id)
            except json.JSONDecodeError:
                return False
            return agent.get("state") == "idle" and agent.get("epoch") == epoch
        wait_for(says, f"{agent_id} to run under epoch {epoch}")

    def says(self, text):
        """Waits until the journal of the test does."""
        return wait_for(lambda: text in self.journal(), f"{text!r} in the journal:\n{self.journal()}")

    def journal(self):
        return self.host.journal()


@pytest.fixture(scope="module")
def host():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ap-machine-", dir="/tmp"))
    deb = package(directory)
    host = machine.Machine(directory)
    try:
        host.boot()
        host.path("/tmp/agentpool.deb").write_bytes(pathlib.Path(deb).read_bytes())
        host.run("dpkg", "--no-triggers", "-i", "/tmp/agentpool.deb")
        yield host
    finally:
        host.halt()
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


@pytest.fixture
def service(host, request):
    """Configured, not started; stopped at the end, and then nothing of it may be left."""
    service = Service(host)
    service.configure()
    cursor = host.run("journalctl", "-n0", "--show-cursor").rpartition("-- cursor: ")[2]
    host.journal = lambda: host.run("journalctl", "-o", "cat" if not request.config.option.verbose else "short-precise",
                                    "--no-hostname", "-u", "agentpoold.service", f"--after-cursor={cursor}")
    yield service
    host.run("systemctl", "stop", "agentpoold.socket", "agentpoold.service", check=False)
    if request.config.option.verbose or getattr(request.node, "failed", False):
        print(f"\n---- journal of {request.node.name}\n{service.journal()}")
    host.run("systemctl", "reset-failed", "agentpoold.service", check=False)
    host.run("rm", "-rf", "/etc/systemd/system/agentpoold.service.d", "/var/lib/agentpool", "/run/agentpool", LOG)
    host.run("systemctl", "daemon-reload")
    assert host.run("pgrep", "-u", "agentpool", check=False) == ""


# ---- what is installed ----

def test_is_ready_to_be_started_when_installed(host):
    assert host.run("getent", "passwd", "agentpool").endswith(":/var/lib/agentpool:/usr/sbin/nologin")
    assert host.run("stat", "-c", "%U:%G %a", CONFIG) == "root:agentpool 640"
    assert host.run("systemctl", "is-enabled", "agentpoold.service", "agentpoold.socket", check=False) == "disabled\ndisabled"
    host.run("agentpoold", "-t")
    units = [f"/lib/systemd/system/agentpoold.{kind}" for kind in ("service", "socket")]
    done = host.call("systemd-analyze", "verify", *units)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    score = host.run("systemd-analyze", "security", "--offline=true", "--threshold=20", units[0])
    print(score.splitlines()[-1])


# ---- life ----

def test_is_active_once_it_serves_when_started(service):
    service.start()
    assert service.is_ready()
    agent = service.spawn()
    status = service.host.show("StatusText")
    assert re.fullmatch(r"serving; master \d+, \d+ workers", status)
    wait_for(lambda: service.host.show("StatusText").endswith(" 1 workers"), "the status to tell of the worker")
    owners = service.host.run("ps", "-o", "user=", "-C", "agentpoold,redis-server,example-agent").split()
    assert set(owners) == {"agentpool"} and len(owners) == 5  # forker, master, worker, Redis, agent
    answer = service.host.run("agentpool", "message", agent, "tools/call", '{"name":"echo","arguments":{"text":"hello"}}')
    assert "hello" in answer
    found = service.host.run("ps", "-o", "cgroup=", "-C", "agentpoold,redis-server,example-agent").split()
    ours = [name.partition("agentpoold.service")[2] for name in found]  # the manager delegates its cgroup
    assert sorted(ours)[1:] == ["/daemon"] * 4
    assert min(ours) == f"/agents/{service.agent(agent)['process_id']}/{agent}-1"


def test_takes_over_a_new_configuration_when_reloaded(service):
    service.start()
    agent, master = service.spawn(), service.master_pid()
    service.configure(pools={"developer_pool": POOL, "other_pool": POOL})
    service.systemctl("reload", "agentpoold")
    wait_for(lambda: "other_pool" in service.ask("/api/v1/agents/pools"), "the other pool")
    wait_for(lambda: service.state() == "active", "the end of the reload")
    assert service.master_pid() != master
    service.runs(agent, 1)
    service.says("Reloaded agentpoold.service")


def test_says_why_and_changes_nothing_when_reloaded_with_a_wrong_file(service):
    service.start()
    master = service.master_pid()
    service.host.path(CONFIG).write_text('{ "server": { "lissen": [] } }')
    assert service.host.call("systemctl", "reload", "agentpoold").returncode != 0
    assert service.state() == "active" and service.master_pid() == master
    service.says(f'{CONFIG}:1:15: server.lissen: unknown field "lissen"; did you mean "listen"?')


def test_stays_active_when_the_master_is_killed(service):
    service.start()
    agent, main = service.spawn(), service.main_pid()
    service.kill("KILL", service.master_pid())
    wait_for(service.is_ready, "the next master")
    service.runs(agent, 1)
    assert service.state() == "active" and service.main_pid() == main and service.restarts() == 0
    service.says("master.died")


def test_stays_active_when_the_master_hangs(service):
    service.start()
    agent, main, master = service.spawn(), service.main_pid(), service.master_pid()
    service.kill("STOP", master)
    service.says("master.hung")
    wait_for(service.is_ready, "the next master")
    service.runs(agent, 1)
    assert service.main_pid() == main and service.restarts() == 0 and service.master_pid() != master


def test_is_killed_and_started_again_when_the_forker_hangs(service):
    service.drop_in("[Service]\nWatchdogSec=4\n")
    service.start()
    agent, main = service.spawn(), service.main_pid()
    service.kill("STOP", main)
    wait_for(lambda: service.restarts() == 1 and service.state() == "active", "systemd to start it again")
    service.says("Watchdog timeout")
    assert service.main_pid() != main
    service.runs(agent, 2)


def test_is_started_again_when_no_master_comes_back(service):
    service.drop_in("[Service]\nWatchdogSec=4\nEnvironment=AGENTPOOL_MASTER_LEASE_MS=3600000\n")  # the forker waits too long
    service.start()
    agent = service.spawn()
    service.kill("STOP", service.master_pid())
    wait_for(lambda: service.restarts() == 1 and service.state() == "active", "systemd to start it again")
    service.runs(agent, 2)


def test_restores_the_agents_when_restarted(service):
    service.start()
    agents = [service.spawn() for _ in range(5)]
    service.systemctl("restart", "agentpoold")
    for agent in agents:
        service.runs(agent, 2)


def test_leaves_nothing_when_stopped(service):
    service.start()
    service.spawn()
    cgroup = service.host.show("ControlGroup")
    service.systemctl("stop", "agentpoold")
    assert service.state() == "inactive"
    assert service.host.run("pgrep", "-u", "agentpool", check=False) == ""
    assert not service.host.path(f"/sys/fs/cgroup{cgroup}").exists()
    service.says("daemon.ended status=0")
    service.says("Deactivated successfully")


def test_fails_once_when_the_configuration_is_wrong(service):
    service.host.path(CONFIG).write_text('{ "server": { "listen": ["nowhere"] } }')
    assert service.host.call("systemctl", "start", "agentpoold").returncode != 0
    assert service.host.show("ActiveState", "Result", "ExecMainStatus", "NRestarts") == ["failed", "exit-code", "78", "0"]
    service.says(f"{CONFIG}:1:")


def test_is_started_by_its_first_client_when_activated_by_socket(service):
    service.systemctl("start", "agentpoold.socket")
    assert service.state() == "inactive"
    assert service.ask("/livez", "--max-time", "30") != ""
    assert service.state() == "active"
    assert service.host.run("agentpool", "-u", "unix:/run/agentpoold.sock", "-o", "json", "status")
    service.systemctl("stop", "agentpoold.service")  # systemd goes on listening
    assert service.ask("/livez", "--max-time", "30") != ""
    assert service.state() == "active"
    agent = service.spawn()
    service.systemctl("reload", "agentpoold.service")
    service.systemctl("restart", "agentpoold.service")
    service.runs(agent, 2)


def test_runs_a_pools_agents_as_its_user_when_the_drop_in_lets_it(service):
    service.drop_in(service.host.path("/usr/share/doc/agentpool/systemd/pool-users.conf").read_text())
    service.configure(pools={"developer_pool": {**POOL, "user": "games"}})
    service.start()
    agent = service.spawn()
    assert service.host.run("ps", "-o", "user=", "-C", "example-agent") == "games"
    pid, main = service.host.run("pgrep", "example-agent"), service.main_pid()
    assert service.host.run("grep", "CapEff", f"/proc/{pid}/status").endswith("\t0000000000000000")
    service.kill("KILL", service.master_pid())
    wait_for(service.is_ready, "the next master")
    service.runs(agent, 1)
    service.kill("USR2", main)
    service.says("upgrade.done")
    wait_for(service.is_ready, "the next program")
    service.runs(agent, 1)
    service.systemctl("stop", "agentpoold")
    assert service.host.run("pgrep", "-u", "games", check=False) == ""


# ---- upkeep ----

def test_writes_to_a_new_file_when_its_log_is_rotated(service):
    service.configure(log={"file": LOG})
    service.start()
    old = service.host.path(LOG).stat().st_ino
    service.host.run("logrotate", "--force", "--state", "/tmp/logrotate.state", "/etc/logrotate.d/agentpool")
    wait_for(lambda: service.host.path(LOG).exists(), "a new log")
    service.spawn()
    service.systemctl("stop", "agentpoold")
    assert "daemon.ended" in service.host.path(LOG).read_text()
    assert service.host.path(LOG).stat().st_ino != old and service.host.path(LOG + ".1").stat().st_ino == old
    service.host.path(LOG + ".1").unlink()


def test_keeps_the_agents_when_the_package_is_upgraded(service):
    service.start()
    agent, main = service.spawn(), service.main_pid()
    service.host.run("dpkg", "--no-triggers", "-i", "/tmp/agentpool.deb")
    service.says("upgrade.done")
    wait_for(service.is_ready, "the new program")
    service.runs(agent, 1)
    wait_for(lambda: service.state() == "active", "the end of the reload")
    assert service.main_pid() == main and service.restarts() == 0


def test_keeps_the_state_until_it_is_purged(service):
    service.start()
    service.host.run("dpkg", "--no-triggers", "-r", "agentpool")
    assert service.state() == "inactive" and service.host.path("/var/lib/agentpool/agentpool.db").exists()
    assert service.host.path(CONFIG).exists() and not service.host.path("/usr/sbin/agentpoold").exists()
    service.host.run("dpkg", "--no-triggers", "-P", "agentpool")
    for path in ("/etc/agentpool", "/var/lib/agentpool", "/run/agentpool", "/var/log/agentpool", "/lib/systemd/system/agentpoold.service"):
        assert not service.host.path(path).exists(), path
    service.host.run("dpkg", "--no-triggers", "-i", "/tmp/agentpool.deb")  # for the tests that may follow
