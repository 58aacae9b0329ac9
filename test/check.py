#!/usr/bin/python3
"""Compares what SQL, Redis, the API and /proc say about a running agentpoold: seven checks, one line each.

  scripts/check [--run-dir DIR | --config FILE] [--url URL] [--redis URL] [--database URL] [--ids FILE]... [--load FILE]...

Without a word it finds the daemon by its run_dir (run here, else that of an installed one), and Redis and the database in the
settings that the daemon keeps there. Needs nothing but Python itself, and psql where the database is PostgreSQL. What is still on its way (a spawn, a restart) gets --settle seconds to arrive. Exit status: 0; 1 when a check is
violated; 2 when the facts cannot be had. Each check is a function from facts to findings, so that it can be tested.
"""
import argparse
import collections
import dataclasses
import http.client
import json
import os
import pathlib
import re
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.parse

WANTED = {"starting", "idle", "busy"}
RUNNING = {"idle", "busy"}
SLACK_FDS = 16          # connections and pipes that come and go
SLACK_RSS = 16 << 20    # allocator caches
MEMORY_FACTOR = 1.5
SHOWN = 5               # findings printed per check


@dataclasses.dataclass
class Process:
    pid: int
    ppid: int
    state: str = "S"
    title: str = ""
    agent_id: str = None    # AGENTPOOL_AGENT_ID in its environment
    epoch: int = None       # AGENTPOOL_EPOCH
    fds: int = 0
    rss: int = 0


@dataclasses.dataclass
class Facts:
    main_pid: int = 0
    processes: dict = dataclasses.field(default_factory=dict)       # pid -> Process, of the whole machine
    api_agents: list = dataclasses.field(default_factory=list)      # as GET /agents lists them
    api_pools: list = dataclasses.field(default_factory=list)
    api_workers: list = dataclasses.field(default_factory=list)
    redis_workers: dict = dataclasses.field(default_factory=dict)   # process id -> its hash, with "agents": set of ids
    redis_scores: dict = dataclasses.field(default_factory=dict)    # pool name -> {process id: free slots}
    redis_agents: dict = dataclasses.field(default_factory=dict)    # agent id -> its hash
    redis_stale: list = dataclasses.field(default_factory=list)     # keys that nothing leads to
    sql_agents: dict = None                                         # agent id -> row; None: no SQL store
    answered: set = dataclasses.field(default_factory=set)          # ids that clients got
    loads: list = dataclasses.field(default_factory=list)           # loadgen's reports
    command_pools: set = dataclasses.field(default_factory=set)     # their agents are processes
    baseline: dict = None

    def __post_init__(self):
        self.children = collections.defaultdict(list)
        for process in self.processes.values():
            self.children[process.ppid].append(process.pid)
        self.workers = {worker["process_id"]: worker for worker in self.api_workers}
        self.agents = {agent["agent_id"]: agent for agent in self.api_agents}
        self.below_main = self.descendants(self.main_pid)
        self.command_pools = set(self.command_pools)
        for worker in self.api_workers:
            if self.programs(worker):
                self.command_pools.add(worker["pool_name"])

    def descendants(self, pid):
        found, todo = set(), [pid]
        while todo:
            for child in self.children[todo.pop()]:
                if child not in found:
                    found.add(child)
                    todo.append(child)
        return found

    def programs(self, worker):
        """{agent id: a process} of the agents that run as children of this worker."""
        children = (self.processes[pid] for pid in self.children[worker["pid"]])
        return {child.agent_id: child for child in children if child.agent_id and child.state != "Z"}

    def hosted(self, worker):
        """The agents that this worker really runs; of modules only the registry can tell."""
        if worker["pool_name"] in self.command_pools:
            return set(self.programs(worker))
        return set(self.redis_workers.get(worker["process_id"], {}).get("agents", ()))


# --- the checks: facts -> (findings, numbers) ---

def is_stray(agent):
    """It runs nowhere, because its pool is not configured."""
    return agent is not None and "reason" in agent


def agent_findings(facts, agent_id, state, places, programs):
    """What is wrong with one agent that should be in this state; places and programs: process ids of workers."""
    listed = facts.agents.get(agent_id)
    if state not in WANTED or is_stray(listed):
        if places:
            yield f"{agent_id} is {state} and still placed at {', '.join(places)}"
        if programs:
            yield f"{agent_id} is {state} and still runs in {', '.join(programs)}"
        return
    if not listed:
        yield f"{agent_id} should be {state}, and the API does not know it"
        return
    if listed["state"] not in RUNNING:
        return  # on its way: check 7
    if listed["process_id"] not in facts.workers:
        yield f"{agent_id} runs in {listed['process_id']}, which is no worker"
    if places != [listed["process_id"]]:
        yield f"{agent_id} runs in {listed['process_id']}, and Redis has it at {', '.join(places) or 'no worker'}"
    if listed["pool_name"] in facts.command_pools and programs != [listed["process_id"]]:
        yield f"{agent_id} runs in {listed['process_id']}, and its program in {', '.join(programs) or 'no worker'}"


def check_answered(facts):
    findings, states = [], collections.Counter()
    places, programs = collections.defaultdict(list), collections.defaultdict(list)
    for process_id, worker in facts.redis_workers.items():
        for agent_id in worker["agents"]:
            places[agent_id].append(process_id)
    for worker in facts.api_workers:
        for agent_id in facts.programs(worker):
            programs[agent_id].append(worker["process_id"])
    counts = collections.Counter(agent["agent_id"] for agent in facts.api_agents)
    findings += [f"the API lists {agent_id} {count} times" for agent_id, count in counts.items() if count > 1]
    rows = facts.sql_agents
    for agent_id in facts.answered - set(rows if rows is not None else facts.agents):
        findings.append(f"{agent_id} was answered, and there is no record of it")
    for agent_id in set(facts.agents) | set(rows or ()) | set(places) | set(programs):
        if rows is not None and agent_id in rows:
            state = rows[agent_id]["state"]
        elif rows is not None and agent_id in facts.agents:
            findings.append(f"{agent_id} is in the API and not in SQL")
            continue
        else:
            state = facts.agents.get(agent_id, {"state": "unknown"})["state"]
        states["wanted" if state in WANTED else "ended"] += 1
        findings += agent_findings(facts, agent_id, state, places[agent_id], programs[agent_id])
    return findings, f"{len(facts.answered)} answered, {states['wanted']} wanted, {states['ended']} ended"


def check_capacity(facts):
    findings, most = [], 0
    for worker in facts.api_workers:
        process_id, capacity = worker["process_id"], worker["capacity"]
        registered = facts.redis_workers.get(process_id, {"agents": ()})
        for source, count in (("the API", worker["agents"]), ("Redis", len(registered["agents"])),
                              ("/proc", len(facts.programs(worker)))):
            most = max(most, count)
            if count > capacity:
                findings.append(f"{process_id} holds {count} agents of at most {capacity}, says {source}")
    return findings, f"{len(facts.api_workers)} workers, the fullest with {most}"


def check_scores(facts):
    findings, scores = [], dict(item for pool in facts.redis_scores.values() for item in pool.items())
    for process_id in set(scores) - set(facts.workers):
        findings.append(f"Redis offers {process_id}, which is no worker")
    for process_id, worker in facts.workers.items():
        hosted, score = len(facts.hosted(worker)), scores.get(process_id)
        if worker["agents"] != hosted:
            findings.append(f"{process_id} runs {hosted} agents, and the API says {worker['agents']}")
        if worker["state"] == "ready" and score is None:
            findings.append(f"Redis does not offer {process_id}")
        elif worker["state"] == "ready" and score != worker["capacity"] - hosted:
            findings.append(f"{process_id} has {score} free slots in Redis, but runs {hosted} of {worker['capacity']}")
        elif worker["state"] != "ready" and score is not None:
            findings.append(f"Redis offers {process_id}, which is {worker['state']}")
    return findings, f"{len(scores)} workers offered, {sum(scores.values())} free slots"


def check_processes(facts):
    findings = []
    titles = {f"agentpoold: worker {w['pool_name']} {w['process_id']}": w for w in facts.api_workers}
    for pid in facts.below_main:
        process = facts.processes[pid]
        if process.state == "Z":
            findings.append(f"{pid} ({process.title}) is a zombie")
        elif process.title.startswith("agentpoold: worker "):
            if titles.get(process.title, {}).get("pid") != pid:
                findings.append(f"{pid} is \"{process.title}\", which the API does not know")
        elif process.ppid == facts.main_pid and not process.title.startswith(("agentpoold: master", "redis-server")):
            findings.append(f"{pid} ({process.title}) was left to the main process")
        elif process.agent_id and facts.agents.get(process.agent_id, {}).get("state") not in RUNNING | {"stopping", "starting"}:
            findings.append(f"{pid} ({process.title}) is left of agent {process.agent_id}")
    for worker in facts.api_workers:
        process_id, pid = worker["process_id"], worker["pid"]
        if pid not in facts.below_main:
            findings.append(f"{process_id} should be process {pid}, and is not there")
        if int(facts.redis_workers.get(process_id, {}).get("pid", pid)) != pid:
            findings.append(f"{process_id} is process {pid}, and Redis says {facts.redis_workers[process_id]['pid']}")
    ours = set(facts.agents) | set(facts.sql_agents or ()) | facts.answered
    for process in facts.processes.values():
        if process.agent_id in ours and process.pid not in facts.below_main:
            findings.append(f"{process.pid} ({process.title}) is an orphan of agent {process.agent_id}")
    findings += [f"nothing in Redis leads to {key}" for key in facts.redis_stale]
    for process_id in set(facts.redis_workers) - set(facts.workers):
        findings.append(f"Redis has a worker {process_id}, which the API does not know")
    return findings, f"{len(facts.below_main)} processes"


def check_epochs(facts):
    findings, compared = [], 0
    before = (facts.baseline or {}).get("epochs", {})
    programs = {agent_id: process for worker in facts.api_workers for agent_id, process in facts.programs(worker).items()}
    for agent_id, agent in facts.agents.items():
        if agent["state"] not in RUNNING:
            continue
        compared += 1
        seen = {"the API": agent["epoch"]}
        if facts.sql_agents is not None and agent_id in facts.sql_agents:
            seen["SQL"] = facts.sql_agents[agent_id]["epoch"]
        if agent_id in facts.redis_agents:
            seen["Redis"] = int(facts.redis_agents[agent_id]["epoch"])
        if agent_id in programs:
            seen["its program"] = programs[agent_id].epoch
        if len(set(seen.values())) > 1:
            findings.append(f"{agent_id} has epochs " + ", ".join(f"{epoch} in {what}" for what, epoch in seen.items()))
    for agent_id, row in (facts.sql_agents or {}).items():
        if row["epoch"] < before.get(agent_id, 0):
            findings.append(f"{agent_id} went back from epoch {before[agent_id]} to {row['epoch']}")
    return findings, f"{compared} running agents compared"


def role_of(process):
    if process.title.startswith("agentpoold: master"):
        return "master"
    return "worker" if process.title.startswith("agentpoold: worker") else None


def resources(facts):
    """What a baseline holds."""
    main = facts.processes.get(facts.main_pid, Process(0, 0))
    masters = [facts.processes[pid] for pid in facts.below_main if role_of(facts.processes[pid]) == "master"]
    master = masters[0] if masters else Process(0, 0)
    return {"workers": len(facts.api_workers), "main_fds": main.fds, "main_rss": main.rss, "master_fds": master.fds,
            "master_rss": master.rss,
            "epochs": {agent_id: row["epoch"] for agent_id, row in (facts.sql_agents or {}).items()}}


def check_resources(facts):
    now, before, findings = resources(facts), facts.baseline, []
    numbers = "main {main_fds} files {main_kib} KiB, master {master_fds} files {master_kib} KiB".format(
        **now, main_kib=now["main_rss"] >> 10, master_kib=now["master_rss"] >> 10)
    if before is None:
        return [], numbers + " (no baseline)"
    more = now["workers"] - before["workers"]  # each worker's control socket is open in both
    for role in "main", "master":
        if now[f"{role}_fds"] > before[f"{role}_fds"] + more + SLACK_FDS:
            findings.append(f"{role} has {now[f'{role}_fds']} open files for {now['workers']} workers, "
                            f"had {before[f'{role}_fds']} for {before['workers']}")
        if now[f"{role}_rss"] > before[f"{role}_rss"] * MEMORY_FACTOR + SLACK_RSS:
            findings.append(f"{role} uses {now[f'{role}_rss'] >> 10} KiB, used {before[f'{role}_rss'] >> 10}")
    return findings, numbers


def check_requests(facts):
    findings, requests = [], sum(load["requests"] for load in facts.loads)
    for load in facts.loads:
        unanswered = load["statuses"].get("0", 0) + load["requests"] - sum(load["statuses"].values())
        if unanswered:
            findings.append(f"{unanswered} of {load['requests']} requests ({load['mode']}) were not answered")
    for pool in facts.api_pools:
        if pool["waiting_spawns"]:
            findings.append(f"{pool['waiting_spawns']} spawns still wait in {pool['pool_name']}")
    for agent in facts.api_agents:
        if agent["state"] in ("starting", "stopping") and not is_stray(agent):
            findings.append(f"{agent['agent_id']} is still {agent['state']}")
    return findings, f"{requests} requests of loads, nothing on its way" if not findings else f"{requests} requests of loads"


CHECKS = [
    ("answered spawns exist once or ended", check_answered),
    ("no worker over its maximum", check_capacity),
    ("scores are maximum minus running", check_scores),
    ("no orphan, no zombie, nothing left", check_processes),
    ("no lower epoch anywhere", check_epochs),
    ("files and memory as before", check_resources),
    ("every request answered", check_requests),
]


def judge(facts):
    """[(name, findings, numbers)], one for each check."""
    return [(name, *check(facts)) for name, check in CHECKS]


# --- gathering ---

class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Api:
    def __init__(self, url):
        tls = url.startswith("https://")
        url = url.removeprefix("http://").removeprefix("https://").rstrip("/")
        context = ssl.create_default_context(cafile=os.environ.get("AGENTPOOL_CA_FILE")) if tls else None
        self.connection = (UnixConnection(url[5:]) if url.startswith("unix:") else
                           http.client.HTTPSConnection(url, timeout=30, context=context) if tls else
                           http.client.HTTPConnection(url, timeout=30))
        token = os.environ.get("AGENTPOOL_TOKEN")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path):
        """All pages of a list, or one object."""
        whole = None
        while path:
            self.connection.request("GET", path, headers=self.headers)
            answer = self.connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise OSError(f"GET {path}: {answer.status} {body.decode(errors='replace')}")
            value = json.loads(body)
            whole = whole + value if isinstance(value, list) and whole is not None else value
            link = re.match(r'<([^>]*)>; rel="next"', answer.headers.get("Link", ""))
            path = link and link.group(1)
        return whole


class Redis:
    """As much of RESP as the checks need."""
    def __init__(self, url):
        if "://" not in url:
            url = "unix://" + url.removeprefix("unix:")
        parts = urllib.parse.urlsplit(url)
        if parts.scheme in ("unix", "redis+unix"):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.connect(urllib.parse.unquote(parts.path))
            database = dict(urllib.parse.parse_qsl(parts.query)).get("db", "0")
        else:
            self.socket = socket.create_connection((parts.hostname, parts.port or 6379))
            database = parts.path.strip("/") or "0"
        self.socket.settimeout(30)
        self.file = self.socket.makefile("rb")
        if parts.password:
            user = [urllib.parse.unquote(parts.username)] if parts.username else []
            self.ask([["AUTH", *user, urllib.parse.unquote(parts.password)]])
        if database != "0":
            self.ask([["SELECT", database]])

    def read(self):
        line = self.file.readline()
        if not line:
            raise OSError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise OSError("Redis: " + rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2].decode(errors="replace")
        return [self.read() for _ in range(int(rest))]

    def ask(self, commands):
        """The answers to all of them, in one round trip."""
        def encode(command):
            words = [str(word).encode() for word in command]
            return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self.socket.sendall(b"".join(map(encode, commands)))
        return [self.read() for _ in commands]

    def scan(self, pattern):
        cursor, found = "0", set()
        while True:
            cursor, keys = self.ask([["SCAN", cursor, "MATCH", pattern, "COUNT", 1000]])[0]
            found.update(keys)
            if cursor == "0":
                return found


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


def gather_redis(url):
    redis = Redis(url)
    pools = redis.ask([["SMEMBERS", "pools"]])[0]
    facts = {"redis_scores": {}, "redis_workers": {}, "redis_agents": {}, "redis_stale": []}
    process_ids, agent_ids, tombstones = [], [], set()
    for pool in pools:
        scores, beats, agents, exited = redis.ask([
            ["ZRANGE", f"pool:{pool}:processes", 0, -1, "WITHSCORES"], ["ZRANGE", f"pool:{pool}:heartbeats", 0, -1],
            ["SMEMBERS", f"pool:{pool}:agents"], ["ZRANGE", f"pool:{pool}:exited", 0, -1]])
        facts["redis_scores"][pool] = {process_id: int(float(score)) for process_id, score in pairs(scores).items()}
        process_ids += beats
        agent_ids += agents
        tombstones.update(exited)
    answers = redis.ask([question for process_id in process_ids for question in
                         (["HGETALL", f"process:{process_id}"], ["SMEMBERS", f"process:{process_id}:agents"])])
    for process_id, fields, agents in zip(process_ids, answers[::2], answers[1::2]):
        facts["redis_workers"][process_id] = {**pairs(fields), "agents": set(agents)}
    for agent_id, fields in zip(agent_ids, redis.ask([["HGETALL", f"agent:{agent_id}"] for agent_id in agent_ids])):
        facts["redis_agents"][agent_id] = pairs(fields) or {"epoch": 0}
    known = {f"agent:{agent_id}" for agent_id in agent_ids}
    known |= {f"process:{process_id}{suffix}" for process_id in process_ids for suffix in ("", ":agents", ":ended")}
    known |= {f"process:{process_id}" for process_id in tombstones}
    facts["redis_stale"] = sorted((redis.scan("agent:*") | redis.scan("process:*")) - known)
    return facts


def ask_psql(url, query):
    text = subprocess.run(["psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", query, url],
                          capture_output=True, text=True, timeout=60, check=True).stdout
    return [line.split("\t") for line in text.splitlines()]


def find_schema(url, wanted):
    """Where the daemon finds its tables: in the schema that is set, else where they are visible, else in its own."""
    return wanted or ask_psql(url, """SELECT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname = 'agents' AND (pg_table_is_visible(c.oid) OR n.nspname = 'agentpool')
        AND 2 = (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('agent_id', 'epoch'))
        ORDER BY pg_table_is_visible(c.oid) DESC LIMIT 1""")[0][0]


def gather_sql(url, schema):
    """{agent id: row}, or None without a store."""
    query = "SELECT agent_id, pool_name, state, epoch FROM "
    if not url or url.startswith("none:"):
        return None
    if url.startswith("sqlite:"):
        path = urllib.parse.quote(os.path.abspath(url.removeprefix("sqlite:")))
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        rows = connection.execute(query + "agents").fetchall()
        connection.close()
    else:
        rows = ask_psql(url, f"{query}{find_schema(url, schema)}.agents")
    return {str(row[0]): {"pool_name": row[1], "state": row[2], "epoch": int(row[3])} for row in rows}


def read_process(entry, ours):
    """ours: pids whose files and memory matter."""
    stat = (entry / "stat").read_text(errors="replace")
    fields = stat.rpartition(")")[2].split()
    process = Process(int(entry.name), int(fields[1]), fields[0])
    try:
        process.title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        process.title = process.title or stat[stat.index("(") + 1:stat.rindex(")")]
        if b"AGENTPOOL_AGENT_ID=" in (environment := (entry / "environ").read_bytes()):
            variables = dict(item.split(b"=", 1) for item in environment.split(b"\0") if b"=" in item)
            process.agent_id = variables[b"AGENTPOOL_AGENT_ID"].decode(errors="replace")
            process.epoch = int(variables.get(b"AGENTPOOL_EPOCH", b"0"))
        if process.pid in ours or process.title.startswith("agentpoold: "):
            process.fds = len(os.listdir(entry / "fd"))
            if b"/libasan." not in (entry / "maps").read_bytes():  # which keeps what was freed
                process.rss = int((entry / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass  # it has just ended, or is not ours to read
    return process


def gather_processes(main_pid):
    processes = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                processes[int(entry.name)] = read_process(entry, {main_pid})
            except OSError:
                pass
    return processes


def gather(options):
    api = Api(options.url)
    main_pid = int(re.match(r"\d+", (options.run_dir / "agentpoold.lock").read_text()).group())
    return Facts(main_pid=main_pid, api_pools=api.get("/api/v1/agents/pools"),
                 api_agents=api.get("/api/v1/agents?limit=1000"), api_workers=api.get("/api/v1/agents/metrics/processes"),
                 sql_agents=gather_sql(options.database, options.schema), processes=gather_processes(main_pid),
                 **gather_redis(options.redis),
                 answered={line for path in options.ids for line in path.read_text().split()},
                 loads=[json.loads(line) for path in options.load for line in path.read_text().splitlines()],
                 command_pools=options.command, baseline=options.baseline and json.loads(options.baseline.read_text()))


INSTALLED = pathlib.Path("/run/agentpool")  # as its unit sets it; a drop-in may say otherwise
HERE = pathlib.Path(__file__).resolve().parent
# Beside this file in the source tree, and where it is installed.
PROGRAMS = [HERE.parent / "build" / "agentpoold", *(parent / "sbin" / "agentpoold" for parent in HERE.parents[:3])]


def find_run_dir(config):
    """That of a configuration, else of the daemon that runs here, else of an installed one."""
    if config:
        program = next((path for path in PROGRAMS if path.exists()), "agentpoold")
        done = subprocess.run([program, "-T", "-c", config], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise OSError(done.stderr.strip())
        return pathlib.Path(json.loads(done.stdout)["run_dir"])
    found = [path for path in (os.environ.get("AGENTPOOL_RUN_DIR"), "run", INSTALLED) if path and (pathlib.Path(path) / "agentpoold.lock").exists()]
    if not found:
        raise OSError(f"no daemon's run_dir is ./run or {INSTALLED}, or not yours to read; --run-dir or --config names it")
    return pathlib.Path(found[0])


def read_kept(run_dir):
    """The settings in force, passwords and all, as the daemon keeps them for its masters."""
    try:
        return json.loads((run_dir / "agentpoold.config").read_text())
    except FileNotFoundError:
        return {}


def find_url(run_dir):
    """Where it listens, preferably without TLS."""
    listen = (run_dir / "agentpoold.listen").read_text().split()
    plain = [where for where in listen if not where.startswith("tls://")]
    return plain[0] if plain else "https://" + listen[0].removeprefix("tls://")


def find_servers(options):
    """What was not said about Redis and the database, out of the settings in force."""
    kept = read_kept(options.run_dir)
    redis, database = (kept.get(section, {}).get("url") for section in ("redis", "database"))
    path = options.run_dir / "agentpool.db"
    options.schema = kept.get("database", {}).get("schema") if options.database is None else None
    if not options.redis:
        options.redis = redis if redis and redis != "embedded:" else f"unix://{options.run_dir.resolve()}/redis.sock"
    if options.database is None:
        options.database = database or (f"sqlite:{path}" if path.exists() else "none:")


def parse_options(arguments):
    parser = argparse.ArgumentParser(prog="scripts/check", description="Seven checks of a running agentpoold.")
    parser.add_argument("--run-dir", type=pathlib.Path, help="found unless given")
    parser.add_argument("--config", type=pathlib.Path, help="the daemon's configuration, which names its run_dir")
    parser.add_argument("--url", help="http://HOST:PORT or unix:PATH; from the run_dir unless given")
    parser.add_argument("--redis", help="the daemon's unless given")
    parser.add_argument("--database", help="sqlite:PATH, postgresql://… or none:; the daemon's unless given")
    parser.add_argument("--ids", type=pathlib.Path, action="append", default=[], help="agents that were answered, one a line")
    parser.add_argument("--load", type=pathlib.Path, action="append", default=[], help="reports of loadgen --json")
    parser.add_argument("--command", action="append", default=[], metavar="POOL",
                        help="a pool whose agents are programs (found out when one runs)")
    parser.add_argument("--baseline", type=pathlib.Path, help="what --write-baseline wrote earlier")
    parser.add_argument("--write-baseline", type=pathlib.Path)
    parser.add_argument("--settle", type=float, default=10, metavar="SECONDS")
    options = parser.parse_args(arguments)
    options.run_dir = options.run_dir or find_run_dir(options.config)
    options.url = options.url or find_url(options.run_dir)
    find_servers(options)
    return options


def main(arguments):
    try:
        options = parse_options(arguments)
        deadline = time.monotonic() + options.settle
        while True:
            facts = gather(options)
            results = judge(facts)
            violated = any(findings for _, findings, _ in results)
            if not violated or time.monotonic() > deadline:
                break
            time.sleep(0.2)
    except (OSError, ValueError, sqlite3.Error, http.client.HTTPException, subprocess.SubprocessError) as error:
        print(f"check: cannot gather the facts: {error}", file=sys.stderr)
        return 2
    for number, (name, findings, numbers) in enumerate(results, 1):
        print(f"{number} {'FAIL' if findings else 'ok  '} {name:38} {numbers}")
        for finding in findings[:SHOWN]:
            print(f"       {finding}")
        if len(findings) > SHOWN:
            print(f"       and {len(findings) - SHOWN} more")
    if options.write_baseline:
        options.write_baseline.write_text(json.dumps(resources(facts)))
    return 1 if violated else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
