"""What "make install" and scripts/package make of the release build; the sanitizers' builds are never installed."""
import fcntl
import os
import subprocess

import pytest

from daemon import BUILD, TOP

release_only = pytest.mark.skipif(BUILD != TOP / "build", reason="what is installed is the release build, tested with it")


def run(*argv, **arguments):
    arguments.setdefault("cwd", TOP)
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, **arguments)
    assert done.returncode == 0, f"{argv}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def one_at_a_time(*argv, **arguments):
    """Tests that run at the same time share the build directory."""
    with open(BUILD / "install.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return run(*argv, **arguments)


def make(*arguments):
    return one_at_a_time("make", "-s", "--no-print-directory", *arguments)


def package(directory, **variables):
    """The path of a package built into directory."""
    return one_at_a_time("scripts/package", directory, env={**os.environ, **variables})
