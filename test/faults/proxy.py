"""A TCP proxy that spoils what passes: connections are reset, answers lost, messages of a Redis subscription lost, doubled, late."""
import contextlib
import socket
import struct
import threading
import time

from servers import free_port

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


class Connection:
    """One client and its connection to the server; a thread for each direction."""

    def __init__(self, proxy, client):
        self.proxy, self.client, self.spoil_next = proxy, client, False
        self.server = socket.create_connection(proxy.upstream)
        for sock in (self.client, self.server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target, filter_ in ((self.client, self.server, proxy.from_client), (self.server, self.client, proxy.from_server)):
            threading.Thread(target=self.move, args=(source, target, filter_), daemon=True).start()

    def move(self, source, target, filter_):
        try:
            while data := source.recv(1 << 16):
                for piece in filter_(self, data):
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
        self.dice, self.spoils, self.lost, self.doubled, self.late = dice, False, 0, 0, 0
        self.rest = {}

    def from_server(self, connection, data):
        data = self.rest.pop(connection, b"") + data
        if not data.startswith(b"*3\r\n$7\r\nmessage\r\n"):
            yield data
            return
        frames, rest = split_messages(data)
        if rest:
            self.rest[connection] = rest
        for frame in frames:
            yield from self.spoil(connection, frame)

    def spoil(self, connection, frame):
        chance = self.dice.random() if self.spoils else 1
        if chance < 0.2:
            self.lost += 1
        elif chance < 0.4:
            self.doubled += 1
            yield frame + frame
        elif chance < 0.6:
            self.late += 1
            threading.Thread(target=self.send_late, args=(connection, frame, self.dice.random() * 1.5), daemon=True).start()
        else:
            yield frame

    @staticmethod
    def send_late(connection, frame, seconds):
        time.sleep(seconds)
        with contextlib.suppress(OSError):
            connection.client.sendall(frame)


def split_messages(data):
    """Whole RESP arrays of three bulk strings, and what is not whole yet (or is no message)."""
    frames, at = [], 0
    while data.startswith(b"*3\r\n$", at):
        end = at + 4
        for _ in range(3):
            line = data.find(b"\r\n", end)
            if line < 0 or data[end:end + 1] != b"$":
                return frames, data[at:]
            end = line + 2 + int(data[end + 1:line]) + 2
        if end > len(data):
            break
        frames.append(data[at:end])
        at = end
    return frames, data[at:]
