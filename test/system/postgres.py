"""A real PostgreSQL and a real PgBouncer in a temporary directory, stopped by pid at the end."""
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

BIN = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    def __init__(self, parent="/tmp"):
        self.parent = parent

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ap-pg-", dir=self.parent))
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(self.directory, "postgres")
        self.port, self.bouncer_port = free_port(), free_port()
        self.data = self.directory / "data"
        self.processes = []
        self.run(BIN / "initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "--no-sync", check=True)
        self.start()
        self.start_bouncer()
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self.processes:
            process.wait(timeout=60)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _as_user(self, command):
        return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", *map(str, command)] \
            if os.getuid() == 0 else list(map(str, command))

    def run(self, *command, **arguments):
        return subprocess.run(self._as_user(command), cwd=self.directory, stdout=subprocess.DEVNULL, **arguments)

    def _spawn(self, *command):
        log = open(self.directory / "log", "ab")
        process = subprocess.Popen(self._as_user(command), cwd=self.directory, stdout=log, stderr=log)
        log.close()
        self.processes.append(process)
        return process

    def start(self):
        """Starts the server (again) and waits until it answers."""
        self.server = self._spawn(BIN / "postgres", "-D", self.data, "-p", self.port, "-k", self.directory,
                                  "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50")
        self._wait(self.port, self.server)

    def stop(self, number=signal.SIGQUIT):
        """SIGQUIT ends it at once, as a crash does; SIGINT in order."""
        self.server.send_signal(number)
        self.server.wait(timeout=60)

    def start_bouncer(self):
        settings = self.directory / "pgbouncer.ini"
        settings.write_text(f"[databases]\n* = host=127.0.0.1 port={self.port}\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
                            f"listen_port={self.bouncer_port}\nauth_type=any\npool_mode=transaction\nunix_socket_dir=\n"
                            "ignore_startup_parameters=extra_float_digits,options\nserver_login_retry=1\n")
        # auth_type any needs the user named per database.
        settings.write_text(settings.read_text().replace("* = host", "* = user=postgres host"))
        self.bouncer = self._spawn(shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", settings)
        self._wait(self.bouncer_port, self.bouncer)

    @staticmethod
    def _wait(port, process):
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            assert process.poll() is None and time.monotonic() < deadline, f"no server on port {port}"
            time.sleep(0.02)

    def create(self, name):
        deadline = time.monotonic() + 60
        while self.run(BIN / "createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", name,
                       stderr=subprocess.DEVNULL).returncode != 0:
            assert time.monotonic() < deadline, f"cannot create database {name}"
            time.sleep(0.05)

    def url(self, name, create=True):
        """postgresql:// of a new database."""
        if create:
            self.create(name)
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def bouncer_url(self, name, create=True):
        if create:
            self.create(name)
        return f"postgresql://postgres@127.0.0.1:{self.bouncer_port}/{name}"
