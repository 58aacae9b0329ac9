"""Agents and workers that are ended, restarted or held back by the rules of their pool."""
import contextlib
import os
import shutil
import signal
import sqlite3

import pytest

from daemon import BUILD, command_pool, descendants, module_pool, wait_for
from stores import rows, states


def shorten_idle_time(daemon, agents, seconds):
    """The API takes no less than a minute; the store does."""
    daemon.stop()
    with contextlib.closing(sqlite3.connect(daemon.run_dir / "agentpool.db")) as connection, connection:
        for agent in agents:
            connection.execute("UPDATE agents SET max_idle_time = ? WHERE agent_id = ?", (seconds, agent["agent_id"]))
    daemon.start()


# ---- idle agents ----

@pytest.mark.sanitize
def test_ends_agents_when_they_are_idle_for_their_time(make_daemon, odd_pool):
    daemon = make_daemon(pools={"programs": odd_pool(), "tester_pool": {**command_pool(BUILD / "example-agent")}})
    idle = [daemon.spawn("programs"), daemon.spawn("tester_pool")]
    patient = daemon.spawn("programs", max_idle_time=0)
    shorten_idle_time(daemon, idle, 1)
    for agent in idle:
        wait_for(lambda: daemon.agent(agent["agent_id"])["state"] == "terminated", "the idle agent to end")
        ended = daemon.agent(agent["agent_id"])
        assert ended["last_exit"]["reason"] == "idle for 1 s"
        events = {event["event"]: event["detail"] for event in ended["history"]}
        assert events["agent_terminated"] == "idle for 1 s"
        assert daemon.message(agent["agent_id"], "ping").status_code in (404, 409)
    assert daemon.agent(patient["agent_id"])["state"] == "idle"
    daemon.stop()
    assert {agent_id for agent_id, (state, _) in states(daemon).items() if state == "terminated"} == \
        {agent["agent_id"] for agent in idle}
    daemon.start()
    wait_for(lambda: daemon.agent(patient["agent_id"])["state"] == "idle", "the other one to be restored")
    assert [agent["agent_id"] for agent in daemon.agents()] == [patient["agent_id"]]
    wait_for(lambda: len([c for c in descendants(daemon.process.pid).values() if "odd_agent" in c]) == 1, "one program")


# ---- breakers ----

BREAKER = {"threshold": 3, "cooldown_seconds": 1}
FAST_RESTART = {"delay_ms": 10, "delay_max_ms": 50}


def breaker(daemon, which, pool="pool"):
    return daemon.pool(pool)["breakers"][which]


def check_refused(daemon, which, reason):
    """A spawn is refused at once: which breaker, why, when to come again."""
    def refused():
        answer = daemon.post("/agents/spawn", daemon.spawn_body("pool"))
        return [answer] if "breaker" in answer.json().get("detail", "") else None
    answer, = wait_for(refused, "a spawn to meet the breaker")
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
    assert f"the pool's breaker for {which}" in answer.json()["detail"] and reason in answer.json()["detail"]
    return answer


def events_of(daemon, name):
    return [event for event, detail in rows(daemon, "SELECT event, detail FROM agent_events WHERE event LIKE 'breaker%' "
                                                    "ORDER BY event_id") if detail.startswith(name)]


@pytest.mark.sanitize
def test_forks_no_workers_that_cannot_start_until_one_can(make_daemon):
    daemon = make_daemon(start=False)
    module = daemon.directory / "module.so"
    daemon.config["pools"] = {"pool": module_pool(module, breaker=BREAKER), "fine": module_pool()}
    daemon.start()
    assert daemon.post("/agents/spawn", daemon.spawn_body("pool")).status_code == 503
    check_refused(daemon, "workers", str(module)[:40])
    pool = daemon.pool("pool")
    assert pool["degraded"] and str(module) in pool["degraded_reason"]
    assert pool["breakers"]["workers"]["state"] in ("open", "half_open") and pool["breakers"]["workers"]["opened"] >= 1
    assert str(module) in pool["breakers"]["workers"]["reason"]
    assert pool["breakers"]["agents"] == {"state": "closed", "since": pool["breakers"]["agents"]["since"], "failures": 0,
                                          "opened": 0, "reason": None}
    daemon.spawn("fine")
    shutil.copy(BUILD / "example-module.so", module)
    wait_for(lambda: daemon.post("/agents/spawn", daemon.spawn_body("pool")).status_code == 200, "a worker to be tried")
    wait_for(lambda: breaker(daemon, "workers")["state"] == "closed", "the breaker to close")
    assert not daemon.pool("pool")["degraded"]
    wait_for(lambda: events_of(daemon, "workers")[-1:] == ["breaker_closed"], "the events to be stored")
    assert events_of(daemon, "workers")[:2] == ["breaker_opened", "breaker_half_open"]


def test_starts_no_agents_that_end_at_once_until_one_stays(make_daemon):
    daemon = make_daemon(start=False)
    sound = daemon.directory / "sound"
    script = f"test -e {sound} || exit 7; exec {BUILD}/example-agent"
    daemon.config["pools"] = {"pool": command_pool("/bin/sh", "-c", script, breaker=BREAKER,
                                                   restart=FAST_RESTART | {"intensity": 100, "healthy_seconds": 1})}
    daemon.start()
    answer = daemon.post("/agents/spawn?wait=false", daemon.spawn_body("pool"))
    assert answer.status_code == 202
    agent_id = answer.json()["agent_id"]
    wait_for(lambda: breaker(daemon, "agents")["opened"] >= 2, "the breaker to open again after a try")
    check_refused(daemon, "agents", "exit status 7")
    assert daemon.pool("pool")["degraded"] and "exit status 7" in daemon.pool("pool")["degraded_reason"]
    assert daemon.agent(agent_id)["restarts"] <= 3 + breaker(daemon, "agents")["opened"]
    sound.touch()
    wait_for(lambda: breaker(daemon, "agents")["state"] == "closed", "the breaker to close")
    wait_for(lambda: daemon.agent(agent_id)["state"] == "idle", "the agent to run")
    assert daemon.spawn("pool")["state"] == "idle"


def test_stays_open_until_reset_when_it_shall_not_reset_itself(make_daemon, odd_pool):
    pool = odd_pool("--dies", "7", breaker=BREAKER | {"auto_reset": False}, restart=FAST_RESTART | {"intensity": 100})
    daemon = make_daemon(pools={"pool": pool})
    daemon.post("/agents/spawn?wait=false", daemon.spawn_body("pool"))
    wait_for(lambda: breaker(daemon, "agents")["state"] == "open", "the breaker to open")
    answer = check_refused(daemon, "agents", "exit status 7")
    assert "until it is reset" in answer.json()["detail"]
    first = breaker(daemon, "agents")
    assert "half_open_in_ms" not in first
    assert daemon.post("/agents/pools/pool/reset").json()["breakers"]["agents"]["state"] == "closed"
    wait_for(lambda: breaker(daemon, "agents")["opened"] == 2, "the breaker to open again")
    assert breaker(daemon, "agents")["since"] > first["since"]
    wait_for(lambda: events_of(daemon, "agents") == ["breaker_opened", "breaker_closed", "breaker_opened"], "the events")
    assert daemon.post("/agents/pools/nope/reset").status_code == 404


# ---- agents that hang ----

@pytest.mark.sanitize
def test_starts_an_agent_again_when_it_does_not_answer_its_probe(make_daemon, odd_pool):
    probe = {"method": "ping", "interval_seconds": 1, "timeout_ms": 2000, "failures": 2}
    daemon = make_daemon(pools={"pool": odd_pool(probe=probe, restart=FAST_RESTART)})
    agent, bystander = daemon.spawn("pool"), daemon.spawn("pool")
    os.kill(daemon.message(agent["agent_id"], "whoami").json()["result"]["pid"], signal.SIGSTOP)
    wait_for(lambda: daemon.agent(agent["agent_id"])["epoch"] == 2, "the hung agent to be killed")
    reason = daemon.agent(agent["agent_id"])["last_exit"]["reason"]
    assert reason == "does not answer its probe: 2 times no answer to ping within 2000 ms"
    wait_for(lambda: daemon.agent(agent["agent_id"])["state"] == "idle", "it to run again")
    assert daemon.message(agent["agent_id"], "whoami").json()["result"]["epoch"] == 2
    assert daemon.message(bystander["agent_id"], "whoami").json()["result"]["epoch"] == 1
    wait_for(lambda: len(daemon.get("/agents/executions").json()) == 3, "the executions to be stored")
    assert {execution["method"] for execution in daemon.get("/agents/executions").json()} == {"whoami"}


# ---- restart policy ----

def test_waits_twice_as_long_before_each_restart_until_it_gives_up(make_daemon, odd_pool):
    restart = {"delay_ms": 200, "delay_max_ms": 600, "intensity": 4, "period_seconds": 600}
    daemon = make_daemon(pools={"pool": odd_pool("--dies", "7", restart=restart, breaker={"threshold": 0})})
    agent_id = daemon.post("/agents/spawn?wait=false", daemon.spawn_body("pool")).json()["agent_id"]
    wait_for(lambda: daemon.agent(agent_id)["state"] == "failed", "the policy to give up")
    agent = daemon.agent(agent_id)
    assert agent["restarts"] == 4
    assert agent["last_exit"]["reason"] == "more than 4 restarts in 600 s; last: exit status 7"
    assert daemon.get(f"/agents/{agent_id}/why").json()["placement"] == "the restart policy gave up on it"

    def delays():
        found = rows(daemon, f"SELECT event, at FROM agent_events WHERE agent_id = '{agent_id}' ORDER BY event_id")
        crashed = [int(at) for event, at in found if event == "agent_crashed"]
        spawned = [int(at) for event, at in found if event == "agent_spawned"][1:]
        return [after - before for before, after in zip(crashed, spawned)] if len(crashed) == 5 else None
    # Between half and all of 200, 400, 600, 600 ms, and however long a start takes.
    assert all(delay >= least for delay, least in zip(wait_for(delays, "the events"), (100, 200, 300, 300), strict=True))
    daemon.stop()
    daemon.start()
    assert daemon.agent(agent_id)["state"] == "failed"  # nor is it restored
