"""Row 10: every fault point of the sources, struck with each action, in daemons that are kept busy. Row 30: memory that runs out."""
import os
import re
import shutil
import signal
import threading
import time

from daemon import BUILD, TOP, descendants, wait_for
from scene import modules, pids_in, programs

ROOMS = ("common", "registry", "sql", "worker", "master")
ACTIONS = ("kill", "stop", "error:EIO")
STOPPED_FOR = 5  # s
AT_A_TIME = 4
# What leads to points that the load alone does not pass; others are tried, too.
LEADS = {r"fork\.|worker\.(begin|register|reap)": "worker", r"master\.|restore\.|worker\.adopt|.*\.connect|redis\.": "reload",
         r"upgrade\.": "upgrade"}


def points():
    """Their names, as the sources have them."""
    found = set()
    for room in ROOMS:
        for path in (TOP / room).rglob("*.c"):
            found |= set(re.findall(r'FAULT_POINT\("([^"]+)"\)', path.read_text()))
    return sorted(found)


class Busy:
    """A daemon on its way through all of its code: spawns, messages, ends, and, when a point is not passed, reloads, dead workers, an
    upgrade, a start."""

    def __init__(self, scene):
        self.scene, self.armed = scene, scene.fault_directory()
        program = scene.directory / "agentpoold"
        shutil.copy(BUILD / "agentpoold", program)
        settings = {"spawn_timeout_ms": 5000, "start_timeout_ms": 3000}
        self.daemon = scene.make_daemon(env={"AGENTPOOL_FAULT_DIR": str(self.armed)},
                                        pools={"programs": programs(**settings), "modules": modules(**settings)})
        self.daemon.program = program
        self.daemon.start()

    def struck(self, point, seconds):
        end = time.monotonic() + seconds
        while (self.armed / point).exists() and time.monotonic() < end:
            self.revive()
            time.sleep(0.01)
        return not (self.armed / point).exists()

    def signal(self, number):
        if self.daemon.process.poll() is None:
            self.daemon.process.send_signal(number)

    def kill_worker(self):
        workers = list(self.daemon.worker_pids("programs").values()) if self.daemon.process.poll() is None else []
        if workers:
            os.kill(self.scene.dice.choice(workers), signal.SIGKILL)

    def restart(self):
        """A start from nothing, for points that only such a one passes."""
        self.signal(signal.SIGTERM)
        self.daemon.process.wait(60)

    def revive(self):
        """When the fault has ended it all, somebody starts it again."""
        if self.daemon.process.poll() is not None:
            wait_for(lambda: not self.left_of_it(), "what was left of it to end")
            self.daemon.launch()

    def is_served(self):
        self.revive()
        return self.scene.is_ready(self.daemon)

    def left_of_it(self):
        return self.daemon.seen & set(descendants(1)) if os.getppid() == 1 else set()

    def provoke(self, point):
        """Until the point was struck."""
        steps = {"load": lambda: None, "worker": self.kill_worker, "reload": lambda: self.signal(signal.SIGHUP),
                 "upgrade": lambda: self.signal(signal.SIGUSR2), "start": self.restart}
        first = next((step for pattern, step in LEADS.items() if re.match(pattern, point)), "load")
        for step in sorted(steps, key=lambda step: step != first):
            steps[step]()
            if self.struck(point, 3):
                return
        assert self.struck(point, 10), f"nothing passed {point}"

    def strike(self, point, action, clients):
        self.daemon.note_processes()
        self.scene.injected(action.split(":")[0])
        self.scene.arm(point, action)
        self.provoke(point)
        self.scene.clock()
        if action == "stop":
            end = time.monotonic() + STOPPED_FOR
            while time.monotonic() < end:
                time.sleep(0.05)
            self.go_on()

        self.scene.recovered(self.is_served, f"the API to answer after {point}={action}")
        if action == "kill":  # the forker's own death may not have been seen yet
            time.sleep(0.3)
            wait_for(self.is_served, f"the API to answer after {point}={action}")
        clients.hold()
        findings = self.scene.settle(self.daemon)[1]
        assert not any(findings.values()), f"{point}={action}: {findings}"
        clients.go_on()

    def go_on(self):
        for pid in {self.daemon.process.pid, *descendants(self.daemon.process.pid)} & set(pids_in("T")):
            os.kill(pid, signal.SIGCONT)


def run_cases(scene, cases):
    busy = Busy(scene)
    targets = scene.spawn(busy.daemon, "programs", 6)
    with scene.clients(busy.daemon, ["modules", "programs"], targets, number=3, message_timeout_ms=3000, errors=(422, 503, 504)) as clients:
        for point, action in cases:
            busy.strike(point, action, clients)


def each_point(scene):
    names = points()
    assert len(names) > 5, "the sources have fault points"
    cases = [(point, action) for point in names for action in ACTIONS]
    scene.dice.shuffle(cases)
    parts = [scene.part(n) for n in range(AT_A_TIME)]
    problems = []

    def work(part, mine):
        try:
            run_cases(part, mine)
        except BaseException as error:
            problems.append(error)
    threads = [threading.Thread(target=work, args=(part, cases[n::AT_A_TIME])) for n, part in enumerate(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for part in parts:
        scene.absorb(part)
    scene.figures.append(f"{len(names)} points")
    assert not problems, "; ".join(str(problem).splitlines()[0] for problem in problems)


# ---- 30 ----

def crashes(log):
    """Signals that ended masters and workers (9: somebody lost patience with them); what the allocator complained about."""
    signals = re.findall(r" master\.died .*?signal=([1-9]\d*)", log) + re.findall(r" worker_exited .*killed by signal (\d+)", log)
    return ([number for number in signals if number != "9"]
            + re.findall(r"malloc\(\)|free\(\)|double free|Assertion .* failed", log))


def allocations_fail(scene):
    marks = scene.directory / "marks"
    marks.mkdir()
    library, server = scene.compile("malloc_fail.c"), scene.redis()  # an embedded one would bring an allocator of its own
    daemon = scene.start(redis={"url": server.url(0)}, env={"LD_PRELOAD": str(library), "MALLOC_FAIL_DIR": str(marks)})
    targets = scene.spawn(daemon, "programs", 6)
    with scene.clients(daemon, ["modules", "programs"], targets, number=3, errors=(422, 503, 504), message_timeout_ms=5000) as clients:
        for nth in (997, 211, 53, 17, 7):
            for role in ("master", "worker"):
                scene.injected(f"every {nth}th of a {role}'s")
                end = time.monotonic() + 1
                while time.monotonic() < end:
                    pid = daemon.find_master() if role == "master" else next(iter(daemon.worker_pids("programs").values()), None)
                    if pid and not (marks / str(pid)).exists():
                        (marks / str(pid)).write_text(str(nth))
                    time.sleep(0.01)
                for mark in marks.iterdir():
                    mark.unlink()
                scene.clock()
                scene.recovered(lambda: scene.is_ready(daemon), "the daemon to be ready")
                clients.flow()
    assert not crashes(daemon.log()), f"crashed: {crashes(daemon.log())}"
