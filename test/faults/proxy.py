"""A TCP proxy that spoils what passes: connections are reset, answers lost, messages of a Redis subscription lost, doubled, late."""
import collections
import contextlib
import socket
import struct
import threading

from servers import free_port

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


class Connection:
    """One client and its connection to the server; a thread for each direction."""

    def __init__(self, proxy, client):
        self.proxy, self.client, self.spoil_next = proxy, client, False
        self.subscribes, self.rest, self.lock = False, b"", threading.Lock()
        self.server = socket.create_connection(proxy.upstream)
        for sock in (self.client, self.server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target, filter_ in ((self.client, self.server, proxy.from_client), (self.server, self.client, proxy.from_server)):
            threading.Thread(target=self.move, args=(source, target, filter_), daemon=True).start()

    def move(self, source, target, filter_):
        try:
            while data := source.recv(1 << 16):
                for piece in filter_(self, data):
                    with self.lock if target is self.client else contextlib.nullcontext():
                        target.sendall(piece)
        except OSError:
            pass
        self.close()

    def reset(self):
        for sock in (self.client, self.server):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close()

    def close(self):
        for sock in (self.client, self.server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self.proxy.connections.discard(self)


class Proxy:
    """Passes everything on; subclasses spoil."""

    def __init__(self, port):
        self.upstream, self.port, self.connections = ("127.0.0.1", port), free_port(), set()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            try:
                self.connections.add(Connection(self, client))
            except OSError:
                client.close()

    def from_client(self, _connection, data):
        yield data

    def from_server(self, _connection, data):
        yield data

    def reset_all(self):
        for connection in list(self.connections):
            connection.reset()


class AnswerEater(Proxy):
    """Once armed: the server does what `after` asks for, its answer is lost, and the connection with it."""

    def __init__(self, port, after):
        super().__init__(port)
        self.after, self.armed, self.eaten = after, False, 0

    def from_client(self, connection, data):
        if self.armed and self.after in data:
            self.armed, connection.spoil_next = False, True
        yield data

    def from_server(self, connection, data):
        if connection.spoil_next:
            self.eaten += 1
            connection.reset()
            raise OSError
        yield data


class MessageSpoiler(Proxy):
    """While it spoils: of the messages that Redis sends to subscribers, some are lost, some come twice, some late."""

    def __init__(self, port, dice):
        super().__init__(port)
        self.dice, self.spoils, self.done = dice, False, collections.Counter()

    def from_client(self, connection, data):
        connection.subscribes |= b"SUBSCRIBE" in data.upper()
        yield data

    def from_server(self, connection, data):
        if not connection.subscribes:
            yield data
            return
        data, at = connection.rest + data, 0
        while (end := value_end(data, at)) > 0:
            yield from self.spoil(connection, data[at:end])
            at = end
        connection.rest = data[at:]

    def spoil(self, connection, value):
        chance = self.dice.random() if self.spoils and value.startswith(b"*3\r\n$7\r\nmessage\r\n") else 1
        if chance < 0.2:
            self.done["lost"] += 1
        elif chance < 0.4:
            self.done["doubled"] += 1
            yield value + value
        elif chance < 0.6:
            self.done["late"] += 1
            threading.Timer(self.dice.random() * 1.5, self.send_late, (connection, value)).start()
        else:
            yield value

    @staticmethod
    def send_late(connection, value):
        with contextlib.suppress(OSError), connection.lock:
            connection.client.sendall(value)


def value_end(data, at):
    """Where the RESP value that begins at `at` ends; 0 when not all of it is there."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return 0
    kind, end = data[at:at + 1], line + 2
    if kind == b"$" and data[at + 1:line] != b"-1":
        end += int(data[at + 1:line]) + 2
        return end if end <= len(data) else 0
    for _ in range(int(data[at + 1:line]) if kind == b"*" else 0):
        end = value_end(data, end)
        if not end:
            return 0
    return end
