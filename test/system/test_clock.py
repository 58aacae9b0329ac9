"""The wall clock jumps while agents run: nobody is taken for dead, what is dated is dated by the new time."""
import datetime
import os
import pathlib
import time

import pytest

from daemon import BUILD, command_pool, module_pool, processes, wait_for

LIBRARIES = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
HOUR = 3600


@pytest.fixture
def clock(run_base):
    """set(seconds): what every clock of the wall but not of the boot is ahead, in processes with this environment."""
    if "address" in BUILD.name:
        pytest.skip("a preloaded library and AddressSanitizer each want to come first")
    assert LIBRARIES, "scripts/install-deps --test installs faketime"
    path = run_base / "offset"

    class Clock:
        env = {"LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME_TIMESTAMP_FILE": str(path), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1",
               "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

        def set(self, seconds):
            new = path.with_name("offset.new")
            new.write_text(f"{seconds:+d}")
            os.rename(new, path)
            self.offset = seconds

        def now(self):
            return time.time() + self.offset
    clock = Clock()
    clock.set(0)
    return clock


def seconds_of(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def heartbeats(daemon):
    return {(pool, process_id): int(beat) for pool in ("programs", "modules")
            for process_id, beat in daemon.redis.zrange(f"pool:{pool}:heartbeats", 0, -1, withscores=True)}


def beaten(daemon, times=3):
    for _ in range(times):
        last = heartbeats(daemon)
        wait_for(lambda: last and all(beat != last[worker] for worker, beat in heartbeats(daemon).items()), "the next heartbeats")


def shift_heartbeats(daemon, seconds):
    """What a jump of Redis' own clock makes of the last ones."""
    for (pool, process_id), beat in heartbeats(daemon).items():
        daemon.redis.zadd(f"pool:{pool}:heartbeats", {process_id: beat - 1000 * seconds})


def test_nobody_is_reaped_when_the_clock_jumps(make_daemon, make_redis, clock):
    fast = {"heartbeat_interval_ms": 200, "worker_lease_ms": 1500}
    daemon = make_daemon(pools={"programs": command_pool(BUILD / "example-agent", **fast), "modules": module_pool(**fast)},
                         redis={"url": make_redis().url(0)}, env=clock.env)  # Redis' allocator cannot be preloaded before
    agents = daemon.spawn("programs", count=12)["agents"] + daemon.spawn("modules", count=12)["agents"]
    pids = {agent["agent_id"]: daemon.whoami(agent["agent_id"])["pid"] for agent in agents}
    family = set(daemon.note_processes())
    for offset in (HOUR, -HOUR, 0):
        clock.set(offset)
        beaten(daemon)
        shift_heartbeats(daemon, offset)
        beaten(daemon)
        new, begin = daemon.spawn("modules"), clock.now()
        assert abs(seconds_of(daemon.agent(new["agent_id"])["created_at"]) - begin) < 60
        assert {agent_id: daemon.whoami(agent_id)["pid"] for agent_id in pids} == pids
        assert daemon.terminate(new).status_code == 200
        history = wait_for(lambda: daemon.get(f"/agents/{new['agent_id']}").json()["history"], "its history")
        assert all(abs(seconds_of(event["at"]) - begin) < 60 for event in history)
        for pool in ("programs", "modules"):
            for worker in daemon.workers(pool):
                assert worker["state"] == "ready", worker
    assert family <= set(processes())
    assert all(agent["epoch"] == 1 and agent["restarts"] == 0 for agent in daemon.agents())
    for event in ("worker_stale", "worker_exited", "registry.down", "store.away", "degraded.begins"):
        assert event not in daemon.log(), event
    # And back in time over a restart: what is stored lies in the future then.
    assert daemon.stop() == 0
    clock.set(-HOUR)
    daemon.start()
    wait_for(lambda: [agent["state"] for agent in daemon.agents()] == ["idle"] * 24, "all to be restored")
