"""The proxy in front of the S3 endpoint. It knows requests, so that it can lose the reply of just a PUT, or list what was."""

import asyncio
import time

from torture.proxies import HANG, REFUSE, SLOW, Proxy

LOSE_PUT = "lose put reply"  # the object is there, the writer never hears of it
STALE_LIST = "stale list"  # listings are as they were some seconds ago
# So old are the listings that STALE_LIST answers with, at least.
STALE_SECONDS = 2.0


class StoreProxy(Proxy):
    """HTTP/1.1, one request after the other on each connection."""

    def __init__(self, network, target_port, listings):
        # The last (when, answer) by request target; shared by the proxies of one store: what is stale for one process is
        # what another one was told.
        self.listings = listings
        super().__init__(network, target_port)

    async def _serve(self, connection, reader, writer, up_reader, up_writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            body = await read_body(reader, head)
            await self._may_pass()
            if self.mode == REFUSE:
                self.met[REFUSE] += 1
                return
            if self.mode == SLOW:
                self.met[SLOW] += 1
                await asyncio.sleep(self.delay)
            listing = method == "GET" and "list-type=2" in target
            stale = self._stale(target) if listing and self.mode == STALE_LIST else None
            if stale is not None:
                self.met[STALE_LIST] += 1
                writer.write(stale)
                await writer.drain()
                continue
            self._tell((method, target), "before")
            up_writer.write(head + body)
            await up_writer.drain()
            # Endpoints stream; what a test stores is small enough to be read whole.
            answer_head = await up_reader.readuntil(b"\r\n\r\n")
            answer = answer_head
            if method != "HEAD" and answer_head.split(b" ", 2)[1] not in (b"204", b"304"):
                answer += await read_body(up_reader, answer_head)
            self._tell((method, target), "after")
            await self._may_pass()
            if self.mode == REFUSE or (self.mode == LOSE_PUT and method == "PUT"):
                self.met[self.mode] += 1
                return
            if listing:
                self.listings[target] = [*self.listings.get(target, [])[-5:], (time.monotonic(), answer)]
            writer.write(answer)
            await writer.drain()

    def _stale(self, target):
        old = [answer for at, answer in self.listings.get(target, []) if at < time.monotonic() - STALE_SECONDS]
        return old[-1] if old else None


async def read_body(reader, head):
    """The body after a head, in the form in which it came."""
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        chunks = []
        while True:
            size = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
            chunks += [size, chunk]
            if chunk == b"\r\n":
                return b"".join(chunks)
    return await reader.readexactly(int(fields.get(b"content-length", b"0")))

