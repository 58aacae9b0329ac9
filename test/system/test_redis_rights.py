"""What only a worker meets at Redis, rights that it lacks or keys of another type, is told by its master: everything is
served without Redis, the reason is in Redis' own words, and Redis is used as soon as it works."""
import re

import pytest

from daemon import BUILD, command_pool, module_pool, wait_for
from test_redis_away import QUICK, TIMES, is_degraded, is_whole, serve_without_redis, wait_until_whole

pytestmark = pytest.mark.sanitize

POOLS = {"developer_pool": command_pool(BUILD / "example-agent", **QUICK), "tester_pool": module_pool(**QUICK)}


@pytest.fixture
def server(make_redis):
    return make_redis()


def reason_everywhere(daemon, words):
    reason = is_degraded(daemon)
    if not reason or not re.search(words, reason):
        return None
    assert re.search(words, daemon.get("/readyz").json()["reason"])
    assert re.search(words, daemon.health()["reason"])
    return reason


def serves(daemon, words):
    """A spawn whose worker is refused succeeds, the reason is told, and clients of all pools are served."""
    agents = daemon.spawn_many(6, clients=3)
    reason = wait_for(lambda: reason_everywhere(daemon, words), f"{words} to be told")
    assert "word@" not in reason
    other = daemon.spawn("tester_pool")
    assert daemon.whoami(other["agent_id"])["epoch"] == 1
    assert daemon.terminate(other).status_code == 200
    return agents


@pytest.mark.parametrize("right", ["~process:*", "&process:*"])
def test_serves_without_redis_when_only_workers_lack_a_right(make_daemon, server, right):
    daemon = make_daemon(pools=POOLS, redis={"url": server.allow(right), **TIMES})
    agents = serve_without_redis(daemon, serves(daemon, "NOPERM"))
    server.allow()
    wait_until_whole(daemon, server, agents)
    server.allow(right)  # taken away again from a connection that stands
    agents += serves(daemon, "NOPERM|can't access")  # a script of the master's may find it first
    server.allow()
    wait_until_whole(daemon, server, agents)


def test_serves_without_redis_when_a_key_is_of_another_type(make_daemon, server):
    store = server.client(0)
    store.set("pool:developer_pool:processes", "x")
    daemon = make_daemon(pools=POOLS, redis={"url": server.url(0), **TIMES})
    agents = serves(daemon, "WRONGTYPE")
    assert store.get("pool:developer_pool:processes") == "x", "it is not ours to delete"
    store.delete("pool:developer_pool:processes")
    wait_until_whole(daemon, server, agents)


def test_says_so_once_when_a_right_stays_away(make_daemon, server):
    daemon = make_daemon(pools=POOLS, redis={"url": server.allow("&process:*"), **TIMES})
    daemon.spawn_many(3)
    seen = server.client(0).info("commandstats").get("cmdstat_publish", {}).get("rejected_calls", 0)
    wait_for(lambda: server.client(0).info("commandstats").get("cmdstat_publish", {}).get("rejected_calls", 0) > seen + 2,
             "it to try again")
    assert daemon.log().count("degraded.begins") == 1 and not is_whole(daemon)
