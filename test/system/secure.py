"""Certificates, tokens and sockets for the tests of who may ask agentpool for what."""
import hashlib
import http.client
import os
import socket
import subprocess

TOKENS = {"dashboard": ("read", "read-read-read-read-1"), "scheduler": ("operate", "operate-operate-op-2"),
          "oncall": ("admin", "admin-admin-admin-3")}


def write_tokens(path, tokens=None, mode=0o640):
    """Every second one only as a digest."""
    lines = ["# who may use the API"]
    for i, (name, (role, secret)) in enumerate((tokens or TOKENS).items()):
        digest = "sha256:" + hashlib.sha256(secret.encode()).hexdigest()
        lines.append(f"{name}\t{role} {secret if i % 2 else digest}")
    path.write_text("\n".join(lines) + "\n")
    path.chmod(mode)
    return str(path)


def bearer(name, tokens=None):
    return {"Authorization": f"Bearer {(tokens or TOKENS)[name][1]}"}


class Authority:
    """A certificate authority in a directory, made by openssl."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.certificate = directory / "ca.pem"
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test CA",
                 "-keyout", "ca.key", "-out", "ca.pem")

    def run(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def issue(self, name, *alternatives):
        """(certificate, key) of a name."""
        extensions = self.directory / f"{name}.ext"
        extensions.write_text("subjectAltName=" + ",".join(alternatives or ["IP:127.0.0.1", "DNS:localhost"]))
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout",
                 f"{name}.key", "-out", f"{name}.csr")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                 "-extfile", extensions.name, "-out", f"{name}.pem")
        return str(self.directory / f"{name}.pem"), str(self.directory / f"{name}.key")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def ask_unix(path, method, target, body=None, headers=None):
    """(status, body)"""
    connection = UnixConnection(path)
    connection.request(method, target, body, headers or {})
    answer = connection.getresponse()
    status, text = answer.status, answer.read()
    connection.close()
    return status, text.decode()


def status_of(pid):
    """/proc/PID/status as a dictionary."""
    with open(f"/proc/{pid}/status", encoding="utf8") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def searched(directory):
    """Every regular file below a directory, as bytes."""
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    yield path, file.read()
