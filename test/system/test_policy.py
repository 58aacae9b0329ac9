"""Agents and workers that are ended, restarted or held back by the rules of their pool."""
import contextlib
import sqlite3

from daemon import BUILD, command_pool, descendants, wait_for
from stores import states


def shorten_idle_time(daemon, agents, seconds):
    """The API takes no less than a minute; the store does."""
    daemon.stop()
    with contextlib.closing(sqlite3.connect(daemon.run_dir / "agentpool.db")) as connection, connection:
        for agent in agents:
            connection.execute("UPDATE agents SET max_idle_time = ? WHERE agent_id = ?", (seconds, agent["agent_id"]))
    daemon.start()


# ---- idle agents ----

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
