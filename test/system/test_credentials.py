"""Secrets reach a pool's programs as files, and nobody else."""
import os
import pathlib
import signal
import stat
import subprocess

import pytest

from daemon import BUILD, PATIENCE, command_pool, wait_for
from secure import searched
from users import as_root

pytestmark = pytest.mark.sanitize

SECRET = b"\x00hush\xff" * 100
SHOWS = 'cp "$CREDENTIALS_DIRECTORY/key" "$0.new" && chmod 644 "$0.new" && env >"$0.env"; echo "$CREDENTIALS_DIRECTORY" >"$0.dir"; ' \
        'mv "$0.new" "$0"; while read line; do :; done'


@pytest.fixture
def shown(run_base):
    """Where a program of any user writes what it found."""
    folder = run_base / "shown"
    folder.mkdir()
    folder.chmod(0o777)
    run_base.chmod(0o755)
    return folder / "key"


def make_pool(run_base, shown, **settings):
    secret, empty = run_base / "secret", run_base / "empty"
    secret.write_bytes(SECRET)
    secret.chmod(0o400)
    empty.write_bytes(b"")
    pool = command_pool("/bin/sh", "-c", SHOWS, shown, **settings)
    pool["runtime"]["credentials"] = {"key": str(secret), "empty": str(empty)}
    return pool


def check_handed_over(daemon, shown, uid):
    """The directory's path."""
    wait_for(shown.exists, "the program to have read it")
    assert shown.read_bytes() == SECRET
    directory = pathlib.Path(shown.with_suffix(".dir").read_text().strip())
    assert directory.parent == daemon.run_dir / "credentials"
    for path, mode in ((directory, 0o500), (directory / "key", 0o400), (directory / "empty", 0o400)):
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (mode, uid), path
    assert sorted(path.name for path in directory.iterdir()) == ["empty", "key"] and (directory / "empty").read_bytes() == b""
    return directory


def test_hands_them_over_as_files_and_takes_them_away(make_daemon, run_base, shown):
    daemon = make_daemon(pools={"p": make_pool(run_base, shown)})
    daemon.spawn("p")
    directory = check_handed_over(daemon, shown, os.geteuid())
    assert b"hush" not in shown.with_suffix(".env").read_bytes()
    printed = subprocess.run([BUILD / "agentpoold", "-T", "-c", daemon.config_path], capture_output=True, timeout=PATIENCE, check=True)
    assert b"hush" not in printed.stdout and b"secret" in printed.stdout
    assert [path for path, content in searched(daemon.run_dir) if b"hush" in content] == [str(directory / "key")]
    assert "hush" not in daemon.log()
    # A worker that is killed leaves them; the next one of the pool takes them away.
    os.kill(next(iter(daemon.worker_pids("p").values())), signal.SIGKILL)
    wait_for(lambda: not directory.exists(), "the next worker")
    assert daemon.stop() == 0
    assert list((daemon.run_dir / "credentials").iterdir()) == []


@as_root
def test_hands_them_to_a_user_of_its_own_who_cannot_read_the_source(make_daemon, run_base, shown):
    pool = make_pool(run_base, shown, user="nobody")
    os.chown(run_base / "secret", 1, 1)  # daemon, bin: readable for the daemon's user alone
    daemon = make_daemon(start=False, pools={"p": pool}, user="daemon")
    daemon.start()
    daemon.spawn("p")
    directory = check_handed_over(daemon, shown, 65534)
    listed = subprocess.run(["setpriv", "--reuid=2", "--regid=2", "--clear-groups", "cat", directory / "key"], capture_output=True, check=False)
    assert listed.returncode != 0 and b"Permission denied" in listed.stderr
    assert daemon.stop() == 0
    assert list((daemon.run_dir / "credentials").iterdir()) == []


def test_says_which_one_cannot_be_read(make_daemon, run_base, shown):
    pool = make_pool(run_base, shown)
    pool["runtime"]["credentials"]["other"] = str(run_base / "none")
    daemon = make_daemon(pools={"p": pool})
    answer = daemon.post("/agents/spawn", daemon.spawn_body("p"))
    assert answer.status_code in (422, 503), answer.text
    wait_for(lambda: "the daemon cannot read the file of credential other" in daemon.log(), "the reason")
    assert "credential.unreadable" in daemon.log() and str(run_base / "none") in daemon.log()
