"""A crowd on loopback for `bench_serve.py`: connections that say nothing, and slow ones that trickle headers or a body.

What the server closes is opened again, so that the crowd stays as large as it can; at most 20,000 connections in all.
Prints `ready` when all have been opened once and the counts when its standard input closes.

    python benchmarks/serve_crowd.py PORT IDLE SLOW
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import resource
import sys

HEADERS = b"POST /v1/check HTTP/1.1\r\nHost: x\r\n"
MOST = 20_000


class Crowd:
    """Counts of one crowd."""

    def __init__(self, port: int) -> None:
        self.port, self.opened, self.refused = port, 0, 0

    async def keep(self, first: bytes, trickle: bytes, gate: asyncio.Semaphore) -> None:
        """One place of the crowd: open, send `first`, then `trickle` over and over, a byte a second; open again when
        closed."""
        while self.opened < MOST:
            try:
                async with gate:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.refused += 1
                await asyncio.sleep(0.5)
                continue
            self.opened += 1
            with contextlib.suppress(OSError):
                writer.write(first)
                await self._linger(reader, writer, trickle)
            writer.transport.abort()
            await asyncio.sleep(0.1)

    async def _linger(self, reader, writer, trickle: bytes) -> bytes:
        if not trickle:
            return await reader.read()
        gone = asyncio.ensure_future(reader.read())
        for byte in itertools.cycle(trickle):
            if (await asyncio.wait({gone}, timeout=1.0))[0]:
                return await gone
            writer.write(bytes([byte]))
        return b""


async def main(port: int, idle: int, slow: int) -> None:
    """Hold the crowd until standard input closes."""
    os.nice(5)  # a crowd is elsewhere: it should not take the server's processor
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, idle + slow + 200)), hard))
    crowd, gate = Crowd(port), asyncio.Semaphore(16)
    kinds = [(HEADERS + b"X-A: ", b"a"), (HEADERS + b"Content-Length: 1000\r\n\r\n", b" "), (b"P", b"O")]
    places = [asyncio.create_task(crowd.keep(b"", b"", gate)) for _ in range(idle)]
    places += [asyncio.create_task(crowd.keep(*kinds[k % 3], gate)) for k in range(slow)]
    while crowd.opened < idle + slow:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps({"opened": crowd.opened, "refused": crowd.refused}), flush=True)
    for place in places:
        place.cancel()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:4])))
