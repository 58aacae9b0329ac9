"""The checker must be able to fail: each check against facts that are made up, then against a daemon that is tampered with."""
import copy
import importlib.util
import json
import os
import signal
import subprocess
import sys

import pytest

from daemon import BUILD, TOP, wait_for

spec = importlib.util.spec_from_file_location("check", TOP / "test" / "check.py")
check = importlib.util.module_from_spec(spec)
sys.modules["check"] = check
spec.loader.exec_module(check)

MAIN, MASTER, WORKER, PROGRAM = 100, 101, 110, 120


def made_up():
    """Two agents, programs both, in one worker of ten slots: all is well."""
    agents = [{"agent_id": f"a{i}", "pool_name": "p", "process_id": "w", "state": "idle", "epoch": 1} for i in (0, 1)]
    processes = [check.Process(MAIN, 1, title="agentpoold -c x", fds=10, rss=1 << 20),
                 check.Process(MASTER, MAIN, title="agentpoold: master", fds=20, rss=1 << 23),
                 check.Process(102, MAIN, title="redis-server unixsocket:x"),
                 check.Process(WORKER, MAIN, title="agentpoold: worker p w"),
                 check.Process(1, 0, title="init")]
    processes += [check.Process(PROGRAM + i, WORKER, title="agent", agent_id=f"a{i}", epoch=1) for i in (0, 1)]
    return {
        "main_pid": MAIN, "processes": {process.pid: process for process in processes}, "api_agents": agents,
        "api_pools": [{"pool_name": "p", "waiting_spawns": 0}],
        "api_workers": [{"process_id": "w", "pool_name": "p", "pid": WORKER, "state": "ready", "agents": 2, "capacity": 10}],
        "redis_workers": {"w": {"pid": str(WORKER), "agents": {"a0", "a1"}}}, "redis_scores": {"p": {"w": 8}},
        "redis_agents": {"a0": {"epoch": "1"}, "a1": {"epoch": "1"}},
        "sql_agents": {f"a{i}": {"pool_name": "p", "state": "idle", "epoch": 1} for i in (0, 1)},
        "answered": {"a0", "a1"}, "loads": [{"mode": "spawn", "requests": 2, "statuses": {"200": 2}}],
    }


def violated(facts):
    return {number: findings for number, (_, findings, _) in enumerate(check.judge(check.Facts(**facts)), 1) if findings}


def test_finds_nothing_when_all_is_well():
    assert violated(made_up()) == {}


def test_finds_nothing_when_an_ended_agent_is_gone():
    facts = made_up()
    facts["sql_agents"]["a2"] = {"pool_name": "p", "state": "terminated", "epoch": 3}
    facts["answered"].add("a2")
    assert violated(facts) == {}


def test_finds_nothing_when_there_is_no_store():
    facts = made_up() | {"sql_agents": None}
    assert violated(facts) == {}


def test_finds_nothing_when_agents_are_modules():
    facts = made_up()
    for pid in PROGRAM, PROGRAM + 1:
        del facts["processes"][pid]
    assert violated(facts) == {}
    assert set(violated(facts | {"command_pools": {"p"}})) == {1, 3}


def lose_row(f): del f["sql_agents"]["a0"]
def lose_everywhere(f): f["answered"].add("a9")
def list_twice(f): f["api_agents"].append(f["api_agents"][0])
def place_twice(f): f["redis_workers"]["v"] = {"pid": "0", "agents": {"a0"}}
def place_nowhere(f): f["redis_workers"]["w"]["agents"].discard("a0")
def lose_program(f): del f["processes"][PROGRAM]
def keep_ended(f): f["sql_agents"]["a0"]["state"] = "terminated"
def forget_in_api(f): del f["api_agents"][0]
def run_in_no_worker(f): f["api_agents"][0]["process_id"] = "x"
def overfill(f): f["api_workers"][0]["capacity"] = 1
def offer_too_much(f): f["redis_scores"]["p"]["w"] = 9
def offer_nobody(f): f["redis_scores"]["p"]["x"] = 1
def do_not_offer(f): f["redis_scores"]["p"].clear()
def offer_draining(f): f["api_workers"][0]["state"] = "draining"
def count_wrong(f): f["api_workers"][0]["agents"] = 3
def leave_zombie(f): f["processes"][200] = check.Process(200, WORKER, "Z", "agent")
def leave_orphan(f): f["processes"][200] = check.Process(200, 1, title="agent", agent_id="a0")
def leave_stray(f): f["processes"][200] = check.Process(200, MAIN, title="sleep")
def leave_program(f): f["processes"][200] = check.Process(200, PROGRAM, title="sleep", agent_id="a7")
def unknown_worker(f): f["processes"][200] = check.Process(200, MAIN, title="agentpoold: worker p y")
def lose_worker(f): del f["processes"][WORKER]
def wrong_pid(f): f["redis_workers"]["w"]["pid"] = "111"
def stale_key(f): f["redis_stale"] = ["agent:a8"]
def stale_worker(f): f["redis_workers"]["v"] = {"pid": "0", "agents": set()}
def old_epoch_in_redis(f): f["redis_agents"]["a0"]["epoch"] = "0"
def old_epoch_in_sql(f): f["sql_agents"]["a0"]["epoch"] = 0
def old_epoch_running(f): f["processes"][PROGRAM].epoch = 0
def epoch_back(f): f["baseline"] = {**check.resources(check.Facts(**f)), "epochs": {"a0": 2}}
def no_answer(f): f["loads"][0]["statuses"] = {"200": 1, "0": 1}
def lost_answer(f): f["loads"][0]["statuses"] = {"200": 1}
def still_waiting(f): f["api_pools"][0]["waiting_spawns"] = 1
def still_starting(f): f["api_agents"][0]["state"] = "starting"


def leak_files(f):
    f["baseline"] = check.resources(check.Facts(**copy.deepcopy(f)))
    f["processes"][MASTER].fds += 100


def leak_memory(f):
    f["baseline"] = check.resources(check.Facts(**copy.deepcopy(f)))
    f["processes"][MAIN].rss += 100 << 20


@pytest.mark.parametrize("tamper, number", [
    (lose_row, 1), (lose_everywhere, 1), (list_twice, 1), (place_twice, 1), (place_nowhere, 1), (lose_program, 1),
    (keep_ended, 1), (forget_in_api, 1), (run_in_no_worker, 1), (overfill, 2), (offer_too_much, 3), (offer_nobody, 3),
    (do_not_offer, 3), (offer_draining, 3), (count_wrong, 3), (leave_zombie, 4), (leave_orphan, 4), (leave_stray, 4),
    (leave_program, 4), (unknown_worker, 4), (lose_worker, 4), (wrong_pid, 4), (stale_key, 4), (stale_worker, 4),
    (old_epoch_in_redis, 5), (old_epoch_in_sql, 5), (old_epoch_running, 5), (epoch_back, 5), (leak_files, 6),
    (leak_memory, 6), (no_answer, 7), (lost_answer, 7), (still_waiting, 7), (still_starting, 7),
])
def test_finds_it_when_something_is_wrong(tamper, number):
    facts = made_up()
    tamper(facts)
    assert number in violated(facts)


def run_check(daemon, *arguments, settle=0):
    return subprocess.run([TOP / "scripts" / "check", "--run-dir", daemon.run_dir, "--settle", str(settle),
                           *map(str, arguments)], capture_output=True, text=True, timeout=120)


def load(daemon, *arguments):
    answer = subprocess.run([BUILD / "loadgen", "--url", daemon.url, "--json", *map(str, arguments)], capture_output=True,
                            text=True, timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.mark.parametrize("pool", ["developer_pool", "tester_pool"])
def test_finds_nothing_when_a_daemon_was_loaded(daemon, run_base, pool):
    base, ids, report = run_base / "base", run_base / "ids", run_base / "report"
    assert run_check(daemon, "--write-baseline", base).returncode == 0
    report.write_text(load(daemon, "--pool", pool, "--spawns", 60, "--clients", 20, "--ids", ids) +
                      load(daemon, "--pool", pool, "--spawns", 60, "--clients", 20, "--ids", ids, "--mode", "message") +
                      load(daemon, "--pool", pool, "--spawns", 20, "--clients", 5, "--mode", "mix"))
    assert json.loads(report.read_text().splitlines()[0])["statuses"] == {"200": 60}
    workers = list(daemon.worker_pids(pool).values())
    os.kill(workers[0], signal.SIGKILL)
    answer = run_check(daemon, "--baseline", base, "--ids", ids, "--load", report, settle=30)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "60 answered, 60 wanted" in answer.stdout
    load(daemon, "--pool", pool, "--mode", "terminate", "--clients", 10, "--ids", ids)
    answer = run_check(daemon, "--ids", ids, settle=30)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "60 answered, 0 wanted" in answer.stdout


def test_finds_nothing_when_redis_has_a_password_and_another_database(make_redis, make_daemon):
    server = make_redis()
    daemon = make_daemon(redis={"url": server.url(3)})
    agent = daemon.spawn()
    answer = run_check(daemon, "--redis", server.url(3), settle=10)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "0 answered, 1 wanted" in answer.stdout
    assert run_check(daemon, settle=10).returncode == 0, "found in the daemon's settings as well"
    server.client(3).delete(f"agent:{agent['agent_id']}")


@pytest.mark.parametrize("settings", [{}, {"schema": "our_own"}], ids=["default", "schema"])
def test_finds_the_database_and_its_schema_in_the_daemons_settings(make_daemon, postgres, settings):
    daemon = make_daemon(database={"url": postgres.url(f"checked_{len(settings)}"), **settings})
    agent = daemon.spawn()
    answer = run_check(daemon, settle=30)
    assert answer.returncode == 0 and "0 answered, 1 wanted" in answer.stdout, answer.stdout + answer.stderr
    assert daemon.terminate(agent).status_code == 200
    assert "0 wanted, 1 ended" in run_check(daemon, settle=30).stdout, "which only the database knows"


def test_finds_the_daemon_when_nothing_is_said(daemon, run_base):
    daemon.spawn()
    check_script = str(TOP / "scripts" / "check")
    for arguments, options in (((check_script, "--config", daemon.config_path), {}), ((check_script,), {"cwd": daemon.directory}),
                               ((check_script,), {"env": {"PATH": os.environ["PATH"], "AGENTPOOL_RUN_DIR": str(daemon.run_dir)}}),
                               ((BUILD / "agentpool", "check"), {"cwd": daemon.directory})):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AGENTPOOL_")}
        answer = subprocess.run(arguments, capture_output=True, text=True, timeout=120, **{"env": clean, **options})
        assert answer.returncode == 0 and "0 answered, 1 wanted" in answer.stdout, answer
    if not check.INSTALLED.exists():
        answer = subprocess.run([check_script], capture_output=True, text=True, timeout=120, cwd=run_base, env=clean)
        assert answer.returncode == 2 and "--run-dir or --config names it" in answer.stderr


def test_needs_nothing_but_python_itself():
    code = "import sys; sys.path.insert(0, %r); import check; print(sorted(sys.modules))" % str(TOP / "test")
    done = subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", code], capture_output=True, text=True, check=True)  # no packages of others
    assert "'sqlite3'" in done.stdout


def test_finds_it_when_a_daemon_is_tampered_with(daemon):
    agent = daemon.spawn()
    wait_for(lambda: run_check(daemon).returncode == 0, "the checks to pass")
    daemon.redis.hset("agent:11111111-1111-4111-8111-111111111111", "epoch", 1)

    def finds_both():
        daemon.redis.zincrby("pool:developer_pool:processes", 1, agent["process_id"])  # until the next heartbeat
        answer = run_check(daemon)
        assert answer.returncode == 1 and "4 FAIL" in answer.stdout and "1 ok" in answer.stdout
        return "3 FAIL" in answer.stdout
    wait_for(finds_both, "the wrong score to be found")


def test_says_why_when_nothing_runs(daemon):
    assert daemon.stop() == 0
    answer = run_check(daemon)
    assert answer.returncode == 2
    assert "cannot gather" in answer.stderr
