"""Kill the server's worker again and again under load, and check what its clients saw.

    .venv/bench/bin/python -m benchmarks.long.killed_worker --kills 100

Requests come open loop, each over its own connection, so that no request is sent twice. Each kill is a round: SIGKILL to the
worker at a random moment, while the load goes on. The promises are: each answer is right; a lost request was under way at
the moment of the kill and ends with a connection error then; the service is back at most two seconds later than a server
with an empty score.py would be. Prints one line of JSON; the exit status is 1 if a promise was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import Client, Exchange
from benchmarks.long.soak.clients import EMBEDDED, Asked, same, traffic
from benchmarks.long.soak.phase import OVERLOADED, answers_alone
from benchmarks.servers import NO_OP, OURS, Running, local_servers, running
from benchmarks.workers import ROOT

ALLOWED_SECONDS = 2.0
"""The service may take this much longer to be back than a server with an empty score.py takes to start."""

MOMENT_SECONDS = 1.0
"""The most time from a kill to the errors of the requests under way: the system closes the connections first."""

CONNECTION_ERRORS = ("ConnectionResetError", "IncompleteReadError", "BrokenPipeError")
SETTLED_SECONDS = 1.0
STARTS = 3


@dataclass(frozen=True)
class Round:
    """A kill: its time by time.perf_counter, and the exchanges around it."""

    killed: float
    exchanges: list[Exchange]

    def lost(self) -> list[Exchange]:
        """Return the exchanges without an answer."""
        return [exchange for exchange in self.exchanges if not exchange.status.isdigit()]

    def back(self) -> float | None:
        """Return the seconds from the kill to the first answer to a request that was sent after it."""
        ended = [each.ended for each in self.exchanges if each.status == "200" and each.sent > self.killed]
        return min(ended) - self.killed if ended else None

    def problems(self, asked: Sequence[Asked], alone: Mapping[int, bytes], bound: float) -> list[str]:
        """Return the broken promises."""
        answered = [exchange for exchange in self.exchanges if exchange.status.isdigit()]
        problems = [
            f"{exchange.status} instead of {asked[exchange.body].status}"
            for exchange in answered
            if exchange.status not in (asked[exchange.body].status, *OVERLOADED)
        ]
        good = [(exchange.content, alone[exchange.body]) for exchange in answered if exchange.status == "200"]
        problems += ["a wrong answer" for content, right in good if not same(json.loads(content), json.loads(right))]
        problems += self._wrong_losses()
        back = self.back()
        if back is None or back > bound:
            problems.append(f"back after {'never' if back is None else f'{back:.2f} s'}, of {bound:.2f} s")
        return problems

    def _wrong_losses(self) -> Iterator[str]:
        lost = self.lost()
        end = min((exchange.ended for exchange in lost), default=0.0)
        for exchange in lost:
            if exchange.status not in CONNECTION_ERRORS:
                yield f"lost as {exchange.status}"
            elif not self.killed <= exchange.ended <= self.killed + MOMENT_SECONDS:
                yield f"lost {exchange.ended - self.killed:+.2f} s from the kill"
            elif exchange.sent > end:
                yield "lost though it was sent after the worker's end"


def worker_of(server: Running) -> psutil.Process:
    """Return the process that scores: the only descendant of the server without children."""
    descendants = psutil.Process(server.process.pid).children(recursive=True)
    [worker] = [process for process in descendants if not process.children()]
    return worker


async def one_round(
    server: Running, client: Client, seen: list[Exchange], rate: float, seconds: float, draw: random.Random
) -> Round:
    """Kill the worker at a random moment under load, which goes on for some seconds."""
    seen.clear()
    before = draw.uniform(0.3, 1.3)
    load = asyncio.create_task(client.open_loop(rate, before + seconds, draw.randrange(1 << 30)))
    await asyncio.sleep(before)
    worker, killed = worker_of(server), time.perf_counter()
    os.kill(worker.pid, signal.SIGKILL)
    await load
    return Round(killed, list(seen))


def starts(args: argparse.Namespace, threads: int) -> list[float]:
    """Return the seconds from start to first answer of a server with an empty score.py, a few times."""
    server, seconds = local_servers(EMBEDDED, args.cache)[NO_OP], []
    for _ in range(STARTS):
        with running(server, "The [MASK].", threads, args.cache / "logs/killed-no-op.log") as up:
            seconds.append(up.first_answer_seconds)
    return seconds


async def rounds(server: Running, args: argparse.Namespace, asked: Sequence[Asked], seconds: float) -> list[Round]:
    """Kill the worker `--kills` times; returns the rounds."""
    seen: list[Exchange] = []
    client = Client(server.url, [request.body for request in asked], seen.append, keep=False)
    draw, done = random.Random(args.seed), []
    for number in range(args.kills):
        done.append(await one_round(server, client, seen, args.rate, seconds, draw))
        back = done[-1].back()
        shown = "not back" if back is None else f"back after {back:.2f} s"
        sys.stderr.write(f"kill {number + 1}: {shown}, {len(done[-1].lost())} of {len(seen)} lost\n")
    return done


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run all rounds; returns the report."""
    threads = len(os.sched_getaffinity(0))
    before = starts(args, threads)
    asked = [request for request in traffic("fill-mask", args.seed) if request.status == "200"]
    model = args.model or EMBEDDED
    with running(local_servers(model, args.cache)[OURS], "The [MASK].", threads, args.cache / "logs/killed.log") as up:
        alone = asyncio.run(answers_alone(up, asked))
        seconds = max(before) + ALLOWED_SECONDS + SETTLED_SECONDS
        done = asyncio.run(rounds(up, args, asked, seconds))
    no_op = [
        *before,
        *starts(args, threads),
    ]  # measured before and after, as the machine may have become slower for both
    bound = max(no_op) + ALLOWED_SECONDS
    counts = Counter(exchange.status for each in done for exchange in each.exchanges)
    back = [seconds for each in done if (seconds := each.back()) is not None]
    problems = Counter(problem for each in done for problem in each.problems(asked, alone, bound))
    return {
        "kills": len(done),
        "statuses": dict(counts),
        "lost_at_most": max(len(each.lost()) for each in done),
        "no_op_start_seconds": round(statistics.median(no_op), 2),
        "back_seconds": {"median": round(statistics.median(back), 2), "most": round(max(back), 2)} if back else None,
        "bound_seconds": round(bound, 2),
        "problems": dict(problems),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; exit status 1 if a promise was not kept."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks.long.killed_worker", description=__doc__, formatter_class=formatter
    )
    parser.add_argument("--kills", type=int, default=100, help="kills (%(default)s)")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second (%(default)s)")
    parser.add_argument("--seed", type=int, default=17, help="the seed of the requests and the moments (%(default)s)")
    parser.add_argument("--model", type=Path, help="a fill-mask model folder (the embedded one)")
    parser.add_argument(
        "--cache", type=Path, default=ROOT / "benchmarks/results/cache", help="the folder for logs and compiled models"
    )
    report = measure(parser.parse_args(argv))
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
