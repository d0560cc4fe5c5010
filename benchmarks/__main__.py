"""Time the engine and its server beside the alternatives, in one run.

    python -m benchmarks [--quick] [--only in-process http overload accuracy startup]

writes results.json, results.md and results.png to benchmarks/results/ after each part, so that the results are kept if a
later part fails. `make bench` sets up the environments first. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import accuracy, in_process, over_http, report
from benchmarks.inputs import GRID, random_base
from benchmarks.machine import describe
from benchmarks.peers.systems import SYSTEMS
from benchmarks.servers import AZUREML, LITSERVE, MLFLOW, NO_OP, OURS
from benchmarks.workers import ROOT, hired
from serving.engine.machine import usable_cpus

PARTS = ("in-process", "http", "overload", "accuracy", "startup")
MODELS = ("base", "embedded")
EMBEDDED = ROOT / "model/embedded"


class Run:
    """A run of the parts in their order, each of which adds to the report."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Take the command line."""
        self.args = args
        self.threads = args.threads or usable_cpus()
        self.start = time.monotonic()
        self.results: Path = args.output
        self.report: dict[str, Any] = {"machine": describe(self.threads), "skipped": {}}
        self.base = random_base(args.cache, EMBEDDED)

    def say(self, text: str) -> None:
        """Print the progress, with the time since the start."""
        sys.stderr.write(f"[{time.monotonic() - self.start:5.0f} s] {text}\n")
        sys.stderr.flush()

    def made(self, model: Path) -> Path:
        """Return the folder for the exports of a model."""
        return Path(self.args.cache) / f"made-{model.name}"

    def all(self) -> int:
        """Run the chosen parts; returns the exit status, 1 if a part failed."""
        parts: dict[str, Callable[[], None]] = {
            "in-process": self.in_process,
            "http": self.http,
            "overload": self.overload,
            "accuracy": self.accuracy,
            "startup": self.startup,
        }
        failed = False
        for name in self.args.only:
            try:
                parts[name]()
            except Exception as exc:  # any failure is reported, and the other parts go on
                failed = True
                self.report["skipped"][name] = f"{type(exc).__name__}: {exc}"
                self.say(f"{name} failed: {exc}")
            self.write()
        sys.stdout.write((self.results / "results.md").read_text(encoding="utf-8"))
        self.say(f"written to {self.results}")
        return int(failed)

    def in_process(self) -> None:
        """Measure the hardware's ceiling and the grid."""
        self.say("hardware ceiling")
        with hired("ceiling", "bench", self.threads, Path(self.args.cache) / "logs") as member:
            self.report["ceiling"] = member.ask("ceiling", threads=self.threads)
        quick = self.args.quick
        grid = GRID[:1] if quick else GRID
        models = self.report["in_process"] = {}
        for name in self.args.models:
            model = self.base if name == "base" else EMBEDDED
            plan = in_process.Plan(1 if quick else 5, 0.05 if quick else 0.15, grid, self.args.systems, not quick)
            measured = models.setdefault(model.name, {})
            in_process.measure(model, self.made(model), self.threads, plan, self.say, measured)

    def http(self) -> None:
        """Load the servers."""
        seconds = 1.0 if self.args.quick else 8.0
        cache = self.made(self.base)
        self.report["http"] = over_http.measure(self.base, cache, self.threads, seconds, self.args.servers, self.say)

    def overload(self) -> None:
        """Send ours twice the load that it can sustain, which is the most that the part over HTTP measured."""
        ours = self.report.get("http", {}).get("servers", {}).get(OURS, {})
        most = max((ours[key]["requests_per_second"] for key in ours if key.isdigit()), default=None)
        seconds = 5.0 if self.args.quick else 60.0
        self.report["overload"] = over_http.overload(
            self.base, self.made(self.base), self.threads, seconds, most, self.say
        )

    def accuracy(self) -> None:
        """Score the cloze file with the embedded model, since the random checkpoint knows no words."""
        data: Path = self.args.cloze
        if not data.is_file():
            self.report["skipped"]["accuracy"] = f"no cloze file at {data.name}; name one with --cloze FILE"
            return
        self.report["accuracy"] = accuracy.measure(
            EMBEDDED, data, self.made(EMBEDDED), self.threads, () if self.args.quick else accuracy.PEERS, self.say
        )

    def startup(self) -> None:
        """Start ours and the no-op server in turn."""
        times = 1 if self.args.quick else 3
        self.report["startup"] = over_http.start_up(
            self.base, self.made(self.base), self.threads, times, (OURS, NO_OP), self.say
        )

    def write(self) -> None:
        """Write the results so far."""
        self.results.mkdir(parents=True, exist_ok=True)
        content = json.dumps(self.report, indent=1)
        (self.results / "results.json").write_text(content + "\n", encoding="utf-8")
        (self.results / "results.md").write_text(report.render(self.report), encoding="utf-8")
        report.draw(self.report, self.results / "results.png")


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__, formatter_class=formatter)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bert-benchmarks"
    loaded = (OURS, NO_OP, AZUREML, MLFLOW, LITSERVE)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a smoke test, whose figures mean nothing")
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=MODELS, help="the models of the part in-process (both)"
    )
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=SYSTEMS,
        default=list(SYSTEMS),
        metavar="SYSTEM",
        help="the systems of the part in-process, some of " + ", ".join(map(repr, SYSTEMS)),
    )
    parser.add_argument(
        "--servers",
        nargs="+",
        choices=loaded,
        default=loaded,
        metavar="SERVER",
        help="the servers of the part http, some of " + ", ".join(map(repr, loaded)),
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of every system (all CPUs that this process may use)"
    )
    parser.add_argument("--cloze", type=Path, default=accuracy.DATA, help="JSON lines with input_string and title")
    parser.add_argument("--cache", type=Path, default=cache, help="the folder for exported models, 6 GB (%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("results"), help="the folder for the results"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    return Run(parsed(argv)).all()


if __name__ == "__main__":
    sys.exit(main())
