"""GET /metrics, and what is made of it: alert rules, the Alertmanager's routes, the dashboard; with a real Prometheus."""
import json
import os
import re
import signal
import subprocess

import pytest
import requests

import docs
from daemon import BUILD, TOP, command_pool, module_pool, wait_for
from servers import free_port

RULES = TOP / "etc/prometheus/agentpool.rules.yml"


def samples(daemon):
    """{'name{labels}': value}"""
    answer = daemon.session.get(f"{daemon.url}/metrics")
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {key: float(value) for key, value in
            (line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))}


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def names_in(expressions):
    """The metrics that PromQL expressions speak of, without the suffixes of a histogram's series."""
    found = set(re.findall(r"\b(?:agentpool|process)_[a-z0-9_]+", expressions))
    return {re.sub(r"(_duration_seconds|_age_seconds)_(bucket|sum|count)$", r"\1", name) for name in found}


@pytest.mark.sanitize
def test_counts_what_happens(make_daemon):
    daemon = make_daemon(pools={"programs": command_pool(BUILD / "example-agent"), "modules": module_pool()})
    before = samples(daemon)
    assert before['agentpool_spawns_total{pool="programs",result="ok"}'] == 0
    agents = daemon.spawn("programs", count=3)["agents"]
    assert daemon.message(agents[0]["agent_id"], "ping").status_code == 200
    assert daemon.terminate(agents[1]).status_code == 200
    wait_for(lambda: 'agentpool_heartbeat_age_seconds_count{pool="programs"} 0' not in daemon.session.get(f"{daemon.url}/metrics").text,
             "a sweep")
    after = samples(daemon)
    assert after['agentpool_spawns_total{pool="programs",result="ok"}'] == 3
    assert after['agentpool_spawn_duration_seconds_count{pool="programs"}'] == 3
    assert after['agentpool_spawn_duration_seconds_bucket{pool="programs",le="+Inf"}'] == 3
    assert after['agentpool_spawn_duration_seconds_sum{pool="programs"}'] > 0
    assert after['agentpool_message_duration_seconds_count{pool="programs"}'] == 1
    assert after['agentpool_messages_total{pool="programs",result="completed"}'] == 1
    assert after['agentpool_worker_start_duration_seconds_count{pool="programs"}'] == 1
    assert after['agentpool_agents{pool="programs",state="idle"}'] == 2
    assert after['agentpool_slots{pool="programs"}'] == 10 and after['agentpool_slots_used{pool="programs"}'] == 2
    assert after['agentpool_workers{pool="programs",state="ready"}'] == 1
    assert after['agentpool_events_total{pool="programs",event="agent_terminated"}'] == 1
    assert after['agentpool_agents{pool="modules",state="idle"}'] == 0
    assert after["agentpool_store_commit_duration_seconds_count"] >= 1 and after["agentpool_store_available"] == 1
    assert after["agentpool_registry_available"] == 1
    assert after["process_open_fds"] == len(os.listdir(f"/proc/{daemon.master_pid()}/fd"))
    assert not any(agent["agent_id"] in key for key in after for agent in agents)


def test_is_clean_for_promtool_and_has_every_event_and_metric_that_is_documented(daemon):
    daemon.spawn("developer_pool")
    text = daemon.session.get(f"{daemon.url}/metrics").text
    assert run("promtool", "check", "metrics", input=text) == ""
    names = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    assert names == set(docs.first_codes(docs.section(docs.source("MULTIPROCESSING.md"), "Metrics")))
    assert set(re.findall(r'agentpool_events_total\{pool="developer_pool",event="(\w+)"', text)) == docs.events() - {"audit"}
    dashboard = json.loads((TOP / "etc/grafana/agentpool.json").read_text())
    shown = names_in("\n".join(target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])))
    assert shown == names, "the dashboard shows exactly what there is"
    assert names_in(RULES.read_text()) <= names


def test_alert_rules_fire_when_they_should():
    assert "FAILED" not in run("promtool", "test", "rules", TOP / "test/system/alerts_test.yml")
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    assert set(re.findall(r"alertname: (\w+)", (TOP / "test/system/alerts_test.yml").read_text())) == alerts
    run("promtool", "check", "config", "--syntax-only", TOP / "etc/prometheus/prometheus.yml")
    run("amtool", "check-config", TOP / "etc/prometheus/alertmanager.yml")


def receivers(**labels):
    return run("amtool", "config", "routes", "test", f"--config.file={TOP}/etc/prometheus/alertmanager.yml",
               *(f"{name}={value}" for name, value in labels.items())).splitlines()[0].split()


def test_alerts_go_to_whom_they_should():
    assert receivers(alertname="AgentpoolSpawnsWait", severity="warning") == ["team-chat"]
    assert receivers(alertname="AgentpoolDown", severity="critical") == ["on-call,second-line"]


def test_a_real_prometheus_tells_when_workers_crash_in_a_loop(make_daemon, run_base):
    daemon = make_daemon(pools={"modules": module_pool(min_workers=1)})
    directory, port = run_base / "prometheus", free_port()
    directory.mkdir()
    # The shipped rules and configuration, with a clock that a test can wait for.
    (directory / "agentpool.rules.yml").write_text(RULES.read_text().replace("[5m]", "[20s]"))
    (directory / "prometheus.yml").write_text(
        (TOP / "etc/prometheus/prometheus.yml").read_text().replace("15s", "1s")
        .replace("127.0.0.1:8000", daemon.url.removeprefix("http://")).replace("127.0.0.1:9093", f"127.0.0.1:{free_port()}"))
    log = open(directory / "log", "wb")
    process = subprocess.Popen(["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
                                f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def ask(path):
        try:
            answer = requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=10)
        except requests.ConnectionError:
            return {}
        return answer.json()["data"] if answer.status_code == 200 else {}

    def alerts():
        return {alert["labels"]["alertname"]: alert for alert in ask("alerts").get("alerts", []) if alert["state"] == "firing"}

    killed = set()

    def crash():
        for pid in daemon.worker_pids("modules").values():
            if pid not in killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
        return alerts().get("AgentpoolWorkersCrash")

    try:
        wait_for(lambda: any(result["value"][1] == "1" for result in ask("query?query=up").get("result", [])), "the first scrape")
        assert "AgentpoolWorkersCrash" not in alerts()
        alert = wait_for(crash, "the alert", timeout=90)
    finally:
        process.terminate()
        process.wait()
        log.close()
    assert alert["labels"]["pool"] == "modules" and alert["labels"]["severity"] == "critical"
