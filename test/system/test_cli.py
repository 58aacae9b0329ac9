"""The agentpool command: what it shows, what it does, what it says by its exit status."""
import http.server
import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time

import pytest

import docs
from daemon import BUILD, PATIENCE, PROJECT, TOP, Cli, command_pool, module_pool, wait_for
from servers import free_port
from test_logs import PARROT, note, said


@pytest.fixture
def start(cli):
    """start(*arguments) -> a running agentpool whose standard output can be read line by line."""
    running = []

    def begin(*arguments):
        process = subprocess.Popen([BUILD / "agentpool", "-u", cli.daemon.url, *map(str, arguments)], stdout=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, text=True)
        running.append(process)
        return process
    yield begin
    for process in running:
        process.kill()
        process.communicate()


def test_follows_logs_also_when_the_master_is_replaced(make_daemon):
    daemon = make_daemon(pools={"parrots": command_pool(*PARROT)})
    agent = daemon.spawn("parrots")
    note(daemon, agent, "n1")
    client = Cli(daemon.url)
    wait_for(lambda: said(1) in client("logs", agent["agent_id"]), "the first line")
    assert client("logs", "-n", 1, agent["agent_id"]).rstrip().endswith(said(1))
    process = subprocess.Popen([BUILD / "agentpool", "-u", daemon.url, "logs", "-f", agent["agent_id"]], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().rstrip().endswith(said(1))
        os.kill(daemon.master_pid(), signal.SIGKILL)
        wait_for(daemon.is_ready, "the next master")
        note(daemon, agent, "n2")
        assert process.stdout.readline().rstrip().endswith(said(2))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.sanitize
def test_follows_the_logs_of_a_whole_pool(make_daemon):
    daemon = make_daemon(pools={"parrots": command_pool(*PARROT)})
    agents = daemon.spawn("parrots", count=3)["agents"]
    for agent in agents[:2]:
        note(daemon, agent, "n1")
    process = subprocess.Popen([BUILD / "agentpool", "-u", daemon.url, "logs", "-f", "parrots"], stdout=subprocess.PIPE, text=True)
    try:
        names = [process.stdout.readline().split(" | ")[0] for _ in range(2)]
        assert sorted(names) == sorted(agent["human_name"] for agent in agents[:2])
        note(daemon, agents[2], "n1")
        line = process.stdout.readline()
        assert line.startswith(agents[2]["human_name"] + " | ") and line.rstrip().endswith(said(1))
        os.kill(daemon.master_pid(), signal.SIGKILL)
        wait_for(daemon.is_ready, "the next master")
        note(daemon, agents[0], "n2")
        assert process.stdout.readline().rstrip().endswith(said(2))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.sanitize
def test_shows_events_as_they_happen(cli, start):
    every, raw = start("events"), start("-o", "json", "events")
    # They listen when they have asked, which nothing shows: until the first event comes.
    agent = None
    while not select.select([every.stdout], [], [], 0)[0] or not select.select([raw.stdout], [], [], 0)[0]:
        agent = cli.daemon.spawn("developer_pool")
        time.sleep(0.05)
    assert re.match(r"\d{4}-.*Z  (agent_\w+|worker_\w+|audit) +developer_pool", every.stdout.readline())
    assert json.loads(raw.stdout.readline())["pool_name"] == "developer_pool"
    cli("terminate", agent["agent_id"])
    assert any("agent_terminated" in line and agent["agent_id"] in line for line in iter(every.stdout.readline, ""))


@pytest.mark.sanitize
def test_draws_pools_and_workers_in_frames(cli):
    agents = cli.daemon.spawn("developer_pool", count=12)["agents"]
    cli.daemon.message(agents[0]["agent_id"], "ping")
    text = cli("top", "-n", 2, "-d", 0.2)
    assert text.count("agentpool 0.") == 2 and "healthy" in text
    assert re.search(r"developer_pool +2 +12/20 +0 +12 +0 +0 ", text)
    assert re.search(r"p50 / p99  spawn <[\d.]+ m?s", text)
    assert all(worker["process_id"] in text for worker in cli.daemon.get("/agents/metrics/processes").json())


def test_draws_on_a_terminal_until_q_is_pressed(cli):
    master, slave = pty.openpty()
    process = subprocess.Popen([BUILD / "agentpool", "-u", cli.daemon.url, "top", "-d", "3600"], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    while b"WORKER" not in seen:
        assert select.select([master], [], [], PATIENCE)[0], seen
        seen += os.read(master, 65536)
    os.write(master, b"q")
    assert process.wait(PATIENCE) == 0
    os.close(master)
    assert seen.startswith(b"\033[H\033[2J")


def test_drains_resumes_and_restarts(cli):
    agent = cli.daemon.spawn("developer_pool")
    assert cli.json("drain", "developer_pool")["draining"]
    assert "drain" in cli("spawn", "-p", PROJECT, "developer_pool", status=5)
    assert not cli.json("resume", "developer_pool")["draining"]
    assert agent["agent_id"] in cli("restart", agent["agent_id"])
    wait_for(lambda: cli.daemon.agent(agent["agent_id"])["epoch"] == 2, "the agent's restart")
    wait_for(lambda: cli.daemon.agent(agent["agent_id"])["state"] == "idle", "the agent to run")
    assert cli.json("restart", "developer_pool")["pool_name"] == "developer_pool"
    wait_for(lambda: cli.daemon.agent(agent["agent_id"])["epoch"] == 3, "the pool's restart")


def test_spawns_more_than_one_request_may(make_daemon):
    daemon = make_daemon(pools={"pool": module_pool(max_agents_per_worker=1000)})
    assert len(Cli(daemon.url).json("spawn", "-n", 1203, "pool")) == 1203
    assert daemon.pool("pool")["agent_count"] == 1203


@pytest.mark.sanitize
@pytest.mark.parametrize("arguments, expected", [
    (("-t", 3600, "-d", 10, "-c", 10, "-e", 1), (10, 20, 2, 3)),
    (("-t", 1000, "-d", 90, "-c", 10), (25, 50, 5, 9)),
    (("--tasks-per-hour", 1, "--duration", 1), (1 / 3600, 2 / 3600, 1, 1)),
])
def test_plans_workers_for_a_load(cli, arguments, expected):
    plan = cli.json("plan", *arguments)
    assert (plan["mean_concurrency"], plan["peak_concurrency"]) == pytest.approx(expected[:2])
    assert (plan["min_workers"], plan["max_workers"]) == expected[2:]
    assert f'"max_workers": {expected[3]}' in cli("plan", *arguments)


@pytest.mark.parametrize("arguments", [("-t", 0, "-d", 1), ("-t", 1), ("-t", "x", "-d", 1), ("-t", 1, "-d", 1, "-e", 2),
                                       ("-t", 1e300, "-d", 1e300)])
def test_refuses_plans_that_make_no_sense(cli, arguments):
    assert "agentpool plan: " in cli("plan", *arguments, status=2)


@pytest.mark.sanitize
def test_runs_the_checker(cli):
    cli.daemon.spawn("developer_pool", count=3)
    assert len(re.findall(r"^\d ok ", cli("check", "--run-dir", cli.daemon.run_dir), re.M)) == 7


@pytest.mark.sanitize
def test_says_by_its_exit_status_what_went_wrong(cli):
    assert "no agent" in cli("why", PROJECT, status=4)
    assert "developer_pool" in cli("spawn", "-p", PROJECT, "developer_poo", status=4)
    assert cli("spawn", "-p", "no UUID", "developer_pool", status=1)
    assert "is agentpoold running there" in Cli(f"http://127.0.0.1:{free_port()}")("status", status=3)
    assert cli("logs", PROJECT, status=4)
    assert cli("-t", "/nonexistent", "status", status=2)
    for wrong, reason in ((("logs",), "AGENT|POOL is missing"), (("logs", "-n", "x", PROJECT), '--lines: "x" is no whole number'),
                          (("top", "-d", "0"), "--delay: 0 is not within"), (("top", "x"), '"x" is one argument too many'),
                          (("events", "a", "b"), '"b" is one argument too many'), (("drain",), "POOL is missing"),
                          (("ls", "--nothing"), '"--nothing"'), (("ls", "--state"), "--state needs a value"), (("ls", "-n"), "-n needs a value"), (("ls", "--ended=x"), "takes no value"),
                          (("ls", "pools", "--state", "idle"), "--state is for agents"), (("-o", "xml", "ls"), '"xml" is none of')):
        said = cli(*wrong, status=2)
        assert reason in said and "Usage: agentpool" in said, said


def test_says_the_same_in_help_and_in_the_document(cli):
    rows = [(docs.codes(row[0])[0], row[1]) for row in docs.rows(docs.source("etc/man/commands.md"))]
    assert {usage.split()[0] for usage, _ in rows} == docs.cli_commands()
    for usage, meaning in rows:
        name = usage.split()[0]
        text = cli("help", name)
        assert cli(name, "--help") == cli("--help", name) == text
        assert text.startswith(f"Usage: agentpool {usage}\n")
        summary = text.split("\n\n")[1].split("\n")[0].rstrip(".")
        assert meaning.lower().startswith(summary.lower()), (meaning, summary)


@pytest.mark.sanitize
def test_survives_answers_that_are_not_ours():
    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")
        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            client = Cli(f"http://127.0.0.1:{server.server_port}")
            for command in ("ls", "ls pools", "top -n 1", f"terminate {PROJECT}", f"why {PROJECT}", f"logs {PROJECT}", "drain x"):
                client(*command.split())
            client("why", "x", status=4)
        finally:
            server.shutdown()
            thread.join()
