"""Load the servers of all tasks for a long time, open loop, at shares and multiples of what they can sustain.

    .venv/bench/bin/python -m benchmarks.long.soak --minutes 20 --rate 2
    .venv/bench/bin/python -m benchmarks.long.soak --minutes 0.2 --tasks fill-mask --model embedded

A task's server has the machine to itself, as a deployment has, and the tasks take turns; or all are up with --together. It
writes soak.json, soak.png and soak.md to benchmarks/results/soak and says what is promised and was found; --publish puts the
last two in docs/. The exit status is 1 where a promise was not kept.
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

from benchmarks.checkpoint import random_base
from benchmarks.crew import ROOT
from benchmarks.long.soak import phase, picture
from benchmarks.long.soak.traffic import EMBEDDED, TASKS, model_for, traffic
from benchmarks.long.soak.verdict import judge
from benchmarks.machine import describe
from benchmarks.servers import OURS, Server, local_servers, running
from serving.engine.machine import usable_cpus
from serving.settings import Settings

FIRST = {
    "fill-mask": {"input_data": ["The [MASK] sat."]},
    "text-classification": {"input_data": ["The cat sat."]},
    "question-answering": {"inputs": {"question": "Who sat?", "context": "The cat sat on the mat."}},
}


class Asking(Server):
    """A server that is asked the same at its start, whatever its task."""

    def body(self, text: str) -> str:
        """Return the request that was given as the text."""
        return text


def say(text: str) -> None:
    """Tell what is being done."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Load the tasks' servers, one after the other or together, at each rate; returns the report."""
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
    """Start a task's server, and ask it each request once."""
    ours = local_servers(model, args.cache)[OURS]
    server = Asking(task, ours.command, ours.path, env=ours.env)
    first, log = json.dumps(FIRST[task]), args.cache / f"logs/soak-{task}.log"
    up = stack.enter_context(running(server, first, threads, log))
    asked = traffic(task, args.seed)
    return phase.Target(up, asked, asyncio.run(phase.answers_alone(up, asked)))


async def _loaded(targets: dict[str, phase.Target], report: dict[str, Any], args: argparse.Namespace) -> None:
    """Find out what the servers can sustain, and load them at each rate."""
    warm = min(15.0, args.minutes * 60 / 4)
    await phase.capacity(targets, warm / 3)
    capacity = await phase.capacity(targets, warm)
    report["capacity"] |= capacity
    for load in args.rate:
        rates = {task: load * rate for task, rate in capacity.items()}
        shown = ", ".join(f"{rate:.0f} {task} requests a second" for task, rate in rates.items())
        say(f"{load:g} x capacity for {args.minutes:g} minutes: {shown}")
        found = await phase.run(targets, rates, args.minutes * 60, args.rude, args.seed)
        findings = judge(found, report["deadline_ms"])
        report["phases"].append({"load": load, **found, "findings": [one.as_dict() for one in findings]})
        for one in findings:
            say(f"{'kept    ' if one.kept else 'NOT KEPT'}  {one.name}: {one.found}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; exit status 1 where a promise was not kept."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.long.soak", description=__doc__, formatter_class=formatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="at each rate (%(default)s)")
    parser.add_argument(
        "--rate", type=float, nargs="+", default=[0.5, 1, 2], help="multiples of the capacity (0.5 1 2)"
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="one server each (all)")
    parser.add_argument("--together", action="store_true", help="all servers at the same time, not in turn")
    parser.add_argument(
        "--model", choices=("base", "embedded"), default="base", help="the encoder's size (%(default)s)"
    )
    parser.add_argument("--rude", type=float, default=2.0, help="clients that do not behave, a second (%(default)s)")
    parser.add_argument("--seed", type=int, default=17, help="of what is asked, and when (%(default)s)")
    parser.add_argument("--threads", type=int, help="of each server's engine (the CPUs that may be used)")
    parser.add_argument("--cache", type=Path, default=ROOT / "benchmarks/results/cache", help="for models and logs")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/soak", help="for what is found")
    parser.add_argument("--publish", action="store_true", help="write docs/soak.md and docs/soak.png")
    args = parser.parse_args(argv)
    if args.minutes * 60 < 5 or min(args.rate) <= 0:
        parser.error("expected --minutes of at least 0.1 and a --rate above 0")
    report = measure(args)
    given = f"--minutes {args.minutes:g} --rate {' '.join(f'{rate:g}' for rate in args.rate)}"
    given += "" if args.tasks == list(TASKS) else f" --tasks {' '.join(args.tasks)}"
    command = f".venv/bench/bin/python -m benchmarks.long.soak {given}"
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "soak.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    for folder in [args.output, *([ROOT / "docs"] if args.publish else [])]:
        (folder / "soak.md").write_text(picture.page(report, command), encoding="utf-8")
        picture.draw(report, folder / "soak.png")
    broken = [one for found in report["phases"] for one in found["findings"] if not one["kept"]]
    say(f"{len(broken)} promises not kept; all figures are in {args.output}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
