"""A real browser (Debian's chromium) and a web site for it, whose name is any under .example: both end with their test."""
import http.client
import http.server
import json
import pathlib
import shutil
import subprocess
import tempfile
import threading
import urllib.parse

import pytest

from daemon import PATIENCE

PAGE = (pathlib.Path(__file__).parent / "agents" / "page.html").read_text()
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP *.example 127.0.0.1"]


def program():
    return next(filter(None, map(shutil.which, ["chromium-headless-shell", "chromium"])), None) or pytest.skip("no chromium")


def browse(url):
    """What the page has become when all of it is loaded."""
    with tempfile.TemporaryDirectory(prefix="ap-browser-") as profile:
        return subprocess.run([program(), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url], capture_output=True, text=True,
                              timeout=4 * PATIENCE, check=True).stdout


class Site:
    """Serves page.html, which tries what a page can do with a pool, and hands what lies under /api to the daemon as reverse proxies do,
    with the headers that came."""

    def __init__(self, daemon):
        self.daemon, self.report, self.reported = daemon, None, threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, status, body=b"", kind="text/html"):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def body(self):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def forward(self):
                upstream = http.client.HTTPConnection(urllib.parse.urlsplit(site.daemon.url).netloc, timeout=PATIENCE)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "content-length")}
                upstream.request(self.command, self.path, self.body() or None, headers)
                answer = upstream.getresponse()
                self.send_response(answer.status)
                for name in ("Content-Type", "Allow"):
                    if answer.getheader(name):
                        self.send_header(name, answer.getheader(name))
                self.end_headers()
                while part := answer.read1():
                    self.wfile.write(part)
                    self.wfile.flush()
                upstream.close()

            def do_GET(self):
                if self.path.startswith("/api"):
                    self.forward()
                elif self.path == "/reported":  # the browser does not take the page for loaded before this image is there
                    site.reported.wait(4 * PATIENCE)
                    self.answer(404)
                else:
                    self.answer(200, PAGE.encode())

            def do_POST(self):
                if self.path == "/report":
                    site.report = json.loads(self.body())
                    site.reported.set()
                    self.answer(204)
                else:
                    self.forward()

            do_OPTIONS = do_DELETE = forward

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a page that goes leaves its stream

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def visit(self, host, target, pool):
        """What page.html of http://HOST:PORT could do with the daemon at target ("": by way of the site itself): {attempt: result}."""
        self.report = None
        self.reported.clear()
        browse(f"http://{host}:{self.port}/?" + urllib.parse.urlencode({"target": target, "pool": pool}))
        assert self.report is not None, "the page did not report"
        return self.report

    def close(self):
        self.reported.set()
        self.server.shutdown()
        self.server.server_close()
