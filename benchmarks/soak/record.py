"""What came of a soak's requests, in bins of time: counts by status, latencies, and answers that were wrong."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.load import Exchange, quantile
from benchmarks.soak.traffic import Asked, same

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
