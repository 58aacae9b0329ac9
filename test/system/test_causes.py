"""What is wrong is said in words that name it."""
import subprocess

import pytest

from daemon import BUILD, PATIENCE, command_pool, module_pool
from secure import status_of
from users import as_root



@pytest.mark.sanitize
@pytest.mark.parametrize("first_line, cause", [
    ("#!/usr/bin/python3\r\n", "its first line ends in a carriage return"),
    ("#!/opt/none/python3\n", "its interpreter /opt/none/python3 is not there"),
    ("import sys\n", "neither a program nor a script that begins with #!"),
])
def test_says_why_a_program_does_not_start(make_daemon, run_base, first_line, cause):
    program = run_base / "agent"
    program.write_bytes(first_line.encode() + b"pass\r\n")
    program.chmod(0o755)
    daemon = make_daemon(pools={"developer_pool": command_pool(program)})
    answer = daemon.post("/agents/spawn", daemon.spawn_body())
    assert answer.status_code == 422 and cause in answer.json()["detail"], answer.text


def test_passes_over_a_byte_order_mark(make_daemon):
    daemon = make_daemon(pools={"tester_pool": module_pool()})
    mark = b"\xef\xbb\xbf"
    answer = daemon.request("POST", "/agents/spawn", data=mark + b'{"pool_name": "tester_pool", "role_type": "t", "project_id": '
                            b'"6f1c8a52-3a55-4f0b-9d3e-0c7c0c5f9e11"}', headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    daemon.config_path.write_bytes(mark + daemon.config_path.read_bytes())
    assert subprocess.run([BUILD / "agentpoold", "-t", "-c", daemon.config_path], timeout=PATIENCE, check=False).returncode == 0


@as_root
@pytest.mark.skipif("address" in BUILD.name, reason="AddressSanitizer itself needs /proc")
@pytest.mark.parametrize("mounts, cause", [("umount -l /proc", "/proc is not there"), (":", "/proc is that of another PID namespace")])
def test_refuses_to_start_without_a_proc_of_its_own(make_daemon, mounts, cause):
    daemon = make_daemon(start=False)
    daemon.prefix = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", mounts + ' && exec "$0" "$@"']
    daemon.launch()
    assert daemon.process.wait(PATIENCE) == 78
    assert cause in daemon.log() and "mount -t proc proc /proc" in daemon.log()


@as_root
def test_warns_once_of_root(make_daemon):
    daemon = make_daemon(pools={"tester_pool": module_pool()})
    assert status_of(daemon.process.pid)["Uid"].split()[0] == "0"
    assert daemon.log().count(" user.root ") == 1 and "set user" in daemon.log()
    other = make_daemon(user="nobody", pools={"tester_pool": module_pool()}, start=False)
    other.directory.parent.chmod(0o755)
    other.start()
    assert " user.root " not in other.log()
