"""One phase of a soak: one rate for so many minutes, on all servers at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.load import Client, Exchange
from benchmarks.long.soak.record import Record, Watch
from benchmarks.long.soak.rude_clients import RudeClients
from benchmarks.long.soak.traffic import Asked
from benchmarks.machine import OtherWork
from benchmarks.servers import Running

BINS = 120
CONNECTIONS = 24
"""Of the closed loop that finds out what can be sustained, for each server."""

REST_SECONDS = 30.0
SETTLE_SECONDS = 3.0
"""The server closes an idle connection after two seconds."""


@dataclass(frozen=True)
class Target:
    """A server that is up, what it is asked, and what it answers to each of that when it is alone."""

    running: Running
    asked: Sequence[Asked]
    alone: Mapping[int, bytes]

    @property
    def bodies(self) -> list[str]:
        """Return the requests' bodies."""
        return [one.body for one in self.asked]

    @property
    def short(self) -> str:
        """Return the shortest body that gets a 200."""
        return min((one.body for one in self.asked if one.status == "200"), key=len)


async def answers_alone(running: Running, asked: Sequence[Asked]) -> dict[int, bytes]:
    """Ask each request once, one at a time; returns the answers. Raises ValueError for a status that is not its own."""
    found: dict[int, Exchange] = {}
    client = Client(running.url, [one.body for one in asked], lambda exchange: found.update({exchange.body: exchange}))
    await client.in_turn(len(asked))
    for body, exchange in found.items():
        if exchange.status != asked[body].status:
            raise ValueError(
                f"expected {asked[body].status} for {asked[body].body[:80]}, found {exchange.status}: {exchange.content[:200]!r}"
            )
    return {body: exchange.content for body, exchange in found.items()}


async def capacity(targets: Mapping[str, Target], seconds: float) -> dict[str, float]:
    """Return how many requests a second each server answers while all are asked as fast as they can answer."""
    clients = {name: Client(target.running.url, target.bodies) for name, target in targets.items()}
    loops = [client.closed_loop(CONNECTIONS, seconds) for client in clients.values()]
    reports = await asyncio.gather(*loops)
    return {name: sum(report["statuses"].values()) / seconds for name, report in zip(clients, reports, strict=True)}


async def run(
    targets: Mapping[str, Target], rates: Mapping[str, float], seconds: float, rude_rate: float, seed: int
) -> dict[str, Any]:
    """Load each server at its rate; returns what came of it, and how the servers were before, meanwhile and after."""
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
    after = await _at_rest(watch, {name: found.files for name, found in before.items()})
    return {
        "seconds": seconds,
        "took_seconds": round(took, 1),
        "other_work": others.share(),
        "servers": {
            name: {
                "offered_per_second": rates[name],
                **records[name].report(),
                "rude_clients": {way: dict(found) for way, found in rude[name].outcomes.items()},
                "before": before[name].as_dict(),
                "after": after[name].as_dict(),
                "samples": [one.as_dict() for one in watch.samples[name] if one.at <= seconds],
            }
            for name in targets
        },
    }


async def _at_rest(watch: Watch, files: Mapping[str, int]) -> dict[str, Any]:
    """Return how the servers are once they have closed what was open, or do not."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        await asyncio.sleep(SETTLE_SECONDS)
        found = watch.look()
        if all(found[name].files <= count for name, count in files.items()) or time.monotonic() > deadline:
            return found
