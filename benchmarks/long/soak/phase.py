"""A phase of the soak: a rate for some minutes on all servers at once, and what is recorded of it.

A Record has the exchanges with a server in bins of time; a Watch samples the memory, the open files and the threads of the
serving processes while the load runs.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import Client, Exchange, quantile
from benchmarks.long.soak.clients import Asked, RudeClients, same
from benchmarks.machine import OtherWork
from benchmarks.servers import Running

OVERLOADED = ("429", "504")
"""Statuses that an overloaded server may answer to any request."""

BINS = 120
CONNECTIONS = 24
"""Connections to each server in the closed loop that measures its capacity."""

REST_SECONDS = 30.0
SETTLE_SECONDS = 3.0
"""The server closes an idle connection after two seconds."""


class Record:
    """The exchanges with one server."""

    def __init__(self, asked: Sequence[Asked], began: float, seconds: float, bins: int) -> None:
        """Take the requests, the start of the load by time.perf_counter, its seconds, and the number of bins."""
        self._asked, self._began, self._width, self._bins = asked, began, seconds / bins, bins
        self._expected: dict[int, bytes] = {}
        self.statuses: list[Counter[str]] = [Counter() for _ in range(bins)]
        self.good: list[array[float]] = [array("f") for _ in range(bins)]
        self.unexpected: Counter[str] = Counter()
        self.wrong = 0

    def expect(self, body: int, content: bytes) -> None:
        """Keep the answer to a request that is alone."""
        self._expected[body] = content

    def add(self, exchange: Exchange) -> None:
        """Count an exchange in the bin of the time at which it was due."""
        place = min(self._bins - 1, max(0, int((exchange.due - self._began) / self._width)))
        self.statuses[place][exchange.status] += 1
        asked = self._asked[exchange.body]
        if exchange.status == "200":
            self.good[place].append(exchange.ended - exchange.due)
        if exchange.status not in (asked.status, *OVERLOADED):
            self.unexpected[f"{exchange.status} instead of {asked.status}"] += 1
        elif exchange.status == "200" and not self._right(exchange):
            self.wrong += 1

    def _right(self, exchange: Exchange) -> bool:
        expected = self._expected.get(exchange.body)
        if expected is None or exchange.content == expected:
            return True
        return same(json.loads(exchange.content), json.loads(expected))

    def report(self) -> dict[str, Any]:
        """Return the record for JSON: latencies of the 200s in milliseconds, rates by bin."""
        latencies = [latency for times in self.good for latency in times]
        return {
            "statuses": dict(sum(self.statuses, Counter())),
            "unexpected": dict(self.unexpected),
            "wrong_answers": self.wrong,
            "ms": {name: _ms(latencies, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p100", 1.0))},
            "over_time": [
                {
                    "at": (place + 0.5) * self._width,
                    "per_second": {name: count / self._width for name, count in self.statuses[place].items()},
                    "p50": _ms(self.good[place], 0.5),
                    "p99": _ms(self.good[place], 0.99),
                }
                for place in range(self._bins)
            ],
        }


def _ms(seconds: Sequence[float], share: float) -> float | None:
    value = quantile(seconds, share)
    return None if value is None else round(1e3 * value, 1)


@dataclass(frozen=True)
class Sample:
    """The serving process at a time, in seconds since the start of the watch."""

    at: float
    pid: int
    resident_mb: float
    files: int
    threads: int

    def as_dict(self) -> dict[str, float]:
        """Return the sample for JSON."""
        return asdict(self)


def sample(server: Running, began: float) -> Sample:
    """Sample the process that serves, the largest descendant of the started process."""
    below = psutil.Process(server.process.pid).children(recursive=True)
    process = max(below, key=lambda process: process.memory_info().rss)
    files = sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())
    memory, threads = process.memory_info().rss / 1e6, process.num_threads()
    return Sample(time.perf_counter() - began, process.pid, memory, files, threads)


class Watch:
    """Samples the servers while the block runs."""

    def __init__(self, servers: dict[str, Running], every: float) -> None:
        """Take the servers by name, and the seconds between two samples."""
        self.samples: dict[str, list[Sample]] = {name: [] for name in servers}
        self.began = time.perf_counter()
        self._servers, self._every, self._ended = servers, every, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def look(self) -> dict[str, Sample]:
        """Return a sample of each server now."""
        return {name: sample(server, self.began) for name, server in self._servers.items()}

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            for name, server in self._servers.items():
                # The exchanges show a server that ended; between two workers there is no serving process for a moment.
                try:
                    self.samples[name].append(sample(server, self.began))
                except (psutil.Error, OSError, ValueError):
                    continue


@dataclass(frozen=True)
class Target:
    """A running server, its requests, and its answers to each request alone."""

    running: Running
    asked: Sequence[Asked]
    alone: Mapping[int, bytes]

    @property
    def bodies(self) -> list[str]:
        """Return the bodies of the requests."""
        return [request.body for request in self.asked]

    @property
    def short(self) -> str:
        """Return the shortest body that gets a 200."""
        return min((request.body for request in self.asked if request.status == "200"), key=len)


async def answers_alone(running: Running, asked: Sequence[Asked]) -> dict[int, bytes]:
    """Send each request once, one at a time; returns the answers. Raises ValueError for an unexpected status."""
    answers: dict[int, Exchange] = {}
    bodies = [request.body for request in asked]
    client = Client(running.url, bodies, lambda exchange: answers.update({exchange.body: exchange}))
    await client.in_turn(len(asked))
    for body, exchange in answers.items():
        if exchange.status != asked[body].status:
            raise ValueError(
                f"expected {asked[body].status} for {asked[body].body[:80]}, found {exchange.status}: {exchange.content[:200]!r}"
            )
    return {body: exchange.content for body, exchange in answers.items()}


async def capacity(targets: Mapping[str, Target], seconds: float) -> dict[str, float]:
    """Return the requests a second that each server answers while all servers are asked as fast as they answer."""
    clients = {name: Client(target.running.url, target.bodies) for name, target in targets.items()}
    loops = [client.closed_loop(CONNECTIONS, seconds) for client in clients.values()]
    reports = await asyncio.gather(*loops)
    return {name: sum(report["statuses"].values()) / seconds for name, report in zip(clients, reports, strict=True)}


async def run(
    targets: Mapping[str, Target], rates: Mapping[str, float], seconds: float, rude_rate: float, seed: int
) -> dict[str, Any]:
    """Load each server at its rate; returns the records, and samples of the servers before, meanwhile and after."""
    await asyncio.sleep(SETTLE_SECONDS)
    others = OtherWork()
    servers = {name: target.running for name, target in targets.items()}
    with Watch(servers, max(0.2, seconds / 600)) as watch:
        before, began = watch.look(), time.perf_counter()
        watch.began = began
        records, rude, work = {}, {}, []
        for number, (name, target) in enumerate(targets.items()):
            record = records[name] = Record(target.asked, began, seconds, min(BINS, max(5, int(seconds / 5))))
            for body, content in target.alone.items():
                record.expect(body, content)
            client = Client(target.running.url, target.bodies, record.add)
            work.append(client.open_loop(rates[name], seconds, seed + number))
            slow = min(5.0, seconds / 4)
            rude[name] = RudeClients(target.running.port, target.short, seed + number, slow)
            work.append(rude[name].come(rude_rate, seconds))
        await asyncio.gather(*work)
        took = time.perf_counter() - began
    after = await _at_rest(watch, {name: sample.files for name, sample in before.items()})
    return {
        "seconds": seconds,
        "took_seconds": round(took, 1),
        "other_work": others.share(),
        "servers": {
            name: {
                "offered_per_second": rates[name],
                **records[name].report(),
                "rude_clients": {way: dict(counts) for way, counts in rude[name].outcomes.items()},
                "before": before[name].as_dict(),
                "after": after[name].as_dict(),
                "samples": [sample.as_dict() for sample in watch.samples[name] if sample.at <= seconds],
            }
            for name in targets
        },
    }


async def _at_rest(watch: Watch, files: Mapping[str, int]) -> dict[str, Any]:
    """Return samples of the servers when they have closed their files, or after REST_SECONDS."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        await asyncio.sleep(SETTLE_SECONDS)
        samples = watch.look()
        if all(samples[name].files <= count for name, count in files.items()) or time.monotonic() > deadline:
            return samples
