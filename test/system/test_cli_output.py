"""How the agentpool command names things and shows them: to people on a terminal, to programs, and to nobody."""
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios

import pytest

from daemon import BUILD, PATIENCE, PROJECT, Cli, command_pool, module_pool, wait_for

ESCAPE = "\033"


def on_terminal(url, *arguments, columns=120, env=None):
    """What is drawn on a terminal of that width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen([BUILD / "agentpool", "-u", url, *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave,
                               env={**clean, "TERM": "xterm", **(env or {})})
    os.close(slave)
    seen = b""
    try:
        while part := os.read(master, 65536):
            seen += part
    except OSError:  # the other end is closed
        pass
    assert process.wait(PATIENCE) == 0, seen
    os.close(master)
    return seen.decode().replace("\r\n", "\n")


@pytest.mark.sanitize
def test_finds_agents_by_what_people_call_them(cli):
    agents = cli.daemon.spawn("tester_pool", count=40)["agents"]
    one = agents[0]
    named = [agent for agent in agents if agent["human_name"] == one["human_name"]]
    prefix = next(one["agent_id"][:n] for n in range(1, 37)
                  if sum(agent["agent_id"].startswith(one["agent_id"][:n]) for agent in agents) == 1)
    assert cli.json("show", prefix)["agent_id"] == cli.json("why", prefix.upper())["agent_id"] == one["agent_id"]
    if len(named) == 1:
        assert cli.json("show", one["human_name"].upper())["agent_id"] == one["agent_id"]
    ambiguous = next(a["agent_id"][0] for a in agents if sum(b["agent_id"][0] == a["agent_id"][0] for b in agents) > 1)
    candidates = [agent["agent_id"] for agent in agents if agent["agent_id"].startswith(ambiguous)]
    said = cli("terminate", ambiguous, status=1)
    assert "more than one agent" in said and all(agent_id in said for agent_id in candidates[:10])
    assert "no agent's id begins with" in cli("why", "Nobody At All", status=4)
    # Several at once; one that is no agent ends none.
    assert cli("terminate", prefix, "nobody", status=4)
    assert cli.daemon.agent(one["agent_id"])["state"] == "idle"
    assert cli("terminate", "-q", *[agent["agent_id"] for agent in agents[:3]]).split() == [a["agent_id"] for a in agents[:3]]
    assert {cli.daemon.agent(agent["agent_id"])["state"] for agent in agents[:3]} == {"terminated"}
    left = [agent["agent_id"] for agent in agents[3:5]]
    assert cli("restart", *left) == "".join(f"{agent_id} is restarted\n" for agent_id in left)
    assert "one kind at a time" in cli("restart", left[0], "tester_pool", status=2)


def test_lists_what_is_asked_for(cli):
    red = cli("spawn", "-p", PROJECT, "-q", "-l", "team=red", "-l", "tier=1", "--max-idle-time", "10m", "developer_pool").strip()
    blue = cli("spawn", "-p", PROJECT.replace("6f1c", "6f1d"), "-q", "-l", "team=blue", "-l", "tier=1", "tester_pool").strip()
    assert cli.daemon.agent(red)["max_idle_time"] == 600

    def ids(*arguments):
        return set(cli("ls", "-q", *arguments).split())
    assert ids() == ids("agents") == ids("--state", "idle") == ids("--label", "tier") == {red, blue}
    assert ids("--pool", "tester_pool") == ids("-l", "team=blue") == ids("-l", "tier=1", "-l", "team=blue") == {blue}
    assert ids("--project", PROJECT) == {red} and ids("-l", "tier=1", "-l", "team") == {red, blue}
    assert ids("--state", "busy") == ids("-l", "tier=1", "-l", "team=green") == set()
    assert len(ids("-n", 1)) == 1
    cli("terminate", red)
    assert ids() == {blue}
    assert blue not in ids("--ended")
    assert cli("ls", "pools", "-o", "name").split() == ["developer_pool", "tester_pool"]
    cli("drain", "tester_pool", "developer_pool")
    assert re.findall(r"^(\w+_pool) .* DRAINING$", cli("ls", "pools"), flags=re.M) == ["developer_pool", "tester_pool"]


@pytest.mark.sanitize
def test_shows_the_same_in_every_form(cli):
    agent_id = cli("spawn", "-p", PROJECT, "-q", "-l", "odd=yes", "-l", "text=a: \"b\"\\ \u00e9\u202e", "developer_pool").strip()
    record = cli.json("show", agent_id)
    assert record["labels"] == {"odd": "yes", "text": 'a: "b"\\ \u00e9\u202e'}
    program = "import sys, json, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout, default=str)"
    yaml = cli("-o", "yaml", "show", agent_id)
    assert '  odd: "yes"\n' in yaml and f"agent_id: {agent_id}\n" in yaml.replace('"', "")
    parsed = subprocess.run([sys.executable, "-c", program], input=yaml, capture_output=True, text=True, check=False)
    if "No module" not in parsed.stderr:
        assert json.loads(parsed.stdout)["labels"] == record["labels"], parsed.stderr
    wide = cli("ls", "-o", "wide")
    assert "odd=yes" in wide and record["process_id"] in wide and "WORKER" not in cli("ls")
    row = dict(zip(*[re.split(r"  +", line.strip()) for line in cli("ls").splitlines()]))
    assert (row["AGENT"], row["NAME"], row["POOL"], row["STATE"]) == (agent_id, record["human_name"], "developer_pool", "idle")
    assert re.fullmatch(r"\d+[smh]\w*", row["AGE"])
    assert re.search(r" \d+\.\d[KM] ", cli("ls", "workers").splitlines()[1]) or "  0  " in cli("ls", "workers")


@pytest.mark.sanitize
def test_fits_a_terminal_and_cuts_nothing_elsewhere(make_daemon):
    name = "a_pool_whose_name_is_as_long_as_names_of_pools_may_be_and_no_more"[:64]
    daemon = make_daemon(pools={name: command_pool(BUILD / "example-agent")})
    daemon.spawn(name, labels={"l": "x" * 200})
    for what in ("agents", "pools", "workers"):
        for columns in (120, 80):
            lines = re.sub(ESCAPE + r"\[\d*m", "", on_terminal(daemon.url, "ls", what, columns=columns)).splitlines()
            assert max(map(len, lines)) <= columns and ("…" in lines[1] or columns > 80), lines
        assert name in Cli(daemon.url)("ls", what)
    assert "…" not in on_terminal(daemon.url, "ls", "pools", "-o", "wide", columns=80)


def test_colours_states_on_a_terminal_only(cli):
    agent = cli.daemon.spawn()["agent_id"]
    green = f"{ESCAPE}[32midle{ESCAPE}[m"
    assert green in on_terminal(cli.url, "ls") and ESCAPE not in cli("ls")
    assert ESCAPE not in on_terminal(cli.url, "ls", env={"NO_COLOR": "1"}) + on_terminal(cli.url, "--color=never", "ls")
    assert green in cli("ls", "--color", "always") and agent in cli("ls", "--color", "always")


def test_draws_again_while_it_watches(cli):
    process = subprocess.Popen([BUILD / "agentpool", "-u", cli.url, "ls", "-q", "--watch", "--interval", "100ms"], stdout=subprocess.PIPE,
                               text=True)
    agent = cli.daemon.spawn()["agent_id"]
    assert [process.stdout.readline().strip() for _ in range(3)] == [agent] * 3
    process.kill()
    process.communicate()


@pytest.mark.sanitize
def test_obeys_no_terminal_codes_of_agents(make_daemon, odd_pool):
    script = "import sys; sys.stderr.buffer.write(b'\\x1b]0;title\\x07 \\xc2\\x9b31m \\xe9 tab\\there\\n'); sys.stderr.flush(); sys.stdin.read()"
    daemon = make_daemon(pools={"odd": odd_pool(), "shouts": command_pool("/usr/bin/python3", "-c", script)})
    agent = daemon.spawn("shouts")["agent_id"]
    wait_for(lambda: b"here" in daemon.get(f"/agents/{agent}/logs").content, "its line")
    for arguments in (("logs", agent), ("logs", "shouts")):
        drawn = on_terminal(daemon.url, *arguments)
        assert ESCAPE not in drawn and "\x9b" not in drawn and "\\x1b]0;title\\x07 " in drawn and "tab\there" in drawn.expandtabs(1).replace("tab ", "tab\t")
    assert daemon.agent(agent)["human_name"] + " | " in on_terminal(daemon.url, "logs", "shouts")
    odd = daemon.spawn("odd")["agent_id"]
    drawn = on_terminal(daemon.url, "message", odd, "echo", '{"a": "\\u009b \\u007f \x7f"}')
    assert "\x9b" not in drawn and "\x7f" not in drawn and "\\u009b" in drawn


@pytest.mark.sanitize
def test_passes_messages_on_as_they_are_spelt(make_daemon, odd_pool, run_base):
    daemon = make_daemon(pools={"odd": odd_pool()})
    client, agent = Cli(daemon.url), daemon.spawn("odd")["agent_id"]
    (run_base / "params").write_text('{"from": "a file"}')
    assert json.loads(client("message", agent[:8], "echo", f"@{run_base}/params"))["result"] == {"from": "a file"}
    answer = subprocess.run([BUILD / "agentpool", "-u", daemon.url, "message", agent, "echo", "-"], input='{"from": "input"}', text=True,
                            capture_output=True, timeout=PATIENCE)
    assert json.loads(answer.stdout)["result"] == {"from": "input"}
    assert client("message", "--notify", agent, "echo", "{}") == ""
    assert "PARAMS: line 1, column 2" in client("message", agent, "echo", "{", status=2)
    assert "more text" in client("message", agent, "echo", '{},"id":7', status=2)
    for text, line in ((b"\xef\xbb\xbf{\n}", None), (b"{}\0", 1), (b'\n{"a": "\xe9"}', 2)):
        (run_base / "params").write_bytes(text)
        said = client("message", agent, "echo", f"@{run_base}/params", status=2 if line else 0)
        assert f"params: line {line}, column" in said if line else '"result"' in said, said
    assert "1 GiB" in client("message", agent, "echo", "@/dev/zero", status=2)
    assert "METHOD is not UTF-8" in client("message", agent, "\udce9", status=2)
    assert "No such file" in client("message", agent, "echo", "@/nonexistent", status=2)
    assert client("message", "--timeout", "100ms", agent, "slow", '{"seconds": 5}', status=5)
    assert client("-o", "yaml", "message", agent, "echo", '{"a": 1}').endswith("result:\n  a: 1\n")
    numbers = "-0.0 1.0 -7 1e+22".split()
    said = client("-o", "yaml", "message", agent, "echo", f'{{"1": [{",".join(numbers)}], "2": "3", "4": {{"5": 5.0}}}}')
    assert said.endswith('  "1":\n' + "".join(f"    - {n}\n" for n in numbers) + '  "2": "3"\n  "4":\n    "5": 5.0\n'), said


@pytest.mark.sanitize
@pytest.mark.parametrize("command", ["logs -f", "events"])
def test_ends_when_the_agent_does(make_daemon, odd_pool, command):
    daemon = make_daemon(pools={"odd": odd_pool(restart={"policy": "temporary"})})
    client = Cli(daemon.url)

    def follow(agent):
        return subprocess.Popen([BUILD / "agentpool", "-u", daemon.url, *command.split(), agent], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
    agent = daemon.spawn("odd")["agent_id"]
    process = follow(agent)
    client("terminate", agent)
    assert "has ended" in process.communicate(timeout=PATIENCE)[1] and process.returncode == 0
    agent = daemon.spawn("odd")["agent_id"]
    process = follow(agent)
    daemon.post(f"/agents/{agent}/messages", {"jsonrpc": "2.0", "method": "exit", "params": {"status": 7}})
    wait_for(lambda: daemon.agent(agent)["state"] in ("failed", "stopped"), "its end")
    failed = daemon.agent(agent)["state"] == "failed"
    said = process.communicate(timeout=PATIENCE)[1]
    assert ("has failed" if failed else "has ended") in said and process.returncode == (1 if failed else 0)


@pytest.mark.sanitize
def test_notices_when_its_output_goes_nowhere(cli):
    cli.daemon.spawn()
    for command in ("ls", "-o json ls", "help", "export", "why " + cli("ls", "-q").strip()):
        with open("/dev/full", "w") as full:
            answer = subprocess.run([BUILD / "agentpool", "-u", cli.url, *command.split()], stdout=full, stderr=subprocess.PIPE, text=True,
                                    timeout=PATIENCE)
        assert answer.returncode == 1 and "No space left on device" in answer.stderr, command
        reader, writer = os.pipe()
        os.close(reader)
        for ignored in (True, False):
            answer = subprocess.run([BUILD / "agentpool", "-u", cli.url, *command.split()], stdout=writer, stderr=subprocess.PIPE,
                                    timeout=PATIENCE, restore_signals=not ignored)
            assert answer.returncode in ((1,) if ignored else (-signal.SIGPIPE,)), command
        os.close(writer)
