"""The registry as people see it with redis-cli: keys, channels, healing, a Redis of one's own."""
import concurrent.futures
import json
import threading
import uuid

import pytest
import redis

from daemon import BUILD, PATIENCE, PROJECT, command_pool, descendants, module_pool, wait_for

QUICK = {"heartbeat_interval_ms": 300, "worker_lease_ms": 30000}


def quick_pools():
    return {"developer_pool": command_pool(BUILD / "example-agent", **QUICK)}


def agent_pids(daemon):
    return sorted(pid for pid, command in descendants(daemon.process.pid).items() if "example-agent" in command)


def is_consistent(daemon, agents, pool="developer_pool"):
    """Scores, sets and hashes agree with the API: exactly these agents, each slot counted once."""
    store, ids = daemon.redis, {agent["agent_id"] for agent in agents}
    workers = daemon.workers(pool)
    placed = {worker["process_id"]: store.smembers(f"process:{worker['process_id']}:agents") for worker in workers}
    room = {process: int(store.hget(f"process:{process}", "max_agents") or 0) for process in placed}
    hashes = {agent_id: store.hgetall(f"agent:{agent_id}") for agent_id in ids}
    return (store.smembers(f"pool:{pool}:agents") == ids == set().union(*placed.values())
            and daemon.scores(pool) == {process: room[process] - len(held) for process, held in placed.items()}
            and all(agent_id in placed.get(one.get("process_id"), ()) and one["status"] == "idle"
                    for agent_id, one in hashes.items())
            and {agent["agent_id"] for agent in daemon.agents(pool_name=pool)} == ids)


@pytest.mark.sanitize
def test_has_the_documented_keys_when_agents_run(daemon):
    agents = [daemon.spawn() for _ in range(12)]
    store = daemon.redis
    assert store.smembers("pools") == {"developer_pool", "tester_pool"}
    workers = {worker["process_id"]: worker for worker in daemon.workers()}
    assert store.zrange("pool:developer_pool:processes", 0, -1, withscores=True, desc=True) == \
        [(process, 10 - worker["agents"]) for process, worker in sorted(workers.items(), key=lambda w: w[1]["agents"])]
    beats = dict(store.zrange("pool:developer_pool:heartbeats", 0, -1, withscores=True))
    assert beats.keys() == workers.keys()
    seconds, _ = store.time()
    assert all(abs(beat / 1000 - seconds) < 60 for beat in beats.values())
    assert store.type("pool:developer_pool:agents") == "set"
    masters = set()
    for process, worker in workers.items():
        record = store.hgetall(f"process:{process}")
        assert record.keys() >= {"pool_name", "pid", "host", "master_id", "status", "max_agents", "agent_count",
                                 "started_at", "last_heartbeat", "rss_bytes", "cpu_ms", "version"}
        assert (record["pool_name"], record["pid"], record["host"]) == ("developer_pool", str(worker["pid"]), worker["host"])
        assert (record["status"], record["max_agents"]) == ("ready", "10")
        assert store.scard(f"process:{process}:agents") == worker["agents"] == int(record["agent_count"])
        masters.add(record["master_id"])
    for agent in agents:
        record = store.hgetall(f"agent:{agent['agent_id']}")
        assert record.keys() >= {"process_id", "pool_name", "role_type", "project_id", "status", "epoch", "restarts",
                                 "created_at", "updated_at", "heartbeat_interval", "max_idle_time"}
        assert (record["process_id"], record["project_id"]) == (agent["process_id"], PROJECT)
        assert (record["role_type"], record["status"], record["epoch"]) == ("developer", "idle", "1")
        assert (record["restarts"], record["heartbeat_interval"], record["max_idle_time"]) == ("0", "30", "300")
    assert len(masters) == 1
    key = f"master:{masters.pop()}"
    assert store.hgetall(key).keys() >= {"host", "pid", "url", "version"}
    assert store.hget(key, "pid") == str(daemon.master_pid())
    assert store.hget(key, "url") == daemon.url
    assert 0 < store.ttl(key) < 3600
    assert is_consistent(daemon, agents)


def test_has_no_trace_when_agents_are_terminated(daemon):
    agents = [daemon.spawn() for _ in range(3)]
    for agent in agents:
        assert daemon.terminate(agent).status_code == 200
    store = daemon.redis
    assert not store.exists("pool:developer_pool:agents", *(f"agent:{agent['agent_id']}" for agent in agents))
    assert list(daemon.scores().values()) == [10]
    assert is_consistent(daemon, [])


class Listener:
    """What a channel carries, by type."""

    def __init__(self, daemon, *channels):
        self.pubsub = daemon.redis.pubsub(ignore_subscribe_messages=True)
        self.pubsub.psubscribe(*channels)
        self.heard = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        wait_for(lambda: daemon.redis.pubsub_numpat() >= len(channels), "the subscription")

    def run(self):
        try:
            for message in self.pubsub.listen():
                self.heard.append((message["channel"], json.loads(message["data"])))
        except redis.ConnectionError:
            pass  # the daemon has ended, and its Redis with it

    def of(self, channel):
        return [data for name, data in list(self.heard) if name == channel]


@pytest.mark.sanitize
def test_tells_when_subscribed(daemon):
    listener = Listener(daemon, "pool:*", "process:*", "master:*")
    agent = daemon.spawn()
    agent_id, process_id = agent["agent_id"], agent["process_id"]
    daemon.call_tool(agent_id, "echo", text="x")
    daemon.terminate(agent)
    events = lambda: listener.of("pool:developer_pool:events")
    names = lambda: [event["event"] for event in events() if event.get("agent_id") == agent_id]
    wait_for(lambda: names() == ["agent_spawned", "agent_terminated"], "both events of the agent")
    assert "worker_started" in [event["event"] for event in events()]
    copies = lambda: [(c["type"], c["agent_id"]) for c in listener.of("pool:developer_pool:commands")]
    for commands in (copies, lambda: [(c["type"], c["agent_id"]) for c in listener.of(f"process:{process_id}:commands")]):
        wait_for(lambda: commands() == [("spawn", agent_id), ("message", agent_id), ("terminate", agent_id)], "commands")
    master_id = daemon.redis.hget(f"process:{process_id}", "master_id")
    spawn = listener.of("pool:developer_pool:commands")[0]
    wait_for(lambda: spawn["command_id"] in [r.get("command_id") for r in listener.of(f"master:{master_id}:replies")],
             "the acknowledgement that names its command")


@pytest.mark.sanitize
def test_heals_when_flushed(make_daemon):
    daemon = make_daemon(pools=quick_pools())
    agents = daemon.spawn_many(25, clients=10)
    pids = agent_pids(daemon)
    daemon.redis.flushall()
    wait_for(lambda: is_consistent(daemon, agents), "the registry to be whole again")
    assert agent_pids(daemon) == pids
    for agent in agents:
        assert daemon.whoami(agent["agent_id"])["epoch"] == 1
    wait_for(lambda: daemon.redis.keys("master:*"), "the master's record")
    agents.append(daemon.spawn())
    assert is_consistent(daemon, agents)


def wait_for_links(daemon):
    """Until master and workers have both connections again: one sends heartbeats, the other hears."""
    seconds, micros = daemon.redis.time()
    now = seconds * 1000 + micros / 1000
    beats = lambda: daemon.redis.zrange("pool:developer_pool:heartbeats", 0, -1, withscores=True)
    wait_for(lambda: all(beat > now for _, beat in beats()), "every worker's heartbeat")
    channels = [f"process:{worker['process_id']}:commands" for worker in daemon.workers()]
    wait_for(lambda: all(count == 1 for _, count in daemon.redis.pubsub_numsub(*channels)), "all workers subscribed")
    wait_for(lambda: daemon.health()["redis"]["available"], "the master's connection")


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", ["pubsub", "normal"])
def test_answers_every_spawn_when_connections_are_cut(make_daemon, kind):
    daemon, agents = make_daemon(pools=quick_pools()), []
    with concurrent.futures.ThreadPoolExecutor(6) as executor:
        for _ in range(10):
            wave = [executor.submit(daemon.spawn) for _ in range(6)]
            daemon.redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            agents += [spawn.result() for spawn in wave]
    wait_for(lambda: is_consistent(daemon, agents), "a consistent registry")
    assert len(agent_pids(daemon)) == 60
    wait_for_links(daemon)
    assert len({daemon.whoami(agent["agent_id"])["pid"] for agent in agents}) == 60


def test_uses_another_redis_when_given_its_url(make_daemon, make_redis):
    server = make_redis()
    daemon = make_daemon(redis={"url": server.url(3)})
    agents = daemon.spawn_many(12, clients=4) + [daemon.spawn("tester_pool")]
    assert not [c for c in descendants(daemon.process.pid).values() if c.startswith("redis-server")]
    assert server.client(3).scard("pool:developer_pool:agents") == 12
    assert server.client(0).dbsize() == 0
    assert daemon.health()["redis"]["available"]
    daemon.whoami(agents[0]["agent_id"])
    server.client(3).set("a key of somebody else", "stays")
    assert daemon.stop() == 0
    assert server.client(3).keys() == ["a key of somebody else"]


def test_takes_the_usual_variables_when_set(make_daemon, make_redis):
    server = make_redis()
    daemon = make_daemon(start=False, env={"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port), "REDIS_DB": "5",
                                           "REDIS_PASSWORD": server.password})
    daemon.start()
    daemon.spawn()
    assert server.client(5).scard("pool:developer_pool:agents") == 1


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "allkeys-lfu"])
def test_refuses_to_start_when_redis_may_evict(make_daemon, make_redis, policy):
    server = make_redis(policy=policy)
    daemon = make_daemon(start=False, redis={"url": server.url(0)})
    assert daemon.launch().process.wait(timeout=60) == 78
    assert "maxmemory-policy" in daemon.log() and "noeviction" in daemon.log() and policy in daemon.log()
    assert server.password not in daemon.log()
    assert server.client(0).dbsize() == 0


@pytest.mark.sanitize
def test_refuses_to_start_when_the_password_is_wrong(make_daemon, make_redis):
    server = make_redis()
    daemon = make_daemon(start=False, redis={"url": f"redis://:wrong@127.0.0.1:{server.port}/0"})
    assert daemon.launch().process.wait(timeout=60) == 78
    assert "check the user and password in redis.url" in daemon.log()
    assert "wrong@" not in daemon.log()


def test_modules_share_the_registry_when_they_run(make_daemon):
    daemon = make_daemon(pools={"developer_pool": module_pool(max_agents_per_worker=200, **QUICK)})
    agents = daemon.spawn(count=200)["agents"]  # more than one part of a registration takes
    assert is_consistent(daemon, agents)
    daemon.redis.flushall()
    wait_for(lambda: is_consistent(daemon, agents), "the registry to be whole again")
    assert {(agent["epoch"], agent["restarts"]) for agent in daemon.agents()} == {(1, 0)}


@pytest.mark.sanitize
def test_belongs_to_one_daemon_when_two_are_started_on_one_redis(make_daemon, make_redis):
    server = make_redis()
    first = make_daemon(pools={"modules": module_pool()}, redis={"url": server.url(0)})
    agent = first.spawn("modules")
    second = make_daemon(start=False, pools={"modules": module_pool()}, redis={"url": server.url(0)})
    second.launch()
    assert second.process.wait(timeout=PATIENCE) == 78
    assert "registry.taken" in second.log() and f"run_dir {first.run_dir}" in second.log()
    assert first.whoami(agent["agent_id"])["epoch"] == 1
    beside = make_daemon(pools={"modules": module_pool()}, redis={"url": server.url(1)})
    beside.spawn("modules")
    first.kill_everything()
    first.start()  # another life of the same: at once
    wait_for(lambda: first.pool("modules")["agents_by_state"]["idle"] == 1, "its agent to run again")
    assert not first.pool("modules")["degraded"]


def test_serves_without_redis_when_another_daemon_took_it(make_daemon, make_redis):
    server = make_redis()
    first = make_daemon(pools={"modules": module_pool()}, redis={"url": server.url(0)})
    first.spawn("modules")
    owner = server.client(0).hgetall("master:owner")
    assert owner["run_dir"] == str(first.run_dir)
    server.client(0).hset("master:owner", mapping={"master_id": str(uuid.uuid4()), "host": "other.example", "pid": 77})
    wait_for(lambda: first.pool("modules")["degraded"], "it to notice")
    assert "other.example with pid 77" in first.pool("modules")["degraded_reason"]
    first.spawn("modules")
    wait_for(lambda: not first.pool("modules")["degraded"], "it to take over what stands still", timeout=PATIENCE + 30)
    assert server.client(0).hget("master:owner", "master_id") == owner["master_id"]
    assert all(first.whoami(agent["agent_id"])["epoch"] == 1 for agent in first.agents()) and len(first.agents()) == 2
