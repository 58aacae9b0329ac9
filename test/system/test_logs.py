"""GET /agents/{id}/logs: what agents print, kept in bounded files of their own, also after their end, and as it comes."""
import json
import os
import re
import uuid

import pytest

from daemon import command_pool, wait_for

pytestmark = pytest.mark.sanitize

# Prints each line that it is sent, to standard error.
PARROT = ("/bin/sh", "-c", 'while read -r line; do echo "$line" >&2; done')
LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (.*)$")


def notification(method):
    return {"jsonrpc": "2.0", "method": method}


def note(daemon, agent, method):
    assert daemon.post(f"/agents/{agent['agent_id']}/messages", notification(method)).status_code == 202


def logs(daemon, agent, **query):
    answer = daemon.get(f"/agents/{agent['agent_id']}/logs", params=query)
    assert answer.status_code == 200, answer.text
    return [LINE.match(line)[1] for line in answer.text.splitlines()]


def said(number):
    return json.dumps(notification(f"n{number}"))  # the very bytes that were sent


def test_keeps_what_an_agent_printed_also_after_its_end(make_daemon):
    daemon = make_daemon(pools={"parrots": command_pool(*PARROT)}, log={"agents": "files"})
    agent, silent = daemon.spawn("parrots", count=2)["agents"]
    for number in range(5):
        note(daemon, agent, f"n{number}")
    wait_for(lambda: logs(daemon, agent) == [said(number) for number in range(5)], "five lines")
    assert logs(daemon, agent, lines=2) == [said(3), said(4)]
    assert logs(daemon, silent) == []
    assert daemon.terminate(agent).status_code == 200
    assert logs(daemon, agent, lines=1) == [said(4)]
    assert "agent.stderr" not in daemon.log()


def test_sends_lines_as_they_come_when_it_is_followed(make_daemon):
    daemon = make_daemon(pools={"parrots": command_pool(*PARROT)}, log={"agents_max_bytes": 4096})
    agent = daemon.spawn("parrots")
    note(daemon, agent, "n0")
    wait_for(lambda: logs(daemon, agent) == [said(0)], "the first line")
    with daemon.session.get(f"{daemon.url}/api/v1/agents/{agent['agent_id']}/logs?follow=true", stream=True, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        events = (line[6:] for line in answer.iter_lines(decode_unicode=True) if line.startswith("data: "))
        assert LINE.match(next(events))[1] == said(0)
        # More than two files hold: it goes on from one to the next.
        for batch in range(6):
            numbers = range(50 * batch + 1, 50 * batch + 51)
            for number in numbers:
                note(daemon, agent, f"n{number}")
            assert [LINE.match(next(events))[1] for _ in numbers] == [said(number) for number in numbers]
    kept = logs(daemon, agent, lines=1000)
    assert kept[-1] == said(300) and said(1) not in kept


def test_a_follower_gets_all_that_it_asked_for_however_much_it_is(make_daemon):
    """More than a stream may leave unread."""
    printer = ("/bin/sh", "-c", 'seq -f "%0100.0f" 6000 >&2; while read -r line; do :; done')
    pool = {"role_type": "developer", "runtime": {"type": "command", "argv": list(printer), "log_bytes_per_second": 1 << 24}}
    daemon = make_daemon(pools={"printers": pool})
    agent = daemon.spawn("printers")
    wait_for(lambda: logs(daemon, agent, lines=1) == ["%0100d" % 6000], "the last line")
    with daemon.session.get(f"{daemon.url}/api/v1/agents/{agent['agent_id']}/logs?follow=true&lines=10000", stream=True, timeout=60) as answer:
        events = (line[6:] for line in answer.iter_lines(decode_unicode=True) if line.startswith("data: "))
        assert [LINE.match(next(events))[1] for _ in range(6000)] == ["%0100d" % number for number in range(1, 6001)]


def test_a_file_that_is_none_of_its_own_stops_nobody(make_daemon):
    daemon = make_daemon(pools={"parrots": command_pool(*PARROT)})
    agent = daemon.spawn("parrots")
    path = daemon.run_dir / "agents" / f"{agent['agent_id']}.log"
    os.mkfifo(path)
    assert daemon.get(f"/agents/{agent['agent_id']}/logs").status_code == 503
    note(daemon, agent, "n0")
    wait_for(lambda: "agent.log_not_kept" in daemon.log(), "the warning")
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert daemon.get(f"/agents/{agent['agent_id']}/logs").status_code == 503
    path.unlink()
    note(daemon, agent, "n1")
    wait_for(lambda: logs(daemon, agent) == [said(1)], "a line in a file again")


def test_says_why_there_is_none(make_daemon):
    daemon = make_daemon(pools={"parrots": command_pool(*PARROT)}, log={"agents": "log"})
    agent = daemon.spawn("parrots")
    note(daemon, agent, "n0")
    wait_for(lambda: "agent.stderr" in daemon.log(), "the line in the daemon's log")
    answer = daemon.get(f"/agents/{agent['agent_id']}/logs")
    assert answer.status_code == 404 and "log.agents" in answer.json()["detail"]


def test_refuses_what_makes_no_sense(daemon):
    agent = daemon.spawn("developer_pool")
    for query in ("lines=0", "lines=x", "follow=maybe", "tail=1"):
        assert daemon.get(f"/agents/{agent['agent_id']}/logs?{query}").status_code == 400
    assert daemon.get(f"/agents/{uuid.uuid4()}/logs").status_code == 404
    assert daemon.get("/agents/..%2f..%2fetc%2fpasswd/logs").status_code == 400
