"""A fine-tuning job that is killed at random moments and resumed each time, beside the same job left alone.

    .venv/dev/bin/python -m benchmarks.long.killed_run -f finetune/finetune-sentiment.yml --kills 10

runs `asset run` on the job once undisturbed, then again with SIGKILL to the runner and to every process below it at
random moments of the time that the first run took, and `asset run --resume` after each. Prints one line of JSON with
both runs' best validation metrics and the seconds after which each try was killed; progress goes to standard error. Settings of the job are passed on with --set.
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
from benchmarks.crew import ROOT

ASSET = ROOT / ".venv" / "dev" / "bin" / "asset"


def asset_run(state: Path, arguments: list[str], seconds: float | None = None) -> int | None:
    """Run `asset run` to its end and return its exit status, or None if it was killed after so many seconds."""
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
    """Return what the state folder's one run came to: its best metrics, from the model that it made."""
    (training,) = state.glob("runs/*/outputs/pytorch_model_folder/training.json")
    found: dict[str, Any] = json.loads(training.read_bytes())
    return {"metrics": found["best"]["metrics"], "step": found["best"]["step"]}


def killed(state: Path, job: list[str], kills: int, whole: float, draw: random.Random) -> list[float]:
    """Run the job, kill it so often and resume it, to its end; return the seconds after which each try was killed.

    A try that ends before its kill is the last one. Raises RuntimeError where a try fails.
    """
    moments: list[float] = []
    for number in range(kills + 1):
        # A fresh state has no run to resume before its first try got as far as making one.
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
    parser.add_argument("--kills", type=int, default=10, help="how often it is killed (%(default)s)")
    parser.add_argument(
        "--within",
        type=float,
        default=0.25,
        help="a kill comes within this share of the undisturbed time (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=17, help="of the moments (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where runs and logs are kept (a temporary folder)")
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
        found = {
            "job": args.file,
            "seconds": round(whole, 1),
            "killed_after": moments,
            "undisturbed": result(folder / "undisturbed"),
            "killed": result(folder / "killed"),
        }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
