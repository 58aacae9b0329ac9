"""Rows 7, 8, 9 and 31: masters and forkers that die, double, or are replaced."""
import os
import shutil
import signal
import socket
import subprocess

from daemon import BUILD, PATIENCE, descendants, processes, wait_for
from scene import next_epochs, running_at, two_pools


def agent_programs(daemon):
    return {pid for pid, command in descendants(daemon.process.pid).items() if "example-agent" in command}


def next_master(daemon, before):
    return daemon.find_master() not in (None, before)


def master_killed(scene):
    daemon = scene.start()
    targets = scene.spawn(daemon, "programs", 20)
    before = {agent["agent_id"]: daemon.whoami(agent["agent_id"])["pid"] for agent in targets}
    with scene.clients(daemon, ["modules"], targets, number=8, most=30) as clients:
        for _ in range(20):
            master = daemon.master_pid()
            scene.pause(0.05)
            scene.injected("kill -9")
            os.kill(master, signal.SIGKILL)
            scene.recovered(lambda: next_master(daemon, master) and scene.is_ready(daemon), "the API to answer again")
            clients.flow()
    assert clients.book.refused == 0, f"{clients.book.refused} connections were refused"
    assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in before} == before, "an agent noticed"
    assert agent_programs(daemon) == set(before.values())
    scene.figures.append(f"{clients.book.cut + clients.book.closed} requests cut off and repeated, none refused")


def refusal(scene, daemon, holder, what):
    scene.injected(what)
    daemon.launch()
    status = daemon.process.wait(timeout=PATIENCE)
    scene.recovered(lambda: True, "the refusal")
    assert status == 1, f"exit status {status}"
    assert f"pid {holder}" in daemon.log(), daemon.log().strip()[-500:]
    daemon.process = None


def second_daemon(scene):
    daemon = scene.start()
    targets = scene.spawn(daemon, "programs", 3)
    with scene.clients(daemon, ["modules", "programs"], targets, number=2) as clients:
        for _ in range(3):
            same_place, same_address = scene.make_daemon(), scene.make_daemon()
            same_place.config["run_dir"] = str(daemon.run_dir)
            same_place.config["database"] = daemon.config["database"]
            refusal(scene, same_place, str(daemon.process.pid), "the same run_dir")
            same_address.config["server"]["listen"] = [daemon.url.removeprefix("http://")]
            refusal(scene, same_address, str(daemon.process.pid), "the same address")
            clients.flow()


def forker_killed(scene):
    daemon = scene.start()
    targets = scene.spawn(daemon, "programs", 15)
    with scene.clients(daemon, ["modules"], targets) as clients:
        clients.flow()
    for _ in range(5):
        ids = [agent["agent_id"] for agent in daemon.agents()]
        after = next_epochs(daemon, ids)
        below = daemon.note_processes()
        scene.injected("kill -9")
        daemon.process.kill()
        daemon.process.wait()
        scene.recovered(lambda: not below & set(processes()), "everything below it to end")
        daemon.seen.clear()
        daemon.start()
        wait_for(lambda: running_at(daemon, after), "all to be restored")
    with scene.clients(daemon, ["modules"], targets) as clients:
        clients.flow()


def replace(program):
    """As a package manager does: the running program keeps its file."""
    new = program.with_name("new")
    shutil.copy(BUILD / "agentpoold", new)
    new.rename(program)


def reloads_and_upgrades(scene):
    program = scene.directory / "agentpoold"
    replace(program)
    daemon = scene.make_daemon()
    daemon.program = program
    daemon.start()
    targets = scene.spawn(daemon, "programs", 12)
    before = {agent["agent_id"]: daemon.whoami(agent["agent_id"])["pid"] for agent in targets}
    with scene.clients(daemon, ["modules"], targets, most=20, errors=()) as clients:
        for turn in range(1, 121):
            upgrade, master = turn % 6 == 0, daemon.master_pid()
            if upgrade:
                replace(program)
            scene.injected("USR2" if upgrade else "HUP")
            daemon.process.send_signal(signal.SIGUSR2 if upgrade else signal.SIGHUP)
            scene.recovered(lambda: next_master(daemon, master) and scene.is_ready(daemon), "the next master to answer")
            clients.flow(5)
    assert daemon.log().count("upgrade.done") == 20
    assert clients.book.cut == clients.book.refused == 0, f"{clients.book.cut} requests cut off, {clients.book.refused} refused"
    assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in before} == before, "an agent noticed"
    scene.figures.append(f"{clients.book.succeeded()} requests answered")
