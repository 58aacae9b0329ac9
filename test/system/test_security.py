"""Who may ask for what, over what, how often; and what the processes may do."""
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import time

import pytest
import requests

import docs
from daemon import BUILD, PATIENCE, PROJECT, command_pool, default_pools, descendants, module_pool, wait_for
from secure import TOKENS, Authority, ask_unix, bearer, searched, status_of, write_tokens
from users import as_others, as_root

pytestmark = pytest.mark.sanitize



def check(run_base, **sections):
    """agentpoold -t on a configuration: (exit status, what it said)."""
    path = run_base / "checked.json"
    path.write_text(json.dumps({"run_dir": str(run_base / "checked"), **sections}))
    result = subprocess.run([BUILD / "agentpoold", "-t", "-c", path], capture_output=True, text=True, timeout=PATIENCE)
    return result.returncode, result.stderr


@pytest.fixture
def tokens(run_base):
    return write_tokens(run_base / "tokens")


@pytest.fixture
def guarded(make_daemon, tokens):
    """A daemon with tokens; whoever asks through it is oncall."""
    daemon = make_daemon(start=False, server={"tokens_file": tokens}, pools={"tester_pool": module_pool()})
    daemon.session.headers.update(bearer("oncall"))
    return daemon.start()


@pytest.fixture
def authority(run_base):
    return Authority(run_base / "ca")


# ---- tokens ----

def expected_role(method, path):
    if path == "/livez":
        return None
    if method == "GET":
        return "read"
    return "admin" if path.endswith("/import") or "/pools/{name}/" in path else "operate"


def test_asks_each_route_for_its_role(guarded):
    order = ["read", "operate", "admin"]
    for route in sorted(docs.routes()):
        method, path = route.split()
        if path.endswith("/events"):
            continue
        role = expected_role(method, path)
        path = path.replace("{agent_id}", PROJECT).replace("{project_id}", PROJECT).replace("{execution_id}", PROJECT)
        url = guarded.url + path.replace("{name}", "no_such_pool")
        body = {"json": {}} if method == "POST" else {}
        bare = requests.request(method, url, timeout=PATIENCE, **body)
        assert (bare.status_code == 401) == (role is not None), route
        if role:
            assert bare.headers["WWW-Authenticate"].startswith("Bearer"), route
        for name, (has, _) in TOKENS.items():
            answer = requests.request(method, url, headers=bearer(name), timeout=PATIENCE, **body)
            enough = role is None or order.index(has) >= order.index(role)
            assert (answer.status_code == 403) == (not enough), (route, name, answer.text)
            assert answer.status_code != 401
            if not enough:
                assert f"role {role}" in answer.json()["detail"] and name in answer.json()["detail"]


def test_refuses_everything_else_without_a_known_token(guarded):
    for header in ("Bearer", "Bearer ", "Bearer wrong-wrong-wrong", "Basic " + TOKENS["oncall"][1], TOKENS["oncall"][1],
                   "Bearer " + TOKENS["oncall"][1] + "x", "Bearer " + TOKENS["oncall"][1][:-1],
                   "Bearer " + TOKENS["oncall"][1].upper()):
        answer = requests.get(guarded.url + "/api/v1/agents", headers={"Authorization": header}, timeout=PATIENCE)
        assert answer.status_code == 401, header
    assert requests.get(guarded.url + "/nothing/here", timeout=PATIENCE).status_code == 401
    assert requests.get(guarded.url + "/nothing/here", headers=bearer("dashboard"), timeout=PATIENCE).status_code == 404
    assert requests.options(guarded.url + "/api/v1/agents", timeout=PATIENCE).status_code == 401


def test_refuses_before_a_body_is_sent(guarded):
    with socket.create_connection(guarded.url[7:].split(":"), timeout=PATIENCE) as client:
        client.sendall(b"POST /api/v1/agents/spawn HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                       b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 401 ")


def test_reads_the_tokens_again_when_reloaded(guarded, run_base):
    fresh = {"oncall": ("admin", "another-secret-here-4")}
    write_tokens(run_base / "tokens", fresh)
    before = guarded.master_pid()
    guarded.process.send_signal(signal.SIGHUP)
    wait_for(lambda: guarded.find_master() not in (None, before), "another master")
    guarded.session.headers.update(bearer("oncall", fresh))
    wait_for(guarded.is_ready, "the new token to be known")
    assert requests.get(guarded.url + "/health", headers=bearer("oncall"), timeout=PATIENCE).status_code == 401
    # A file that others may read changes nothing.
    write_tokens(run_base / "tokens", mode=0o644)
    guarded.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "chmod o=" in guarded.log(), "the refusal in the log")
    assert guarded.get("/health").status_code == 200
    # Nor should the master die while the file is wrong: those of the last right one count, so revoked ones stay revoked.
    os.kill(before := guarded.master_pid(), signal.SIGKILL)
    wait_for(lambda: guarded.find_master() not in (None, before) and "right last" in guarded.log(), "the next master")
    wait_for(lambda: requests.get(guarded.url + "/livez", timeout=PATIENCE).status_code == 200, "it to answer")
    assert requests.get(guarded.url + "/health", headers=bearer("oncall"), timeout=PATIENCE).status_code == 401
    assert guarded.get("/health").status_code == 200
    # Without them none is taken, rather than those of the start.
    (guarded.run_dir / "agentpoold.config").unlink()
    os.kill(guarded.master_pid(), signal.SIGKILL)
    wait_for(lambda: "auth.closed" in guarded.log(), "the next master")
    wait_for(lambda: requests.get(guarded.url + "/livez", timeout=PATIENCE).status_code == 200, "it to answer")
    for headers in (bearer("oncall"), bearer("oncall", fresh)):  # neither the revoked one, nor one that nobody may read
        assert requests.get(guarded.url + "/health", headers=headers, timeout=PATIENCE).status_code == 401
    write_tokens(run_base / "tokens", fresh)
    guarded.process.send_signal(signal.SIGHUP)
    wait_for(guarded.is_ready, "the right file to be read")


def test_takes_tokens_from_a_systemd_credential(make_daemon, run_base):
    credentials = run_base / "credentials"
    credentials.mkdir()
    write_tokens(credentials / "tokens", mode=0o400)
    daemon = make_daemon(start=False, env={"CREDENTIALS_DIRECTORY": str(credentials)}, pools={"tester_pool": module_pool()})
    daemon.session.headers.update(bearer("dashboard"))
    daemon.start()
    assert requests.get(daemon.url + "/health", timeout=PATIENCE).status_code == 401


def test_sends_the_token_of_its_environment_when_the_command_line_asks(guarded, run_base):
    def run(**env):
        return subprocess.run([BUILD / "agentpool", "-u", guarded.url, "ls", "pools"], capture_output=True, text=True,
                              env={**guarded.env, **env}, timeout=PATIENCE)

    secret = run_base / "secret"
    secret.write_text(TOKENS["dashboard"][1] + "\n")
    assert run().returncode == 1 and "401" in run().stderr
    assert "tester_pool" in run(AGENTPOOL_TOKEN=TOKENS["dashboard"][1]).stdout
    assert "tester_pool" in run(AGENTPOOL_TOKEN_FILE=str(secret)).stdout
    missing = run(AGENTPOOL_TOKEN_FILE=str(run_base / "none"))
    assert missing.returncode == 2 and f"no token in {run_base / 'none'}" in missing.stderr


def test_refuses_to_be_exposed_without_tokens(run_base, tokens):
    for address in ("0.0.0.0:0", "*:0", "[::]:0", "tls://0.0.0.0:0"):
        status, said = check(run_base, server={"listen": [address]})
        assert status == 78 and "set server.tokens_file" in said, (address, said)
    assert check(run_base, server={"listen": ["*:0"], "tokens_file": tokens})[0] == 0
    os.chmod(tokens, 0o644)
    status, said = check(run_base, server={"tokens_file": tokens})
    assert status == 78 and "chmod o=" in said


def test_does_not_start_when_it_would_be_exposed(make_daemon):
    daemon = make_daemon(start=False, server={"listen": ["0.0.0.0:0"]})
    daemon.launch()
    assert daemon.process.wait(timeout=PATIENCE) == 78


def test_serves_nobody_on_an_exposed_socket_when_the_tokens_are_gone(make_daemon, tokens):
    """The sockets outlive a reload, whose file may be right for other addresses."""
    daemon = make_daemon(start=False, server={"listen": ["127.0.0.1:0", "0.0.0.0:0"], "tokens_file": tokens})
    daemon.session.headers.update(bearer("oncall"))
    daemon.start()
    port = (daemon.run_dir / "agentpoold.listen").read_text().split()[1].split(":")[1]
    assert requests.get(f"http://127.0.0.1:{port}/health", timeout=PATIENCE).status_code == 401
    daemon.config["server"] = {"listen": ["127.0.0.1:0"]}
    daemon.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "listen.refused" in daemon.log(), "the refusal in the log")
    assert daemon.get("/health").status_code == 200
    with pytest.raises(requests.exceptions.Timeout):
        requests.get(f"http://127.0.0.1:{port}/livez", timeout=0.5)


# ---- TLS ----

@pytest.fixture
def tls_daemon(make_daemon, authority, tokens):
    def make(log=None, **server):
        certificate, key = authority.issue("server")
        tls = {"certificate": certificate, "key": key, **server.pop("tls", {})}
        daemon = make_daemon(start=False, pools={"tester_pool": module_pool()}, log=log or {},
                             server={"listen": ["127.0.0.1:0", "tls://127.0.0.1:0"], "tokens_file": tokens, "tls": tls, **server})
        daemon.session.headers.update(bearer("oncall"))
        daemon.start()
        daemon.tls_port = int((daemon.run_dir / "agentpoold.listen").read_text().split()[1].split(":")[-1])
        daemon.tls_url = f"https://127.0.0.1:{daemon.tls_port}"
        daemon.session.trust_env = False  # or REQUESTS_CA_BUNDLE would win
        daemon.session.verify = str(authority.certificate)
        return daemon
    return make


def handshake(port, authority, **settings):
    context = ssl.create_default_context(cafile=authority.certificate)
    for name, value in settings.items():
        setattr(context, name, value)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE), server_hostname="localhost")


def test_serves_over_tls(tls_daemon, authority):
    daemon = tls_daemon()
    for _ in range(3):
        agent = daemon.session.post(daemon.tls_url + "/api/v1/agents/spawn", json=daemon.spawn_body("tester_pool"), timeout=PATIENCE)
        assert agent.status_code == 200
    url = f"{daemon.tls_url}/api/v1/agents/{agent.json()['agent_id']}/messages"
    text = "x" * 500000
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": text}}}
    answer = daemon.session.post(url, json=call, timeout=PATIENCE)
    assert answer.status_code == 200 and text in answer.text
    with daemon.session.get(daemon.tls_url + "/api/v1/agents/pools/events", stream=True, timeout=PATIENCE) as events:
        daemon.spawn("tester_pool")
        assert any(b"agent_spawned" in line for line in events.iter_lines())
    # Neither speaks the other's language.
    with socket.create_connection(("127.0.0.1", daemon.tls_port), timeout=PATIENCE) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")
        try:
            assert b"200" not in plain.recv(4096)
        except ConnectionResetError:
            pass
    curl = subprocess.run(["curl", "-sf", "--cacert", authority.certificate, daemon.tls_url + "/livez"], capture_output=True,
                          timeout=PATIENCE, check=True)
    assert json.loads(curl.stdout) == {"status": "alive"}


def test_speaks_only_sound_versions_and_ciphers(tls_daemon, authority):
    port = tls_daemon().tls_port
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with handshake(port, authority, minimum_version=version, maximum_version=version) as connection:
            assert connection.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
    for arguments in (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"]):
        result = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=PATIENCE)
        assert result.returncode != 0 and "Cipher is (NONE)" in result.stdout, arguments


def test_wants_a_certificate_of_clients_when_told_so(tls_daemon, authority, run_base):
    daemon = tls_daemon(tls={"client_ca": str(authority.certificate)}, log={"level": "debug"})
    with pytest.raises((requests.exceptions.SSLError, requests.ConnectionError)):
        daemon.session.get(daemon.tls_url + "/livez", timeout=PATIENCE)
    daemon.session.cert = Authority(run_base / "other").issue("stranger")
    with pytest.raises((requests.exceptions.SSLError, requests.ConnectionError)):
        daemon.session.get(daemon.tls_url + "/livez", timeout=PATIENCE)
    wait_for(lambda: "peer did not return a certificate" in daemon.log(), "the reason in the log")
    daemon.session.cert = authority.issue("client")
    assert daemon.session.get(daemon.tls_url + "/health", timeout=PATIENCE).status_code == 200


def test_shows_another_certificate_when_reloaded(tls_daemon, authority):
    daemon = tls_daemon()

    def serial():
        # A connection that nobody accepted yet when the old master goes is reset.
        try:
            with handshake(daemon.tls_port, authority) as connection:
                return connection.getpeercert()["serialNumber"]
        except (ConnectionError, ssl.SSLError):
            return before

    before = None
    before, process = serial(), daemon.process.pid
    authority.issue("server")
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: serial() != before, "the new certificate")
    # A key that is not the certificate's changes nothing.
    now = wait_for(lambda: serial() not in (None, before) and serial(), "the new certificate again")
    _, key = authority.issue("other")
    with open(key, "rb") as other, open(authority.directory / "server.key", "wb") as mine:
        mine.write(other.read())
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "server.key: " in daemon.log(), "the refusal in the log")
    assert serial() == now and daemon.process.pid == process  # no master was replaced
    # Nor does a master that dies meanwhile take the agents along: it only cannot serve TLS.
    os.kill(daemon.master_pid(), signal.SIGKILL)
    wait_for(lambda: "tls.unusable" in daemon.log(), "the next master")
    wait_for(daemon.is_ready, "it to serve without TLS")
    assert "listen.refused" in daemon.log()


def test_names_the_file_when_tls_cannot_work(run_base, authority):
    certificate, key = authority.issue("server")
    _, other = authority.issue("other")
    broken = run_base / "broken.pem"
    broken.write_text("no certificate")
    for tls, needle in (({"certificate": certificate, "key": other}, f"{other}: "),
                        ({"certificate": str(broken), "key": key}, f"{broken}: no usable certificate"),
                        ({"certificate": "/nowhere.pem", "key": key}, "/nowhere.pem: "),
                        ({"certificate": certificate, "key": str(broken)}, f"{broken}: "),
                        ({"certificate": certificate, "key": key, "client_ca": str(broken)}, f"{broken}: ")):
        status, said = check(run_base, server={"tls": tls})
        assert status == 78 and needle in said, said
    assert check(run_base, server={"tls": {"certificate": certificate, "key": key}})[0] == 0


def test_closes_clients_that_do_not_come_to_the_point(tls_daemon, authority):
    daemon = tls_daemon(request_timeout_ms=300, idle_timeout_ms=600000)
    address = ("127.0.0.1", daemon.tls_port)
    silent, dripping = socket.create_connection(address, timeout=PATIENCE), socket.create_connection(address, timeout=PATIENCE)
    dripping.sendall(b"\x16\x03\x01")
    slow = handshake(daemon.tls_port, authority)
    slow.sendall(b"GET /livez HTTP/1.1\r\n")
    for client in (silent, dripping, slow):
        assert client.recv(1) == b"", client
        client.close()
    wait_for(lambda: daemon.health()["connections"] == 1, "their connections to be gone")
    with handshake(tls_daemon(idle_timeout_ms=300).tls_port, authority) as idle:
        assert idle.recv(1) == b""


# ---- unix sockets ----

def test_knows_the_peer_of_a_unix_socket(make_daemon, run_base):
    path = run_base / "http.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    daemon = make_daemon(server={"listen": ["127.0.0.1:0", f"unix:{path}"], "unix": {"mode": "0600"}},
                         log={"level": "debug"}, pools={"tester_pool": module_pool()})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ask_unix(path, "GET", "/health")[0] == 200
    assert f"peer=unix:uid={os.getuid()},pid={os.getpid()} " in daemon.log()
    daemon.stop()
    assert not path.exists()


@as_root
def test_gives_the_socket_to_whom_it_is_told(make_daemon, run_base):
    path = run_base / "http.sock"
    make_daemon(server={"listen": ["127.0.0.1:0", f"unix:{path}"], "unix": {"user": "nobody", "group": "games", "mode": "0620"}},
                pools={"tester_pool": module_pool()})
    found = path.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (65534, 0o620) and found.st_gid != 65534


# ---- rates ----

def test_answers_429_when_a_token_asks_too_often(guarded, run_base, make_daemon):
    limited = make_daemon(start=False, server={"tokens_file": str(run_base / "tokens"),
                                               "rate_limit": {"requests_per_second": 1, "burst": 20}},
                          pools={"tester_pool": module_pool()})
    limited.session.headers.update(bearer("oncall"))
    limited.launch()
    wait_for(lambda: (limited.run_dir / "agentpoold.listen").exists() and "registry.up" in limited.log(), "it to be up")
    statuses = [limited.get("/health").status_code for _ in range(60)]
    assert statuses[:20] == [200] * 20 and statuses.count(429) >= 30
    [refused] = wait_for(lambda: [a for a in [limited.get("/health")] if a.status_code == 429], "a refusal")
    assert int(refused.headers["Retry-After"]) >= 1 and "1 requests per second from this token" in refused.json()["detail"]
    # Another token and the address without one have a rate of their own.
    assert requests.get(limited.url + "/health", headers=bearer("dashboard"), timeout=PATIENCE).status_code == 200
    guesses = [requests.get(limited.url + "/health", headers={"Authorization": f"Bearer guess-{i}"}, timeout=PATIENCE).status_code
               for i in range(60)]
    assert guesses[:20] == [401] * 20 and 429 in guesses and set(guesses) == {401, 429}
    wait_for(lambda: limited.get("/health").status_code == 200, "the token to be let in again")


# ---- who asked ----

def audits(daemon, agent_id):
    answer = daemon.get(f"/agents/{agent_id}/why")
    assert answer.status_code == 200 and answer.json()["asked"] is not None, answer.text
    return [(event["detail"], event["who"].rpartition(":")[0], event["request_id"]) for event in answer.json()["asked"]]


def test_says_who_asked_for_each_change(guarded):
    answer = guarded.post("/agents/spawn", guarded.spawn_body("tester_pool"), headers=bearer("scheduler"))
    agent, spawned = answer.json(), ("spawn: 200", "scheduler@127.0.0.1", answer.headers["X-Request-Id"])
    assert audits(guarded, agent["agent_id"]) == [spawned]
    restart = guarded.post(f"/agents/{agent['agent_id']}/restart", headers=bearer("oncall"))
    assert audits(guarded, agent["agent_id"]) == [("restart: 200", "oncall@127.0.0.1", restart.headers["X-Request-Id"]), spawned]
    with guarded.session.get(guarded.url + f"/api/v1/agents/{agent['agent_id']}/events", stream=True, timeout=PATIENCE) as events:
        wait_for(lambda: guarded.agent(agent["agent_id"])["state"] == "idle", "the restarted agent")
        ended = guarded.terminate(agent)
        lines = (line.decode() for line in events.iter_lines())
        watched = json.loads(next(line for line in lines if '"audit"' in line and line.startswith("data: "))[6:])
    assert watched["detail"] == "terminate: 200" and watched["request_id"] == ended.headers["X-Request-Id"]
    assert watched["who"].startswith("oncall@127.0.0.1:") and watched["agent_id"] == agent["agent_id"]
    # What it was asked outlives the agent; what became of it is told apart.
    assert [what for what, _, _ in audits(guarded, agent["agent_id"])] == ["terminate: 200", "restart: 200", "spawn: 200"]
    assert "audit" not in {event["event"] for event in guarded.agent(agent["agent_id"])["history"]}
    line = next(line for line in guarded.log().splitlines() if " audit " in line and "action=spawn" in line)
    assert 'who="scheduler@127.0.0.1:' in line and f"agent={agent['agent_id']} status=200 request={spawned[2]}" in line


def test_says_who_asked_for_many_or_for_a_pool(guarded):
    bulk = guarded.post("/agents/bulk/spawn", [guarded.spawn_body("tester_pool")] * 3)
    agents = [item["agent"]["agent_id"] for item in bulk.json()]
    for path in ("restart", "terminate"):
        answer = guarded.post(f"/agents/bulk/{path}", agents)
        wait_for(lambda: all(guarded.agent(agent)["state"] in ("idle", "terminated") for agent in agents), "the agents to settle")
        for agent in agents:
            assert audits(guarded, agent)[0] == (f"{path}: 200", "oncall@127.0.0.1", answer.headers["X-Request-Id"])
    many = guarded.post("/agents/spawn", guarded.spawn_body("tester_pool", count=2)).json()["agents"]
    records = guarded.agents()
    for agent in many:
        guarded.terminate(agent)
    for record in records:
        record["agent_id"] = record["agent_id"][:-4] + "0000"
    imported = guarded.post("/agents/import", {"agents": records[:1]})
    assert imported.json()["imported"] == 1, imported.text
    assert audits(guarded, records[0]["agent_id"])[0][:2] == ("import: 200", "oncall@127.0.0.1")
    with guarded.session.get(guarded.url + "/api/v1/agents/pools/events", stream=True, timeout=PATIENCE) as events:
        lines = (line.decode() for line in events.iter_lines())
        for path in ("rollout", "drain", "resume", "restart", "reset"):
            assert guarded.post(f"/agents/pools/tester_pool/{path}", {} if path == "rollout" else None).status_code in (200, 202), path
            event = json.loads(next(line for line in lines if '"audit"' in line and line.startswith("data: "))[6:])
            assert event["detail"].startswith(f"{path}: 20") and event["pool_name"] == "tester_pool", event
    # Also what was refused.
    assert guarded.post("/agents/pools/tester_pool/drain").status_code == 202
    assert guarded.post("/agents/spawn", guarded.spawn_body("tester_pool")).status_code == 503
    wait_for(lambda: "action=spawn pool=tester_pool agent=- status=503" in guarded.log(), "the refusal in the log")


def test_knows_who_asked_over_a_unix_socket(make_daemon, run_base):
    path = run_base / "http.sock"
    daemon = make_daemon(server={"listen": ["127.0.0.1:0", f"unix:{path}"]}, pools={"tester_pool": module_pool()})
    status, text = ask_unix(path, "POST", "/api/v1/agents/spawn", json.dumps(daemon.spawn_body("tester_pool")),
                            {"Content-Type": "application/json"})
    assert status == 200, text
    [(_, _, request)] = audits(daemon, json.loads(text)["agent_id"])
    assert f'who="unix:uid={os.getuid()},pid={os.getpid()}" action=spawn' in daemon.log() and request in daemon.log()


# ---- what comes from the configuration only, and what never leaves it ----

def test_runs_no_program_that_a_request_names(make_daemon):
    daemon = make_daemon()
    body = daemon.spawn_body()
    for extra in ({"argv": ["/bin/sh"]}, {"runtime": {"type": "command", "argv": ["/bin/sh"]}}, {"command": "/bin/sh"},
                  {"env": {"LD_PRELOAD": "/x"}}, {"path": "/x.so"}, {"user": "root"}, {"args": {"model": "/bin/sh"}},
                  {"args": {"0": "/bin/sh"}}):
        answer = daemon.post("/agents/spawn", {**body, **extra})
        assert answer.status_code in (400, 422), (extra, answer.text)
        record = {"agent_id": PROJECT, "state": "idle", "epoch": 1, "restarts": 0, "created_at": "2026-01-01T00:00:00.000Z", **body}
        imported = daemon.post("/agents/import", {"agents": [{**record, **extra}]}).json()
        assert imported["imported"] == 0 or "args" not in extra
    # What an import does not know is not kept: the agent runs what its pool says.
    for pid, command in descendants(daemon.process.pid).items():
        assert "/bin/sh" not in command, pid


PLANTED = {"redis": "planted-redis-secret", "database": "planted-database-secret", "token": "planted-token-secret-1",
           "env": "planted-env-secret"}


def test_leaves_no_secret_where_it_does_not_belong(make_daemon, make_redis, run_base):
    server = make_redis(password=PLANTED["redis"])
    write_tokens(run_base / "tokens", {"digest": ("read", "only-a-digest-of-this"), "oncall": ("admin", PLANTED["token"])})
    pools = default_pools()
    pools["developer_pool"]["runtime"]["env"] = {"API_KEY": PLANTED["env"]}
    daemon = make_daemon(start=False, pools=pools, log={"level": "debug"}, redis={"url": server.url(0)},
                         server={"tokens_file": str(run_base / "tokens")}, env={"AGENTPOOL_REDIS_URL": server.url(0)})
    daemon.session.headers["Authorization"] = f"Bearer {PLANTED['token']}"
    daemon.start()
    agent = daemon.spawn()
    daemon.spawn("tester_pool")
    daemon.whoami(agent["agent_id"])
    daemon.get("/agents", headers={"Authorization": "Bearer planted-token-secret-2"})
    os.kill(daemon.master_pid(), signal.SIGKILL)
    wait_for(daemon.is_ready, "the next master")
    for pid in (daemon.process.pid, *descendants(daemon.process.pid)):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            assert b"planted" not in file.read(), pid
    program = daemon.whoami(agent["agent_id"])["pid"]
    with open(f"/proc/{program}/environ", "rb") as file:
        assert file.read().replace(PLANTED["env"].encode(), b"").count(b"planted") == 0
    printed = subprocess.run([BUILD / "agentpoold", "-T", "-c", daemon.config_path], capture_output=True, env=daemon.env,
                             timeout=PATIENCE, check=True)
    assert b"planted" not in printed.stdout + printed.stderr
    assert "planted" not in daemon.log()
    for path, data in searched(daemon.run_dir):
        if os.path.basename(path) == "agentpoold.config":  # what is in force, for the next master
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        else:
            assert b"planted" not in data, path
    for path in ("/health", "/stats", "/agents", f"/agents/{agent['agent_id']}/why", "/agents/pools"):
        assert "planted" not in daemon.get(path).text, path


# ---- who the processes are ----

@pytest.fixture
def open_base(run_base):
    run_base.chmod(0o755)
    return run_base


def replace_master(daemon, number):
    before = daemon.master_pid()
    daemon.process.send_signal(number)
    wait_for(lambda: daemon.find_master() not in (None, before), "the next master")
    wait_for(daemon.is_ready, "it to serve again")


def ids(pid):
    found = status_of(pid)
    return {int(i) for i in found["Uid"].split()}, [int(i) for i in found["Gid"].split()]


@as_others
def test_gives_up_root_for_its_user(make_daemon, open_base):
    path = open_base / "http.sock"
    daemon = make_daemon(user="nobody", server={"listen": ["127.0.0.1:0", f"unix:{path}"]})
    agent = daemon.spawn()
    everything = [daemon.process.pid, *descendants(daemon.process.pid)]
    assert len(everything) >= 5
    for pid in everything:
        found = status_of(pid)
        assert ids(pid)[0] == {65534} and int(found["CapPrm"], 16) == int(found["CapEff"], 16) == 0, found
        assert found["NoNewPrivs"] == "1"
    assert daemon.run_dir.stat().st_uid == path.stat().st_uid == 65534
    replace_master(daemon, signal.SIGUSR2)
    assert "upgrade.done" in daemon.log()
    assert daemon.agent(agent["agent_id"])["state"] == "idle"


@as_others
def test_runs_a_pool_as_its_own_user(make_daemon, open_base):
    daemon = make_daemon(user="nobody", pools={"own": command_pool(BUILD / "example-agent", user="games", worker_lease_ms=2000,
                                                                   heartbeat_interval_ms=500),
                                               "same": command_pool(BUILD / "example-agent"),
                                               "modules": module_pool(user="daemon")})

    def verify():
        for pool, uid in (("own", 5), ("same", 65534), ("modules", 1)):
            agent = daemon.spawn(pool)
            for worker in daemon.worker_pids(pool).values():
                found = status_of(worker)
                assert ids(worker)[0] == {uid} and int(found["CapPrm"], 16) == int(found["CapAmb"], 16) == 0, (pool, found)
                for program in descendants(worker):
                    users, groups = ids(program)
                    assert users == {uid} and len(set(groups)) == 1, (pool, groups)
                    assert (groups[0] == 65534) == (pool == "same"), "the daemon's group is not for its agents"
            daemon.terminate(agent)
        forker, master = status_of(daemon.process.pid), status_of(daemon.master_pid())
        assert int(forker["CapEff"], 16) == int(forker["CapBnd"], 16) == 0xe0 and int(master["CapPrm"], 16) == 0 and int(forker["CapInh"], 16) == 0
        assert forker["Uid"].split()[0] == master["Uid"].split()[0] == "65534"

    verify()
    # Workers of other users do not write there themselves.
    assert stat.S_IMODE((daemon.run_dir / "agents").stat().st_mode) == 0o750
    # Killed by a forker that is not root, and placed again.
    agent = daemon.spawn("own")
    os.kill(next(iter(daemon.worker_pids("own").values())), signal.SIGSTOP)
    daemon.note_processes()
    wait_for(lambda: daemon.agent(agent["agent_id"])["epoch"] > 1 and daemon.agent(agent["agent_id"])["state"] == "idle",
             "the agent of the stopped worker to run again")
    replace_master(daemon, signal.SIGUSR2)
    verify()


@as_others
def test_does_not_run_a_pool_as_another_when_its_user_changed(make_daemon, open_base):
    daemon = make_daemon(user="nobody", pools={"own": module_pool(user="games"), "other": module_pool()})
    daemon.config["pools"]["other"]["user"] = "daemon"
    daemon.write_config()
    replace_master(daemon, signal.SIGHUP)
    answer = daemon.post("/agents/spawn", daemon.spawn_body("other"), params={"wait": "false"})
    assert answer.status_code == 202
    wait_for(lambda: "takes effect with USR2" in (daemon.pool("other").get("degraded_reason") or ""), "the reason")
    replace_master(daemon, signal.SIGUSR2)
    wait_for(lambda: daemon.agent(answer.json()["agent_id"])["state"] == "idle", "the agent to run after an upgrade")


@as_others
def test_refuses_users_that_it_cannot_become(make_daemon, open_base):
    def status(run_as=None, **settings):
        daemon = make_daemon(start=False, **settings)
        daemon.directory.chmod(0o777)
        daemon.write_config()
        result = subprocess.run([BUILD / "agentpoold", "-c", daemon.config_path], capture_output=True, text=True, user=run_as,
                                timeout=PATIENCE)
        return result.returncode, result.stderr

    result, said = status(pools={"own": module_pool(user="games")})
    assert result == 78 and "set user, too" in said
    result, said = status(run_as="nobody", pools={"own": module_pool(user="games")})
    assert result == 78 and "pools.own.user" in said and "root" in said
    result, said = status(run_as="nobody", user="games")
    assert result == 78 and "only root can become another user" in said
    result, said = status(user="no-such-user-here")
    assert result == 78 and "adduser" in said
    result, said = status(pools={"own": module_pool(group="games")})
    assert result == 78 and "takes a user" in said
    authority = Authority(open_base / "ca")
    certificate, key = authority.issue("server")
    os.chmod(key, 0o600)
    result, said = status(user="nobody", server={"tls": {"certificate": certificate, "key": key}})
    assert result == 78 and "server.key" in said and "Permission denied" in said


def test_fences_its_processes_in(make_daemon):
    daemon = make_daemon()
    agent = daemon.spawn()
    program = daemon.whoami(agent["agent_id"])["pid"]
    filters = {pid: int(status_of(pid)["Seccomp_filters"]) for pid in (daemon.process.pid, daemon.master_pid(), program)}
    base = int(status_of("self")["Seccomp_filters"])
    assert filters == {daemon.process.pid: base + 1, daemon.master_pid(): base + 2, program: base + 1}
    assert status_of(program)["NoNewPrivs"] == "1"
    for _ in range(3):
        replace_master(daemon, signal.SIGUSR2)
    assert int(status_of(daemon.process.pid)["Seccomp_filters"]) == base + 1, "filters do not pile up"


def test_does_without_filters_when_told_so(make_daemon):
    daemon = make_daemon(seccomp=False, pools={"tester_pool": module_pool()})
    assert status_of(daemon.master_pid())["Seccomp_filters"] == status_of("self")["Seccomp_filters"]
