"""Run a fine-tuning job that is killed at random moments and resumed each time, beside an undisturbed run.

    .venv/dev/bin/python -m benchmarks.long.killed_run -f finetune/finetune-sentiment.yml --kills 10

runs the job once undisturbed with `asset run`. Then it runs the job again, kills the runner and all processes below it with
SIGKILL at random moments, and resumes the run with `asset run --resume` each time. Prints one line of JSON with the best
validation metrics of both runs and the seconds after which each try was killed; progress goes to standard error. --set
passes settings to the job.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from asset.local.processes import kill, start
from benchmarks.workers import ROOT

ASSET = ROOT / ".venv" / "dev" / "bin" / "asset"


def asset_run(state: Path, arguments: list[str], seconds: float | None = None) -> int | None:
    """Run `asset run` and return its exit status, or kill it after some seconds and return None."""
    with (state.parent / f"{state.name}.log").open("ab") as log:
        process = start([str(ASSET), "run", "--asset-dir", str(state), *arguments], folder=ROOT, output=log)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # With all below it, at once, as a machine does that loses its power.
            kill(process)


def result(state: Path) -> dict[str, Any]:
    """Return the best metrics of the only run in a state folder, from the model that it made."""
    (training,) = state.glob("runs/*/outputs/pytorch_model_folder/training.json")
    best = json.loads(training.read_bytes())["best"]
    return {"metrics": best["metrics"], "step": best["step"]}


def killed(state: Path, job: list[str], kills: int, whole: float, draw: random.Random) -> list[float]:
    """Run the job to its end with kills and resumes; returns the seconds after which each try was killed.

    A try that ends before its kill is the last try. Raises RuntimeError if a try fails.
    """
    moments: list[float] = []
    for number in range(kills + 1):
        # There is no run to resume if the first try was killed before it made a run.
        arguments = ["--resume"] if list(state.glob("runs/*/run.json")) else job
        limit = draw.uniform(0, whole) if number < kills else None
        status = asset_run(state, arguments, limit)
        if status is None:
            moments.append(round(limit or 0, 1))
            sys.stderr.write(f"killed after {moments[-1]} s\n")
        elif status == 0:
            return moments
        else:
            raise RuntimeError(f"asset run {' '.join(arguments)} ended with {status}; see {state.name}.log")
    return moments


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("-f", "--file", required=True, help="a fine-tuning job of this checkout")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING", help="passed on to asset run")
    parser.add_argument("--kills", type=int, default=10, help="how often the run is killed (%(default)s)")
    parser.add_argument(
        "--within",
        type=float,
        default=0.25,
        help="kill each try within this share of the undisturbed time (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=17, help="the seed of the moments (%(default)s)")
    parser.add_argument("--folder", type=Path, help="the folder for runs and logs (a temporary folder)")
    args = parser.parse_args(argv)
    job = ["-f", args.file, *(part for setting in args.set for part in ("--set", setting))]
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        status = asset_run(folder / "undisturbed", job)
        whole = time.monotonic() - started
        if status != 0:
            raise RuntimeError(f"asset run ended with {status}; see {folder / 'undisturbed.log'}")
        sys.stderr.write(f"undisturbed: {whole:.0f} s\n")
        moments = killed(folder / "killed", job, args.kills, whole * args.within, random.Random(args.seed))
        report = {
            "job": args.file,
            "seconds": round(whole, 1),
            "killed_after": moments,
            "undisturbed": result(folder / "undisturbed"),
            "killed": result(folder / "killed"),
        }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
