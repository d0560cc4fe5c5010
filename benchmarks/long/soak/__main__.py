"""Load the servers of all tasks for a long time, open loop, at multiples of their capacity.

    .venv/bench/bin/python -m benchmarks.long.soak --minutes 20 --rate 2
    .venv/bench/bin/python -m benchmarks.long.soak --minutes 0.2 --tasks fill-mask --model embedded

The servers take turns, so that each has the machine to itself, as a deployment has; with --together all of them run at
once. The soak writes soak.json, soak.png and soak.md to benchmarks/results/soak and prints a finding for each promise;
--publish also writes soak.png and soak.md to docs/. The exit status is 1 if a promise was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.inputs import random_base
from benchmarks.long.soak import phase
from benchmarks.long.soak.clients import EMBEDDED, first_request, model_for, traffic
from benchmarks.long.soak.report import draw, judge, page
from benchmarks.machine import describe
from benchmarks.servers import OURS, Server, local_servers, running
from benchmarks.workers import ROOT
from serving.engine.machine import usable_cpus
from serving.settings import Settings
from serving.tasks import TASKS


class Asking(Server):
    """A server whose first request is given as text, whatever its task."""

    def body(self, text: str) -> str:
        """Return the text, which is a request."""
        return text


def say(text: str) -> None:
    """Print the progress."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Load the servers of the tasks at each rate, in turn or together; returns the report."""
    threads = args.threads or usable_cpus()
    report: dict[str, Any] = {"machine": describe(threads), "model": args.model, "tasks": args.tasks, "seed": args.seed}
    report |= {"deadline_ms": Settings().deadline_ms, "capacity": {}, "phases": []}
    encoder = EMBEDDED if args.model == "embedded" else random_base(args.cache, EMBEDDED)
    for tasks in [args.tasks] if args.together else [[task] for task in args.tasks]:
        with contextlib.ExitStack() as stack:
            targets = {task: _up(stack, task, model_for(task, args.cache, encoder), threads, args) for task in tasks}
            asyncio.run(_loaded(targets, report, args))
    return report


def _up(stack: contextlib.ExitStack, task: str, model: Path, threads: int, args: argparse.Namespace) -> phase.Target:
    """Start the server of a task, and send it each request once."""
    ours = local_servers(model, args.cache)[OURS]
    server = Asking(task, ours.command, ours.path, env=ours.env)
    first, log = first_request(task), args.cache / f"logs/soak-{task}.log"
    up = stack.enter_context(running(server, first, threads, log))
    asked = traffic(task, args.seed)
    return phase.Target(up, asked, asyncio.run(phase.answers_alone(up, asked)))


async def _loaded(targets: dict[str, phase.Target], report: dict[str, Any], args: argparse.Namespace) -> None:
    """Measure the capacity of the servers, and load them at each rate."""
    warm = min(15.0, args.minutes * 60 / 4)
    await phase.capacity(targets, warm / 3)
    capacity = await phase.capacity(targets, warm)
    report["capacity"] |= capacity
    for load in args.rate:
        rates = {task: load * rate for task, rate in capacity.items()}
        shown = ", ".join(f"{rate:.0f} {task} requests a second" for task, rate in rates.items())
        say(f"{load:g} x capacity for {args.minutes:g} minutes: {shown}")
        measured = await phase.run(targets, rates, args.minutes * 60, args.rude, args.seed)
        findings = judge(measured, report["deadline_ms"])
        report["phases"].append({"load": load, **measured, "findings": [finding.as_dict() for finding in findings]})
        for finding in findings:
            say(f"{'kept    ' if finding.kept else 'NOT KEPT'}  {finding.name}: {finding.found}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; exit status 1 if a promise was not kept."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.long.soak", description=__doc__, formatter_class=formatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="minutes at each rate (%(default)s)")
    parser.add_argument(
        "--rate", type=float, nargs="+", default=[0.5, 1, 2], help="multiples of the capacity (0.5 1 2)"
    )
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), help="one server each (all)")
    parser.add_argument("--together", action="store_true", help="all servers at the same time, not in turn")
    parser.add_argument(
        "--model", choices=("base", "embedded"), default="base", help="the encoder's size (%(default)s)"
    )
    parser.add_argument("--rude", type=float, default=2.0, help="misbehaving clients a second (%(default)s)")
    parser.add_argument("--seed", type=int, default=17, help="the seed of the requests and their times (%(default)s)")
    parser.add_argument("--threads", type=int, help="threads of each server (all CPUs that this process may use)")
    parser.add_argument(
        "--cache", type=Path, default=ROOT / "benchmarks/results/cache", help="the folder for models and logs"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "benchmarks/results/soak", help="the folder for the results"
    )
    parser.add_argument("--publish", action="store_true", help="write docs/soak.md and docs/soak.png")
    args = parser.parse_args(argv)
    if args.minutes * 60 < 5 or min(args.rate) <= 0:
        parser.error("expected --minutes of at least 0.1 and a --rate above 0")
    report = measure(args)
    options = f"--minutes {args.minutes:g} --rate {' '.join(f'{rate:g}' for rate in args.rate)}"
    options += "" if args.tasks == list(TASKS) else f" --tasks {' '.join(args.tasks)}"
    command = f".venv/bench/bin/python -m benchmarks.long.soak {options}"
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "soak.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    for folder in [args.output, *([ROOT / "docs"] if args.publish else [])]:
        (folder / "soak.md").write_text(page(report, command), encoding="utf-8")
        draw(report, folder / "soak.png")
    broken = [finding for each in report["phases"] for finding in each["findings"] if not finding["kept"]]
    say(f"{len(broken)} promises not kept; all figures are in {args.output}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
