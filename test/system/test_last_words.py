"""What a program wrote last to its standard error is told with its end."""
import os
import signal

import pytest

from daemon import command_pool, wait_for

pytestmark = pytest.mark.sanitize

# Two lines for each of its lives, thirty before the end.
TALKS = 'echo "life $AGENTPOOL_EPOCH begins" >&2; while read line; do i=0; while [ $i -lt 30 ]; do i=$((i+1)); ' \
        'printf "%s \\377 life $AGENTPOOL_EPOCH line $i\\n" "$0" >&2; done; exit 3; done'


def end(daemon, agent_id, epoch):
    daemon.message(agent_id, "end", timeout=60)
    return wait_for(lambda: (record := daemon.agent(agent_id))["epoch"] > epoch and record["state"] == "idle" and record,
                    "its next life")


def test_tells_the_last_lines_of_standard_error(make_daemon):
    daemon = make_daemon(pools={"p": command_pool("/bin/sh", "-c", TALKS, "word", restart={"delay_ms": 1, "delay_max_ms": 1})})
    agent_id = daemon.spawn("p")["agent_id"]
    assert daemon.agent(agent_id)["last_exit"] is None
    record = end(daemon, agent_id, 1)
    expected = [f"word \ufffd life 1 line {line}" for line in range(11, 31)]
    wait_for(lambda: daemon.agent(agent_id)["last_exit"].get("stderr") == expected, "what it said last")
    assert "exit status 3" in record["last_exit"]["reason"]
    assert daemon.get(f"/agents/{agent_id}/why").json()["last_exit"]["stderr"] == expected
    # Not in a list; and whoever asks later hears of the last life that ended, also from another master.
    assert "stderr" not in daemon.agents()[0].get("last_exit", {})
    end(daemon, agent_id, 2)
    os.kill(daemon.master_pid(), signal.SIGKILL)
    expected = [line.replace("life 1", "life 2") for line in expected]
    wait_for(lambda: daemon.is_ready() and (daemon.agent(agent_id).get("last_exit") or {}).get("stderr") == expected, "the same")


def test_tells_them_of_an_agent_that_failed(make_daemon):
    daemon = make_daemon(pools={"p": command_pool("/bin/sh", "-c", TALKS, "x" * 2000, restart={"intensity": 0})})
    agent_id = daemon.spawn("p")["agent_id"]
    daemon.message(agent_id, "end", timeout=60)
    wait_for(lambda: daemon.agent(agent_id)["state"] == "failed", "it to be given up")
    lines = daemon.agent(agent_id)["last_exit"]["stderr"]
    assert len(lines) == 20 and all(set(line) == {"x"} or "life 1" in line for line in lines) and max(map(len, lines)) <= 1024


def test_tells_none_when_none_are_kept(make_daemon):
    daemon = make_daemon(pools={"p": command_pool("/bin/sh", "-c", TALKS, restart={"intensity": 0})}, log={"agents": "none"})
    agent_id = daemon.spawn("p")["agent_id"]
    daemon.message(agent_id, "end", timeout=60)
    wait_for(lambda: daemon.agent(agent_id)["state"] == "failed", "it to be given up")
    assert set(daemon.agent(agent_id)["last_exit"]) == {"code", "signal", "reason"}
