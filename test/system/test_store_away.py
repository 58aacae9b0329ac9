"""The store goes away and comes back: running agents never notice, promises wait and are then refused, nothing is doubled."""
import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

from daemon import BUILD, PATIENCE, command_pool, descendants, module_pool, wait_for
from postgres import Postgres
from stores import STORES, held, psql, rows, settings_for, states

WAIT_MS = 1500
HISTORY_KEPT = 16000  # of an outage: about half of the store's queue
SLACK_S = 4  # of a loaded machine, over what was promised


@pytest.fixture
def own_postgres():
    """Servers that the test may stop."""
    with Postgres() as servers:
        yield servers


def everything_agrees(daemon, pool, number):
    """SQL, API and Redis name the same agents, and each runs once."""
    wait_for(lambda: daemon.pool(pool)["agents_by_state"]["idle"] == number, f"{number} agents to run")
    wait_for(lambda: daemon.health()["database"]["queued"] == 0, "everything to be flushed")

    def in_both():
        in_api = {agent["agent_id"]: agent["epoch"] for agent in daemon.agents(pool_name=pool)}
        in_sql = {agent_id: epoch for agent_id, (state, epoch) in states(daemon).items() if state != "terminated"}
        return in_api == in_sql and in_api
    in_api = wait_for(in_both, "SQL to say the same as the API")
    wait_for(lambda: daemon.redis.smembers(f"pool:{pool}:agents") == in_api.keys(), "Redis to say the same as the API")
    return in_api


def programs_by_pid(daemon):
    found = {}
    for pid, command in descendants(daemon.process.pid).items():
        if command.endswith("example-agent"):
            environment = dict(line.split("=", 1) for line in
                               pathlib.Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in line)
            found[pid] = environment["AGENTPOOL_AGENT_ID"]
    return found


def programs(daemon):
    return sorted(programs_by_pid(daemon).values())


def refused_spawn(daemon, pool="pool"):
    """The refusal of a spawn, once one is refused."""
    refusals = []

    def refuse():
        answer = daemon.post("/agents/spawn", daemon.spawn_body(pool))
        refusals.append(answer)
        return answer.status_code != 200
    wait_for(refuse, "a spawn to be refused")
    assert refusals[-1].status_code == 503 and int(refusals[-1].headers["Retry-After"]) > 0, refusals[-1].text
    return refusals[-1].json()["detail"]


class Talk:
    """A client that messages agents without end; every message must be answered."""

    def __init__(self, daemon, agents):
        self.daemon, self.agents, self.answered, self.done = daemon, agents, 0, threading.Event()

    def run(self):
        while not self.done.is_set():
            for agent in self.agents:
                answer = self.daemon.message(agent["agent_id"], "tools/call", {"name": "echo", "arguments": {"text": "x"}})
                assert answer.status_code == 200, answer.text
                self.answered += 1


@pytest.mark.parametrize("kind", STORES)
def test_reads_are_answered_while_a_spawn_waits_for_the_disk(make_daemon, request, kind):
    settings = settings_for(kind, lambda: request.getfixturevalue("postgres"))
    settings["database"] = settings.get("database", {}) | {"max_wait_ms": 120000}
    daemon = make_daemon(pools={"pool": module_pool(spawn_timeout_ms=120000)}, **settings)
    agent_id, ended = [agent["agent_id"] for agent in daemon.spawn("pool", count=2)["agents"]]
    assert daemon.terminate({"pool_name": "pool", "agent_id": ended}).status_code == 200
    daemon.whoami(agent_id)
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        with held(daemon):
            spawning = executor.submit(daemon.spawn, "pool")
            wait_for(lambda: daemon.health()["database"]["queued"], "the spawn to wait for the store")
            for path in (f"/agents/{agent_id}", f"/agents/{ended}", f"/agents/{agent_id}/why", "/agents/executions",
                         "/agents/executions?pool_name=pool", "/executions/stats/summary", "/agents?state=terminated"):
                assert daemon.get(path).status_code == 200, path
            assert not spawning.done() and len(rows(daemon, "SELECT agent_id FROM agents")) == 2
        assert daemon.agent(spawning.result()["agent_id"])["state"] == "idle"


@pytest.mark.parametrize("way", ["direct", "pgbouncer"])
def test_agents_go_on_and_nothing_is_doubled_when_postgresql_crashes(own_postgres, make_daemon, way):
    url = own_postgres.url("db") if way == "direct" else own_postgres.bouncer_url("db")
    daemon = make_daemon(pools={"pool": command_pool(BUILD / "example-agent")},
                         database={"url": url, "max_wait_ms": WAIT_MS, "pooled": way == "pgbouncer"})
    agents = daemon.spawn("pool", count=12)["agents"]
    port = own_postgres.port if way == "direct" else own_postgres.bouncer_port
    talk, statuses = Talk(daemon, agents[2:]), []
    with concurrent.futures.ThreadPoolExecutor(12) as executor:
        talking = executor.submit(talk.run)
        try:
            wait_for(lambda: talk.answered > 20, "messages to flow")
            spawning = [executor.submit(lambda: [daemon.post("/agents/spawn", daemon.spawn_body("pool")) for _ in range(2)])
                        for _ in range(8)]
            own_postgres.stop()  # in the middle of the spawns
            for future in spawning:
                statuses += future.result()
            wait_for(lambda: not daemon.health()["database"]["available"], "the outage to be noticed")
            begin = time.monotonic()
            answer = daemon.post("/agents/spawn", daemon.spawn_body("pool"))
            assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0, answer.text
            assert time.monotonic() - begin < WAIT_MS / 1000 + SLACK_S
            assert str(port) in answer.json()["detail"]
            ended = executor.submit(daemon.terminate, agents[0])
            assert ended.result().status_code in (200, 503)
            os.kill(int(daemon.whoami(agents[1]["agent_id"])["pid"]), signal.SIGKILL)  # its next epoch waits for the store
            health = daemon.health()
            assert health["status"] == "degraded" and str(port) in health["database"]["reason"]
            assert daemon.get("/readyz").status_code == 503 and daemon.get("/livez").status_code == 200
            before = talk.answered
            wait_for(lambda: talk.answered > before + 100, "messages to go on during the outage")
            own_postgres.start()
            wait_for(daemon.is_ready, "the store to be back")
        finally:
            talk.done.set()
        talking.result()
    promised = [answer.json()["agent_id"] for answer in statuses if answer.status_code == 200]
    assert all(answer.status_code in (200, 503) for answer in statuses)
    in_api = everything_agrees(daemon, "pool", 11 + len(promised))
    assert in_api.keys() == {agent["agent_id"] for agent in agents[1:]} | set(promised)
    assert programs(daemon) == sorted(in_api)
    assert states(daemon)[agents[0]["agent_id"]][0] == "terminated"
    assert in_api[agents[1]["agent_id"]] == 2
    assert rows(daemon, "SELECT DISTINCT status FROM agent_executions") == [("completed",)]
    assert int(rows(daemon, "SELECT count(*) FROM agent_executions")[0][0]) >= min(talk.answered, HISTORY_KEPT)


def test_waiting_spawn_succeeds_when_postgresql_is_back_in_time(own_postgres, make_daemon):
    daemon = make_daemon(pools={"pool": module_pool()}, database={"url": own_postgres.url("db"), "max_wait_ms": 30000})
    daemon.spawn("pool")
    own_postgres.stop()
    with concurrent.futures.ThreadPoolExecutor(6) as executor:
        spawns = [executor.submit(daemon.spawn, "pool") for _ in range(5)]
        wait_for(lambda: daemon.health()["database"]["queued"] >= 5, "the spawns to wait")
        own_postgres.start()
        ids = {spawn.result()["agent_id"] for spawn in spawns}
    assert len(everything_agrees(daemon, "pool", 6)) == 6 and len(ids) == 5


def test_comes_up_when_postgresql_does(own_postgres, make_daemon):
    url = own_postgres.url("db")
    own_postgres.stop(signal.SIGINT)
    daemon = make_daemon(start=False, pools={"pool": module_pool()}, database={"url": url, "max_wait_ms": WAIT_MS})
    daemon.launch()
    wait_for(lambda: (daemon.run_dir / "agentpoold.listen").exists(), "the daemon to listen")
    answer = daemon.get("/readyz")
    assert answer.status_code == 503 and str(own_postgres.port) in answer.json()["detail"]
    assert daemon.get("/livez").status_code == 200
    assert daemon.health()["status"] == "degraded"
    answer = daemon.post("/agents/spawn", daemon.spawn_body("pool"))
    assert answer.status_code == 503 and answer.headers["Retry-After"] and str(own_postgres.port) in answer.json()["detail"]
    assert daemon.log().count("store.away") == 1, "said once, not with every try"
    assert "master.died" not in daemon.log()
    own_postgres.start()
    wait_for(daemon.is_ready, "the daemon to be ready")
    agent = daemon.spawn("pool")
    master = daemon.master_pid()
    own_postgres.stop()
    os.kill(master, signal.SIGKILL)
    wait_for(lambda: daemon.master_pid() not in (None, master), "the next master")
    assert daemon.get(f"/agents/{agent['agent_id']}").status_code == 503
    pids = daemon.worker_pids("pool")
    own_postgres.start()
    wait_for(daemon.is_ready, "the daemon to be ready again")
    wait_for(lambda: daemon.agent(agent["agent_id"])["state"] == "idle", "its agent to be known")
    assert daemon.whoami(agent["agent_id"])["epoch"] == 1 and daemon.worker_pids("pool") == pids


def test_ends_in_order_when_told_while_it_waits_for_postgresql(own_postgres, make_daemon):
    url = own_postgres.url("db")
    own_postgres.stop(signal.SIGINT)
    daemon = make_daemon(start=False, database={"url": url, "max_wait_ms": WAIT_MS})
    daemon.launch()
    wait_for(lambda: (daemon.run_dir / "agentpoold.listen").exists() and daemon.get("/livez").status_code == 200, "it to listen")
    begin = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - begin < 10


def test_refuses_to_start_when_the_schema_is_newer(own_postgres, make_daemon):
    daemon = make_daemon(database={"url": own_postgres.url("db")})
    assert daemon.stop() == 0
    psql(daemon.config["database"]["url"],
         "INSERT INTO schema_migrations SELECT version + 1000, name, sha256, applied_at FROM schema_migrations LIMIT 1")
    daemon.launch()
    assert daemon.process.wait(timeout=PATIENCE) == 78
    assert "newer" in daemon.log()


def newer_schema(path):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO schema_migrations SELECT version + 1000, name, sha256, applied_at FROM schema_migrations LIMIT 1")

    def mend():
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("DELETE FROM schema_migrations WHERE version > 1000")
    return mend, "newer"


def no_database(path):
    """The SQL of before in another file; what is there now is none."""
    for name in (path, f"{path}-wal", f"{path}-shm"):
        if os.path.exists(name):
            shutil.copy(name, f"{name}.kept")
            os.truncate(name, 0)
    pathlib.Path(path).write_bytes(b"this is no database " * 1000)

    def mend():
        for name in (path, f"{path}-wal", f"{path}-shm"):
            if os.path.exists(f"{name}.kept"):
                shutil.move(f"{name}.kept", name)
    return mend, "no SQLite database"


@pytest.mark.parametrize("spoil", [newer_schema, no_database])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_agents_go_on_when_the_next_master_cannot_use_the_store(make_daemon, spoil, number):
    daemon = make_daemon(pools={"pool": command_pool(BUILD / "example-agent")}, database={"max_wait_ms": WAIT_MS})
    agents = daemon.spawn("pool", count=3)["agents"]
    pids, workers = programs_by_pid(daemon), daemon.worker_pids("pool")
    master = daemon.master_pid()
    os.kill(master, signal.SIGSTOP)  # it does not look at its file any more
    mend, reason = spoil(str(daemon.run_dir / "agentpool.db"))
    os.kill(master, signal.SIGCONT)
    os.kill(daemon.process.pid if number == signal.SIGHUP else master, number)
    wait_for(lambda: daemon.find_master() not in (None, master), "the next master")
    second = daemon.master_pid()
    answer = daemon.get("/readyz")
    assert answer.status_code == 503 and reason in answer.json()["detail"], answer.text
    assert reason in daemon.message(agents[0]["agent_id"], "ping").json()["detail"]
    assert daemon.get("/livez").status_code == 200
    mend()
    wait_for(daemon.is_ready, "the store to be of use again")
    wait_for(lambda: [agent["state"] for agent in daemon.agents()] == ["idle"] * 3, "the agents to be known")
    assert (programs_by_pid(daemon), daemon.worker_pids("pool"), daemon.master_pid()) == (pids, workers, second)
    daemon.spawn("pool")


def test_says_that_the_disk_is_full_when_sqlite_cannot_write(small_disk, make_daemon):
    daemon = make_daemon(pools={"pool": module_pool()}, database={"url": f"sqlite:{small_disk}/db", "max_wait_ms": WAIT_MS})
    agent = daemon.spawn("pool")
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    assert "disk full" in refused_spawn(daemon)
    assert "disk full" in daemon.health()["database"]["reason"] and "disk full" in daemon.get("/readyz").json()["detail"]
    daemon.whoami(agent["agent_id"])
    ballast.unlink()
    wait_for(daemon.is_ready, "the store to be back")
    daemon.spawn("pool")
    number = daemon.pool("pool")["agent_count"]
    everything_agrees(daemon, "pool", number)


def test_says_that_it_is_read_only_when_postgresql_is(own_postgres, make_daemon):
    daemon = make_daemon(pools={"pool": module_pool()}, database={"url": own_postgres.url("db"), "max_wait_ms": WAIT_MS})
    agent = daemon.spawn("pool")

    def read_only(on):
        for command in (f"ALTER SYSTEM SET default_transaction_read_only = {on}", "SELECT pg_reload_conf()"):
            subprocess.run(["psql", "-Xq", "-c", "SET default_transaction_read_only = off", "-c", command,
                            daemon.config["database"]["url"]], check=True, stdout=subprocess.DEVNULL)
    read_only("on")
    assert "read-only" in refused_spawn(daemon)
    assert "read-only" in daemon.health()["database"]["reason"]
    daemon.whoami(agent["agent_id"])
    read_only("off")
    wait_for(daemon.is_ready, "the store to be back")
    daemon.spawn("pool")
    everything_agrees(daemon, "pool", daemon.pool("pool")["agent_count"])


def test_says_that_it_is_read_only_when_sqlite_is(make_daemon):
    # Nothing stops root from writing but a file system that is mounted read-only, so the file is opened that way.
    daemon = make_daemon(pools={"pool": module_pool()})
    agent = daemon.spawn("pool")
    assert daemon.stop() == 0
    libc = ctypes.CDLL(None, use_errno=True)
    path = daemon.directory / "store"
    path.mkdir()
    if libc.mount(b"tmpfs", str(path).encode(), b"tmpfs", 0, b"size=8m") != 0:
        pytest.skip(f"cannot mount a file system: {os.strerror(ctypes.get_errno())}")
    try:
        subprocess.run(["cp", daemon.run_dir / "agentpool.db", path / "db"], check=True)
        daemon.config["database"] |= {"url": f"sqlite:{path}/db", "max_wait_ms": WAIT_MS}
        assert libc.mount(None, str(path).encode(), None, 32 | 1, None) == 0  # MS_REMOUNT | MS_RDONLY
        daemon.launch()
        wait_for(lambda: (daemon.run_dir / "agentpoold.listen").exists(), "the daemon to listen")
        answer = daemon.post("/agents/spawn", daemon.spawn_body("pool"))
        assert answer.status_code == 503 and "read-only" in answer.json()["detail"].lower(), answer.text
        assert libc.mount(None, str(path).encode(), None, 32, None) == 0
        wait_for(daemon.is_ready, "the daemon to be ready")
        wait_for(lambda: daemon.agent(agent["agent_id"])["state"] == "idle", "its agent to be restored")
        daemon.stop()
    finally:
        libc.umount2(str(path).encode(), 2)
