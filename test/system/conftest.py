"""Fixtures: a real agentpoold in a directory of its own, on a free port, with real servers; nothing is left behind."""
import ctypes
import os
import pathlib
import shutil
import tempfile

import pytest

from daemon import Cli, Daemon, command_pool
from postgres import Postgres
from proxy import Proxy
from servers import RedisServer, node_tools

ODD_AGENT = pathlib.Path(__file__).parent / "agents" / "odd_agent.py"


# What the user set for daemons of his own is not for those of the tests.
for name in [name for name in os.environ if name.startswith(("AGENTPOOL_", "PM_AGENT_"))]:
    if not name.startswith(("AGENTPOOL_BUILD", "AGENTPOOL_TEST_", "AGENTPOOL_FAULT")):
        del os.environ[name]


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitize: worth its time with ASan and UBSan, too: it takes C code of ours where no other "
                            "marked test does, with input from outside, or where a process dies")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    item.failed = getattr(item, "failed", False) or outcome.get_result().failed


@pytest.fixture
def run_base(request):
    """A short directory (unix sockets have short names), removed when the test passed."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="ap-", dir="/tmp"))
    yield path
    if getattr(request.node, "failed", False):
        print(f"kept: {path}")
    else:
        shutil.rmtree(path)


@pytest.fixture
def make_daemon(run_base):
    """make_daemon(pools={...}, **settings) -> a started Daemon; all are stopped, and checked for leftovers, at the end."""
    daemons = []

    def make(start=True, **settings):
        daemon = Daemon(run_base / f"d{len(daemons)}", **settings)
        daemons.append(daemon)
        if start:
            daemon.start()
        return daemon

    yield make
    problems = [problem for daemon in daemons for problem in daemon.finish()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def daemon(make_daemon):
    return make_daemon()


@pytest.fixture
def cli(daemon):
    """The agentpool command, asking cli.daemon."""
    cli = Cli(daemon.url)
    cli.daemon = daemon
    return cli


@pytest.fixture
def make_redis(run_base):
    """make_redis(policy=...) -> a started RedisServer with a password, ended after the daemons."""
    servers = []

    def make(**settings):
        server = RedisServer(run_base / f"redis{len(servers)}", **settings)
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def make_proxy():
    """make_proxy(port) -> a Proxy to it, ended after the daemons that use it."""
    proxies = []

    def make(port):
        proxies.append(Proxy(port))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.stop()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL and a PgBouncer for the tests that do not stop them; each takes a database of its own."""
    with Postgres() as servers:
        yield servers


@pytest.fixture(scope="session")
def mcp_server():
    """Program and arguments of a real MCP server."""
    tools = node_tools()
    return [tools / "bin/node", tools / "node_modules/@modelcontextprotocol/server-everything/dist/index.js", "stdio"]


@pytest.fixture
def odd_pool():
    """odd_pool(*flags, **settings): a pool of agents that misbehave when asked to (agents/odd_agent.py)."""
    return lambda *flags, **settings: command_pool(ODD_AGENT, *flags, **settings)


@pytest.fixture
def small_disk(run_base):
    """A file system of 2 MiB."""
    path = run_base / "small"
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(path).encode(), b"tmpfs", 0, b"size=2m") != 0:
        pytest.skip(f"cannot mount a small file system: {os.strerror(ctypes.get_errno())}")
    yield path
    assert libc.umount2(str(path).encode(), 2) == 0
