"""Completion in the shells themselves."""
import os
import pty
import re
import select
import subprocess
import time

import pytest

import docs
from daemon import BUILD, PATIENCE, TOP, Cli

COMPLETION = TOP / "etc" / "completion"


def bash(daemon, line):
    """What its function offers for a line as it stands before the cursor, taken apart as bash does."""
    script = (f"source {COMPLETION}/agentpool.bash; COMP_LINE=$1 COMP_POINT=${{#1}}; shift; COMP_WORDS=(\"$@\"); "
              'COMP_CWORD=$(($# - 1)); _agentpool; printf "%s\\n" "${COMPREPLY[@]}"')
    words = [word for word in re.split(r"([:=]+)|\s+", line) if word] + ([""] if line.endswith(" ") else [])
    done = subprocess.run(["bash", "-c", script, "bash", line, *words], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def fish(daemon, line):
    script = f"set -x PATH {BUILD} $PATH; source {COMPLETION}/agentpool.fish; complete -C $argv[1]"
    done = subprocess.run(["fish", "--no-config", "-c", script, line], capture_output=True, text=True, check=True, timeout=60)
    return [found.split("\t")[0] for found in done.stdout.splitlines()]


def typed(argv, setup, line, wanted):
    """What a shell on a terminal shows when line and a tab are typed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PS1"], os.environ["TERM"] = "ready> ", "dumb"
        os.execvp(argv[0], argv)
    seen, deadline = b"", time.monotonic() + PATIENCE
    try:
        os.write(terminal, (setup + "; echo set''up\n").encode())
        sent = False
        while wanted not in seen or not sent:
            assert select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0], seen
            seen += os.read(terminal, 65536)
            if not sent and b"setup\r\n" in seen:
                seen, sent = b"", True
                os.write(terminal, line.encode() + b"\t")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


@pytest.mark.sanitize
@pytest.mark.parametrize("offered", [bash, fish])
def test_completes_commands_options_pools_and_agents(daemon, offered):
    agents = [agent["agent_id"] for agent in daemon.spawn("developer_pool", count=2)["agents"]]
    program = str(BUILD / "agentpool") if offered is bash else "agentpool"
    asked = f"{program} -u {daemon.url}"
    assert set(offered(daemon, f"{program} ")) == docs.cli_commands()
    assert set(offered(daemon, f"{asked} ")) == docs.cli_commands(), "also after a URL"
    assert offered(daemon, f"{asked} dr") == ["drain"]
    assert offered(daemon, f"{asked} drain dev") == ["developer_pool"]
    assert offered(daemon, f"{asked} drain tester_pool dev") == ["developer_pool"]
    assert sorted(offered(daemon, f"{asked} why ")) == sorted(agents)
    assert offered(daemon, f"{asked} why {agents[0][:8]}") == [agents[0]]
    assert offered(daemon, f"{asked} ls w") == ["workers"]
    assert sorted(offered(daemon, f"{asked} ls --state st")) == ["starting", "stopped", "stopping"]
    assert [word.removeprefix("--state=") for word in offered(daemon, f"{asked} ls --state=fa")] == ["failed"]
    assert offered(daemon, f"{asked} -o j") == ["json"]
    assert offered(daemon, f"{asked} terminate --n") == ["--now"]
    assert offered(daemon, f"{program} -u http://127.0.0.1:1 drain d") == []


@pytest.mark.parametrize("argv, setup", [
    (["bash", "--norc", "--noprofile", "-i"], f"source {COMPLETION}/agentpool.bash"),
    (["zsh", "-f", "-i"], f"autoload -U compinit; compinit -u -D; source {COMPLETION}/agentpool.zsh"),
], ids=["bash", "zsh"])
def test_completes_when_a_tab_is_typed(daemon, argv, setup):
    setup = f"PATH={BUILD}:$PATH; {setup}"
    agent = daemon.spawn()["agent_id"]
    typed(argv, setup, f"agentpool -u {daemon.url} drain dev", b"drain developer_pool")
    typed(argv, setup, f"agentpool -u {daemon.url} terminate --n", b"terminate --now")
    typed(argv, setup, f"agentpool -u {daemon.url} why {agent[:4]}", agent.encode())


def test_completes_from_the_table_that_help_shows():
    listed = set(re.findall(r"^  (\w+) +\S", Cli("http://127.0.0.1:1")("help").split("\n\n")[1], flags=re.M))
    assert listed == docs.cli_commands()
