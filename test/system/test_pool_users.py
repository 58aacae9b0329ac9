"""A worker that runs as its pool's own user: no way to Redis, and everything as in other pools all the same."""
import errno
import os
import signal
import subprocess

import pytest
import redis

from daemon import BUILD, PATIENCE, TOP, command_pool, descendants, module_pool, wait_for
from secure import status_of
from test_logs import PARROT, logs, note, said
from users import as_others, as_root

pytestmark = [pytest.mark.sanitize, as_root]

QUICK = {"heartbeat_interval_ms": 300}

@pytest.fixture
def daemon(make_daemon, run_base):
    run_base.chmod(0o755)
    pools = {"own": command_pool(BUILD / "example-agent", user="games", **QUICK), "modules": module_pool(user="daemon", **QUICK),
             "plain": command_pool(BUILD / "example-agent", **QUICK)}
    return make_daemon(user="nobody", pools=pools)


def ids_of(pid):
    """real uid, real and effective group of a process."""
    found = status_of(pid)
    groups = [int(gid) for gid in found["Gid"].split()]
    return int(found["Uid"].split()[0]), groups[0], groups[1], found["Groups"].split()


def entries(daemon, pool):
    """What redis-cli shows of a pool: {key: sorted names of fields or members}, ids left out."""
    store, shown = daemon.redis, {}
    for process_id in store.zrange(f"pool:{pool}:processes", 0, -1):
        assert store.zscore(f"pool:{pool}:heartbeats", process_id)
        shown["process"] = sorted(store.hgetall(f"process:{process_id}"))
        for agent_id in store.smembers(f"process:{process_id}:agents"):
            shown["agent"] = sorted(store.hgetall(f"agent:{agent_id}"))
            assert store.sismember(f"pool:{pool}:agents", agent_id)
    return shown


def is_shown(daemon, pool, agents):
    """Redis has exactly these agents of the pool, as the API has them."""
    store = daemon.redis
    if store.smembers(f"pool:{pool}:agents") != {agent["agent_id"] for agent in agents}:
        return False
    shown = [store.hgetall(f"agent:{agent['agent_id']}") for agent in agents]
    listed = [daemon.agent(agent["agent_id"]) for agent in agents]
    return [(one.get("process_id"), one.get("epoch"), one.get("status")) for one in shown] == [
        (one["process_id"], str(one["epoch"]), one["state"]) for one in listed]


def check(daemon):
    wait_for(lambda: is_whole_of(daemon), "Redis to be used")
    found = wait_for(lambda: run_check(daemon), "the seven checks")
    assert found


def is_whole_of(daemon):
    return daemon.health()["status"] == "healthy"


def run_check(daemon):
    found = subprocess.run([TOP / "scripts" / "check", "--run-dir", daemon.run_dir], capture_output=True, text=True, check=False,
                           timeout=PATIENCE)
    print(found.stdout, found.stderr)
    return found.returncode == 0


@as_others
def test_has_no_way_to_redis_nor_the_daemons_group(make_daemon, run_base):
    run_base.chmod(0o755)
    path = run_base / "connecting.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", f"-I{TOP}/worker", "-o", path, TOP / "test/system/agents/connecting_module.c"],
                   check=True)
    daemon = make_daemon(user="nobody", pools={"own": module_pool(path, user="games"), "plain": module_pool(path),
                                               "programs": command_pool(BUILD / "example-agent", user="daemon")})
    socket = daemon.run_dir / "redis.sock"
    for pool, error in (("own", errno.EACCES), ("plain", 0)):
        assert daemon.message(daemon.spawn(pool)["agent_id"], str(socket)).json()["result"] == error
    socket.parent.chmod(0o777)  # nor where the directory alone would let it pass
    assert daemon.message(daemon.spawn("own")["agent_id"], str(socket)).json()["result"] == errno.EACCES
    daemon.spawn("programs")
    for pool in ("own", "programs"):
        for pid in daemon.worker_pids(pool).values():
            uid, gid, egid, groups = ids_of(pid)
            assert uid != 65534 and 65534 not in (gid, egid) and "65534" not in groups
    workers = [f"process:{process_id}:commands" for pool in ("own", "programs") for process_id in daemon.worker_pids(pool)]
    assert workers and not set(workers) & set(daemon.redis.pubsub_channels())


@as_others
def test_shows_the_same_in_redis_as_other_pools(daemon):
    agents = {pool: [daemon.spawn(pool) for _ in range(12)] for pool in ("own", "modules", "plain")}
    for pool, spawned in agents.items():
        assert all("degraded" not in agent for agent in spawned)
        wait_for(lambda: is_shown(daemon, pool, spawned), f"the agents of {pool} in Redis")
    assert entries(daemon, "own") == entries(daemon, "modules") == entries(daemon, "plain")
    process_id = daemon.redis.zrange("pool:own:processes", 0, -1)[0]
    wait_for(lambda: int(daemon.redis.hget(f"process:{process_id}", "rss_bytes")) > 0, "a heartbeat with its memory")
    before = daemon.redis.zscore("pool:own:heartbeats", process_id)
    wait_for(lambda: daemon.redis.zscore("pool:own:heartbeats", process_id) > before, "another heartbeat")
    assert not daemon.pool("own")["degraded"]
    for pool, spawned in agents.items():
        assert daemon.terminate(spawned.pop()).status_code == 200
        wait_for(lambda: is_shown(daemon, pool, spawned), f"one agent less of {pool}")
    check(daemon)


@as_others
def test_heals_in_redis_whatever_is_lost(daemon):
    agents = {pool: [daemon.spawn(pool) for _ in range(3)] for pool in ("own", "modules")}
    store = daemon.redis

    def all_shown():
        try:
            return all(is_shown(daemon, pool, spawned) for pool, spawned in agents.items())
        except redis.ConnectionError:
            return False
    wait_for(all_shown, "the agents in Redis")
    store.flushall()
    wait_for(all_shown, "the agents after FLUSHALL")
    os.kill(next(iter(daemon.worker_pids("own").values())), signal.SIGKILL)
    wait_for(lambda: all(daemon.agent(agent["agent_id"])["epoch"] == 2 for agent in agents["own"]) and all_shown(),
             "the agents of the dead worker under their next epoch")
    before = daemon.master_pid()
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: daemon.find_master() not in (None, before) and daemon.is_ready(), "the next master")
    agents["own"].append(daemon.spawn("own"))
    wait_for(all_shown, "the agents after a new master")
    assert "degraded.begins" not in daemon.log()
    os.kill(next(pid for pid, line in descendants(daemon.process.pid).items() if line.startswith("redis-server")), signal.SIGKILL)
    agents["modules"].append(daemon.spawn("modules"))
    wait_for(lambda: is_whole_of(daemon) and all_shown(), "the agents in the next Redis")
    check(daemon)


def test_keeps_what_its_agents_print(make_daemon, run_base):
    run_base.chmod(0o755)
    daemon = make_daemon(user="nobody", pools={"parrots": command_pool(*PARROT, user="games")}, log={"agents": "files"})
    agent = daemon.spawn("parrots")
    for number in range(5):
        note(daemon, agent, f"n{number}")
    wait_for(lambda: logs(daemon, agent) == [said(number) for number in range(5)], "five lines")
    agents_dir = daemon.run_dir / "agents"
    assert agents_dir.stat().st_mode & 0o7777 == 0o750
    assert (agents_dir / f"{agent['agent_id']}.log").stat().st_uid == 65534
