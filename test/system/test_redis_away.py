"""Redis away, hung, full, wiped, cut off, and a network that lies in between: agents go on, spawns are served, and
everything is whole again when it is back."""
import concurrent.futures
import os
import signal
import subprocess
import threading

import pytest
import requests

from daemon import BUILD, PATIENCE, TOP, command_pool, descendants, module_pool, wait_for
from test_registry import agent_pids, is_consistent

QUICK = {"heartbeat_interval_ms": 300}
TIMES = {"connect_timeout_ms": 1000, "request_timeout_ms": 1000, "ping_interval_ms": 300}


@pytest.fixture
def server(make_redis):
    return make_redis()


@pytest.fixture
def start(make_daemon, server):
    """start(url=…, **pool settings): a daemon at that Redis with quick heartbeats."""
    def start(url=None, running=True, **settings):
        pools = {"developer_pool": command_pool(BUILD / "example-agent", **QUICK, **settings),
                 "tester_pool": module_pool(**QUICK)}
        return make_daemon(start=running, pools=pools, redis={"url": url or server.url(0), **TIMES})
    return start


def is_degraded(daemon):
    pool, ready, health = daemon.pool(), daemon.get("/readyz"), daemon.health()
    if not pool["degraded"]:
        return None
    assert ready.status_code == 200
    return health["degraded"] and ready.json().get("degraded") and pool["degraded_reason"]


def is_whole(daemon):
    return not daemon.pool()["degraded"] and daemon.health()["status"] == "healthy"


def wait_until_whole(daemon, server, agents):
    """Redis is used, and SQL, Redis, the API and /proc agree on these agents."""
    wait_for(lambda: is_whole(daemon), "the daemon to use Redis")
    wait_for(lambda: is_consistent(daemon, agents), "a consistent registry")
    ids = daemon.directory / "ids"
    ids.write_text("".join(agent["agent_id"] + "\n" for agent in agents))
    found = subprocess.run([TOP / "scripts" / "check", "--run-dir", daemon.run_dir, "--redis", server.url(0), "--ids", ids],
                           capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    pids = [daemon.whoami(agent["agent_id"])["pid"] for agent in agents]
    assert len(set(pids)) == len(agents)


def serve_without_redis(daemon, agents):
    """All that a client can ask for, with more agents than there were slots."""
    pids = agent_pids(daemon)
    more = daemon.spawn_many(15, clients=5)
    assert all(agent["degraded"] for agent in more)
    for agent in agents + more:
        assert daemon.whoami(agent["agent_id"])["epoch"] == daemon.agent(agent["agent_id"])["epoch"]
    assert set(pids) <= set(agent_pids(daemon))
    ended = agents.pop()
    assert daemon.terminate(ended).status_code == 200
    assert daemon.message(ended["agent_id"], "ping").status_code == 404
    moved = agents[0]["agent_id"]
    epoch = daemon.agent(moved)["epoch"]
    assert daemon.post(f"/agents/{moved}/restart").status_code in (200, 202)
    wait_for(lambda: daemon.agent(moved)["epoch"] > epoch and daemon.agent(moved)["state"] == "idle", "the restarted agent")
    return agents + more


@pytest.mark.sanitize
def test_serves_without_redis_when_it_is_stopped(start, server):
    daemon = start()
    agents = daemon.spawn_many(12, clients=6)
    server.stop()
    reason = wait_for(lambda: is_degraded(daemon), "degraded mode")
    assert f":{server.port}" in reason and "secret" not in reason
    agents = serve_without_redis(daemon, agents)
    server.start()
    wait_until_whole(daemon, server, agents)
    agents.append(daemon.spawn())
    assert "degraded" not in agents[-1]
    wait_until_whole(daemon, server, agents)


@pytest.mark.sanitize
def test_places_the_agents_of_a_dead_worker_when_redis_is_away(start, server):
    daemon = start()
    agents = daemon.spawn_many(12, clients=6)
    server.stop()
    wait_for(lambda: is_degraded(daemon), "degraded mode")
    for pid in daemon.worker_pids().values():
        os.kill(pid, signal.SIGKILL)
    everybody = {agent["agent_id"] for agent in agents}
    wait_for(lambda: {a["agent_id"] for a in daemon.agents(pool_name="developer_pool")
                      if a["state"] == "idle" and a["epoch"] > 1} == everybody, "all agents under another epoch")
    server.start()
    wait_until_whole(daemon, server, agents)


def test_answers_within_its_deadline_when_redis_hangs(start, server):
    daemon = start()
    agents = daemon.spawn_many(5)
    server.pause()
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        agents += executor.map(lambda _: daemon.spawn(), range(20))
    wait_for(lambda: is_degraded(daemon), "degraded mode")
    agents = serve_without_redis(daemon, agents)
    server.pause(False)
    wait_until_whole(daemon, server, agents)


def test_serves_without_redis_when_it_is_cut_off(start, server, make_proxy):
    proxy = make_proxy(server.port)
    daemon = start(server.url(0).replace(f":{server.port}", f":{proxy.port}"))
    agents = daemon.spawn_many(5)
    proxy.hold(True)
    agents.append(daemon.spawn())
    wait_for(lambda: is_degraded(daemon), "degraded mode")
    agents = serve_without_redis(daemon, agents)
    proxy.hold(False)
    wait_until_whole(daemon, server, agents)
    for _ in range(5):
        proxy.cut()
        agents.append(daemon.spawn())
    wait_until_whole(daemon, server, agents)


@pytest.mark.sanitize
def test_loses_nothing_when_redis_flaps_under_load(start, server):
    daemon = start()
    agents, stop = [], threading.Event()

    def churn():
        while not stop.is_set():
            agents.append(daemon.spawn())
            if len(agents) > 40:
                assert daemon.terminate(agents.pop(0)).status_code == 200
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        load = executor.submit(churn)
        for turn in range(6):
            seen = daemon.log().count("degraded.begins")
            (server.stop if turn % 2 else server.pause)()
            wait_for(lambda: load.done() or daemon.log().count("degraded.begins") > seen, "degraded mode")
            server.start() if turn % 2 else server.pause(False)
            wait_for(lambda: load.done() or is_whole(daemon), "the daemon to use Redis")
        stop.set()
        load.result()
    wait_until_whole(daemon, server, agents)


def test_comes_up_without_redis_when_it_is_away_at_the_start(start, server):
    daemon = start()
    agents = daemon.spawn_many(12, clients=6)
    daemon.kill_everything()
    server.stop()
    daemon.start()
    wait_for(lambda: is_degraded(daemon), "degraded mode")
    everybody = {agent["agent_id"] for agent in agents}
    wait_for(lambda: {a["agent_id"] for a in daemon.agents(pool_name="developer_pool") if a["state"] == "idle"} == everybody,
             "the restored agents")
    agents = serve_without_redis(daemon, agents)
    server.start()
    wait_until_whole(daemon, server, agents)


@pytest.mark.sanitize
def test_keeps_its_agents_when_masters_die_without_redis(start, server):
    daemon = start()
    agents = daemon.spawn_many(12, clients=6)
    server.stop()
    wait_for(lambda: is_degraded(daemon), "degraded mode")
    agents += daemon.spawn_many(6, clients=6)
    pids = agent_pids(daemon)
    for _ in range(3):
        master = daemon.master_pid()
        os.kill(master, signal.SIGKILL)
        wait_for(lambda: daemon.find_master() not in (None, master) and daemon.is_ready(), "the next master")
        agents.append(daemon.spawn())
        assert set(pids) <= set(agent_pids(daemon))
    server.start()
    wait_until_whole(daemon, server, agents)


def test_removes_what_is_out_of_date_when_the_master_dies_before_the_return(start, server):
    """Redis hangs and keeps what it had: an agent that has ended meanwhile, under a later epoch, in a worker that lives on."""
    daemon = start(max_workers=1)
    agents = daemon.spawn_many(5)
    server.pause()
    wait_for(lambda: is_degraded(daemon), "degraded mode")
    ended = agents.pop()
    daemon.post(f"/agents/{ended['agent_id']}/restart")
    wait_for(lambda: daemon.agent(ended["agent_id"])["epoch"] == 2, "the restart")
    assert daemon.terminate(ended).status_code == 200
    master = daemon.master_pid()
    os.kill(master, signal.SIGKILL)
    server.pause(False)
    wait_for(lambda: daemon.find_master() not in (None, master) and daemon.is_ready(), "the next master")
    wait_until_whole(daemon, server, agents)


def test_says_why_when_redis_is_full(start, server):
    daemon = start()
    agents = daemon.spawn_many(12, clients=6)
    server.client(0).config_set("maxmemory", "1mb")
    agents.append(daemon.spawn())
    reason = wait_for(lambda: is_degraded(daemon), "degraded mode")
    assert "maxmemory" in reason
    agents = serve_without_redis(daemon, agents)
    assert daemon.terminate(agents.pop()).status_code == 200
    server.client(0).config_set("maxmemory", "0")
    wait_until_whole(daemon, server, agents)


def test_subscribes_again_when_redis_cuts_a_slow_subscriber_off(start, server):
    daemon = start()
    agents = daemon.spawn_many(12, clients=6)
    store = server.client(0)
    store.config_set("client-output-buffer-limit", "pubsub 65536 65536 1")
    masters = [key for key in store.keys("master:*") if key != "master:owner"]
    workers = [f"process:{worker['process_id']}:commands" for worker in daemon.workers()]
    for channel in [f"{masters[0]}:replies", *workers]:
        store.publish(channel, "x" * 300000)
    wait_for(lambda: "degraded.begins" in daemon.log(), "the master to notice")
    agents += daemon.spawn_many(10, clients=5)
    wait_until_whole(daemon, server, agents)
    wait_for(lambda: all(count == 1 for _, count in store.pubsub_numsub(*workers)), "the workers to be subscribed again")


def test_serves_on_and_says_why_when_redis_comes_back_evicting(start, server):
    daemon = start()
    agents = daemon.spawn_many(5)
    server.stop()
    wait_for(lambda: is_degraded(daemon), "degraded mode")
    server.arguments[server.arguments.index("--maxmemory-policy") + 1] = "allkeys-lru"
    server.start()
    wait_for(lambda: "noeviction" in (is_degraded(daemon) or ""), "the reason with its remedy")
    agents.append(daemon.spawn())
    server.client(0).config_set("maxmemory-policy", "noeviction")
    wait_until_whole(daemon, server, agents)


@pytest.mark.sanitize
def test_has_one_of_each_when_messages_are_lost_doubled_and_late(start, server, make_proxy):
    proxy = make_proxy(server.port)
    daemon = start(server.url(0).replace(f":{server.port}", f":{proxy.port}"))
    proxy.lose = proxy.double = proxy.delay = 0.2
    agents = daemon.spawn_many(40, clients=20)
    with concurrent.futures.ThreadPoolExecutor(10) as executor:
        answers = list(executor.map(daemon.terminate, agents[::2]))
    assert [answer.status_code for answer in answers] == [200] * 20
    agents = agents[1::2] + daemon.spawn_many(10, clients=10)
    assert proxy.touched > 30
    proxy.lose = proxy.double = proxy.delay = 0
    wait_until_whole(daemon, server, agents)
    assert len(agent_pids(daemon)) == len(agents)


def test_is_stopped_in_order_when_redis_is_away(start, server):
    daemon = start()
    daemon.spawn_many(12, clients=6)
    server.stop()
    wait_for(lambda: is_degraded(daemon), "degraded mode")
    daemon.note_processes()
    assert daemon.stop() == 0
    assert not descendants(daemon.process.pid)


def test_keeps_the_agent_when_its_record_is_deleted(start, server):
    daemon = start()
    agents = daemon.spawn_many(3)
    pids = agent_pids(daemon)
    server.client(0).delete(f"agent:{agents[0]['agent_id']}")
    agents.append(daemon.spawn()) # the worker's next heartbeat is told of the change
    wait_until_whole(daemon, server, agents)
    assert set(pids) <= set(agent_pids(daemon))
    assert [daemon.agent(agent["agent_id"])["restarts"] for agent in agents] == [0] * 4


@pytest.mark.sanitize
def test_carries_events_of_agents_when_redis_is_away(make_daemon, server, odd_pool):
    daemon = make_daemon(pools={"developer_pool": odd_pool(**QUICK)}, redis={"url": server.url(0), **TIMES})
    agent = daemon.spawn()
    server.stop()
    wait_for(lambda: is_degraded(daemon), "degraded mode")
    url = f"{daemon.url}/api/v1/agents/{agent['agent_id']}/events"
    with requests.get(url, stream=True, timeout=PATIENCE) as stream:
        assert stream.status_code == 200
        flood = {"jsonrpc": "2.0", "method": "flood", "params": {"seconds": 0.1}}
        assert daemon.post(f"/agents/{agent['agent_id']}/messages", flood).status_code == 202
        assert any(b"notifications/message" in line for line in stream.iter_lines())
