"""A real agentpoold under test: starts, asks, kills and stops it, and says what it left behind."""
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import time

import redis
import requests

import openapi

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("AGENTPOOL_BUILD", TOP / "build")).resolve()
PROJECT = "6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11"
# How long a condition may take before a test fails: generous, for sanitizers on a loaded machine.
PATIENCE = float(os.environ.get("AGENTPOOL_TEST_PATIENCE", "30"))


def wait_for(condition, what, timeout=PATIENCE, pause=0.01):
    """Polls until condition() is true (its value is returned); fails with `what` after timeout seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what}"
        time.sleep(pause)


def command_pool(*argv, **settings):
    return {"role_type": "developer", "runtime": {"type": "command", "argv": list(map(str, argv))}, **settings}


def module_pool(path=None, **settings):
    path = str(path or BUILD / "example-module.so")
    return {"role_type": "tester", "runtime": {"type": "module", "path": path}, **settings}


def default_pools():
    return {"developer_pool": command_pool(BUILD / "example-agent"), "tester_pool": module_pool()}


def processes():
    """{pid: (ppid, command line)} of everything that runs."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        fields = stat.rpartition(")")[2].split()
        if fields[0] != "Z":
            found[int(entry.name)] = (int(fields[1]), command)
    return found


def descendants(pid):
    table, found, todo = processes(), {}, [pid]
    while todo:
        parent = todo.pop()
        for child, (ppid, command) in table.items():
            if ppid == parent and child not in found:
                found[child] = command
                todo.append(child)
    return found


class Daemon:
    def __init__(self, directory, pools=None, env=None, **sections):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True)
        self.run_dir = self.directory / "run"
        self.log_path = self.directory / "log"
        self.config_path = self.directory / "agentpool.json"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("AGENTPOOL_", "REDIS_", "DATABASE_"))}
        self.env |= env or {}
        self.config = {
            "server": {"listen": ["127.0.0.1:0"]},
            "redis": {"url": "embedded:"},
            "database": {"url": f"sqlite:{self.run_dir}/agentpool.db"},
            "run_dir": str(self.run_dir),
            "pools": default_pools() if pools is None else pools,
        }
        for section, settings in sections.items():
            if isinstance(settings, dict):
                self.config.setdefault(section, {}).update(settings)
            else:
                self.config[section] = settings
        self.program, self.prefix = BUILD / "agentpoold", []  # prefix: a command that executes the program
        self.stderr = None  # where standard error goes instead of to log_path
        self.process, self.holds_contract = None, True  # False: answers are not held against the contract, which takes time
        self.session = requests.Session()
        self.seen = set()

    # --- life ---

    def write_config(self):
        self.config_path.write_text(json.dumps(self.config, indent=2))

    def launch(self):
        """Starts the program without waiting for it."""
        self.write_config()
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen([*self.prefix, self.program, "-c", self.config_path], stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=self.stderr or log, env=self.env, cwd=TOP)
        log.close()
        return self

    def start(self):
        self.launch()
        wait_for(self.is_ready, "the daemon to be ready")
        return self

    def is_ready(self):
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.log()[-4000:]}"
        try:
            return self.get("/readyz").status_code == 200
        except (requests.ConnectionError, OSError):
            return False

    @property
    def url(self):
        return "http://" + (self.run_dir / "agentpoold.listen").read_text().split()[0]

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def note_processes(self):
        if self.process and self.process.poll() is None:
            self.seen |= set(descendants(self.process.pid))
        return self.seen

    def stop(self, number=signal.SIGTERM):
        """Ends it in order and returns its exit status."""
        self.note_processes()
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)

    def kill_everything(self):
        """kill -9 of the forker and of all its descendants, at once."""
        # Stopped before: none lives to write down how the others ended.
        pids = [pid for pid in dict.fromkeys([self.process.pid, self.find_master(), *self.note_processes()]) if pid]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        self.process.wait(timeout=PATIENCE)
        wait_for(lambda: not set(pids) & set(processes()), "the killed processes to be gone")

    def finish(self):
        """Stops what still runs; returns what was left behind."""
        problems = []
        self.note_processes()
        if self.process and self.process.poll() is None:
            try:
                status = self.stop()
                if status != 0:
                    problems.append(f"exit status {status} at the end:\n{self.log()[-4000:]}")
            except subprocess.TimeoutExpired:
                self.kill_everything()
                problems.append(f"it did not end within {PATIENCE} s:\n{self.log()[-4000:]}")
        left = {pid: what for pid, what in processes().items() if pid in self.seen}
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if left:
            problems.append(f"processes left: {left}")
        if "ERROR: AddressSanitizer" in self.log() or "runtime error:" in self.log() or "LeakSanitizer" in self.log():
            problems.append("sanitizer finding:\n" + self.log()[-8000:])
        return problems

    # --- API ---

    def request(self, method, path, **arguments):
        if not path.startswith(("/api", "/livez", "/readyz", "/health", "/metrics", "/openapi.json")):
            path = "/api/v1" + path
        arguments.setdefault("timeout", PATIENCE)
        url = self.url + path  # once: the daemon may have ended when the answer is there
        answer = self.session.request(method, url, **arguments)
        if self.holds_contract:
            openapi.check(method, url, answer)
        return answer

    def get(self, path, **arguments):
        return self.request("GET", path, **arguments)

    def post(self, path, body=None, **arguments):
        return self.request("POST", path, json=body, **arguments)

    def spawn_body(self, pool="developer_pool", **fields):
        return {"project_id": PROJECT, "role_type": "developer", "pool_name": pool, "heartbeat_interval": 30,
                "max_idle_time": 300, **fields}

    def spawn(self, pool="developer_pool", **fields):
        answer = self.post("/agents/spawn", self.spawn_body(pool, **fields))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def spawn_many(self, number, clients=50, pool="developer_pool"):
        """number spawns from concurrent clients; every one must succeed."""
        with concurrent.futures.ThreadPoolExecutor(clients) as executor:
            return list(executor.map(lambda _: self.spawn(pool), range(number)))

    def terminate(self, agent, **fields):
        return self.post("/agents/terminate", {"pool_name": agent["pool_name"], "agent_id": agent["agent_id"], **fields})

    def health(self):
        return self.get("/health").json()

    def pool(self, name="developer_pool"):
        return self.get(f"/agents/pools/{name}").json()

    def agent(self, agent_id):
        return self.get(f"/agents/{agent_id}").json()

    def agents(self, **query):
        """All agents, page by page."""
        path, found = "/agents", []
        answer = self.get(path, params={"limit": 1000, **query})
        while True:
            assert answer.status_code == 200, answer.text
            found += answer.json()
            if "next" not in answer.links:
                return found
            answer = self.get(answer.links["next"]["url"])

    def workers(self, pool="developer_pool"):
        return self.get(f"/agents/pools/{pool}/processes").json()

    def message(self, agent_id, method, params=None, message_id=1, **arguments):
        body = {"jsonrpc": "2.0", "id": message_id, "method": method}
        if params is not None:
            body["params"] = params
        return self.post(f"/agents/{agent_id}/messages", body, **arguments)

    def call_tool(self, agent_id, name, **arguments):
        answer = self.message(agent_id, "tools/call", {"name": name, "arguments": arguments})
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]["content"][0]["text"]

    def call_odd(self, agent, method, **params):
        """The result of a method of agents/odd_agent.py."""
        answer = self.message(agent["agent_id"], method, params)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    def whoami_of_odd(self, pool):
        """The pid of a new agent of a pool of those."""
        return self.call_odd(self.spawn(pool), "whoami")["pid"]

    def whoami(self, agent_id):
        return json.loads(self.call_tool(agent_id, "whoami"))

    # --- behind the API ---

    @property
    def redis(self):
        url = self.config["redis"]["url"]
        if url == "embedded:":
            return redis.Redis(unix_socket_path=str(self.run_dir / "redis.sock"), decode_responses=True)
        return redis.Redis.from_url(url, decode_responses=True)

    def scores(self, pool="developer_pool"):
        return dict(self.redis.zrange(f"pool:{pool}:processes", 0, -1, withscores=True))

    def master_pid(self):
        """Waits for one: between two masters there is none."""
        return wait_for(self.find_master, "a master")

    def find_master(self):
        titled = [pid for pid, title in descendants(self.process.pid).items() if title.startswith("agentpoold: master")]
        return titled[0] if titled else None

    def worker_pids(self, pool="developer_pool"):
        start = f"agentpoold: worker {pool} "
        return {title[len(start):]: pid for pid, title in descendants(self.process.pid).items() if title.startswith(start)}


class Cli:
    """The agentpool command, as a script calls it."""
    def __init__(self, url):
        self.url = url

    def __call__(self, *arguments, status=0):
        answer = subprocess.run([BUILD / "agentpool", "-u", self.url, *map(str, arguments)], capture_output=True, text=True,
                                timeout=60, stdin=subprocess.DEVNULL)
        assert answer.returncode == status, answer
        assert not status or answer.stderr
        return answer.stderr if status else answer.stdout

    def json(self, *arguments):
        return json.loads(self("-o", "json", *arguments))
