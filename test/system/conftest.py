"""Fixtures: a real agentpoold in a directory of its own, on a free port, with real servers; nothing is left behind."""
import pathlib
import tempfile

import pytest

from daemon import Daemon


@pytest.fixture
def run_base():
    """A short directory (unix sockets have short names), removed when the test passed."""
    with tempfile.TemporaryDirectory(prefix="ap-", dir="/tmp") as path:
        yield pathlib.Path(path)


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
