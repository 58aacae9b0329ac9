"""Rows 5, 6, 28, 29 and 32: a machine that has no memory, processes, descriptors, disk or time to give."""
import contextlib
import os
import resource
import signal
import socket
import struct
import time

import cgroups
from daemon import descendants, wait_for
from rows_agents import pid_of, tell
from scene import Skip, cpu_seconds, next_epochs, odd, running_at, states_of, two_pools

MIB = 1 << 20


def make_cgroup(scene, controller, value):
    path = cgroups.make(scene.name_of("cgroup"), controller)
    if not path:
        raise Skip(f"no cgroup with the controller {controller} can be made here")
    cgroups.limit(path, controller, value)
    return path


# ---- 5 ----

def out_of_memory(scene):
    pools = {**two_pools(), "odd": odd(), "limited": odd(limits={"memory_bytes": 512 * MIB}), "alone": odd(max_agents_per_worker=1)}
    daemon = scene.start(pools=pools)
    (agent,), (limited,), (alone,) = (scene.spawn(daemon, pool, 1) for pool in ("odd", "limited", "alone"))
    memory = make_cgroup(scene, "memory", 400 * MIB)
    with scene.clients(daemon, ["modules", "programs"], number=2) as clients:
        others = {a["agent_id"]: a["epoch"] for a in daemon.agents(pool_name="programs")}
        for _ in range(2):
            cgroups.put(memory, pid_of(daemon, agent))
            ends(scene, daemon, agent, "an agent over its memory cgroup", lambda: tell(scene, daemon, agent, "eat", {"bytes": 500 * MIB}))
            ends(scene, daemon, limited, "an agent over limits.memory_bytes",
                 lambda: all(tell(scene, daemon, limited, "eat", {"bytes": 32 * MIB}).status_code == 200 for _ in range(100)))
            clients.flow()
        cgroups.limit(memory, "memory", MIB // 2)
        cgroups.put(memory, daemon.worker_pids("alone")[alone["process_id"]])
        ends(scene, daemon, alone, "a worker over its memory cgroup",
             lambda: all(tell(scene, daemon, alone, "echo", {"x": "x" * 900000}).status_code == 200 for _ in range(100)))
        clients.flow()
        after = states_of(daemon, others)
        assert all(after[agent_id][1] == epoch for agent_id, epoch in others.items() if agent_id in after), "others were touched"


def ends(scene, daemon, agent, what, use_memory):
    """It ends for want of memory, which the API says, and runs again."""
    after = next_epochs(daemon, [agent["agent_id"]])
    scene.injected(what)
    use_memory()
    scene.recovered(lambda: running_at(daemon, after), f"it to run again after {what}")
    reason = daemon.agent(agent["agent_id"])["last_exit"]["reason"]
    assert "out of memory" in reason, f"{what}: {reason}"


# ---- 6 ----

def fork_fails(scene):
    daemon = scene.start()
    targets = scene.spawn(daemon, "programs", 10)
    pids = make_cgroup(scene, "pids", "max")
    with scene.clients(daemon, ["programs"], targets, number=2) as clients:
        for _ in range(3):
            clients.hold()
            cgroups.put(pids, daemon.process.pid, *descendants(daemon.process.pid))
            scene.injected("pids.max reached")
            cgroups.limit(pids, "pids", 1)
            # More than there is room for: workers cannot be forked; and agents cannot where there is room.
            for pool in ("programs", "modules"):
                for _ in range(3):
                    answer = scene.ask(daemon, "POST", "/agents/spawn", daemon.spawn_body(pool))
                    assert answer.status_code == 503 or (pool == "modules" and answer.status_code == 200), answer.text
                    assert answer.status_code == 200 or int(answer.headers["Retry-After"]) > 0
            used = {pool["pool_name"]: pool["used_capacity"] for pool in daemon.get("/agents/pools").json()}
            placed = {pool: len(daemon.agents(pool_name=pool)) for pool in used}
            assert used == placed, f"slots in use {used}, agents {placed}"
            clients.go_on()
            clients.flow()
            cgroups.limit(pids, "pids", "max")
            scene.clock()
            scene.recovered(lambda: scene.ask(daemon, "POST", "/agents/spawn", daemon.spawn_body("programs")).status_code == 200,
                            "a spawn to succeed again")
            clients.flow()


# ---- 28 ----

def ask_from_outside(address, number):
    """So many new connections, a request on each."""
    sockets = [socket.create_connection(address, timeout=60) for _ in range(number)]
    for sock in sockets:
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.setblocking(False)
    return sockets


def answered(sockets, answers):
    """How many have been answered by now; answers: {socket: bytes}."""
    for sock in sockets:
        with contextlib.suppress(BlockingIOError):
            answers[sock] = answers.get(sock, b"") + sock.recv(4096)
    return sum(answer.startswith(b"HTTP/1.1 200") for answer in answers.values())


def no_descriptors(scene):
    daemon = scene.start()
    targets, number = scene.spawn(daemon, "programs", 6), 20
    host, port = daemon.url.removeprefix("http://").split(":")
    with scene.clients(daemon, ["modules"], targets, number=4) as clients:
        for _ in range(3):
            master, answers = daemon.master_pid(), {}
            limits, size = resource.prlimit(master, resource.RLIMIT_NOFILE), daemon.log_path.stat().st_size
            scene.injected("RLIMIT_NOFILE reached")
            resource.prlimit(master, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{master}/fd")), limits[1]))
            sockets = ask_from_outside((host, int(port)), number)
            clients.hold()
            used, begin = cpu_seconds(master), time.monotonic()
            wait_for(lambda: time.monotonic() - begin > 3, "a while")
            percent = (cpu_seconds(master) - used) / (time.monotonic() - begin) * 100
            grown = daemon.log_path.stat().st_size - size
            scene.figures.append(f"CPU {percent:.1f} %, log {grown} bytes")
            assert percent < 5 and grown < 16384, "it is not calm"
            assert answered(sockets, answers) < number, "all were answered, so that nothing was short"
            clients.go_on()
            clients.flow()  # connections that are open are served
            resource.prlimit(master, resource.RLIMIT_NOFILE, limits)
            scene.clock()
            scene.recovered(lambda: answered(sockets, answers) == number, "the waiting connections to be served")
            for sock in sockets:
                sock.close()
            wait_for(lambda: daemon.get("/stats").json()["connections"]["open"] < number, "its end of them to be closed")


# ---- 29 ----

def clock_jumps(scene):
    offset = scene.directory / "offset"
    offset.write_bytes(bytes(8))
    jumping = scene.compile("clock_jump.c")
    daemon = scene.start(env={"LD_PRELOAD": str(jumping), "CLOCK_JUMP": str(offset)})  # and Redis lives in the same time

    def jump(seconds):
        with open(offset, "r+b") as file:
            file.write(struct.pack("q", seconds))
        now = daemon.redis.time()[0] - time.time()
        assert abs(now - seconds) < 30, f"Redis' clock is off by {now} s"
    targets = scene.spawn(daemon, "programs", 12)
    epochs, pids = {agent["agent_id"]: 1 for agent in targets}, daemon.worker_pids("programs")
    lease = daemon.config["pools"]["programs"]["worker_lease_ms"] / 1000

    def unmoved():
        now = states_of(daemon, epochs)
        return pids == daemon.worker_pids("programs") and all(now[agent_id][1] == 1 for agent_id in epochs)
    with scene.clients(daemon, ["modules"], targets) as clients:
        for seconds in (3600, 0, -3600, 0):
            scene.injected("jump by an hour")
            jump(seconds)
            clients.flow(50)
            scene.recovered(lambda: unmoved() and scene.is_ready(daemon), "all to be as before")
            begin = time.monotonic()
            wait_for(lambda: time.monotonic() - begin > lease + 1, "a lease to pass")
            assert unmoved(), "somebody was reaped by mistake"
        clients.hold()
        machine_paused(scene, daemon, unmoved)
        clients.go_on()
        clients.flow()
        assert unmoved(), "somebody was reaped by mistake"


def machine_paused(scene, daemon, unmoved):
    """All of it at once, for a minute; it wakes in no order."""
    everything = [daemon.process.pid, *descendants(daemon.process.pid)]
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)
    scene.injected("all stopped for 60 s")
    time.sleep(60)
    scene.dice.shuffle(everything)
    for pid in everything:
        os.kill(pid, signal.SIGCONT)
    scene.clock()
    scene.recovered(lambda: scene.is_ready(daemon), "the API to answer")
    begin = time.monotonic()
    wait_for(lambda: time.monotonic() - begin > 5, "all to have looked at the clock")
    assert unmoved(), "somebody was reaped by mistake"


# ---- 32 ----

def log_disk_full(scene):
    disk = scene.small_disk("logs", "1m")
    daemon = scene.start(log={"file": str(disk / "log"), "level": "debug"})
    targets = scene.spawn(daemon, "programs", 6)
    with scene.clients(daemon, ["modules"], targets) as clients:
        for _ in range(3):
            scene.injected("the log's disk full")
            ballast = disk / "ballast"
            try:
                with open(ballast, "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
            except OSError:
                pass
            clients.flow(100)
            agent = scene.spawn(daemon, "programs", 1)[0]
            os.kill(daemon.master_pid(), signal.SIGKILL)
            wait_for(lambda: scene.is_ready(daemon), "the next master")
            assert scene.terminate(daemon, agent).status_code == 200
            ballast.unlink()
            os.truncate(disk / "log", 0)
            scene.clock()
            scene.recovered(lambda: (disk / "log").stat().st_size > 0, "the log to grow again")
            clients.flow()
