"""Rows 12 to 17: agents that misbehave. Row 37: agents that are moved and ended while they work."""
import os
import signal
import statistics
import threading
import time

import requests

from daemon import processes, wait_for
from scene import next_epochs, odd, programs, running_at, two_pools


def odd_pools(*flags, **settings):
    return {**two_pools(), "odd": odd(*flags, **settings)}


def tell(scene, daemon, agent, method, params=None, query=None):
    """A message to an odd agent: the answer."""
    return scene.ask(daemon, "POST", f"/agents/{agent['agent_id']}/messages",
                     {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}, params=query)


def pid_of(daemon, agent):
    answer = daemon.message(agent["agent_id"], "whoami")
    return answer.json()["result"]["pid"] if answer.status_code == 200 else None


def worker_of(daemon, agent):
    return daemon.agent(agent["agent_id"])["process_id"]


def forks_daemon(scene):
    daemon = scene.start(pools=odd_pools(stop_grace_ms=200, kill_grace_ms=200))
    agents = scene.spawn(daemon, "odd", 6)
    with scene.clients(daemon, ["modules", "programs"]) as clients:
        for agent in agents:
            pids = tell(scene, daemon, agent, "fork_daemons", {"number": 3}).json()["result"]["pids"]
            assert len(pids) == 3 and set(pids) <= set(processes())
            if scene.dice.random() < 0.5:
                scene.injected("3 daemons, the agent terminated")
                scene.terminate(daemon, agent)
            else:
                epoch = daemon.agent(agent["agent_id"])["epoch"]
                scene.injected("3 daemons, the agent exits")
                tell(scene, daemon, agent, "exit", {"status": 0})
                wait_for(lambda: running_at(daemon, {agent["agent_id"]: epoch + 1}), "the agent to run again")
            scene.recovered(lambda: not set(pids) & set(processes()), "its daemons to be gone")
            clients.flow()


def latencies(daemon, agent, number=150):
    session, took = requests.Session(), []
    for _ in range(number):
        begin = time.monotonic()
        answer = session.post(f"{daemon.url}/api/v1/agents/{agent['agent_id']}/messages",
                              json={"jsonrpc": "2.0", "id": 1, "method": "echo", "params": {}}, timeout=60)
        assert answer.status_code == 200, answer.text
        took.append((time.monotonic() - begin) * 1000)
    return statistics.median(took)


def floods(scene):
    rate = 65536
    daemon = scene.start(pools=odd_pools())
    agents = scene.spawn(daemon, "odd", 3)
    with scene.clients(daemon, ["modules", "programs"], number=2) as clients:
        quiet = latencies(daemon, agents[0])
        for stream, agent in (("stdout", agents[1]), ("stderr", agents[2])):
            size, begin = daemon.log_path.stat().st_size, time.monotonic()
            scene.injected(f"a flood of {stream}, 4 s")
            tell(scene, daemon, agent, "flood", {"seconds": 4, "stream": stream})
            loud = latencies(daemon, agents[0])
            # The flooding agent itself still answers.
            scene.recovered(lambda: tell(scene, daemon, agent, "echo").status_code == 200, "it to answer")
            # What may be written in a second may come at its beginning, and the flood may see the end of one before.
            grown = (daemon.log_path.stat().st_size - size) / (time.monotonic() - begin + 2)
            scene.figures.append(f"neighbour's median {quiet:.1f} ms, beside {stream} {loud:.1f} ms")
            assert grown < 8 * rate, f"the log grew by {grown:.0f} bytes a second"
            clients.flow()
        wait_for(lambda: "dropped" in daemon.log(), "what was dropped to be counted")
        for agent in agents:
            assert daemon.agent(agent["agent_id"])["epoch"] == 1


def stops_reading(scene):
    pools = odd_pools()
    pools["odd"]["runtime"]["queue_bytes"] = 65536
    daemon = scene.start(pools=pools)
    agents = scene.spawn(daemon, "odd", 4)
    with scene.clients(daemon, ["modules", "programs"]) as clients:
        for agent in agents:
            pid, worker = pid_of(daemon, agent), worker_of(daemon, agent)
            scene.injected("SIGSTOP of an agent")
            os.kill(pid, signal.SIGSTOP)

            def refused():
                """Its pipe takes some, its queue some more."""
                answer = tell(scene, daemon, agent, "echo", {"filler": "x" * 30000}, query={"timeout_ms": 100})
                assert answer.status_code in (503, 504), answer.text
                return "queue is full" in answer.json()["detail"]
            wait_for(refused, "its queue to be full")
            assert worker_of(daemon, agent) == worker
            os.kill(pid, signal.SIGCONT)
            scene.recovered(lambda: tell(scene, daemon, agent, "echo").status_code == 200, "it to be messaged again")
            clients.flow()
        assert all(daemon.agent(agent["agent_id"])["epoch"] == 1 for agent in agents)


def ends_with(scene, daemon, agent, what, method, params, words):
    """The agent is ended for what it does, or ends itself: the reason is told, its worker stays, and it runs again."""
    before, worker = daemon.agent(agent["agent_id"]), worker_of(daemon, agent)
    pid = daemon.workers("odd")
    scene.injected(what)
    answer = tell(scene, daemon, agent, method, params)
    assert answer.status_code in (200, 503), answer.text
    scene.recovered(lambda: running_at(daemon, {agent["agent_id"]: before["epoch"] + 1}), f"it to run again after {what}")
    reason = daemon.agent(agent["agent_id"])["last_exit"]["reason"]
    assert any(word in reason for word in words), f"{what}: {reason}"
    assert {w["process_id"]: w["pid"] for w in pid} == {w["process_id"]: w["pid"] for w in daemon.workers("odd")}, \
        f"{worker} did not survive {what}"


def writes_nonsense(scene):
    """It goes to the agent's log, and a request whose answer it should have been fails: agent and worker go on."""
    daemon = scene.start(pools=odd_pools())
    agents = scene.spawn(daemon, "odd", 6)
    with scene.clients(daemon, ["modules", "programs"]) as clients:
        for agent, what in zip(agents, ("64 MB line", "NUL bytes", "deep JSON", "broken JSON", "no JSON", "64 MB answer"), strict=True):
            pid, worker = pid_of(daemon, agent), worker_of(daemon, agent)
            scene.injected(what)
            answer = tell(scene, daemon, agent, "emit", {"what": what})
            assert answer.status_code == (503 if what == "64 MB answer" else 200), answer.text
            assert answer.status_code == 200 or "max_line_bytes" in answer.json()["detail"], answer.text
            scene.recovered(lambda: tell(scene, daemon, agent, "echo").status_code == 200, f"it to answer after {what}")
            assert (pid_of(daemon, agent), worker_of(daemon, agent)) == (pid, worker), f"{what} ended something"
            clients.flow()
        assert all(daemon.agent(agent["agent_id"])["epoch"] == 1 for agent in agents)
        wait_for(lambda: 'noise_lines_total{pool="odd"} 6' in daemon.get("/metrics").text, "all six lines to be counted")


def closes_pipes(scene):
    daemon = scene.start(pools=odd_pools(stop_grace_ms=200, kill_grace_ms=200))
    agents = scene.spawn(daemon, "odd", 4)
    with scene.clients(daemon, ["modules", "programs"]) as clients:
        for agent, (what, method, params, words) in zip(agents, (
                ("stdout closed", "close", {"files": [1]}, ["closed", "output"]),
                ("all pipes closed", "close", {"files": [0, 1, 2]}, ["closed", "output"]),
                ("exit in the middle of a line", "torn", {}, ["exit status 3"])), strict=False):
            ends_with(scene, daemon, agent, what, method, params, words)
            clients.flow()
        # Standard input alone: noticed with the next message, which must not end the worker by SIGPIPE.
        agent, worker = agents[3], worker_of(daemon, agents[3])
        scene.injected("stdin closed")
        tell(scene, daemon, agent, "close", {"files": [0]})
        scene.recovered(lambda: tell(scene, daemon, agent, "echo").status_code == 503
                        or running_at(daemon, {agent["agent_id"]: 2}), "a clear error")
        wait_for(lambda: running_at(daemon, {agent["agent_id"]: 2}), "it to run again")
        assert worker in {w["process_id"] for w in daemon.workers("odd")}
        assert "SIGPIPE" not in daemon.log() and "signal 13" not in daemon.log()


def ignores_term(scene):
    daemon = scene.start(pools={**odd_pools("--stubborn", stop_grace_ms=200, kill_grace_ms=300)})
    agents = scene.spawn(daemon, "odd", 5)
    with scene.clients(daemon, ["modules", "programs"]) as clients:
        for agent in agents:
            pid = wait_for(lambda: pid_of(daemon, agent), "its pid")
            scene.injected("an agent that ignores TERM is terminated")
            assert scene.terminate(daemon, agent).status_code == 200
            scene.recovered(lambda: pid not in processes(), "it to be gone")
            clients.flow()
        assert daemon.log().count("signal 9") >= 5


class Workload:
    """One client per agent, which asks for slow answers until its agent is told to end. Every request is answered."""

    def __init__(self, scene, daemon):
        self.scene, self.daemon, self.problems, self.answered = scene, daemon, [], 0
        self.done, self.ended, self.threads = threading.Event(), set(), []

    def add(self, agent):
        self.threads.append(threading.Thread(target=self.ask, args=(agent,)))
        self.threads[-1].start()

    def ask(self, agent):
        while not self.done.is_set():
            answer = tell(self.scene, self.daemon, agent, "slow", {"seconds": 0.3})
            if answer.status_code == 200:
                self.answered += 1
            elif answer.status_code in (404, 409) and agent["agent_id"] in self.ended:
                return
            else:
                self.problems.append(f"{answer.status_code} {answer.text}")

    def end(self):
        self.done.set()
        for thread in self.threads:
            thread.join()
        assert not self.problems, f"{len(self.problems)} failed: {self.problems[:5]}"
        self.scene.figures.append(f"{self.answered} requests of 0.3 s answered, none failed")


def worked_on(scene):
    """Restarted, drained, rolled out, terminated: what they work on is answered first, what comes meanwhile waits."""
    daemon = scene.start(pools=odd_pools(max_agents_per_worker=4, stop_grace_ms=50, kill_grace_ms=50))
    agents, pool = scene.spawn(daemon, "odd", 12), "/agents/pools/odd"
    load = Workload(scene, daemon)
    with scene.clients(daemon, ["modules", "programs"]) as clients:
        for agent in agents:
            load.add(agent)

        def moved(what, *commands):
            after = next_epochs(daemon, [agent["agent_id"] for agent in agents])
            scene.injected(what)
            for path, body in commands:
                assert daemon.post(path, body).status_code in (200, 202), path
            scene.recovered(lambda: running_at(daemon, after), "all to run again")
            clients.flow(10)

        for _ in range(4):
            moved("restart", (f"{pool}/restart", None))
            moved("rollout", (f"{pool}/rollout", {"min_healthy_seconds": 0}))
            wait_for(lambda: daemon.pool("odd")["rollout"]["state"] == "finished", "the rollout to finish")
            moved("drain and rollout", (f"{pool}/drain", None), (f"{pool}/rollout", {"min_healthy_seconds": 0}))
            wait_for(lambda: daemon.pool("odd")["rollout"]["state"] == "finished", "the rollout to finish")
            assert daemon.post(f"{pool}/resume").status_code in (200, 202)
            agent = agents.pop(0)
            scene.injected("terminate")
            load.ended.add(agent["agent_id"])
            scene.recovered(lambda: scene.terminate(daemon, agent).status_code == 200, "the end of one")
            agents += scene.spawn(daemon, "odd", 1)
            load.add(agents[-1])
        load.end()
