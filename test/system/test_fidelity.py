"""What client and agent say to each other passes as it was said, and an agent is not ended for how it says it."""
import json
import socket
import threading
import time

import pytest
import requests

from daemon import PATIENCE, TOP, command_pool, module_pool, wait_for

pytestmark = pytest.mark.sanitize

MIRROR = TOP / "test/system/agents/mirror_agent.py"
VALUES = {
    "an integer over 2^53": "[9007199254740993]",
    "spellings of numbers": "[1.0,-0.0,1.10,1E400,-1e-999,0.1234567890123456789012345678901,123456789012345678901234567890]",
    "NUL and half surrogates": r'["\u0000","\ud800","\udc00\ud800","\/"]',
    "a name twice": '{"a":1,"a":{"b":1,"b":2},"":0}',
    "names of ours": '{"jsonrpc":1,"id":2,"method":3,"params":4,"result":5,"error":6,"message":7}',
    "blanks": '{ "a" :\t[ 1 , 2 ] }',
    "500 levels": "[" * 500 + "]" * 500,
    "512 levels": '{"a":' * 511 + "[]" + "}" * 511,
    "other scripts": '["ü€\U0001f642\\ud83d\\ude42"]',
    "a long text": '["' + "x" * 3_000_000 + '"]',
}


@pytest.fixture
def mirror(make_daemon):
    """mirror(**runtime settings): a daemon with an agent of agents/mirror_agent.py, and that agent's id."""
    def start(pool=None, **runtime):
        pool = {**command_pool(MIRROR), **(pool or {})}
        pool["runtime"].update(runtime)
        daemon = make_daemon(pools={"mirror": pool})
        return daemon, daemon.spawn("mirror")["agent_id"]
    return start


def send(daemon, agent_id, body, client=None, query="", timeout=PATIENCE):
    """Bytes as they are; what comes back may be deeper than the description's checker can walk."""
    headers = {"Content-Type": "application/json", **({"Agentpool-Client": client} if client else {})}
    return daemon.session.post(f"{daemon.url}/api/v1/agents/{agent_id}/messages{query}", headers=headers, timeout=timeout,
                               data=body if isinstance(body, bytes) else body.encode())


def call(method, params=None, message_id="1"):
    params = f',"params":{params}' if params else ""
    return f'{{"jsonrpc":"2.0","id":{message_id},"method":"{method}"{params}}}'


def seen(daemon, agent_id):
    return send(daemon, agent_id, call("seen")).json().get("result", [])  # none: its queue is full, it still reads


def say(daemon, agent_id, *lines, message_id="1", **arguments):
    return send(daemon, agent_id, call("say", json.dumps({"lines": lines}), message_id), **arguments)


def test_passes_every_value_as_it_is_spelled(mirror):
    daemon, agent_id = mirror()
    for name, value in VALUES.items():
        for message_id in ("1", "1.0", '"1"', '"\\u0031"', "9007199254740993"):
            answer = send(daemon, agent_id, call("mirror", value, message_id))
            assert answer.status_code == 200, (name, answer.text[:300])
            assert answer.content.decode() == f'{{"jsonrpc":"2.0","id":{message_id},"result":{value}}}', name


def test_passes_every_value_through_a_module(make_daemon):
    daemon = make_daemon(pools={"module": module_pool()})
    agent_id = daemon.spawn("module")["agent_id"]
    body = call("tools/call", '{"name":"echo","arguments":{"text":"ü"},"big":9007199254740993,"big":1e400}', "1.0")
    answer = send(daemon, agent_id, body)
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith('"id":1.0}') and answer.json()["result"]["content"][0]["text"] == "ü"


def test_says_so_when_a_module_has_more_than_a_line_to_say(make_daemon):
    pool = module_pool()
    pool["runtime"]["max_line_bytes"] = 4096
    daemon = make_daemon(pools={"module": pool})
    agent_id = daemon.spawn("module")["agent_id"]
    answer = send(daemon, agent_id, call("tools/call", '{"name":"echo","arguments":{"text":"%s"}}' % ("x" * 4096)))
    assert answer.status_code == 200 and "max_line_bytes" in answer.json()["error"]["message"], answer.text


def test_passes_every_value_when_redis_is_away(make_daemon, make_redis):
    server = make_redis()
    daemon = make_daemon(pools={"mirror": command_pool(MIRROR)}, redis={"url": server.url(0)})
    agent_id = daemon.spawn("mirror")["agent_id"]
    server.stop()
    wait_for(lambda: daemon.health()["degraded"], "degraded mode")
    for name in ("an integer over 2^53", "NUL and half surrogates", "a name twice", "512 levels"):
        answer = send(daemon, agent_id, call("mirror", VALUES[name]))
        assert answer.content.decode() == f'{{"jsonrpc":"2.0","id":1,"result":{VALUES[name]}}}', name


def test_refuses_what_is_no_message(mirror):
    daemon, agent_id = mirror(max_depth=100)
    for body, words in ((call("mirror", "[" * 101 + "]" * 101), "max_depth"), (call("mirror", "[01]"), "begin with 0"),
                        ('{"jsonrpc":"2.0","id":1,"id":2,"method":"mirror"}', "twice"), (b'{"a":"\xff"}', "UTF-8"),
                        (call("mirror", '{"_meta":{},"_meta":{}}'), "twice"), ("[1]", "batches"), ("7", "jsonrpc"), ("", "early")):
        answer = send(daemon, agent_id, body)
        assert answer.status_code == 400 and words in answer.json()["detail"], answer.text
    assert send(daemon, agent_id, call("mirror", "[" * 100 + "]" * 100)).status_code == 200


def test_makes_one_line_of_a_message_of_many(mirror):
    daemon, agent_id = mirror()
    send(daemon, agent_id, '\ufeff{\r\n "jsonrpc": "2.0",\n "id": 7,\n "method": "mirror", "params":[\n1\r]}')
    assert seen(daemon, agent_id)[0] == '{   "jsonrpc": "2.0",  "id": 1,  "method": "mirror", "params":[ 1 ]}'


def test_adds_the_trace_and_nothing_else(mirror):
    daemon, agent_id = mirror()
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    member = f'"traceparent":"{trace}"'
    for params, expected in (('{ "a":1.0,"a":1e400 }', f'{{"_meta":{{{member}}}, "a":1.0,"a":1e400 }}'),
                             ('{"_meta": {"b":1.10}}', f'{{"_meta": {{{member},"b":1.10}}}}'),
                             ("{}", f'{{"_meta":{{{member}}}}}'), ('{"_meta":{}}', f'{{"_meta":{{{member}}}}}'),
                             ('{"_meta":{"traceparent":"x"}}', '{"_meta":{"traceparent":"x"}}'), ("[1.0]", "[1.0]")):
        answer = daemon.request("POST", f"/agents/{agent_id}/messages", data=call("mirror", params),
                                headers={"Content-Type": "application/json", "traceparent": trace})
        assert answer.content.decode() == f'{{"jsonrpc":"2.0","id":1,"result":{expected}}}'


def test_takes_a_body_of_17_megabytes_on_this_route_alone(mirror):
    daemon, agent_id = mirror(queue_bytes=1024)
    big = '["' + "x" * (12 * 1024 * 1024) + '"]'
    answer = send(daemon, agent_id, f'{{"jsonrpc":"2.0","method":"mute","params":{big}}}')
    assert answer.status_code == 202, answer.text
    wait_for(lambda: len(big) + 43 in [len(line) for line in seen(daemon, agent_id)], "all of it to be there")
    assert send(daemon, agent_id, "x" * (17 * 1024 * 1024 + 1)).status_code == 413
    assert daemon.post("/agents/spawn", {"x": "x" * 1024 * 1024}).status_code == 413


ODD = {
    "a banner": (["Welcome!", "", '{"jsonrpc":"2.0","id":%id,"result":1}'], {"result": 1}),
    "a logger's JSON": (['{"level":"info","id":%id,"result":"x"}', '{"jsonrpc":"2.0","id":%id,"result":2}'], {"result": 2}),
    "a mark before": (["\ufeff \t{\"jsonrpc\":\"2.0\",\"id\":%id,\"result\":3} \r"], {"result": 3}),
    "a null beside": (['{"jsonrpc":"2.0","id":%id,"result":4,"error":null}'], {"result": 4, "error": None}),
    "a code as text": (['{"jsonrpc":"2.0","id":%id,"error":{"code":"E","message":"m"}}'], {"error": {"code": "E", "message": "m"}}),
    "no UTF-8": (['{"jsonrpc":"2.0","id":%id,"result":"\udce9"}'], {"result": "\ufffd"}),
}


def test_goes_on_when_the_agent_writes_oddly(mirror):
    daemon, agent_id = mirror()
    for name, (lines, answer) in ODD.items():
        assert say(daemon, agent_id, *lines).json() == {"jsonrpc": "2.0", "id": 1, **answer}, name
    log = daemon.get(f"/agents/{agent_id}/logs").text
    assert "Welcome!" in log and '{"level":"info"' in log
    wait_for(lambda: 'agentpool_agent_noise_lines_total{pool="mirror"} 2' in daemon.get("/metrics").text, "both lines to be counted")
    assert daemon.agent(agent_id)["restarts"] == 0


def test_takes_the_last_line_of_an_agent_without_its_newline(mirror):
    daemon, agent_id = mirror()
    answer = send(daemon, agent_id, call("last", json.dumps({"text": '{"jsonrpc":"2.0","id":%id,"result":"bye"}'})))
    assert answer.json() == {"jsonrpc": "2.0", "id": 1, "result": "bye"}
    wait_for(lambda: daemon.agent(agent_id)["epoch"] == 2 and daemon.agent(agent_id)["state"] == "idle", "its next start")
    answer = send(daemon, agent_id, call("last", json.dumps({"text": '{"jsonrpc":"2.0","id":%id,"result":"by'})))
    assert answer.status_code == 503 and "exit status 0" in answer.json()["detail"]
    assert '"result":"by' in daemon.get(f"/agents/{agent_id}/logs").text.replace("\\", "")


@pytest.mark.parametrize("size", [10, 4_000_000])
def test_passes_on_the_last_answer_of_an_agent_that_ends(mirror, size):
    """A large one travels by another way than the news of the end."""
    daemon, agent_id = mirror({"restart": {"delay_ms": 1}, "heartbeat_interval_ms": 50})
    text = '{"jsonrpc":"2.0","id":%id,"result":"' + "x" * size + '"}'
    for epoch in range(2, 6):
        answer = send(daemon, agent_id, call("last", json.dumps({"text": text})))
        assert answer.status_code == 200 and len(answer.json()["result"]) == size, answer.text[:300]
        wait_for(lambda: daemon.agent(agent_id)["epoch"] == epoch and daemon.agent(agent_id)["state"] == "idle", "its next start")


def test_fails_the_request_whose_answer_cannot_be_passed_on(mirror):
    daemon, agent_id = mirror(max_line_bytes=100_000, max_depth=100)
    for lines, words in ((['{"jsonrpc":"2.0","id":%id,"result":"' + "x" * 200_000 + '"}'], "max_line_bytes"),
                         (['{"jsonrpc":"2.0","result":{"id":99,"x":"' + "x" * 200_000 + '"},"id":%id}'], "max_line_bytes"),
                         (['{"jsonrpc":"2.0","id":%id,"result":' + "[" * 101 + "]" * 101 + "}"], "max_depth"),
                         (['{"jsonrpc":"2.0","id":%id,"result":NaN}'], "expected a value")):
        answer = say(daemon, agent_id, *lines)
        assert answer.status_code == 503 and words in answer.json()["detail"], answer.text
    assert daemon.agent(agent_id)["restarts"] == 0


def test_warns_of_an_answer_that_fits_no_request(mirror):
    daemon, agent_id = mirror()
    answer = say(daemon, agent_id, '{"jsonrpc":"2.0","id":"%id","result":"text"}', query="?timeout_ms=500")
    assert answer.status_code == 504
    wait_for(lambda: "agent.answer_unknown" in daemon.log(), "the warning")
    line = next(line for line in daemon.log().splitlines() if "agent.answer_unknown" in line)
    assert agent_id in line and r'id="\"1\""' in line


def test_ends_the_agent_of_a_strict_pool(mirror):
    daemon, agent_id = mirror(strict_stdout=True)
    answer = say(daemon, agent_id, "Welcome!")
    assert answer.status_code == 503 and "not JSON-RPC" in answer.json()["detail"]
    wait_for(lambda: daemon.agent(agent_id)["restarts"] == 1, "its restart")


class Listener(threading.Thread):
    """What one client hears of an agent: (event, data) in events."""

    def __init__(self, daemon, agent_id, client):
        super().__init__(daemon=True)
        self.events = []
        self.stream = requests.get(f"{daemon.url}/api/v1/agents/{agent_id}/events", stream=True, timeout=PATIENCE,
                                   headers={"Agentpool-Client": client})
        assert self.stream.status_code == 200
        self.start()

    def run(self):
        name = None
        try:
            for line in self.stream.iter_lines():
                if line.startswith(b"event: "):
                    name = line[7:].decode()
                elif line.startswith(b"data: "):
                    self.events.append((name, json.loads(line[6:])))
        except (requests.RequestException, AttributeError, ValueError):
            pass  # closed by the test

    def progress(self):
        return [data["params"] for name, data in list(self.events) if name == "message"]

    def dropped(self):
        return sum(data["count"] for name, data in list(self.events) if name == "dropped")


def test_tells_progress_only_to_the_client_whose_it_is(mirror):
    daemon, agent_id = mirror()
    one, other = Listener(daemon, agent_id, "one"), Listener(daemon, agent_id, "other")
    for client, token in (("one", "1"), ("other", "1"), ("other", '"1"')):
        params = f'{{"_meta":{{"progressToken":{token}}},"count":2}}'
        assert send(daemon, agent_id, call("progress", params), client).json()["result"] == "done"
    send(daemon, agent_id, call("progress", '{"_meta":{"progressToken":"last"},"count":1}'), "one")
    send(daemon, agent_id, call("progress", '{"_meta":{"progressToken":"last"},"count":1}'), "other")
    wait_for(lambda: all(heard.progress() and heard.progress()[-1]["progressToken"] == "last" for heard in (one, other)), "the last")
    assert [heard["progressToken"] for heard in one.progress()] == [1, 1, "last"]
    assert [heard["progressToken"] for heard in other.progress()] == [1, 1, "1", "1", "last"]
    tokens = [json.loads(line)["params"]["_meta"]["progressToken"] for line in seen(daemon, agent_id)[:-1]]
    assert len(set(tokens)) == 5


def test_tells_of_a_notification_whose_id_is_null(mirror):
    daemon, agent_id = mirror()
    listener = Listener(daemon, agent_id, "one")
    say(daemon, agent_id, '{"jsonrpc":"2.0","id":null,"method":"notifications/message","params":{"n":1}}',
        '{"jsonrpc":"2.0","id":%id,"result":0}')
    wait_for(lambda: listener.progress() == [{"n": 1}], "the notification")


def test_loses_no_notification_of_a_burst_without_a_word(mirror):
    daemon, agent_id = mirror()
    heard = Listener(daemon, agent_id, "one")
    params = '{"_meta":{"progressToken":"t"},"count":5000}'
    assert send(daemon, agent_id, call("progress", params), "one").status_code == 200
    wait_for(lambda: len(heard.progress()) + heard.dropped() == 5000, "all 5,000 to be heard or told of")
    assert len(heard.progress()) == 5000


def test_tells_the_reader_how_many_were_lost(mirror):
    daemon, agent_id = mirror()
    heard = Listener(daemon, agent_id, "one")
    record = daemon.agent(agent_id)
    lost = {"type": "activity", "agent_id": agent_id, "process_id": record["process_id"], "epoch": record["epoch"], "noise": 2,
            "dropped": 7, "unanswered": False}
    assert daemon.redis.publish(daemon.redis.pubsub_channels("master:*:replies")[0], json.dumps(lost)) == 1
    wait_for(lambda: heard.dropped() == 7, "the loss to be told")
    metrics = daemon.get("/metrics").text
    assert 'agentpool_agent_events_dropped_total{pool="mirror"} 7' in metrics
    assert 'agentpool_agent_noise_lines_total{pool="mirror"} 2' in metrics


def test_cancels_only_requests_of_the_client_that_asks(mirror):
    daemon, agent_id = mirror(cancel_method="work/cancel")
    waiting = []
    for client in ("one", "other"):
        waiting.append(threading.Thread(target=send, args=(daemon, agent_id, call("quiet", message_id="1001"), client),
                                        kwargs={"query": "?timeout_ms=20000"}, daemon=True))
        waiting[-1].start()
        wait_for(lambda: len([line for line in seen(daemon, agent_id) if '"quiet"' in line]) == len(waiting), "the request to be there")
    number = json.loads([line for line in seen(daemon, agent_id) if '"quiet"' in line][1])["id"]
    for client, method, member, value in (("third", "notifications/cancelled", "requestId", "1001"),
                                          ("one", "notifications/cancelled", "requestId", str(number)),
                                          ("one", "work/cancel", "requestId", str(number)),
                                          ("other", "notifications/cancelled", "requestId", '"1001"'),
                                          ("other", "notifications/cancelled", "requestId", "1001"),
                                          ("other", "$/cancelRequest", "id", "1001"),
                                          ("other", "$/cancel_request", "requestId", "1001"),
                                          ("other", "work/cancel", "requestId", "1001"), ("one", "work/cancel", "task", "1")):
        body = f'{{"jsonrpc":"2.0","method":"{method}","params":{{"{member}":{value},"reason":"1.0"}}}}'
        assert send(daemon, agent_id, body, client).status_code == 202
        if member != "task":  # with an id it is no notification, and agents may go by the method alone
            answer = send(daemon, agent_id, body.replace("{", '{"id":1,', 1), client)
            assert answer.status_code == 400 and answer.json()["detail"].startswith("/id"), answer.text
    cancels = [json.loads(line) for line in seen(daemon, agent_id) if "ancel" in line]
    assert [(cancel["method"], cancel["params"]) for cancel in cancels] == [
        ("notifications/cancelled", {"requestId": number, "reason": "1.0"}),
        ("$/cancelRequest", {"id": number, "reason": "1.0"}), ("$/cancel_request", {"requestId": number, "reason": "1.0"}),
        ("work/cancel", {"requestId": number, "reason": "1.0"}), ("work/cancel", {"task": 1, "reason": "1.0"})]
    daemon.terminate({"pool_name": "mirror", "agent_id": agent_id}, graceful=False)
    for thread in waiting:
        thread.join(PATIENCE)


def cancelled(daemon, agent_id):
    return [json.loads(line)["params"] for line in seen(daemon, agent_id) if '"notifications/cancelled"' in line]


def test_tells_the_agent_when_the_deadline_passes(mirror):
    daemon, agent_id = mirror()
    assert send(daemon, agent_id, call("quiet", message_id='"mine"'), query="?timeout_ms=100").status_code == 504
    wait_for(lambda: cancelled(daemon, agent_id), "the cancellation")
    number = json.loads(seen(daemon, agent_id)[0])["id"]
    assert cancelled(daemon, agent_id) == [{"requestId": number, "reason": "the agent did not answer in time"}]


def test_tells_the_agent_when_the_client_goes(mirror):
    daemon, agent_id = mirror()
    with pytest.raises(requests.exceptions.ReadTimeout):
        send(daemon, agent_id, call("quiet"), timeout=0.5)
    daemon.session.close()
    wait_for(lambda: cancelled(daemon, agent_id), "the cancellation")
    assert cancelled(daemon, agent_id)[0]["reason"] == "the client has gone"
    wait_for(lambda: daemon.agent(agent_id)["messages_in_flight"] == 0, "nothing to be in flight")


def test_does_not_cancel_for_a_client_that_only_ends_its_sending(mirror):
    daemon, agent_id = mirror()

    host, port = daemon.url.removeprefix("http://").split(":")
    body = call("say", json.dumps({"lines": []}))
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(f"POST /api/v1/agents/{agent_id}/messages?timeout_ms=1500 HTTP/1.1\r\nHost: {host}:{port}\r\n"
                       f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 504")


def test_tells_the_agent_nothing_when_the_pool_says_so(mirror):
    daemon, agent_id = mirror(cancel_method="")
    assert send(daemon, agent_id, call("quiet"), query="?timeout_ms=100").status_code == 504
    time.sleep(1.5)  # the worker's own deadline, a second later, says nothing either
    assert cancelled(daemon, agent_id) == []


def test_tells_its_master_of_work_that_nobody_waits_for(make_daemon):
    pool = command_pool(MIRROR, heartbeat_interval_ms=100, worker_lease_ms=2000)
    pool["runtime"]["cancel_method"] = ""
    daemon = make_daemon(pools={"mirror": pool}, log={"level": "debug"})
    agent_id = daemon.spawn("mirror", max_idle_time=60)["agent_id"]
    redis = daemon.redis
    heard = redis.pubsub()
    heard.psubscribe("master:*:replies")
    assert send(daemon, agent_id, call("quiet"), query="?timeout_ms=100").status_code == 504

    def reported():
        message = heard.get_message(timeout=1)
        return message and message["type"] == "pmessage" and '"unanswered":true' in message["data"]
    wait_for(reported, "its worker to say that it works")


def test_keeps_whole_lines_of_stderr_as_utf8(make_daemon):
    script = r"""import sys; e = sys.stderr.buffer
e.write(b"x" * 16000 + b"END\n" + b"a\xe9b\n" + ("ä" * 20000).encode() + b"\n"); e.flush(); sys.stdin.read()"""
    daemon = make_daemon(pools={"p": command_pool("/usr/bin/python3", "-c", script)})
    agent_id = daemon.spawn("p")["agent_id"]
    wait_for(lambda: daemon.get(f"/agents/{agent_id}/logs").content.count(b"\n") >= 5, "the lines")
    lines = [line.split(" ", 1)[1] for line in daemon.get(f"/agents/{agent_id}/logs").content.decode("utf-8").splitlines()]
    assert lines[0] == "x" * 16000 + "END" and lines[1] == "a\ufffdb"
    parts = lines[2:]
    assert [(part.startswith("…"), part.endswith("…")) for part in parts] == [(False, True), (True, True), (True, False)]
    assert "".join(part.strip("…") for part in parts) == "ä" * 20000
