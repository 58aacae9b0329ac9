"""What web pages can do with a daemon that their reader's machine runs."""
import socket

import pytest
import requests

import docs
from browser import Site, browse
from daemon import PATIENCE, PROJECT, module_pool
from secure import ask_unix, bearer, write_tokens

EVIL = "http://evil.example"


@pytest.fixture
def site():
    sites = []

    def make(daemon):
        sites.append(Site(daemon))
        return sites[-1]

    yield make
    for made in sites:
        made.close()


def start(make_daemon, **server):
    return make_daemon(pools={"tester_pool": module_pool()}, server=server)


def untouched(daemon):
    return daemon.get("/agents").json() == [] and not daemon.pool("tester_pool")["draining"]


# ---- a browser ----

@pytest.mark.parametrize("through", ["its own requests", "its own site"])
def test_lets_no_page_of_another_origin_read_or_change_anything(make_daemon, site, through):
    daemon = start(make_daemon, allowed_hosts=["evil.example"], allowed_origins=["https://evil.example", "http://app.example"])
    evil = site(daemon)
    report = evil.visit("evil.example", daemon.url if through == "its own requests" else "", "tester_pool")
    for attempt, result in report.items():
        # What a browser sends without an Origin is the reading of what it shows to no other origin, or of the site's own.
        if through == "its own site" and attempt in ("read", "read_opaque", "stream"):
            continue
        assert not result.startswith("200") and "agent_id" not in result, (attempt, result)
    assert untouched(daemon), report
    assert daemon.log().count("auth.browser_refused") >= 8, (report, daemon.log())
    assert "server.allowed_origins does not name" in daemon.log() and EVIL in daemon.log()


def test_lets_a_page_of_an_allowed_origin_read_and_change(make_daemon, site):
    daemon = make_daemon(start=False, pools={"tester_pool": module_pool()})
    app = site(daemon)
    daemon.config["server"] |= {"allowed_hosts": ["app.example"], "allowed_origins": [f"http://app.example:{app.port}"]}
    daemon.start()
    report = app.visit("app.example", "", "tester_pool")
    assert report["read"].startswith("200 [") and report["stream"] == "200 open"
    assert report["spawn"].startswith("200 {") and len(daemon.agents()) == 1
    assert report["drain_readable"].startswith("202"), report
    assert daemon.pool("tester_pool")["draining"]
    # Only who sends no origin at all (a sandboxed frame) is refused.
    assert daemon.log().count("auth.browser_refused") == 1 and 'null' in daemon.log(), daemon.log()


def test_shows_nothing_to_a_page_whose_name_was_made_to_lead_here(make_daemon):
    daemon = start(make_daemon)
    port = daemon.url.rpartition(":")[2]
    assert "server.allowed_hosts" in browse(f"http://rebound.example:{port}/health")
    assert '"version"' in browse(f"http://localhost:{port}/health")


# ---- the rule ----

def test_refuses_another_origin_on_every_route(make_daemon):
    daemon = start(make_daemon)
    for route in [*sorted(docs.routes()), "GET /nowhere", "OPTIONS /api/v1/agents", "PUT /livez"]:
        method, path = route.split()
        for name in ("agent_id", "project_id", "execution_id"):
            path = path.replace(f"{{{name}}}", PROJECT)
        for origin in (EVIL, "null", "", daemon.url + ".evil.example"):
            answer = requests.request(method, daemon.url + path.replace("{name}", "tester_pool"), headers={"Origin": origin},
                                      timeout=PATIENCE)
            assert answer.status_code == 403, (route, origin, answer.text)
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert "server.allowed_origins" in answer.json()["detail"]
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert untouched(daemon)


@pytest.mark.sanitize
def test_takes_pages_of_this_machine_on_loopback_and_those_that_are_named(make_daemon, run_base):
    path = run_base / "socket"
    tokens = write_tokens(run_base / "tokens")
    daemon = make_daemon(start=False, pools={"tester_pool": module_pool()},
                         server={"listen": ["127.0.0.1:0", "0.0.0.0:0", f"unix:{path}"], "tokens_file": tokens,
                                 "allowed_origins": ["https://app.example"]})
    daemon.session.headers.update(bearer("dashboard"))
    daemon.start()
    loopback, anywhere, _ = (daemon.run_dir / "agentpoold.listen").read_text().split()

    def status(address, **headers):
        return requests.get(f"http://{address}/health", headers={**bearer("dashboard"), **headers}, timeout=PATIENCE).status_code

    anywhere = anywhere.replace("0.0.0.0", "127.0.0.1")
    assert status(loopback, Origin="http://localhost:3000") == 200
    assert status(anywhere, Origin="http://localhost:3000") == 403
    assert ask_unix(path, "GET", "/health", headers={**bearer("dashboard"), "Origin": "http://localhost:3000"})[0] == 403
    assert status(loopback, Origin="https://app.example") == status(anywhere, Origin="https://app.example") == 200
    assert ask_unix(path, "GET", "/health", headers={**bearer("dashboard"), "Origin": "https://app.example"})[0] == 200
    # Refused before the token is looked at; with tokens any name will do.
    assert requests.get(f"http://{loopback}/health", headers={"Origin": EVIL}, timeout=PATIENCE).status_code == 403
    assert status(loopback, Host="evil.example") == status(anywhere, Host="evil.example") == 200


def test_refuses_a_name_that_is_not_of_this_machine_without_tokens(make_daemon, run_base):
    path = run_base / "socket"
    daemon = start(make_daemon, listen=["127.0.0.1:0", f"unix:{path}"], allowed_hosts=["agents.example"])

    def answer(host, method="GET", target="/livez"):
        return requests.request(method, daemon.url + target, headers={"Host": host}, timeout=PATIENCE)

    for host in ("evil.example", "evil.example:80", "localhost.evil.example"):
        assert "server.allowed_hosts" in answer(host).json()["detail"]
        assert answer(host, "POST", "/api/v1/agents/pools/tester_pool/drain").status_code == 403
    assert untouched(daemon)
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80", "192.0.2.1", "agents.example:8000"):
        assert answer(host).status_code == 200, host
    assert ask_unix(path, "GET", "/livez", headers={"Host": "evil.example"})[0] == 200
    for target, host, status in (("evil.example", "localhost", 403), ("localhost:1", "evil.example", 200)):  # RFC 9112 3.2.2
        with socket.create_connection(daemon.url[7:].split(":"), timeout=PATIENCE) as client:
            client.sendall(f"GET http://{target}/livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 %d " % status), target
    with socket.create_connection(daemon.url[7:].split(":"), timeout=PATIENCE) as client:  # no browser speaks 1.0, or sends no Host
        client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
