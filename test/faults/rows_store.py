"""Rows 25 and 26: a SQL server that is away, refuses, is slow, or whose answer is lost."""
import os
import signal
import subprocess
import time

from daemon import wait_for
from proxy import AnswerEater
from scene import modules

WAIT_MS = 1500


def is_refused(scene, daemon, words=""):
    """True once a spawn is refused as it should be."""
    answer = scene.ask(daemon, "POST", "/agents/spawn", daemon.spawn_body("modules"))
    if answer.status_code == 200:
        return False
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0, answer.text
    return words in answer.json()["detail"].lower()


def is_flushed(scene, daemon):
    return scene.is_ready(daemon) and daemon.health()["database"]["queued"] == 0


def read_only(url, on):
    for command in (f"ALTER SYSTEM SET default_transaction_read_only = {on}", "SELECT pg_reload_conf()"):
        subprocess.run(["psql", "-Xq", "-c", "SET default_transaction_read_only = off", "-c", command, url], check=True,
                       stdout=subprocess.DEVNULL)


def backends(servers):
    """The processes of PostgreSQL that serve a connection of the daemon's."""
    children = f"/proc/{servers.server.pid}/task/{servers.server.pid}/children"
    with open(children, encoding="ascii") as file:
        pids = [int(pid) for pid in file.read().split()]
    titles = {}
    for pid in pids:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            titles[pid] = file.read()
    return [pid for pid, title in titles.items() if " faults " in title]


def store_away(scene):
    servers = scene.postgres()
    url = servers.url("faults")
    daemon = scene.start(database={"url": url, "max_wait_ms": WAIT_MS})
    targets = scene.spawn(daemon, "programs", 8)
    with scene.clients(daemon, ["modules"], targets) as clients:
        for number in (signal.SIGQUIT, signal.SIGINT):
            scene.injected("PostgreSQL stopped")
            servers.stop(number)
            wait_for(lambda: is_refused(scene, daemon), "spawns to be refused")
            clients.flow()
            servers.start()
            scene.clock()
            scene.recovered(lambda: is_flushed(scene, daemon), "the store to be back and everything written")
        scene.injected("PostgreSQL read-only")
        read_only(url, "on")
        wait_for(lambda: is_refused(scene, daemon, "read-only"), "spawns to be refused")
        clients.flow()
        read_only(url, "off")
        scene.clock()
        scene.recovered(lambda: is_flushed(scene, daemon), "the store to be back")
        stopped = backends(servers)
        assert stopped
        scene.injected("PostgreSQL silent for 4 s")
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4)
        clients.flow()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        scene.clock()
        scene.recovered(lambda: is_flushed(scene, daemon), "the store to be back")
        clients.flow()
    disk_full(scene)


def disk_full(scene):
    disk = scene.small_disk("disk", "2m")
    daemon = scene.start(pools={"modules": modules()}, database={"url": f"sqlite:{disk}/db", "max_wait_ms": WAIT_MS})
    targets = scene.spawn(daemon, "modules", 3)
    with scene.clients(daemon, ["modules"], targets, number=1) as clients:
        scene.injected("SQLite's disk full")
        ballast = disk / "ballast"
        try:
            with open(ballast, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            pass
        wait_for(lambda: is_refused(scene, daemon, "disk full"), "spawns to be refused")
        clients.flow()
        ballast.unlink()
        scene.clock()
        scene.recovered(lambda: is_flushed(scene, daemon), "the store to be back")
        clients.flow()


def answer_lost(scene):
    servers = scene.postgres()
    url = servers.url("faults")
    proxy = AnswerEater(servers.port, b"COMMIT")
    daemon = scene.start(database={"url": url.replace(str(servers.port), str(proxy.port)), "max_wait_ms": 20000})
    targets = scene.spawn(daemon, "programs", 4)
    with scene.clients(daemon, ["modules", "programs"], targets, number=6) as clients:
        for turn in range(1, 16):
            scene.injected("the answer to a COMMIT lost")
            proxy.armed = True
            wait_for(lambda: proxy.eaten >= turn, "a commit to be spoilt")
            scene.recovered(lambda: is_flushed(scene, daemon), "the store to be back")
            clients.flow()
