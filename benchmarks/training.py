"""Our training beside transformers' plain Trainer: non-padding tokens a second on the same rows.

    .venv/finetune/bin/python -m benchmarks.training --model model/embedded --data train.jsonl

The data are JSON lines with text and label. Each round trains the same rows with the same model, batch size, optimizer
and threads, first with `python -m benchmarks.plain_training`, then with `python -m finetune.train`, each in a process of
its own; evaluation, saving and loading are not counted. Prints one line of JSON with every round, the medians and their
ratio; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.crew import ROOT
from serving.engine.machine import usable_cpus

VALIDATION_ROWS = 16
"""As few as a run can have: evaluation is not what is timed."""


def prepare(folder: Path, model: Path, rows: Sequence[dict[str, str]], training: dict[str, Any]) -> None:
    """Write what finetune.prepare would write for these rows, without its checks."""
    shutil.copytree(model, folder / "model")
    parts = {"train": rows, "validation": rows[:VALIDATION_ROWS]}
    for part, of_part in parts.items():
        text = "".join(json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in of_part)
        (folder / f"{part}.jsonl").write_text(text, encoding="utf-8")
    settings = {
        "task": "text-classification",
        "columns": {},
        "features": {},
        "training": training,
        "base": {"name": model.name, "source": str(model), "sha256": ""},
        "data": {part: {"source": part, "rows": len(of_part), "sha256": ""} for part, of_part in parts.items()},
        "labels": sorted({row["label"] for row in rows}),
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")


def run(module: str, options: dict[str, object], threads: int) -> str:
    """Run a module of the checkout; return its standard output. Raises CalledProcessError where it fails."""
    arguments = [sys.executable, "-m", module]
    for name, value in options.items():
        arguments += [f"--{name}", str(value)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    return subprocess.run(arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def one_round(args: argparse.Namespace, rows: Sequence[dict[str, str]], folder: Path) -> dict[str, float]:
    """Train both once; return the tokens a second of each."""
    training = {
        "apply_deepspeed": False,
        "apply_lora": False,
        "precision": args.precision,
        "per_device_train_batch_size": args.batch_size,
        "per_device_eval_batch_size": VALIDATION_ROWS,
        "max_steps": args.steps,
        "learning_rate": 5e-5,
        "logging_strategy": "epoch",
    }
    prepare(folder / "prepared", args.model, rows, training)
    data = folder / "prepared/train.jsonl"
    same = {"model": args.model, "data": data, "batch-size": args.batch_size, "steps": args.steps}
    plain = json.loads(
        run("benchmarks.plain_training", {**same, "threads": args.threads}, args.threads).splitlines()[-1]
    )
    out = folder / "out"
    run("finetune.train", {"prepared": folder / "prepared", "pytorch-model-folder": out}, args.threads)
    ours = json.loads((out / "training.json").read_bytes())
    return {"plain": plain["tokens_per_second"], "ours": ours["tokens_per_second"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.training", description=__doc__, formatter_class=formatter)
    parser.add_argument("--model", type=Path, default=ROOT / "model/embedded", help="a checkpoint (the embedded one)")
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with text and label")
    parser.add_argument("--batch-size", type=int, default=32, help="(32)")
    parser.add_argument("--steps", type=int, default=60, help="of a training (60)")
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="(the CPUs that may be used)")
    parser.add_argument("--precision", type=int, choices=[16, 32], default=16, help="of ours; the other's is 32 (16)")
    args = parser.parse_args(argv)
    args.model, args.data = args.model.resolve(), args.data.resolve()
    rows = [json.loads(line) for line in args.data.read_text(encoding="utf-8").splitlines()]
    rounds = []
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            # As many rows as the steps take, so that both train each once.
            rounds.append(one_round(args, rows[: args.steps * args.batch_size], Path(folder)))
        sys.stderr.write(f"round {number + 1}: {json.dumps(rounds[-1])}\n")
    medians = {name: statistics.median(found[name] for found in rounds) for name in ("plain", "ours")}
    report = {"tokens_per_second": medians, "times_the_plain": medians["ours"] / medians["plain"], "rounds": rounds}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
