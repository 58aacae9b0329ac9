"""make install, make uninstall, the manual pages and the Debian package."""
import json
import os
import re
import shlex
import subprocess

import pytest

import docs
from daemon import TOP, Daemon, command_pool, module_pool, wait_for
from installed import make, package, release_only, run

pytestmark = release_only


@pytest.fixture
def installed(run_base):
    make("install", f"DESTDIR={run_base}/dest", "PREFIX=/opt/agentpool", "SYSCONFDIR=/opt/etc", "UNITDIR=/opt/units")
    return run_base / "dest/opt"


def test_runs_what_was_installed_when_a_module_is_built_against_it(installed, run_base):
    prefix = installed / "agentpool"
    flags = run("pkg-config", "--cflags", "agentpool-module", env={
        **os.environ, "PKG_CONFIG_PATH": f"{prefix}/share/pkgconfig", "PKG_CONFIG_SYSROOT_DIR": f"{run_base}/dest"})
    assert flags == f"-I{prefix}/include/agentpool"
    run("cc", "-D_GNU_SOURCE", "-shared", "-fPIC", *shlex.split(flags), "-o", run_base / "module.so",
        prefix / "share/doc/agentpool/examples/module.c", cwd=run_base)
    daemon = Daemon(run_base / "d", pools={"developer_pool": command_pool(prefix / "lib/agentpool/example-agent"),
                                           "tester_pool": module_pool(run_base / "module.so")})
    daemon.write_config()
    with open(daemon.log_path, "ab") as log:
        daemon.process = subprocess.Popen([prefix / "sbin/agentpoold", "-c", daemon.config_path], stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, env=daemon.env, cwd=run_base)
    try:
        wait_for(daemon.is_ready, "the installed daemon to be ready")
        for pool in ("developer_pool", "tester_pool"):
            assert daemon.call_tool(daemon.spawn(pool)["agent_id"], "echo", text="hello") == "hello"
        listed = run(prefix / "bin/agentpool", "-u", daemon.url, "-o", "json", "ls", "agents")
        assert len(json.loads(listed)) == 2
    finally:
        assert not daemon.finish()


def test_places_its_directories_in_what_it_installs(installed):
    unit = (installed / "units/agentpoold.service").read_text()
    assert "ExecStart=/opt/agentpool/sbin/agentpoold -c /opt/etc/agentpool/agentpool.json\n" in unit
    assert "\nEnvironmentFile=-/opt/etc/default/agentpool\n" in unit and "/usr/sbin" not in unit
    assert "/opt/etc/agentpool/agentpool.json" in (installed / "agentpool/lib/tmpfiles.d/agentpool.conf").read_text()
    for name in ("agentpool/lib/sysusers.d/agentpool.conf", "etc/logrotate.d/agentpool", "units/agentpoold.socket"):
        assert (installed / name).stat().st_mode & 0o777 == 0o644
    assert (installed / "etc/agentpool/agentpool.json").stat().st_mode & 0o777 == 0o640
    assert '"/opt/agentpool/lib/agentpool/example-agent"' in (installed / "etc/agentpool/agentpool.json").read_text()


def test_leaves_nothing_but_a_changed_configuration_when_uninstalled(installed, run_base):
    directories = (f"DESTDIR={run_base}/dest", "PREFIX=/opt/agentpool", "SYSCONFDIR=/opt/etc", "UNITDIR=/opt/units")
    config = installed / "etc/agentpool/agentpool.json"
    config.write_text("{}")
    make("install", *directories)
    assert config.read_text() == "{}"  # another install leaves it alone
    make("uninstall", *directories)
    assert [path for path in installed.rglob("*") if path.is_file()] == [config]
    config.unlink()
    make("install", *directories)
    make("uninstall", *directories)
    assert [path for path in installed.rglob("*") if path.is_file() or "agentpool" in path.name] == [installed / "agentpool"]


def test_completes_in_every_shell_when_installed(installed):
    share = installed / "agentpool" / "share"
    program = run(installed / "agentpool" / "bin" / "agentpool", "__complete", "dr").split("\t")[0]
    assert program == "drain"
    bash = share / "bash-completion/completions/agentpool"
    assert "complete -F _agentpool agentpool" in run("bash", "--norc", "-c", f"source {bash}; complete -p agentpool")
    zsh = f"fpath=({share}/zsh/site-functions $fpath); autoload -U compinit; compinit -u -D; echo $_comps[agentpool]"
    assert run("zsh", "-f", "-c", zsh) == "_agentpool"
    fish = share / "fish/vendor_completions.d/agentpool.fish"
    assert "drain" in run("fish", "--no-config", "-c", f"set PATH {installed}/agentpool/bin $PATH; source {fish}; complete -C 'agentpool dr'")


# ---- manual pages ----

def test_finds_nothing_to_say_about_the_manual_pages(installed):
    pages = sorted(path for path in (installed / "agentpool/share/man").rglob("*") if path.is_file())
    assert [path.name for path in pages] == ["agentpool.1", "agentpool.json.5", "agentpoold.8"]
    done = subprocess.run(["mandoc", "-T", "lint", *pages], capture_output=True, text=True)
    # These pages are not in the machine's directory of pages, whose index is not ours to renew.
    said = [line for line in (done.stdout + done.stderr).splitlines()
            if "not found: Xr agentpool" not in line and "mandoc.db" not in line]
    assert said == []


def page(installed, name):
    """The text of a manual page, blanks squeezed."""
    path = next((installed / "agentpool/share/man").rglob(name))
    text = run("mandoc", "-T", "utf8", "-O", "width=1000", path)
    return re.sub(r"[ \t]+", " ", re.sub(r".\x08", "", text))


def test_describes_each_setting_when_agentpool_json_5_is_read(installed):
    text = page(installed, "agentpool.json.5")
    for path, array, has_variable in (("master/config/settings.c", "config_fields", True), ("registry/protocol/pool_config.c", "pool_config_fields", False)):
        for key, field in docs.settings(path, array).items():
            entry = re.search(rf"^ {re.escape(key)}(?: |\n)((?:.+\n)+)", text, flags=re.M)
            assert entry, f"{key} is not described"
            default = field.default_text().strip("`")
            assert re.search(rf"Default: ‘?{re.escape(default)}’?\.", entry[1]), f"{key}: {default} is not in {entry[1]}"
            if has_variable:
                assert "AGENTPOOL_" + key.upper().replace(".", "_") in entry[1]
    for name in docs.common_variables():
        assert name in text


def test_describes_each_flag_and_command_when_the_programs_pages_are_read(installed):
    daemon, client = page(installed, "agentpoold.8"), page(installed, "agentpool.1")
    usage = run(TOP / "build/agentpoold", "-h")
    for flag in re.findall(r"^ +(-\w)", usage, flags=re.M):
        assert re.search(rf"^ {flag}( file)?$", daemon, flags=re.M) or re.search(rf"^ {flag}( file)? [A-Z]", daemon, flags=re.M), flag
    for number in ("TERM", "INT, QUIT", "HUP", "USR1", "USR2"):
        assert re.search(rf"^ {number}\b", daemon, flags=re.M), number
    for command in docs.cli_commands():
        assert re.search(rf"^ {command}\b", client, flags=re.M), command


# ---- the package ----

@pytest.fixture
def deb(run_base):
    return package(run_base / "deb")


def test_finds_nothing_to_say_about_the_package(deb):
    assert run("lintian", "--allow-root", "--display-info", "--fail-on", "error,warning,info", deb) == ""


def test_builds_the_same_bytes_when_built_again(deb, run_base):
    again = package(run_base / "again")
    assert open(deb, "rb").read() == open(again, "rb").read()
    other = package(run_base / "other", SOURCE_DATE_EPOCH="1700000000")
    assert "2023-11-14 22:13" in run("dpkg-deb", "-c", other)
