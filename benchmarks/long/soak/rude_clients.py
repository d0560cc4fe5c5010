"""Clients that do not behave: slow, half gone, or gone. What they cost the server is what the soak is about."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable

PIECES = 10
PATIENCE = 60.0


class RudeClients:
    """Comes again and again in one of five ways, so often a second; counts what became of those that wait for an answer."""

    def __init__(self, port: int, body: str, seed: int, slow_seconds: float = 5.0) -> None:
        """Take the server's port and a body that it would answer; the slow take so many seconds to send it."""
        content = body.encode()
        head = "POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content
        self._head = self._request.index(b"\r\n\r\n") + 4
        self._port, self._seconds, self._draw = port, slow_seconds, random.Random(seed)
        self.outcomes: dict[str, Counter[str]] = {}

    async def come(self, rate: float, seconds: float) -> None:
        """Come at a rate for so long; returns when the last one has gone."""
        ways: tuple[tuple[str, Callable[[], Awaitable[str]]], ...] = (
            ("slow sender", self._slow),
            ("half-open", self._half_open),
            ("gone after half a request", self._gone_halfway),
            ("gone before the answer", self._gone_early),
            ("slow reader", self._slow_reader),
        )
        end, visits = time.monotonic() + seconds, set()
        while (left := end - time.monotonic()) > 0:
            visit = asyncio.create_task(self._visit(*self._draw.choice(ways)))
            visits.add(visit)
            visit.add_done_callback(visits.discard)
            await asyncio.sleep(min(self._draw.expovariate(rate), left))
        await asyncio.gather(*visits)

    async def _visit(self, name: str, way: Callable[[], Awaitable[str]]) -> None:
        try:
            outcome = await asyncio.wait_for(way(), PATIENCE)
        except TimeoutError:
            outcome = "no answer"
        except (OSError, EOFError) as exc:
            outcome = type(exc).__name__
        self.outcomes.setdefault(name, Counter())[outcome] += 1

    async def _slow(self) -> str:
        """Send the request in pieces; a server that is full may answer before it has all of it."""
        reader, writer = await self._connect()
        try:
            size = -(-len(self._request) // PIECES)
            for start in range(0, len(self._request), size):
                with contextlib.suppress(OSError):
                    writer.write(self._request[start : start + size])
                    await writer.drain()
                await asyncio.sleep(self._seconds / PIECES)
            return await _status(reader)
        finally:
            writer.close()

    async def _half_open(self) -> str:
        """Send half a head and nothing more, as a client does whose network is gone."""
        _, writer = await self._connect()
        writer.write(self._request[: self._head // 2])
        await asyncio.sleep(2 * self._seconds)
        writer.close()
        return "left"

    async def _gone_halfway(self) -> str:
        _, writer = await self._connect()
        writer.write(self._request[: self._head + 5])
        await asyncio.sleep(0.05)
        _reset(writer)
        return "left"

    async def _gone_early(self) -> str:
        _, writer = await self._connect()
        writer.write(self._request)
        await asyncio.sleep(0.001)
        _reset(writer)
        return "left"

    async def _slow_reader(self) -> str:
        reader, writer = await self._connect()
        try:
            writer.write(self._request)
            await asyncio.sleep(self._seconds)
            return await _status(reader)
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)


async def _status(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line:
        raise EOFError
    while await reader.read(65536):
        pass
    return line.split(b" ", 2)[1].decode("latin-1")


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as the system does for a process that was killed with data on the way."""
    opened: socket.socket = writer.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
