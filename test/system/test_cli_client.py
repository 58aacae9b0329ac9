"""Whom the agentpool command asks, what it shows them, and what it says when they do not answer; every route has a command."""
import http.client
import http.server
import json
import os
import re
import socket
import subprocess
import threading
import urllib.parse

import pytest

from daemon import BUILD, PATIENCE, PROJECT, TOP, Cli
from secure import TOKENS, Authority, write_tokens
from servers import free_port


class Recorder(http.server.ThreadingHTTPServer):
    """Passes requests on to a daemon, and keeps (method, path, headers) of each."""
    def __init__(self, url):
        self.to, self.seen = urllib.parse.urlsplit(url).netloc, []
        super().__init__(("127.0.0.1", 0), Passing)
        self.thread = threading.Thread(target=self.serve_forever)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()


class Passing(http.server.BaseHTTPRequestHandler):
    def pass_on(self):
        self.server.seen.append((self.command, self.path, self.headers))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path[self.path.index("/", 8):] if self.path.startswith("http://") else self.path
        connection = http.client.HTTPConnection(self.server.to, timeout=PATIENCE)
        connection.request(self.command, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name in ("Content-Type", "Link"):
            if answer.headers[name]:
                self.send_header(name, answer.headers[name])
        self.end_headers()
        try:
            while part := answer.read1():
                self.wfile.write(part)
                self.wfile.flush()
        except OSError:
            pass
        connection.close()
    do_GET = do_POST = pass_on

    def log_message(self, *arguments):
        pass


def run(*arguments, env=None, **options):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AGENTPOOL_")}
    return subprocess.run([BUILD / "agentpool", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env={**clean, "HOME": "/nonexistent", **(env or {})}, **options)


# What no command asks for, and why.
UNASKED = {
    "livez": "for whoever watches the process; status says more",
    "metrics": "for Prometheus; top reads it",
    "bulkSpawn": "spawn --count asks for many at once",
    "agentsHealth": "the states of all agents, as ls agents shows them",
    "listAgentsOfProject": "ls agents --project asks with the other filters",
}


@pytest.mark.sanitize
def test_reaches_every_route_that_there_is(daemon):
    document = json.loads((TOP / "etc" / "openapi.json").read_text())
    with Recorder(daemon.url) as recorder:
        ask = Cli(recorder.url)
        one, two, three = (ask("spawn", "-p", PROJECT, "-n", 3, "-q", "developer_pool")).split()
        for command in ("status", "status --ready", "ls", "ls pools", "ls workers", "ls workers --pool developer_pool", "top -n 1",
                        "show developer_pool", f"show {one}", f"why {one}", f"logs {one}", "executions", "executions --summary", "stats",
                        "stats --metric executions", "openapi", f"restart {one}", f"restart {two} {three}", "drain tester_pool",
                        "resume tester_pool", "restart tester_pool", "rollout --min-healthy 0 tester_pool", "reset tester_pool",
                        f"message {one} tools/list"):
            ask(*command.split())
        execution = ask("executions", "-q", "-n", 1).strip()
        assert ask.json("executions", execution)["execution_id"] == execution
        ask("rollback", "tester_pool", status=1)  # there is no program before this one
        for arguments in (("events",), ("events", two)):
            with subprocess.Popen([BUILD / "agentpool", "-u", recorder.url, *arguments], stdout=subprocess.PIPE) as process:
                while not any(path.endswith("/events") and (two in path) == (len(arguments) > 1) for _, path, _ in recorder.seen):
                    pass
                process.kill()
        ask("terminate", one)
        ask("terminate", "--now", two, three)
        subprocess.run([BUILD / "agentpool", "-u", recorder.url, "import"], input=ask("export") + json.dumps({}) + "\n", text=True,
                       capture_output=True, timeout=PATIENCE)
    asked = {(method, urllib.parse.urlsplit(path).path) for method, path, _ in recorder.seen}
    for template, methods in document["paths"].items():
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", template))
        for method in methods.keys() & {"get", "post", "put", "delete", "patch"}:
            operation = methods[method]["operationId"]
            reached = any(done == method.upper() and pattern.fullmatch(path) for done, path in asked)
            assert reached or operation in UNASKED, operation
    operations = {method["operationId"] for methods in document["paths"].values() for method in methods.values() if "operationId" in method}
    assert UNASKED.keys() <= operations


def test_shows_nothing_to_a_proxy_that_is_none_of_its_business(daemon):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
    env = {"http_proxy": proxy, "https_proxy": proxy, "all_proxy": proxy, "AGENTPOOL_TOKEN": "a secret"}
    port = daemon.url.rpartition(":")[2]
    assert run("-u", daemon.url, "ls", env=env).returncode == 0
    assert run("-u", f"http://localhost:{port}", "ls", env=env).returncode == 0
    assert run("-u", f"unix:{daemon.run_dir}/none", "ls", env=env).returncode == 3
    for host in ("127.0.0.1", "127.0.0.2", "0.0.0.0", "[::ffff:127.0.0.1]", "[0::1]", "[::]", "localhost.", "a.localhost."):
        assert run("-u", f"http://{host}:1", "ls", env={**env, "AGENTPOOL_TOKEN": ""}).returncode == 3
    # Another machine, without TLS: with a token directly; 192.0.2.0/24 is nowhere.
    assert run("-u", "http://agents.invalid", "ls", env=env).returncode == 3
    with pytest.raises(BlockingIOError):
        listener.accept()
    # What may use it does: no token, or TLS.
    listener.close()
    with Recorder(daemon.url) as recorder:
        env = {"http_proxy": recorder.url, "https_proxy": recorder.url}
        assert run("-u", "http://agents.invalid", "ls", env=env).returncode == 0
        assert run("-u", "https://agents.invalid", "ls", env={**env, "AGENTPOOL_TOKEN": "a secret"}).returncode == 3
        assert [path.split("?")[0] for _, path, _ in recorder.seen][:1] == ["http://agents.invalid/api/v1/agents"]
        assert all("Authorization" not in headers for _, _, headers in recorder.seen)


def test_asks_the_same_whatever_follows_the_port(daemon):
    wanted = run("-u", daemon.url, "-o", "json", "ls", "workers").stdout
    for suffix in ("/", "//", "/api/v1", "/api/v1/"):
        answer = run("-u", daemon.url + suffix, "-o", "json", "ls", "workers")
        assert [worker["process_id"] for worker in json.loads(answer.stdout)] == [w["process_id"] for w in json.loads(wanted)]
    assert run("-u", daemon.url.removeprefix("http://"), "ls").returncode == 0
    for url, words in (("tcp://127.0.0.1:1", "no such scheme"), ("http://token@127.0.0.1:1", "-t FILE"), ("http://127.0.0.1:1/?a=b", "query"),
                       ("http://127.0.0.1:x", "http://HOST:PORT"), ("unix:", "names no socket"), ("unix:/" + "x" * 200, "too long")):
        answer = run("-u", url, "ls")
        assert (answer.returncode, words in answer.stderr, url in answer.stderr) == (2, True, True), answer


def test_names_the_true_cause_when_nobody_answers(make_daemon, run_base):
    authority = Authority(run_base / "ca")
    certificate, key = authority.issue("server")
    daemon = make_daemon(start=False, server={"listen": ["127.0.0.1:0", f"tls://127.0.0.1:{free_port()}", f"unix:{run_base}/http.sock"],
                                              "tls": {"certificate": certificate, "key": key},
                                              "request_timeout_ms": 1000, # of who speaks without TLS where it is wanted
                                              "tokens_file": write_tokens(run_base / "tokens")})
    daemon.session.headers["Authorization"] = f"Bearer {TOKENS['oncall'][1]}"
    daemon.start()
    plain = daemon.url.removeprefix("http://")
    encrypted = daemon.config["server"]["listen"][1].removeprefix("tls://")
    trusted = ("-c", authority.certificate)

    def said(*arguments, status, env=None):
        answer = run(*arguments, env=env)
        assert answer.returncode == status, answer
        return answer.stderr
    assert "http:// is without" in said("-u", f"https://{plain}", *trusted, "ls", status=3)
    assert "https:// is with" in said("-u", f"http://{encrypted}", "ls", status=3)
    assert "-c FILE" in said("-u", f"https://{encrypted}", "ls", status=3)
    assert "is agentpoold running there" in said("-u", f"http://127.0.0.1:{free_port()}", "ls", status=3)
    assert "Connection refused" in said("-u", f"http://127.0.0.1:{free_port()}", "ls", status=3)
    assert "No such file" in said("-u", f"unix:{run_base}/none", "ls", status=3)
    assert "a token is wanted: -t FILE" in said("-u", f"https://{encrypted}", *trusted, "ls", status=1)
    assert "is not, or no longer, known" in said("-u", daemon.url, "ls", status=1, env={"AGENTPOOL_TOKEN": "x" * 20})
    dashboard = {"AGENTPOOL_TOKEN": TOKENS["dashboard"][1]}
    assert "has not this right" in said("-u", daemon.url, "drain", "developer_pool", status=1, env=dashboard)
    assert said("-u", f"unix:{run_base}/http.sock", "ls", status=0, env=dashboard) == ""
    if os.geteuid() == 0:  # whom nothing is forbidden
        run_base.chmod(0o755)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", BUILD / "agentpool", "-u", f"unix:{run_base}/http.sock", "ls"]
        answer = subprocess.run(nobody, capture_output=True, text=True, timeout=PATIENCE)
        if "failed to execute" in answer.stderr:
            pytest.skip(answer.stderr)
        assert answer.returncode == 3 and "Permission denied; your user may not use this socket" in answer.stderr, answer


@pytest.mark.sanitize
def test_asks_the_daemon_whose_name_it_is_given(daemon, make_daemon, run_base):
    other, home = make_daemon(), run_base / "home"
    env = {"XDG_CONFIG_HOME": str(home)}
    secret = run_base / "secret"
    secret.write_text("\ufeffa secret\r\n")

    def ask(*arguments, status=0, **more):
        answer = run(*arguments, env={**env, **more})
        assert answer.returncode == status, answer
        return answer.stderr if status else answer.stdout

    def asked(*arguments, **more):
        workers = {worker["process_id"] for worker in json.loads(ask("-o", "json", "ls", "workers", *arguments, **more))}
        return next(d for d in (daemon, other) if {w["process_id"] for w in d.get("/agents/metrics/processes").json()} == workers)
    daemon.spawn()
    other.spawn()
    assert "http://127.0.0.1:8000" in ask("-u", "http://127.0.0.1:8000", "context", "set", "x") + ask("context")
    ask("context", "rm", "x")
    ask("context", "set", "one", "-u", daemon.url)
    ask("context", "set", "two", "--url", other.url, "-t", secret)
    assert "there is a context" in ask("context", "set", "two", "-u", other.url, status=2)
    assert json.loads((home / "agentpool" / "config.json").read_text())["contexts"]["two"] == {"url": other.url, "token_file": str(secret)}
    assert asked() is daemon and asked("--context", "two") is other and asked(AGENTPOOL_CONTEXT="two") is other
    ask("context", "use", "two")
    kept = home / "agentpool" / "config.json"
    kept.write_text("\ufeff" + kept.read_text())
    assert asked() is other and asked("-u", daemon.url) is daemon and asked(AGENTPOOL_URL=daemon.url) is daemon
    assert re.search(r"^\* +two +\S+ +\S+secret$", ask("context"), flags=re.M)
    assert 'no context "three"' in ask("--context", "three", "ls", status=2)
    # The token goes to its own daemon only.
    with Recorder(other.url) as recorder:
        ask("context", "set", "--force", "two", "-u", recorder.url, "-t", secret)
        ask("--context", "two", "ls", AGENTPOOL_TOKEN="of the environment")
        ask("-u", recorder.url, "ls")
    assert [headers["Authorization"] for _, _, headers in recorder.seen] == ["Bearer a secret", None]
    (home / "agentpool" / "config.json").write_text("{\n oops")
    assert "config.json:2:" in ask("ls", status=2)
    ask("-u", daemon.url, "ls")
