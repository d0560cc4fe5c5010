"""A load generator for one server: open loop at a rate, or closed loop over so many connections.

    python -m benchmarks.load --url http://127.0.0.1:5001/score --bodies FILE --rate 200 --seconds 60

Open loop: requests are due at random times that do not depend on the answers (exponential gaps, so a Poisson process
of the rate). A request's latency runs from the moment it was due, also where this process is late to send it, so that
a server that stalls cannot hide the requests that would have come meanwhile (coordinated omission). A request takes an
idle connection, or opens one.

Closed loop (`--connections`): each connection sends its next request when it has its answer. In Python it is slower
than wrk and takes CPU from the server: for where wrk cannot be had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

SEED = 17
PATIENCE = 30.0
"""Seconds from when a request was due to where its client gives up, counted as `no answer`."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Exchange(NamedTuple):
    """What came of one request: its body's index; when it was due, sent and over, by time.perf_counter; the answer."""

    body: int
    due: float
    sent: float
    ended: float
    status: str
    content: bytes


def due_times(rate: float, seconds: float, seed: int = SEED) -> Iterator[float]:
    """Yield when requests are due, in seconds from the start: about rate * seconds times."""
    draw = random.Random(seed)
    due = draw.expovariate(rate)
    while due < seconds:
        yield due
        due += draw.expovariate(rate)


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of the values does not exceed; None without values.

    >>> quantile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None


@dataclass
class Tally:
    """What came of the requests: latencies in seconds by status; `no answer` and `refused` are statuses too."""

    latencies: dict[str, list[float]] = field(default_factory=dict)

    def add(self, status: str, seconds: float) -> None:
        """Count an answer."""
        self.latencies.setdefault(status, []).append(seconds)

    def report(self, seconds: float) -> dict[str, Any]:
        """Return counts by status, the rate of the 200s, and their latency in milliseconds."""
        good = self.latencies.get("200", [])
        found = {f"p{share:g}": quantile(good, share / 100) for share in (50, 90, 99, 99.9, 100)}
        return {
            "seconds": seconds,
            "statuses": dict(Counter({status: len(times) for status, times in self.latencies.items()})),
            "requests_per_second": len(good) / seconds,
            "ms": {name: None if value is None else round(1e3 * value, 3) for name, value in found.items()},
        }


class Client:
    """Sends requests to one server, over connections that are kept."""

    def __init__(
        self,
        url: str,
        bodies: Sequence[str],
        watch: Callable[[Exchange], None] | None = None,
        keep: bool = True,
    ) -> None:
        """Take the server's URL and the JSON bodies that are sent in turn; `watch` is told of each exchange.

        Without `keep` each request has a connection of its own, so that none is sent twice: one that is sent over a
        connection that the server has closed meanwhile is sent again, and where the server ended on it nobody would know.
        """
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._requests = [_request(parts.path or "/", f"{self._host}:{self._port}", body) for body in bodies]
        self._idle: list[Connection] = []
        self._watch, self._keep = watch, keep
        self.tally = Tally()

    async def open_loop(self, rate: float, seconds: float, seed: int = SEED) -> dict[str, Any]:
        """Send at a rate; returns the tally's report, when every request is answered or given up."""
        start = time.perf_counter()
        tasks = set()
        for number, due in enumerate(due_times(rate, seconds, seed)):
            wait = start + due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self._send(number, start + due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        await self._close()
        return self.tally.report(seconds)

    async def closed_loop(self, connections: int, seconds: float) -> dict[str, Any]:
        """Keep so many requests on the way; returns the tally's report."""
        end = time.perf_counter() + seconds

        async def one(number: int) -> None:
            while time.perf_counter() < end:
                await self._send(number, time.perf_counter())
                number += connections

        await asyncio.gather(*(one(number) for number in range(connections)))
        await self._close()
        return self.tally.report(seconds)

    async def in_turn(self, count: int) -> dict[str, Any]:
        """Send so many requests, each when the one before is answered; returns the tally's report."""
        start = time.perf_counter()
        for number in range(count):
            await self._send(number, time.perf_counter())
        await self._close()
        return self.tally.report(time.perf_counter() - start)

    async def _send(self, number: int, due: float) -> None:
        body, content = number % len(self._requests), b""
        sent = time.perf_counter()
        try:
            left = due + PATIENCE - sent
            status, content = await asyncio.wait_for(self._exchange(self._requests[body]), left)
        except TimeoutError:
            status = "no answer"
        except (OSError, EOFError, ValueError) as exc:
            status = type(exc).__name__
        ended = time.perf_counter()
        self.tally.add(status, ended - due)
        if self._watch:
            self._watch(Exchange(body, due, sent, ended, status, content))

    async def _exchange(self, request: bytes) -> tuple[str, bytes]:
        """Send a request and return its answer's status and content. An idle connection that was closed is replaced."""
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._over(connection, request)
            except (ConnectionError, asyncio.IncompleteReadError):
                continue
        return await self._over(await asyncio.open_connection(self._host, self._port), request)

    async def _over(self, connection: Connection, request: bytes) -> tuple[str, bytes]:
        reader, writer = connection
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            status = head.split(" ", 2)[1]
            length = head.partition("content-length:")[2].partition("\r\n")[0].strip()
            if not length:
                raise ValueError("expected an answer with a content-length")
            content = await reader.readexactly(int(length))
        except BaseException:
            writer.close()
            raise
        if not self._keep or "connection: close" in head:
            writer.close()
        else:
            self._idle.append(connection)
        return status, content

    async def _close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


def _request(path: str, host: str, body: str) -> bytes:
    content = body.encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; prints one line of JSON."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.load", description=__doc__, formatter_class=formatter)
    parser.add_argument("--url", required=True, help="where to POST")
    parser.add_argument("--bodies", type=Path, required=True, help="JSON bodies, one a line, sent in turn")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long (10)")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--rate", type=float, help="open loop: requests a second")
    how.add_argument("--connections", type=int, help="closed loop: requests on the way")
    args = parser.parse_args(argv)
    client = Client(args.url, args.bodies.read_text(encoding="utf-8").splitlines())
    loop = (
        client.open_loop(args.rate, args.seconds) if args.rate else client.closed_loop(args.connections, args.seconds)
    )
    sys.stdout.write(json.dumps(asyncio.run(loop)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
