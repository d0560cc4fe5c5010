"""Kill the server's worker again and again under load, and see what its clients saw.

    .venv/bench/bin/python -m benchmarks.long.killed_worker --kills 100

Requests come open loop, each over a connection of its own, so that none is sent twice. Each kill is a round: SIGKILL to the
worker at a random moment, while the load goes on. Promised is that each answer is right; that what is lost is lost at the
moment of the kill, as a connection error, and was under way then; and that the service is back within two seconds more than
a server takes to start whose score.py does nothing. Prints one line of JSON; the exit status is 1 where that was not so.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.crew import ROOT
from benchmarks.load import Client, Exchange
from benchmarks.long.soak.phase import answers_alone
from benchmarks.long.soak.record import OVERLOADED
from benchmarks.long.soak.traffic import EMBEDDED, Asked, same, traffic
from benchmarks.servers import NO_OP, OURS, Running, local_servers, running

ALLOWED_SECONDS = 2.0
"""Beyond the start of a server that does nothing, until the service is back."""

MOMENT_SECONDS = 1.0
"""From a kill to the errors of what was under way: until the system has closed the connections and this process looked."""

CONNECTION_ERRORS = ("ConnectionResetError", "IncompleteReadError", "BrokenPipeError")
SETTLED_SECONDS = 1.0
STARTS = 3


@dataclass(frozen=True)
class Round:
    """One kill: when it was, by time.perf_counter, and the exchanges around it."""

    killed: float
    exchanges: list[Exchange]

    def lost(self) -> list[Exchange]:
        """Return what got no answer."""
        return [one for one in self.exchanges if not one.status.isdigit()]

    def back(self) -> float | None:
        """Return the seconds from the kill to the first answer to what was sent after it."""
        ended = [one.ended for one in self.exchanges if one.status == "200" and one.sent > self.killed]
        return min(ended) - self.killed if ended else None

    def problems(self, asked: Sequence[Asked], alone: Mapping[int, bytes], bound: float) -> list[str]:
        """Return what was not as promised."""
        found = [
            f"{one.status} where {asked[one.body].status} was due"
            for one in self.exchanges
            if one.status.isdigit() and one.status not in (asked[one.body].status, *OVERLOADED)
        ]
        good = [one for one in self.exchanges if one.status == "200"]
        found += ["a wrong answer" for one in good if not same(json.loads(one.content), json.loads(alone[one.body]))]
        end = min((one.ended for one in self.lost()), default=0.0)
        for one in self.lost():
            if one.status not in CONNECTION_ERRORS:
                found.append(f"lost as {one.status}")
            elif not self.killed <= one.ended <= self.killed + MOMENT_SECONDS:
                found.append(f"lost {one.ended - self.killed:+.2f} s from the kill")
            elif one.sent > end:
                found.append("lost though it was sent after the worker's end")
        back = self.back()
        if back is None or back > bound:
            found.append(f"back after {'never' if back is None else f'{back:.2f} s'}, of {bound:.2f} s")
        return found


def worker_of(server: Running) -> psutil.Process:
    """Return the process that scores: the one below the server's that has none below it."""
    [worker] = [one for one in psutil.Process(server.process.pid).children(recursive=True) if not one.children()]
    return worker


async def one_round(
    server: Running, client: Client, seen: list[Exchange], rate: float, seconds: float, draw: random.Random
) -> Round:
    """Load the server for so many seconds after a kill at a random moment."""
    seen.clear()
    before = draw.uniform(0.3, 1.3)
    load = asyncio.create_task(client.open_loop(rate, before + seconds, draw.randrange(1 << 30)))
    await asyncio.sleep(before)
    worker, killed = worker_of(server), time.perf_counter()
    os.kill(worker.pid, signal.SIGKILL)
    await load
    return Round(killed, list(seen))


def starts(args: argparse.Namespace, threads: int) -> list[float]:
    """Return the seconds that a server takes to its first answer whose score.py does nothing."""
    server, found = local_servers(EMBEDDED, args.cache)[NO_OP], []
    for _ in range(STARTS):
        with running(server, "The [MASK].", threads, args.cache / "logs/killed-no-op.log") as up:
            found.append(up.first_answer_seconds)
    return found


async def rounds(server: Running, args: argparse.Namespace, asked: Sequence[Asked], seconds: float) -> list[Round]:
    """Kill the worker so often; returns what came of each time."""
    seen: list[Exchange] = []
    client = Client(server.url, [one.body for one in asked], seen.append, keep=False)
    draw, found = random.Random(args.seed), []
    for number in range(args.kills):
        found.append(await one_round(server, client, seen, args.rate, seconds, draw))
        back = found[-1].back()
        shown = "not back" if back is None else f"back after {back:.2f} s"
        sys.stderr.write(f"kill {number + 1}: {shown}, {len(found[-1].lost())} of {len(seen)} lost\n")
    return found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run all rounds; returns the report."""
    threads = len(os.sched_getaffinity(0))
    before = starts(args, threads)
    asked = [one for one in traffic("fill-mask", args.seed) if one.status == "200"]
    model = args.model or EMBEDDED
    with running(local_servers(model, args.cache)[OURS], "The [MASK].", threads, args.cache / "logs/killed.log") as up:
        alone = asyncio.run(answers_alone(up, asked))
        seconds = max(before) + ALLOWED_SECONDS + SETTLED_SECONDS
        found = asyncio.run(rounds(up, args, asked, seconds))
    no_op = [*before, *starts(args, threads)]  # the machine may have become slower meanwhile, for both
    bound = max(no_op) + ALLOWED_SECONDS
    counts = Counter(one.status for each in found for one in each.exchanges)
    back = [seconds for each in found if (seconds := each.back()) is not None]
    problems = Counter(problem for each in found for problem in each.problems(asked, alone, bound))
    return {
        "kills": len(found),
        "statuses": dict(counts),
        "lost_at_most": max(len(each.lost()) for each in found),
        "no_op_start_seconds": round(statistics.median(no_op), 2),
        "back_seconds": {"median": round(statistics.median(back), 2), "most": round(max(back), 2)} if back else None,
        "bound_seconds": round(bound, 2),
        "problems": dict(problems),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; exit status 1 where something was not as promised."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks.long.killed_worker", description=__doc__, formatter_class=formatter
    )
    parser.add_argument("--kills", type=int, default=100, help="how often (%(default)s)")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second (%(default)s)")
    parser.add_argument("--seed", type=int, default=17, help="of the requests and the moments (%(default)s)")
    parser.add_argument("--model", type=Path, help="a fill-mask model folder (the embedded one)")
    parser.add_argument(
        "--cache", type=Path, default=ROOT / "benchmarks/results/cache", help="for logs and what is made"
    )
    report = measure(parser.parse_args(argv))
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
