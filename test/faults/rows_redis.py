"""Rows 18 to 24: a Redis that is gone, hung, cut off, full, forgetful, or loses messages."""
from daemon import PATIENCE


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
