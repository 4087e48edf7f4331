"""Proxies between a process and whom it talks to. They forward bytes until they are told to misbehave."""

import asyncio
import threading
from collections import Counter

PASS = "pass"
REFUSE = "refuse"  # connections are reset, those that are open and new ones
HANG = "hang"  # nothing moves in either direction
SLOW = "slow"  # every chunk waits
MUTE = "mute"  # requests arrive and are handled, their answers vanish


class Network:
    """The event loop that all proxies of a run share, in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.servers = []
        threading.Thread(target=self.loop.run_forever, name="network", daemon=True).start()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def stop(self):
        self.call(self._end_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def _end_tasks(self):
        for server in self.servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Proxy:
    """Listens on a free loopback port; modes are set from any thread."""

    def __init__(self, network, target_port):
        self.network, self.target_port = network, target_port
        self.mode, self.delay = PASS, 0.0
        # Called in the event loop as hook(what, phase); what it does (a kill) happens between two steps of the traffic.
        self.hook = None
        self.met = Counter()  # by mode: how many connections, requests, answers it hit
        self.lock = threading.Lock()  # of the fault that is at work here
        self.open = set()
        server = network.call(self._listen())
        network.servers.append(server)
        self.port = server.sockets[0].getsockname()[1]

    async def _listen(self):
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def set(self, mode, delay=0.0):
        """From now on. Connections that lost bytes, or that must not go on, are cut."""
        self.mode, self.delay = mode, delay
        if mode == REFUSE:
            self.cut()
        elif mode == PASS:
            self.network.loop.call_soon_threadsafe(self._cut, True)

    def cut(self):
        self.network.loop.call_soon_threadsafe(self._cut, False)

    def _cut(self, only_spoiled):
        for connection in list(self.open):
            if connection.spoiled or not only_spoiled:
                connection.abort()

    async def _accept(self, reader, writer):
        connection = Connection(writer)
        self.open.add(connection)
        try:
            await self._may_pass()
            if self.mode == REFUSE:
                self.met[REFUSE] += 1
                return
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            connection.writers.append(up_writer)
            await self._serve(connection, reader, writer, up_reader, up_writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the peer is gone, or the run is over
        finally:
            self.open.discard(connection)
            connection.abort()

    async def _may_pass(self):
        if self.mode == HANG:
            self.met[HANG] += 1
        while self.mode == HANG:
            await asyncio.sleep(0.02)

    async def _serve(self, connection, reader, writer, up_reader, up_writer):
        there = asyncio.ensure_future(self._pump(connection, reader, up_writer, outward=False))
        back = asyncio.ensure_future(self._pump(connection, up_reader, writer, outward=True))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)

    async def _pump(self, connection, reader, writer, outward):
        while data := await reader.read(1 << 16):
            if self.mode == SLOW:
                self.met[SLOW] += 1
                await asyncio.sleep(self.delay)
            await self._may_pass()
            if outward and (self.mode == MUTE or connection.spoiled):
                self.met[MUTE] += 1
                connection.spoiled = True
                continue
            if not outward:
                self._tell(data, "before")
            writer.write(data)
            await writer.drain()
            if not outward:
                self._tell(data, "after")

    def _tell(self, what, phase):
        if self.hook is not None:
            self.hook(what, phase)


class Connection:
    """Both sockets of a forwarded connection."""

    def __init__(self, writer):
        self.writers = [writer]
        self.spoiled = False

    def abort(self):
        for writer in self.writers:
            writer.transport.abort()
