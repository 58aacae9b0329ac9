"""Rows 18 to 24 and 36: a Redis that is gone, hung, cut off, full, forgetful, or loses messages."""
import os
import re
import signal
import time

import redis

from daemon import PATIENCE, wait_for
from proxy import MessageSpoiler


LOST_MS = 5000  # a message that Redis took along is answered with 504 then


def is_rebuilt(daemon, agents):
    """Redis answers, and knows these again."""
    try:
        known = daemon.redis.smembers("pool:programs:agents")
    except (redis.RedisError, OSError):
        return False
    return {agent["agent_id"] for agent in agents} <= known


def serves(scene, daemon, what):
    """A spawn, a message and a terminate succeed while Redis is away."""
    def spawned():
        answer = scene.ask(daemon, "POST", "/agents/spawn", daemon.spawn_body("programs"))
        assert answer.status_code in (200, 503, 504), answer.text
        return answer.status_code == 200 and answer.json()
    agent = scene.recovered(spawned, f"a spawn to be served while {what}", timeout=30)
    assert daemon.call_tool(agent["agent_id"], "echo", text="x") == "x"
    assert scene.terminate(daemon, agent).status_code == 200


def with_redis(scene, upstream=None, **settings):
    """(server, daemon, agents); upstream(port): a proxy before the server."""
    server = scene.redis()
    url = server.url(0)
    proxy = upstream and upstream(server.port)
    daemon = scene.start(redis={"url": url.replace(f":{server.port}/", f":{proxy.port}/") if proxy else url, **settings})
    return server, proxy, daemon, scene.spawn(daemon, "programs", 12)


def unmoved(daemon, pids):
    """The agents never noticed."""
    assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in pids} == pids, "an agent noticed"


def pids_of(daemon, agents):
    return {agent["agent_id"]: daemon.whoami(agent["agent_id"])["pid"] for agent in agents}


def gone(scene):
    server, _, daemon, targets = with_redis(scene)
    pids = pids_of(daemon, targets)
    with scene.clients(daemon, ["modules"], targets, message_timeout_ms=LOST_MS) as clients:
        for _ in range(3):
            scene.injected("kill -9, and started again empty")
            server.stop()
            serves(scene, daemon, "Redis is gone")
            clients.flow()
            server.start()
            scene.clock()
            scene.recovered(lambda: is_rebuilt(daemon, targets) and scene.is_ready(daemon), "the registry to be rebuilt")
            clients.flow()
        for _ in range(3):
            scene.injected("FLUSHALL")
            server.client(0).flushall()
            scene.recovered(lambda: is_rebuilt(daemon, targets), "the registry to be rebuilt")
            clients.flow()
    unmoved(daemon, pids)


def hung(scene):
    server, _, daemon, targets = with_redis(scene)
    pids = pids_of(daemon, targets)
    with scene.clients(daemon, ["modules"], targets, message_timeout_ms=LOST_MS) as clients:
        for _ in range(3):
            scene.injected("SIGSTOP")
            server.process.send_signal(signal.SIGSTOP)
            serves(scene, daemon, "Redis is hung")
            clients.flow()
            server.process.send_signal(signal.SIGCONT)
            scene.clock()
            scene.recovered(lambda: is_rebuilt(daemon, targets) and scene.is_ready(daemon), "Redis to be used again")
            clients.flow()
    unmoved(daemon, pids)


def cut_off(scene):
    """The server's packets vanish, or every packet to it is answered with a reset."""
    server, _, daemon, targets = with_redis(scene)
    pids = pids_of(daemon, targets)
    scene.run_tool("nft", "add table inet faults")
    scene.run_tool("nft", "add chain inet faults in { type filter hook input priority 0; }")
    with scene.clients(daemon, ["modules"], targets, message_timeout_ms=LOST_MS) as clients:
        for what, verdict in (("black hole", "drop"), ("resets", "reject with tcp reset")) * 2:
            scene.injected(what)
            scene.run_tool("nft", f"add rule inet faults in tcp dport {server.port} counter {verdict}")
            serves(scene, daemon, f"there is a {what} before Redis")
            clients.flow()
            begin = time.monotonic()
            time.sleep(3)
            if verdict != "drop":
                scene.figures.append(f"{packets(scene) / (time.monotonic() - begin + 3):.0f} attempts a second")
            scene.run_tool("nft", "flush chain inet faults in")
            scene.clock()
            scene.recovered(lambda: is_rebuilt(daemon, targets) and scene.is_ready(daemon), "Redis to be used again")
            clients.flow()
    unmoved(daemon, pids)


def packets(scene):
    """What the rule has counted."""
    return int(re.search(r"packets (\d+)", scene.run_tool("nft", "list chain inet faults in")).group(1))


def full(scene):
    server, _, daemon, targets = with_redis(scene)
    with scene.clients(daemon, ["modules", "programs"], targets) as clients:
        for _ in range(3):
            agents = scene.spawn(daemon, "programs", 3)
            scene.injected("maxmemory 1")
            server.client(0).config_set("maxmemory", 1)
            answer = scene.ask(daemon, "POST", "/agents/spawn", daemon.spawn_body("programs"))
            assert answer.status_code in (200, 503, 504), answer.text
            for agent in agents:
                assert scene.terminate(daemon, agent).status_code == 200, "terminate must work"
            server.client(0).config_set("maxmemory", 0)
            scene.clock()
            scene.recovered(lambda: scene.ask(daemon, "POST", "/agents/spawn", daemon.spawn_body("programs")).status_code == 200,
                            "a spawn to be served again")
            clients.flow()


def flood(server, channel, size=16 << 20):
    """More than a subscriber that does not read may leave unread; true when it was cut off."""
    client, filler = server.client(0), "x" * (1 << 16)
    for _ in range(size // len(filler)):
        if client.publish(channel, filler) == 0:
            return True
    return False


def slow_subscriber(scene):
    server, _, daemon, targets = with_redis(scene)
    pids = pids_of(daemon, targets)
    server.client(0).config_set("client-output-buffer-limit", "pubsub 262144 262144 1")

    def listens(channel):
        return dict(server.client(0).pubsub_numsub(channel))[channel] == 1
    with scene.clients(daemon, ["modules"], targets, message_timeout_ms=LOST_MS) as clients:
        for turn in range(6):
            worker = scene.dice.choice(daemon.workers("programs"))
            pid = worker["pid"] if turn % 2 else daemon.master_pid()
            channel = f"process:{worker['process_id']}:commands" if turn % 2 else \
                f"master:{(daemon.run_dir / 'master_id').read_text().strip()}:replies"
            os.kill(pid, signal.SIGSTOP)
            try:
                scene.injected("a worker cut off" if turn % 2 else "the master cut off")
                assert flood(server, channel), f"Redis did not cut {channel} off"
            finally:
                os.kill(pid, signal.SIGCONT)
            scene.recovered(lambda: listens(channel) and scene.is_ready(daemon), "it to subscribe again")
            clients.flow()
    unmoved(daemon, pids)


def messages_spoilt(scene):
    _, proxy, daemon, targets = with_redis(scene, lambda port: MessageSpoiler(port, scene.dice))
    with scene.clients(daemon, ["modules", "programs"], targets, number=6, message_timeout_ms=500) as clients:
        for _ in range(3):
            proxy.spoils = True
            scene.injected("", 0)
            clients.flow(150)
            proxy.spoils = False
            scene.clock()
            clients.hold()
            scene.recovered(lambda: all(pool["agents_by_state"]["starting"] == 0 for pool in daemon.get("/agents/pools").json()),
                            "everything to be settled")
            clients.go_on()
    scene.injections = {f"messages and acknowledgements {what}": times for what, times in proxy.done.items()}
    assert len(proxy.done) == 3, "not everything was tried"


def evicting_policy(scene):
    for policy in ("allkeys-lru", "allkeys-random", "volatile-lru"):
        server = scene.redis(policy, policy=policy)
        daemon = scene.make_daemon(redis={"url": server.url(0)})
        keeps = policy.startswith("volatile")  # evicts only what has a time to live
        scene.injected(policy)
        daemon.launch()
        if not keeps:
            status = daemon.process.wait(timeout=PATIENCE)
            scene.recovered(lambda: True, "the refusal")
            assert status == 78 and "noeviction" in daemon.log() and policy in daemon.log(), daemon.log()[-500:]
            server.client(0).config_set("maxmemory-policy", "noeviction")
        daemon.start() if not keeps else scene.recovered(lambda: scene.is_ready(daemon), "a start with the harmless policy")
        with scene.clients(daemon, ["modules", "programs"], number=2) as clients:
            clients.flow()
        scene.check(daemon)
        daemon.stop()


def reason_told(daemon, words):
    """Everywhere that it is told, in Redis' own words."""
    reasons = [daemon.pool("programs").get("degraded_reason"), daemon.get("/readyz").json().get("reason"), daemon.health().get("reason")]
    return all(reason and re.search(words, reason) for reason in reasons)


def rights_taken(scene):
    """What only a worker meets: its keys are not its own, or one is of another type."""
    server = scene.redis()
    daemon = scene.start(redis={"url": server.allow(), "ping_interval_ms": 300})
    store, key = server.client(0), "pool:programs:processes"
    targets = scene.spawn(daemon, "programs", 12)
    pids = pids_of(daemon, targets)

    def taken(what, words, take, give_back):
        scene.injected(what)
        take()
        scene.recovered(lambda: reason_told(daemon, words), f"{words} to be told")
        serves(scene, daemon, "its workers are refused")
        clients.flow()
        give_back()
        scene.clock()
        scene.recovered(lambda: is_rebuilt(daemon, targets) and not daemon.pool("programs")["degraded"], "Redis to be used again")
        clients.flow()

    with scene.clients(daemon, ["modules"], targets, message_timeout_ms=LOST_MS) as clients:
        for _ in range(2):
            taken("ACL SETUSER without ~process:*", "NOPERM|can't access", lambda: server.allow("~process:*"), server.allow)
            taken("SET of a key of ours", "WRONGTYPE", lambda: store.set(key, "x"), lambda: store.delete(key))
    unmoved(daemon, pids)
