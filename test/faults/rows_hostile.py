"""Row 33: what clients, Redis, agents and configuration files might say to do harm."""
import re
import socket
import subprocess

from daemon import TOP
from scene import two_pools

FUZZERS = TOP / "build" / "fuzz"
SECONDS = 5  # each; CI gives each of them longer
POST = b"POST /api/v1/agents/spawn HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HIDDEN = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"  # to be served only if the message before it was understood wrongly
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
# Each must be answered once, with an error, and the connection closed: the hidden request is never served.
SMUGGLED = {
    "CL.TE": CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE.CL": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n",
    "TE.TE": CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE misspelt": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE after vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}" + HIDDEN,
    "length with a sign": POST + b"Content-Length: +2\r\n\r\n{}" + HIDDEN,
    "length in hex": POST + b"Content-Length: 0x2\r\n\r\n{}" + HIDDEN,
    "length over 64 bits": POST + b"Content-Length: 18446744073709551618\r\n\r\n{}" + HIDDEN,
    "space before the colon": POST + b"Content-Length : 0\r\n\r\n" + HIDDEN,
    "folded header": POST + b"Content-Length:\r\n 0\r\n\r\n" + HIDDEN,
    "bare LF": POST + b"X: a\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "bare CR": POST + b"X: a\rContent-Length: 0\r\n\r\n" + HIDDEN,
    "NUL in a header": POST + b"X: a\0b\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "chunk of 2^64+2": CHUNKED + b"\r\n10000000000000002\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "chunk ended by LF": CHUNKED + b"\r\n2\n{}\r\n0\r\n\r\n" + HIDDEN,
    "chunk longer than said": CHUNKED + b"\r\n2\r\n{}x\r\n0\r\n\r\n" + HIDDEN,
    "chunk with a sign": CHUNKED + b"\r\n+2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "trailer folded": CHUNKED + b"\r\n2\r\n{}\r\n0\r\nX: a\r\n b\r\n\r\n" + HIDDEN,
    "two hosts": HIDDEN.replace(b"Host: localhost\r\n", b"Host: localhost\r\nHost: i\r\n") + HIDDEN,
    "no host": b"GET /livez HTTP/1.1\r\n\r\n" + HIDDEN,
    "space in the target": b"GET /livez HTTP/1.1 HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "user in the target": b"GET http://u@h/livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
}


def converse(address, data):
    """All that comes back before the server closes."""
    answer = b""
    with socket.create_connection(address, timeout=60) as sock:
        sock.sendall(data)
        try:
            while piece := sock.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    return answer


def hostile_input(scene):
    daemon = scene.start(pools=two_pools())
    host, port = daemon.url.removeprefix("http://").split(":")
    targets = scene.spawn(daemon, "programs", 4)
    with scene.clients(daemon, ["modules"], targets, number=2) as clients:
        for what, data in SMUGGLED.items():
            scene.injected("smuggled requests")
            answer = converse((host, int(port)), data)
            statuses = re.findall(rb"HTTP/1\.1 (\d+) ", answer)
            assert len(statuses) == 1 and statuses[0][:1] in (b"4", b"5"), f"{what}: {answer[:300]}"
            scene.recovered(lambda: daemon.get("/livez").status_code == 200, "others to be served")
        clients.flow()
    executions = 0
    fuzzers = [path for path in sorted(FUZZERS.glob("fuzz_*")) if path.is_file() and not path.suffix]
    assert len(fuzzers) >= 5, f"there are {len(fuzzers)} fuzzers in {FUZZERS}"
    for path in fuzzers:
        executions += fuzz(scene, path)
    scene.figures.append(f"{len(SMUGGLED)} cases refused; {executions} executions of {len(fuzzers)} fuzzers without a finding")


def fuzz(scene, path):
    name = path.name.removeprefix("fuzz_")
    found = scene.directory / name
    found.mkdir()
    scene.injected(f"fuzzers for {SECONDS} s")
    done = subprocess.run([path, f"-max_total_time={SECONDS}", "-print_final_stats=1", f"-artifact_prefix={found}/", found,
                           TOP / "test/fuzz/corpus" / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{path.name}: {done.stderr[-2000:]}"
    return int(re.search(r"stat::number_of_executed_units: (\d+)", done.stderr).group(1))
