"""What a pool's settings make of a program: its signal, umask, niceness."""
import os

from daemon import command_pool, wait_for

TELLS = 'umask >"$0.new"; nice >>"$0.new"; trap "echo told >>$0; exit" QUIT; trap "" TERM; mv "$0.new" "$0"; while :; do sleep 0.05; done'


def test_starts_and_ends_as_its_pool_says(make_daemon, run_base):
    file = run_base / "told"
    daemon = make_daemon(pools={"p": command_pool("/bin/sh", "-c", TELLS, file, stop_grace_ms=0, kill_grace_ms=600000)})
    daemon.config["pools"]["p"]["runtime"] |= {"stop_signal": "QUIT", "umask": "027", "nice": os.nice(0) + 3}
    daemon.stop()
    daemon.start()
    agent = daemon.spawn("p")
    wait_for(file.exists, "it to begin")
    assert file.read_text().split() == ["0027", str(os.nice(0) + 3)]
    assert daemon.terminate(agent).status_code == 200
    assert file.read_text().split()[2:] == ["told"]


def test_says_that_the_niceness_is_refused(make_daemon):
    daemon = make_daemon(start=False, pools={"p": command_pool("/bin/sh", "-c", TELLS)})
    daemon.config["pools"]["p"]["runtime"]["nice"] = -20
    if os.geteuid() == 0:
        daemon.prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chmod(daemon.directory.parent, 0o755)
        os.chown(daemon.directory, 65534, 65534)
    daemon.start()
    answer = daemon.post("/agents/spawn", daemon.spawn_body("p"))
    assert answer.status_code == 422 and "cannot set the niceness of /bin/sh: Permission denied" in answer.json()["detail"]
