"""What README.md shows is done here: the clients in Python and JavaScript, curl, the real MCP server."""
import json
import os
import re
import subprocess

import pytest

import docs
from daemon import BUILD, TOP, wait_for
from installed import one_at_a_time, release_only
from servers import node_tools

README = docs.source("README.md")


def block(heading, language, number=0):
    return re.findall(rf"^```{language}\n(.*?)^```", docs.section(README, heading), flags=re.M | re.S)[number]


def bash(text, daemon, cwd):
    text = text.replace("build/agentpool", str(BUILD / "agentpool"))
    done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", text], capture_output=True, text=True, cwd=cwd,
                          env=os.environ | {"AGENTPOOL_URL": daemon.url})
    assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("language, heading", [("python", "A client in Python"), ("javascript", "A client in JavaScript")])
def test_client_spawns_and_is_answered_when_it_is_run(daemon, run_base, language, heading):
    program = run_base / ("client.py" if language == "python" else "client.mjs")
    program.write_text(block(heading, language).replace("http://127.0.0.1:8000", daemon.url))
    interpreter = "python3" if language == "python" else node_tools() / "bin/node"
    done = subprocess.run([interpreter, program], capture_output=True, text=True)
    assert done.returncode == 0 and "hello" in done.stdout, done.stdout + done.stderr
    assert daemon.pool()["agent_count"] == 1


def test_curl_spawns_when_it_is_run(daemon, run_base):
    answer = bash(block("Three commands", "bash").replace("http://localhost:8000", daemon.url), daemon, run_base)
    assert json.loads(answer)["pool_name"] == "developer_pool"


@release_only
def test_variables_of_a_file_count_when_run_starts(run_base):
    (run_base / ".env").write_text("# comment\nexport LOG_LEVEL=DEBUG # here, too\nREDIS_URL='redis://h:1/2'\nMAX_CONNECTIONS=7\n"
                                   'PM_AGENT_PORT="9000"\nPM_AGENT_WORKERS=4\nUSE_MULTIPROCESSING=true\n')
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"MAX_CONNECTIONS": "8"}
    printed = json.loads(one_at_a_time(TOP / "scripts/run", "-T", cwd=run_base, env=env))
    assert (printed["log"]["level"], printed["redis"]["url"], printed["server"]["max_connections"]) == ("debug", "redis://h:1/2", 8)
    assert printed["server"]["listen"] == ["127.0.0.1:9000"]


def test_names_variables_once_when_they_have_no_meaning_here(make_daemon):
    daemon = make_daemon(env={"PM_AGENT_WORKERS": "4", "DB_POOL_SIZE": "5"})
    assert daemon.log().count("config.ignored") == 1
    assert 'config.ignored variables="PM_AGENT_WORKERS, DB_POOL_SIZE"' in daemon.log()


def test_real_mcp_server_answers_when_it_is_set_up_as_told(make_daemon, monkeypatch):
    tools = node_tools()
    setting = block("A real MCP server", "json").replace("/tmp/mcp/node_modules", str(tools / "node_modules"))
    name, pool = json.loads("{" + setting.strip().rstrip(",") + "}").popitem()
    monkeypatch.setenv("PATH", f"{tools / 'bin'}:{os.environ['PATH']}")
    daemon = make_daemon()
    daemon.config["pools"][name] = pool | {"start_timeout_ms": 60000, "spawn_timeout_ms": 60000}
    daemon.write_config()
    reload, use = block("A real MCP server", "bash", 1).split("\n", 1)
    bash(reload, daemon, daemon.directory)
    wait_for(lambda: daemon.get(f"/agents/pools/{name}").status_code == 200, "the new pool")
    assert "Echo: hello" in bash(use, daemon, daemon.directory)
