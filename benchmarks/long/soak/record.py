"""What came of a soak's requests, in bins of time: counts by status, latencies, and answers that were wrong.

What a server's process holds: memory, open files and threads, looked at again and again while the load runs.
"""

from __future__ import annotations

import json
import threading
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import Exchange, quantile
from benchmarks.long.soak.traffic import Asked, same
from benchmarks.servers import Running

OVERLOADED = ("429", "504")
"""What a server may answer anything with that it has no time for."""


class Record:
    """The exchanges with one server."""

    def __init__(self, asked: Sequence[Asked], began: float, seconds: float, bins: int) -> None:
        """Take what is asked, when the load begins by time.perf_counter, how long it takes, and into how many bins."""
        self._asked, self._began, self._width, self._bins = asked, began, seconds / bins, bins
        self._expected: dict[int, bytes] = {}
        self.statuses: list[Counter[str]] = [Counter() for _ in range(bins)]
        self.good: list[array[float]] = [array("f") for _ in range(bins)]
        self.unexpected: Counter[str] = Counter()
        self.wrong = 0

    def expect(self, body: int, content: bytes) -> None:
        """Keep what a request is answered with when it is alone."""
        self._expected[body] = content

    def add(self, exchange: Exchange) -> None:
        """Count an exchange, in the bin in which it was due."""
        place = min(self._bins - 1, max(0, int((exchange.due - self._began) / self._width)))
        self.statuses[place][exchange.status] += 1
        asked = self._asked[exchange.body]
        if exchange.status == "200":
            self.good[place].append(exchange.ended - exchange.due)
        if exchange.status not in (asked.status, *OVERLOADED):
            self.unexpected[f"{exchange.status} where {asked.status} was due"] += 1
        elif exchange.status == "200" and not self._right(exchange):
            self.wrong += 1

    def _right(self, exchange: Exchange) -> bool:
        expected = self._expected.get(exchange.body)
        if expected is None or exchange.content == expected:
            return True
        return same(json.loads(exchange.content), json.loads(expected))

    def report(self) -> dict[str, Any]:
        """Return it for JSON: latencies of the 200s in milliseconds, rates by bin."""
        together = [latency for kept in self.good for latency in kept]
        return {
            "statuses": dict(sum(self.statuses, Counter())),
            "unexpected": dict(self.unexpected),
            "wrong_answers": self.wrong,
            "ms": {name: _ms(together, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p100", 1.0))},
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
    """The serving process at a moment, in seconds since the start of the watch."""

    at: float
    pid: int
    resident_mb: float
    files: int
    threads: int

    def as_dict(self) -> dict[str, float]:
        """Return it for JSON."""
        return asdict(self)


def sample(server: Running, began: float) -> Sample:
    """Look at the process that serves: the largest below the one that was started."""
    below = psutil.Process(server.process.pid).children(recursive=True)
    process = max(below, key=lambda one: one.memory_info().rss)
    files = sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())
    memory, threads = process.memory_info().rss / 1e6, process.num_threads()
    return Sample(time.perf_counter() - began, process.pid, memory, files, threads)


class Watch:
    """Samples servers by name while the block runs."""

    def __init__(self, servers: dict[str, Running], every: float) -> None:
        """Take the servers, and the seconds from one sample to the next."""
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
        """Return how the servers are now."""
        return {name: sample(server, self.began) for name, server in self._servers.items()}

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            for name, server in self._servers.items():
                # A server that ended is found by the exchanges; between two workers there is none for a moment.
                try:
                    self.samples[name].append(sample(server, self.began))
                except (psutil.Error, OSError, ValueError):
                    continue
