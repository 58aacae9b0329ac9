"""Clients that load a daemon and keep book: what was asked, what was answered, and what must therefore exist in the end."""
import collections
import http.client
import json
import random
import threading
import time
import urllib.parse
import uuid

from daemon import PROJECT, wait_for

ANSWERED_WITHIN = 90  # s; longer than any deadline of the daemon: no answer by then is none
PAUSE = 0.004         # s between two requests of a client
ERRORS = {503, 504}   # clear answers that are not 200


class Book:
    """Of all clients together. An agent is in exactly one of living, ending (a terminate was asked for), ended (and answered)."""

    def __init__(self):
        self.lock = threading.Lock()
        self.requests, self.statuses = 0, collections.Counter()  # status 0: not answered
        self.living, self.ending, self.ended = set(), set(), set()
        self.problems, self.refused, self.cut, self.closed = [], 0, 0, 0

    def note(self, status):
        with self.lock:
            self.requests += 1
            self.statuses[str(status)] += 1

    def complain(self, text):
        with self.lock:
            self.problems.append(text)

    def report(self):
        """As loadgen --json tells it."""
        return {"mode": "clients", "requests": self.requests, "statuses": dict(self.statuses)}

    @property
    def answered(self):
        return self.living | self.ending | self.ended

    def succeeded(self):
        return self.statuses["200"]


class Client:
    """Spawns, messages and terminates agents of its own, one request at a time. A request that was cut off is repeated under its
    key until it is answered; what a connection refused or nobody answered is written down."""

    def __init__(self, clients, number):
        self.clients, self.book, self.number = clients, clients.book, number
        self.dice = random.Random(f"{clients.seed}/{number}")
        self.connection, self.mine = None, []

    def send(self, path, body, key):
        """(status, body) or None when the connection was cut before the answer was whole."""
        reused = self.connection is not None
        try:
            self.connection = self.connection or self.connect()
            self.connection.request("POST", "/api/v1/agents" + path, json.dumps(body),
                                    {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})})
            answer = self.connection.getresponse()
            text = answer.read()
            if answer.getheader("Connection", "").lower() == "close":
                self.drop()
            return answer.status, text
        except ConnectionRefusedError:
            self.drop()
            self.book.refused += 1
            time.sleep(0.02)
        except TimeoutError:
            self.drop()
            self.book.complain(f"{path}: no answer within {ANSWERED_WITHIN} s")
        except (http.client.HTTPException, OSError):
            self.drop()
            # RFC 9112, 9.3.1: an idle connection may be closed at any time, and what was just sent be sent again.
            if reused:
                self.book.closed += 1
            else:
                self.book.cut += 1
        return None

    def connect(self):
        """To where it listens now: after a start from nothing that may be elsewhere."""
        try:
            address = urllib.parse.urlsplit(self.clients.daemon.url)
        except (OSError, IndexError) as error:
            raise ConnectionRefusedError("nobody listens") from error
        return http.client.HTTPConnection(address.hostname, address.port, timeout=ANSWERED_WITHIN)

    def drop(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, path, body, key=None):
        """(status, JSON) of the answer, whatever it took; (0, None) when there was none."""
        deadline = time.monotonic() + ANSWERED_WITHIN
        while time.monotonic() < deadline:
            answer = self.send(path, body, key)
            if answer and answer[0] == 409 and key:  # the first try is still being worked on
                time.sleep(0.02)
            elif answer:
                self.book.note(answer[0])
                if answer[0] != 200 and answer[0] not in self.clients.errors:
                    self.book.complain(f"{path}: {answer[0]} {answer[1].decode(errors='replace')[:300]}")
                return answer[0], json.loads(answer[1]) if answer[0] == 200 else None
        self.book.note(0)
        return 0, None

    def spawn(self):
        pool, role = self.dice.choice(self.clients.pools), "load"
        status, agent = self.ask("/spawn", {"project_id": PROJECT, "role_type": role, "pool_name": pool, "max_idle_time": 0},
                                 str(uuid.uuid4()))
        if status == 200:
            with self.book.lock:
                self.book.living.add(agent["agent_id"])
            self.mine.append(agent)

    def terminate(self):
        agent = self.mine.pop(self.dice.randrange(len(self.mine)))
        agent_id = agent["agent_id"]
        with self.book.lock:
            self.book.living.remove(agent_id)
            self.book.ending.add(agent_id)
        status, _ = self.ask("/terminate", {"pool_name": agent["pool_name"], "agent_id": agent_id,
                                            "graceful": self.dice.random() < 0.7}, str(uuid.uuid4()))
        if status == 200:
            with self.book.lock:
                self.book.ending.remove(agent_id)
                self.book.ended.add(agent_id)

    def message(self):
        targets = self.mine + self.clients.targets
        if not targets:
            return
        agent, text = self.dice.choice(targets), str(self.dice.random())
        status, answer = self.ask(f"/{agent['agent_id']}/messages?timeout_ms={self.clients.message_timeout_ms}", {
            "jsonrpc": "2.0", "id": self.number, "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": text}}})
        if status == 200 and (answer["id"] != self.number or "result" not in answer
                              or answer["result"]["content"][0]["text"] != text):
            self.book.complain(f"somebody else's answer: {answer}")

    def step(self):
        dice = self.dice.random()
        if dice < 0.15 and len(self.mine) < self.clients.most:
            self.spawn()
        elif dice < 0.25 and self.mine:
            self.terminate()
        else:
            self.message()

    def run(self):
        try:
            while not self.clients.done.is_set():
                if self.clients.held.is_set():
                    with self.clients.rest:
                        self.clients.resting += 1
                        self.clients.rest.notify_all()
                        self.clients.rest.wait_for(lambda: not self.clients.held.is_set() or self.clients.done.is_set())
                        self.clients.resting -= 1
                    continue
                self.step()
                time.sleep(PAUSE)
        except Exception as error:  # a fault of the client is no success of the daemon
            self.book.complain(f"client {self.number}: {type(error).__name__}: {error}")
        finally:
            self.drop()


class Clients:
    """number threads; they spawn in pools, message what they spawned and targets. Use as a context: they end with it."""

    def __init__(self, daemon, pools, targets=(), number=4, most=6, seed=0, errors=ERRORS, book=None, message_timeout_ms=30000):
        self.daemon, self.pools, self.targets, self.number, self.most, self.seed = daemon, list(pools), list(targets), number, most, seed
        self.errors, self.book = set(errors), book or Book()
        self.message_timeout_ms = message_timeout_ms
        self.done, self.held, self.rest, self.resting = threading.Event(), threading.Event(), threading.Condition(), 0
        self.threads = []

    def start(self):
        self.threads = [threading.Thread(target=Client(self, n).run, daemon=True) for n in range(self.number)]
        for thread in self.threads:
            thread.start()
        return self

    def stop(self):
        """Each finishes what it has begun."""
        self.done.set()
        with self.rest:
            self.rest.notify_all()
        for thread in self.threads:
            thread.join(2 * ANSWERED_WITHIN)
        if any(thread.is_alive() for thread in self.threads):
            self.book.complain("a client did not come to its end")

    def all_rest(self):
        return self.resting == sum(thread.is_alive() for thread in self.threads)

    def hold(self):
        """Until each has its answer and asks no more."""
        self.held.set()
        with self.rest:
            if not self.rest.wait_for(self.all_rest, 2 * ANSWERED_WITHIN):
                self.book.complain("clients still wait for answers")

    def go_on(self):
        self.held.clear()
        with self.rest:
            self.rest.notify_all()

    def flow(self, number=20):
        """Until so many more requests were answered with 200."""
        before = self.book.succeeded()
        wait_for(lambda: self.book.succeeded() >= before + number or not any(thread.is_alive() for thread in self.threads),
                 f"requests to be answered (so far {dict(self.book.statuses)})")
        assert self.book.succeeded() >= before + number, f"the clients ended: {self.book.problems}"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
