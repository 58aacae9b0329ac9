"""scripts/faults --random N: faults drawn one after the other, each answered for by the seven checks before the next."""
import os
import random
import shutil
import signal
import time

import cgroups
from daemon import BUILD, descendants
from proxy import Proxy
from rows_master import replace
from rows_points import ACTIONS, points
from scene import modules, pids_in, programs


class Stage:
    """A daemon with a Redis and a PostgreSQL of its own, each behind a proxy."""

    def __init__(self, scene):
        self.scene, self.dice = scene, scene.dice
        self.redis, self.sql = scene.redis(), scene.postgres()
        url = self.sql.url("faults")
        self.redis_proxy, self.sql_proxy = Proxy(self.redis.port), Proxy(self.sql.port)
        settings = {"spawn_timeout_ms": 5000, "start_timeout_ms": 3000}
        self.daemon = scene.make_daemon(
            pools={"programs": programs(**settings), "modules": modules(**settings)}, env={"AGENTPOOL_FAULT_DIR": str(scene.fault_directory())},
            redis={"url": self.redis.url(0).replace(f":{self.redis.port}/", f":{self.redis_proxy.port}/"), "request_timeout_ms": 1000},
            database={"url": url.replace(str(self.sql.port), str(self.sql_proxy.port)), "max_wait_ms": 2000})
        self.daemon.program = scene.directory / "agentpoold"
        shutil.copy(BUILD / "agentpoold", self.daemon.program)
        self.daemon.start()
        self.pids = cgroups.make(scene.name_of("pids"), "pids")

    def wait(self, most):
        time.sleep(self.dice.random() * most)

    def below(self, word):
        """A process below the daemon whose command line has the word."""
        found = [pid for pid, title in descendants(self.daemon.process.pid).items() if word in title]
        return self.dice.choice(sorted(found)) if found else None

    def send(self, pid, number):
        if pid:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def freeze(self, pid, most):
        self.send(pid, signal.SIGSTOP)
        self.wait(most)
        self.send(pid, signal.SIGCONT)

    # --- the injectors ---

    def kill_worker(self):
        self.send(self.below("agentpoold: worker"), signal.SIGKILL)

    def stop_worker(self):
        self.freeze(self.below("agentpoold: worker"), 6)

    def kill_agent(self):
        self.send(self.below("example-agent"), signal.SIGKILL)

    def stop_agent(self):
        self.freeze(self.below("example-agent"), 3)

    def kill_master(self):
        self.send(self.daemon.find_master(), signal.SIGKILL)

    def stop_master(self):
        self.freeze(self.daemon.find_master(), 3)

    def kill_everything(self):
        self.daemon.kill_everything()
        self.daemon.seen.clear()

    def kill_forker(self):
        self.daemon.note_processes()
        self.daemon.process.kill()
        self.daemon.process.wait()

    def restart_redis(self):
        self.redis.stop()
        self.wait(3)
        self.redis.start()

    def stop_redis(self):
        self.redis.process.send_signal(signal.SIGSTOP)
        self.wait(4)
        self.redis.process.send_signal(signal.SIGCONT)

    def flush_redis(self):
        self.redis.client(0).flushall()

    def reset_redis(self):
        for _ in range(5):
            self.redis_proxy.reset_all()
            self.wait(0.3)

    def crash_sql(self):
        self.sql.stop()
        self.wait(4)
        self.sql.start()

    def reset_sql(self):
        for _ in range(5):
            self.sql_proxy.reset_all()
            self.wait(0.3)

    def reload(self):
        self.send(self.daemon.process.pid, signal.SIGHUP)

    def upgrade(self):
        replace(self.daemon.program)
        self.send(self.daemon.process.pid, signal.SIGUSR2)

    def fail_forks(self):
        if self.pids:
            cgroups.put(self.pids, self.daemon.process.pid, *descendants(self.daemon.process.pid))
            cgroups.limit(self.pids, "pids", 1)
            self.send(self.below("agentpoold: worker"), signal.SIGKILL)
            self.wait(3)
            cgroups.limit(self.pids, "pids", "max")

    def strike_point(self):
        point, action = self.dice.choice(points()), self.dice.choice(ACTIONS)
        self.scene.arm(point, action)
        self.wait(3)
        (self.scene.directory / "armed" / point).unlink(missing_ok=True)
        self.wait(2)
        for pid in pids_in("T"):
            self.send(pid, signal.SIGCONT)
        return f"{point}={action}"

    def is_ready(self):
        if self.daemon.process.poll() is not None:
            self.daemon.launch()
        return self.scene.is_ready(self.daemon)


INJECTORS = [Stage.kill_worker, Stage.stop_worker, Stage.kill_agent, Stage.stop_agent, Stage.kill_master, Stage.stop_master,
             Stage.kill_everything, Stage.kill_forker, Stage.restart_redis, Stage.stop_redis, Stage.flush_redis, Stage.reset_redis,
             Stage.crash_sql, Stage.reset_sql, Stage.reload, Stage.upgrade, Stage.fail_forks, Stage.strike_point]


def play(scene, number):
    """Up to three at once, then all must be well."""
    stage = Stage(scene)
    targets = scene.spawn(stage.daemon, "programs", 10)
    with scene.clients(stage.daemon, ["programs", "modules"], targets, number=4, most=10, message_timeout_ms=3000,
                       errors=(422, 503, 504)) as clients:
        for turn in range(1, number + 1):
            # A turn's draw does not depend on what became of the turns before.
            stage.dice = random.Random(f"{scene.seed}/{turn}")
            names = []
            for injector in stage.dice.choices(INJECTORS, k=stage.dice.choice((1, 1, 1, 2, 3))):
                if stage.daemon.process.poll() is not None:
                    break
                detail = injector(stage)
                names.append(injector.__name__ + (f" {detail}" if detail else ""))
                stage.wait(0.2)
            scene.injected(", ".join(names))
            print(f"| {turn} | {', '.join(names)} | ", end="", flush=True)
            scene.recovered(stage.is_ready, "the API to answer")
            clients.hold()
            findings = scene.settle(stage.daemon)[1]
            settled = round((time.monotonic() - scene.begin) * 1000)
            failed = "".join(str(number) for number, found in findings.items() if found)
            print(f"{scene.recoveries[-1]} | {settled} | {'failed: ' + failed if failed else '1234567'} |", flush=True)
            assert not failed, f"turn {turn}: {findings}"
            clients.go_on()
            clients.flow()
