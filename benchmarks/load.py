"""The load on a server: open loop at a rate, or closed loop over a number of connections, in Python or by wrk.

    python -m benchmarks.load --url http://127.0.0.1:5001/score --bodies FILE --rate 200 --seconds 60

Open loop: requests are due at random times that do not depend on the answers (exponential gaps, a Poisson process). The
latency of a request runs from the moment it was due, even if this process sends it late, so that a server that stalls
cannot hide the requests that would have come meanwhile (coordinated omission). A request takes an idle connection or
opens a new connection.

Closed loop (`--connections`): each connection sends its next request when it has its answer. Python is slower than wrk
and takes CPU time from the server, so it is only used if wrk is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.workers import ROOT

SEED = 17
PATIENCE = 30.0
"""Seconds after which a client gives up; the request counts as `no answer`."""

UNPACKED = ROOT / ".venv/wrk"
SCRIPT = Path(__file__).with_name("wrk.lua")
TIMEOUT_SECONDS = 30

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class LoadError(RuntimeError):
    """The load generator failed."""


class Exchange(NamedTuple):
    """A request and its answer: the index of its body, the times by time.perf_counter, the status and the content."""

    body: int
    due: float
    sent: float
    ended: float
    status: str
    content: bytes


def due_times(rate: float, seconds: float, seed: int = SEED) -> Iterator[float]:
    """Yield the times of requests in seconds from the start: about rate * seconds of them."""
    draw = random.Random(seed)
    due = draw.expovariate(rate)
    while due < seconds:
        yield due
        due += draw.expovariate(rate)


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least a share of the values does not exceed; None without values.

    >>> quantile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None


@dataclass
class Tally:
    """Latencies in seconds by status; `no answer` and the names of connection errors are statuses too."""

    latencies: dict[str, list[float]] = field(default_factory=dict)

    def add(self, status: str, seconds: float) -> None:
        """Count an answer."""
        self.latencies.setdefault(status, []).append(seconds)

    def report(self, seconds: float) -> dict[str, Any]:
        """Return counts by status, the rate of the 200s, and their latency in milliseconds."""
        good = self.latencies.get("200", [])
        quantiles = {f"p{share:g}": quantile(good, share / 100) for share in (50, 90, 99, 99.9, 100)}
        return {
            "seconds": seconds,
            "statuses": dict(Counter({status: len(times) for status, times in self.latencies.items()})),
            "requests_per_second": len(good) / seconds,
            "ms": {name: None if value is None else round(1e3 * value, 3) for name, value in quantiles.items()},
        }


class Client:
    """Sends requests to a server over connections that stay open."""

    def __init__(
        self,
        url: str,
        bodies: Sequence[str],
        watch: Callable[[Exchange], None] | None = None,
        keep: bool = True,
    ) -> None:
        """Take the server's URL and the JSON bodies to send in turn; `watch` is called with each exchange.

        Without `keep` each request has its own connection and is never sent twice. With `keep`, a request on a connection
        that the server has closed is sent again, which would hide a server that died of the request.
        """
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._requests = [_request(parts.path or "/", f"{self._host}:{self._port}", body) for body in bodies]
        self._idle: list[Connection] = []
        self._watch, self._keep = watch, keep
        self.tally = Tally()

    async def open_loop(self, rate: float, seconds: float, seed: int = SEED) -> dict[str, Any]:
        """Send at a rate; returns the tally's report when every request is answered or given up."""
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
        """Keep a request under way on each connection; returns the tally's report."""
        end = time.perf_counter() + seconds

        async def connection(number: int) -> None:
            while time.perf_counter() < end:
                await self._send(number, time.perf_counter())
                number += connections

        await asyncio.gather(*(connection(number) for number in range(connections)))
        await self._close()
        return self.tally.report(seconds)

    async def in_turn(self, count: int) -> dict[str, Any]:
        """Send `count` requests, each after the answer to the one before; returns the tally's report."""
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
        """Send a request and return the status and the content; an idle connection that was closed is replaced."""
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


# wrk


def wrk_command() -> tuple[list[str], dict[str, str]] | None:
    """Return the command and the environment of wrk, installed or unpacked by `make bench`; None without wrk."""
    installed = shutil.which("wrk")
    if installed:
        return [installed], dict(os.environ)
    unpacked = UNPACKED / "usr/bin/wrk"
    if not unpacked.is_file():
        return None
    libraries = ":".join(str(folder) for folder in (UNPACKED / "usr/lib").glob("*-linux-gnu"))
    return [str(unpacked)], {**os.environ, "LD_LIBRARY_PATH": libraries}


def generator() -> str:
    """Return the name and the version of the load generator."""
    wrk = wrk_command()
    if not wrk:
        return "benchmarks.load (Python; no wrk here)"
    shown = subprocess.run([*wrk[0], "-v"], env=wrk[1], capture_output=True, text=True, check=False).stdout
    return " ".join(shown.split()[:2])


def closed_loop(url: str, bodies: Path, connections: int, seconds: float) -> dict[str, Any]:
    """Load a server; returns requests_per_second of the 2xx, p50, p90, p99 and p100 in ms, and `failed`.

    Raises LoadError if the generator failed.
    """
    wrk = wrk_command()
    if not wrk:
        return _by_python(url, bodies, connections, seconds)
    command, environment = wrk
    # One thread, since the server needs the CPUs.
    options = ["-t1", f"-c{connections}", f"-d{seconds:g}s", f"--timeout={TIMEOUT_SECONDS}s", f"-s{SCRIPT}"]
    done = subprocess.run(
        [*command, *options, url, "--", str(bodies)], env=environment, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.split("\n") if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise LoadError(f"wrk ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return figures(json.loads(lines[0].removeprefix("RESULT ")))


def figures(counted: dict[str, float]) -> dict[str, Any]:
    """Return wrk's counts as figures.

    >>> figures({"seconds": 2, "requests": 10, "not_2xx": 4, "socket_errors": 0, "timeouts": 1, "p50": 9.5})
    {'requests_per_second': 3.0, 'failed': 5, 'p50': 9.5}
    """
    failed = counted["not_2xx"] + counted["socket_errors"] + counted["timeouts"]
    good = (counted["requests"] - counted["not_2xx"]) / counted["seconds"]
    return {"requests_per_second": good, "failed": failed, **{k: v for k, v in counted.items() if k.startswith("p")}}


def _by_python(url: str, bodies: Path, connections: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.load", "--url", url, "--bodies", str(bodies)]
    command += ["--connections", str(connections), "--seconds", f"{seconds:g}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(f"benchmarks.load ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    report = json.loads(done.stdout)
    failed = sum(count for status, count in report["statuses"].items() if status != "200")
    return {"requests_per_second": report["requests_per_second"], "failed": failed, **report["ms"]}


# The command


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; prints one line of JSON."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.load", description=__doc__, formatter_class=formatter)
    parser.add_argument("--url", required=True, help="the URL to POST to")
    parser.add_argument("--bodies", type=Path, required=True, help="JSON bodies, one a line, sent in turn")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of load (10)")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--rate", type=float, help="open loop: requests a second")
    kind.add_argument("--connections", type=int, help="closed loop: the number of connections")
    args = parser.parse_args(argv)
    client = Client(args.url, args.bodies.read_text(encoding="utf-8").splitlines())
    loop = (
        client.open_loop(args.rate, args.seconds) if args.rate else client.closed_loop(args.connections, args.seconds)
    )
    sys.stdout.write(json.dumps(asyncio.run(loop)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
