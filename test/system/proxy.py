"""A TCP proxy between the daemon and its Redis that can do what a network does: hold everything back (a black hole), cut
connections, and lose, double or delay what Redis publishes."""
import asyncio
import random
import threading


def read_value(data, at=0):
    """(value, end) of the RESP value at data[at:], or None when it is not whole yet."""
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        return None
    kind, head, end = data[at:at + 1], data[at + 1:line_end], line_end + 2
    if kind in b"+-:":
        return head, end
    count = int(head)
    if kind == b"$":
        if count < 0:
            return None, end
        return (data[end:end + count], end + count + 2) if len(data) >= end + count + 2 else None
    items = []
    for _ in range(count):
        item = read_value(data, end)
        if item is None:
            return None
        items.append(item[0])
        end = item[1]
    return items, end


class Proxy:
    """Forwards to port until told otherwise. lose, double, delay: chances of a published message (0 to 1)."""

    def __init__(self, port, seed=1):
        self.target = port
        self.lose = self.double = self.delay = 0.0
        self.touched = 0
        self.random = random.Random(seed)
        self.writers = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.started = threading.Event()
        self.thread.start()
        assert self.started.wait(30)

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.open = asyncio.Event()
        self.open.set()
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self.started.set()
        self.loop.run_forever()

    def stop(self):
        asyncio.run_coroutine_threadsafe(self.close(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.loop.close()

    async def close(self):
        for writer in list(self.writers):
            writer.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hold(self, on):
        """Nothing comes through in either direction; connections stay, and are accepted."""
        self.loop.call_soon_threadsafe(self.open.clear if on else self.open.set)

    def cut(self):
        """Every connection is reset."""
        def abort():
            for writer in list(self.writers):
                writer.transport.abort()
        self.loop.call_soon_threadsafe(abort)

    async def serve(self, reader, writer):
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.writers |= {writer, back}
        await asyncio.gather(self.forward(reader, back), self.forward_answers(there, writer))
        self.writers -= {writer, back}

    async def forward(self, reader, writer):
        try:
            while data := await reader.read(65536):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.transport.abort()

    async def forward_answers(self, reader, writer):
        data = b""
        try:
            while more := await reader.read(65536):
                await self.open.wait()
                data += more
                at = 0
                while (value := read_value(data, at)) is not None:
                    self.answer(writer, value[0], data[at:value[1]])
                    at = value[1]
                data = data[at:]
                await writer.drain()
        except OSError:
            pass
        writer.transport.abort()

    def answer(self, writer, value, text):
        if not (isinstance(value, list) and len(value) == 3 and value[0] == b"message"):
            writer.write(text)
            return
        fate = self.random.random()
        if fate < self.lose + self.double + self.delay:
            self.touched += 1
        if fate < self.lose:
            return
        if fate < self.lose + self.double:
            writer.write(text)
        elif fate < self.lose + self.double + self.delay:
            self.loop.call_later(self.random.uniform(0.01, 1.2), self.write_late, writer, text)
            return
        writer.write(text)

    @staticmethod
    def write_late(writer, text):
        if not writer.transport.is_closing():
            writer.write(text)
