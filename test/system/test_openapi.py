"""The contract: what it says is served, what is served it says. Every answer of the other tests is held against it, too."""
import json
import os
import subprocess

import pytest
import requests

import docs
import openapi
from daemon import TOP
from servers import node_tools


def test_names_exactly_the_routes_that_are_served():
    assert openapi.routes() == docs.routes()


def test_is_served_as_it_stands(daemon):
    assert daemon.get("/openapi.json").json() == openapi.DOCUMENT
    assert openapi.DOCUMENT["info"]["version"] == daemon.get("/health").json()["version"]


def test_is_clean_for_its_linter():
    env = os.environ | {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    tools = node_tools()
    done = subprocess.run([tools / "bin/node", tools / "node_modules/@redocly/cli/bin/cli.js", "lint", "--format=json", "--config",
                           TOP / "test/system/redocly.yaml", TOP / "etc/openapi.json"], capture_output=True, text=True, env=env)
    assert done.returncode == 0 and json.loads(done.stdout)["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}, \
        done.stdout + done.stderr


def test_request_bodies_have_the_bounds_of_the_program(daemon):
    """At each bound of the document the program says yes, one beyond it no."""
    spawn = openapi.DOCUMENT["components"]["schemas"]["SpawnRequest"]
    body = {"pool_name": "developer_pool"}
    assert set(spawn["required"]) == set(body)
    for name, schema in spawn["properties"].items():
        for bound, beyond in (("minimum", -1), ("maximum", 1)):
            if bound in schema and name != "count":
                assert daemon.post("/agents/spawn?wait=false", body | {name: schema[bound]}).status_code == 202
            if bound in schema:
                assert daemon.post("/agents/spawn", body | {name: schema[bound] + beyond}).status_code in (400, 422)
    for name in body:
        assert daemon.post("/agents/spawn", {key: value for key, value in body.items() if key != name}).status_code == 400
    assert daemon.post("/agents/spawn", body | {"unknown": 1}).status_code == 400


def answer_of(status, body, kind="application/json"):
    answer = requests.Response()
    answer.status_code, answer._content = status, json.dumps(body).encode()
    answer.headers["Content-Type"] = kind
    return answer


@pytest.mark.parametrize("status, body, kind", [
    (200, {"status": "dead"}, "application/json"),
    (200, {"status": "alive", "more": 1}, "application/json"),
    (200, {"status": "alive"}, "text/plain"),
    (302, {"status": "alive"}, "application/json"),
    (503, {"status": 503}, "application/problem+json"),
])
def test_the_judge_refuses_what_the_document_does_not_allow(status, body, kind):
    openapi.check("GET", "http://x/livez", answer_of(200, {"status": "alive"}))
    with pytest.raises(AssertionError):
        openapi.check("GET", "http://x/livez", answer_of(status, body, kind))
