"""Settings from the environment, errors of the configuration, and the agentpool command."""
import json
import subprocess

import pytest

from daemon import BUILD, PROJECT, Cli, command_pool, module_pool, wait_for


@pytest.fixture
def check(make_daemon):
    """check(*flags, env={}) -> what agentpoold says about the written configuration."""
    daemon = make_daemon(start=False)
    daemon.write_config()

    def run(*flags, env=None):
        return subprocess.run([BUILD / "agentpoold", *flags, "-c", daemon.config_path], capture_output=True, text=True,
                              timeout=60, env=daemon.env | (env or {}))
    run.daemon = daemon
    return run


@pytest.mark.sanitize
def test_takes_the_environment_when_it_overrides(check):
    answer = check("-T", env={"AGENTPOOL_SERVER_MAX_CONNECTIONS": "77", "AGENTPOOL_LOG_FORMAT": "json",
                              "AGENTPOOL_SHUTDOWN_TIMEOUT": "2.5", "AGENTPOOL_SERVER_LISTEN": "127.0.0.1:1,127.0.0.1:2",
                              "DATABASE_URL": "postgresql://me:hunter2@db/pool"})
    assert (answer.returncode, answer.stderr) == (0, "")
    settings = json.loads(answer.stdout)
    assert settings["server"]["max_connections"] == 77
    assert settings["server"]["listen"] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert settings["log"]["format"] == "json"
    assert settings["shutdown_timeout"] == 2.5
    assert "hunter2" not in answer.stdout and "postgresql://me:" in answer.stdout


@pytest.mark.parametrize("env, words", [
    ({"AGENTPOOL_SERVER_MAX_CONECTIONS": "7"}, ["AGENTPOOL_SERVER_MAX_CONECTIONS", "AGENTPOOL_SERVER_MAX_CONNECTIONS"]),
    ({"AGENTPOOL_SERVER_MAX_CONNECTIONS": "many"}, ["AGENTPOOL_SERVER_MAX_CONNECTIONS", "integer from 1"]),
    ({"REDIS_URL": "http://x"}, ["REDIS_URL"]),
    ({"LOG_LEVEL": "loud"}, ["LOG_LEVEL", "loud"]),
])
def test_names_the_variable_when_it_is_wrong(check, env, words):
    answer = check("-t", env=env)
    assert answer.returncode == 78
    assert all(word in answer.stderr for word in words), answer.stderr


@pytest.mark.sanitize
def test_names_each_place_when_several_settings_are_wrong(check):
    check.daemon.config_path.write_text("""{
  // a comment
  "server": { "max_conections": 5 },
  "run_dir": 7,
  "pools": { "a": { "role_type": "x", "runtime": { "type": "command" }, "max_workers": 0 } }
}""")
    answer = check("-t")
    assert answer.returncode == 78
    path = check.daemon.config_path
    for place, words in ((f"{path}:3:", 'did you mean "max_connections"?'), (f"{path}:4:", "run_dir"), (f"{path}:5:", "max_workers")):
        assert any(line.startswith(place) and words in line for line in answer.stderr.splitlines()), answer.stderr


@pytest.mark.sanitize
@pytest.mark.parametrize("text, place", [("", ":1:"), ("{\n  \"pools\": {},\n}", ":"), ("{ \"a\": ", ":1:"), ("{\n\n}}", ":3:")])
def test_names_line_and_column_when_it_is_no_json(check, text, place):
    check.daemon.config_path.write_text(text)
    answer = check("-t")
    assert answer.returncode == 78
    assert answer.stderr.startswith(f"{check.daemon.config_path}{place}")


def test_shows_what_there_is_when_asked(cli):
    agents = cli.daemon.spawn(count=12)["agents"]
    text = cli("status")
    assert "healthy" in text and "developer_pool" in text and "tester_pool" in text
    assert cli.json("status")["pools"]["developer_pool"]["agents"] == 12
    listing = cli("ls")
    assert all(agent["agent_id"] in listing for agent in agents)
    assert {agent["agent_id"] for agent in cli.json("ls", "agents")} == {agent["agent_id"] for agent in agents}
    assert [pool["pool_name"] for pool in cli.json("ls", "pools")] == ["developer_pool", "tester_pool"]
    assert sorted(worker["agents"] for worker in cli.json("ls", "workers")) == [2, 10]


def test_lists_all_when_there_are_many_pages(make_daemon):
    daemon = make_daemon(pools={"pool": module_pool(max_agents_per_worker=500)})
    daemon.spawn("pool", count=1000)
    daemon.spawn("pool", count=500)
    assert len({agent["agent_id"] for agent in Cli(daemon.url).json("ls", "agents")}) == 1500


def test_spawns_messages_and_terminates_when_told(cli):
    agent = cli.json("spawn", "-p", PROJECT, "-r", "developer", "-l", "team=red", "developer_pool")
    agent_id = agent["agent_id"]
    assert cli.daemon.agent(agent_id)["labels"] == {"team": "red"}
    assert agent_id in cli("spawn", "-p", PROJECT, "-n", 3, "developer_pool") + cli("ls")
    assert cli.daemon.pool()["agent_count"] == 4
    answer = json.loads(cli("message", agent_id, "tools/call", '{"name": "echo", "arguments": {"text": "hi"}}'))
    assert answer["result"]["content"][0]["text"] == "hi"
    assert cli.json("why", agent_id)["placement"]
    cli("terminate", agent_id)
    assert cli.daemon.agent(agent_id)["state"] == "terminated"
    assert cli.daemon.pool()["agent_count"] == 3


@pytest.mark.parametrize("arguments, status, words", [
    (["spawn", "-p", PROJECT, "developer_pol"], 4, 'did you mean "developer_pool"?'),
    (["spawn", "-p", "no-uuid", "developer_pool"], 1, "UUID"),
    (["spawn"], 2, "POOL is missing"),
    (["terminate", PROJECT], 4, PROJECT),
    (["message", PROJECT, "ping"], 4, PROJECT),
    (["message", PROJECT, "ping", " "], 2, "no parameters"),
    (["why", PROJECT], 4, PROJECT),
    (["lss"], 2, "lss"),
    (["ls", "nonsense"], 2, "Usage: agentpool ls"),
])
def test_says_why_when_it_cannot(cli, arguments, status, words):
    assert words in cli(*arguments, status=status)


def test_fails_when_the_agent_answers_an_error(cli):
    agent_id = cli.daemon.spawn()["agent_id"]
    answer = subprocess.run([BUILD / "agentpool", "-u", cli.url, "message", agent_id, "nonsense"], capture_output=True, text=True,
                            timeout=60)
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["error"]["code"] == -32601


def test_says_so_when_no_daemon_listens(run_base):
    assert "127.0.0.1:1" in Cli("http://127.0.0.1:1")("status", status=3)
    assert "nothing.sock" in Cli(f"unix:{run_base}/nothing.sock")("status", status=3)


def test_gives_the_same_agents_when_exported_and_imported(make_daemon):
    pools = {"developer_pool": command_pool(BUILD / "example-agent", allowed_args=["model"])}
    first, second = make_daemon(pools=pools), make_daemon(pools=pools)
    agents = [first.spawn(labels={"n": str(n)}, args={"model": "m"}, max_idle_time=600 + n) for n in range(5)]
    first.terminate(agents.pop())
    exported = Cli(first.url)("export")
    answer = subprocess.run([BUILD / "agentpool", "-u", second.url, "import"], input=exported, capture_output=True, text=True,
                            timeout=60)
    assert answer.returncode == 0, answer.stderr
    wait_for(lambda: all(second.agent(agent["agent_id"]).get("state") == "idle" for agent in agents), "the agents to run")
    assert len(second.agents()) == 4
    for agent in agents:
        before, after = first.agent(agent["agent_id"]), second.agent(agent["agent_id"])
        for field in ("labels", "args", "max_idle_time", "heartbeat_interval", "project_id", "role_type", "created_at"):
            assert after[field] == before[field]
