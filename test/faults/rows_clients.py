"""Row 27: clients that send slowly, not at all, or vanish."""
import contextlib
import socket
import time

from daemon import wait_for

TCP_REPAIR = 19  # a socket in repair mode is closed without a word to the other side
SLOW = {
    "slow header": (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", b"X-Slow: 1\r\n"),
    "slow body": (b"POST /api/v1/agents/spawn HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n", b" "),
}


def connect(address):
    return socket.create_connection(address, timeout=60)


def closed_by_server(sock):
    """True once the server has closed it; reads what it says before."""
    sock.settimeout(0.001)
    try:
        while sock.recv(4096):
            pass
        return True
    except TimeoutError:
        return False
    except OSError:
        return True


def trickle(address, number, head, more):
    """number clients that send a line now and then; returns them once all are closed by the server."""
    sockets = [connect(address) for _ in range(number)]
    for sock in sockets:
        sock.sendall(head)

    def all_closed():
        for sock in list(sockets):
            with contextlib.suppress(OSError):
                sock.settimeout(1)
                sock.sendall(more)
            if closed_by_server(sock):
                sock.close()
                sockets.remove(sock)
        time.sleep(0.1)
        return not sockets
    return all_closed


def connections(daemon):
    return daemon.get("/stats").json()["connections"]["open"]


def slow_clients(scene):
    number = 100
    daemon = scene.start(server={"request_timeout_ms": 1500, "idle_timeout_ms": 3000, "max_connections": 2000})
    host, port = daemon.url.removeprefix("http://").split(":")
    address, targets = (host, int(port)), scene.spawn(daemon, "programs", 4)
    with scene.clients(daemon, ["modules"], targets) as clients:
        for what, (head, more) in SLOW.items():
            scene.injected(what, number)
            scene.recovered(trickle(address, number, head, more), f"{what} to be closed")
            clients.flow()
        idle = [connect(address) for _ in range(number)]
        scene.injected("idle", number)
        scene.recovered(lambda: all(closed_by_server(sock) for sock in idle), "idle connections to be closed")
        for sock in idle:
            sock.close()
        half_open = [connect(address) for _ in range(number)]
        for sock in half_open:
            sock.sendall(b"GET /livez HT")
        wait_for(lambda: connections(daemon) >= number, "the half-open connections to be there")
        scene.injected("half-open", number)
        for sock in half_open:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            sock.close()
        scene.recovered(lambda: connections(daemon) < number / 2, "half-open connections to be closed")
        clients.flow()
