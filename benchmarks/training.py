"""Time our training beside transformers' plain Trainer: non-padding tokens a second on the same rows.

    .venv/finetune/bin/python -m benchmarks.training --model model/embedded --data train.jsonl

The data are JSON lines with text and label. Each round trains the same rows with the same model, batch size, optimizer
and threads, first with the Trainer (`--plain`), then with `python -m finetune.train`, each in its own process;
evaluation, saving and loading are not counted. Prints one line of JSON with all rounds, the medians and their ratio;
progress goes to standard error.
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

from benchmarks.workers import ROOT
from serving.engine.machine import usable_cpus

VALIDATION_ROWS = 16
"""As few as a run can have, since evaluation is not timed."""


def prepare(folder: Path, model: Path, rows: Sequence[dict[str, str]], training: dict[str, Any]) -> None:
    """Write the folder that finetune.prepare would write for these rows, without its checks."""
    shutil.copytree(model, folder / "model")
    parts = {"train": rows, "validation": rows[:VALIDATION_ROWS]}
    for part, part_rows in parts.items():
        text = "".join(json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in part_rows)
        (folder / f"{part}.jsonl").write_text(text, encoding="utf-8")
    settings = {
        "task": "text-classification",
        "columns": {},
        "features": {},
        "training": training,
        "base": {"name": model.name, "source": str(model), "sha256": ""},
        "data": {part: {"source": part, "rows": len(part_rows), "sha256": ""} for part, part_rows in parts.items()},
        "labels": sorted({row["label"] for row in rows}),
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")


def run(module: str, options: dict[str, object], threads: int, *flags: str) -> str:
    """Run a module of the checkout and return its standard output; raises CalledProcessError if it fails."""
    arguments = [sys.executable, "-m", module, *flags]
    for name, value in options.items():
        arguments += [f"--{name}", str(value)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    return subprocess.run(arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def one_round(args: argparse.Namespace, rows: Sequence[dict[str, str]], folder: Path) -> dict[str, float]:
    """Train once with each; returns the tokens a second of both."""
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
    trainer = json.loads(
        run("benchmarks.training", {**same, "threads": args.threads}, args.threads, "--plain").splitlines()[-1]
    )
    out = folder / "out"
    run("finetune.train", {"prepared": folder / "prepared", "pytorch-model-folder": out}, args.threads)
    ours = json.loads((out / "training.json").read_bytes())
    return {"plain": trainer["tokens_per_second"], "ours": ours["tokens_per_second"]}


def train_plainly(model: Path, rows: Sequence[dict[str, str]], batch_size: int, steps: int, threads: int) -> float:
    """Train with transformers' Trainer as its documentation sets it up; returns the non-padding tokens a second.

    That is fp32, the default attention, rows in random order, and padding to the longest row of a batch.
    """
    import torch
    import transformers
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(model)
    labels = sorted({row["label"] for row in rows})
    encoded = tokenizer([row["text"] for row in rows], truncation=True)
    data: list[dict[str, Any]] = [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels.index(row["label"])}
        for ids, row in zip(encoded.input_ids, rows, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=AutoModelForSequenceClassification.from_pretrained(
                model, num_labels=len(labels), dtype=torch.float32
            ),
            args=TrainingArguments(
                output_dir=folder,
                use_cpu=not torch.cuda.is_available(),
                per_device_train_batch_size=batch_size,
                max_steps=steps,
                learning_rate=5e-5,
                save_strategy="no",
                report_to="none",
                logging_strategy="no",
                disable_tqdm=True,
                include_num_input_tokens_seen="non_padding",
            ),
            data_collator=DataCollatorWithPadding(tokenizer),
            train_dataset=data,
        )
        seconds = trainer.train().metrics["train_runtime"]
    return trainer.state.num_input_tokens_seen / seconds


def compared(args: argparse.Namespace, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Train with both in each round; returns the report."""
    rounds = []
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            # With as many rows as the steps take, both train each row once.
            rounds.append(one_round(args, rows[: args.steps * args.batch_size], Path(folder)))
        sys.stderr.write(f"round {number + 1}: {json.dumps(rounds[-1])}\n")
    medians = {name: statistics.median(speeds[name] for speeds in rounds) for name in ("plain", "ours")}
    return {"tokens_per_second": medians, "times_the_plain": medians["ours"] / medians["plain"], "rounds": rounds}


def plain(args: argparse.Namespace, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Train with transformers' Trainer alone; returns the tokens a second."""
    return {"tokens_per_second": train_plainly(args.model, rows, args.batch_size, args.steps, args.threads)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.training", description=__doc__, formatter_class=formatter)
    parser.add_argument("--model", type=Path, default=ROOT / "model/embedded", help="a checkpoint (the embedded one)")
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with text and label")
    parser.add_argument("--batch-size", type=int, default=32, help="rows of a batch (32)")
    parser.add_argument("--steps", type=int, default=60, help="steps of a training (60)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    parser.add_argument(
        "--threads", type=int, default=usable_cpus(), help="threads of each (all CPUs that this process may use)"
    )
    parser.add_argument(
        "--precision",
        type=int,
        choices=[16, 32],
        default=16,
        help="the precision of our training; the Trainer has 32 (16)",
    )
    parser.add_argument("--plain", action="store_true", help="train once with transformers' Trainer alone")
    args = parser.parse_args(argv)
    args.model, args.data = args.model.resolve(), args.data.resolve()
    rows = [json.loads(line) for line in args.data.read_text(encoding="utf-8").splitlines()]
    report = plain(args, rows) if args.plain else compared(args, rows)
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
