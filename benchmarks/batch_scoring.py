"""Measure the batch scoring script on many rows: its speed beside transformers, its memory, and its answers after kills.

    .venv/bench/bin/python -m benchmarks.batch_scoring --rows 100000

repeats a cloze file to the number of rows and scores them with deployment/batch_score.py in .venv/batch, as Azure's batch
runtime does: init(), then run() with the file. It samples the resident memory of the process four times a second. Before
that, the first rows go through transformers' fill-mask pipeline in fp32 at several batch sizes, with the same threads; the
best batch size counts. Afterwards the file is scored again in a process that is killed at random moments and restarted,
and the answers are compared with the undisturbed run's. Prints one line of JSON; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.prediction import pipeline_rows_per_second, repeated, resident_mb, tenths
from benchmarks.workers import ROOT, environment_of, interpreter
from serving.engine.machine import usable_cpus

PROGRAM = """
import json, sys, time
from deployment import batch_score
batch_score.init()
print("ready", flush=True)
start = time.perf_counter()
(summary,) = batch_score.run(sys.argv[1:])
print(json.dumps({**json.loads(summary), "seconds": time.perf_counter() - start}), flush=True)
"""


def started(model: Path, data: Path, output: Path, precision: str) -> subprocess.Popen[str]:
    """Start a process that scores a file, and wait until its model is loaded."""
    variables = {
        "AZUREML_MODEL_DIR": str(model.resolve()),
        "AZUREML_BI_OUTPUT_PATH": str(output),
        "BATCH_SCORING_INPUT_FOLDER": str(data.parent),
        "BERT_SERVING_PRECISION": precision,
    }
    process = subprocess.Popen(
        [str(interpreter("batch")), "-c", PROGRAM, str(data)],
        cwd=ROOT,
        env=environment_of(usable_cpus(), variables),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    if process.stdout.readline() != "ready\n":
        raise subprocess.CalledProcessError(process.wait(), process.args)
    return process


def scored(process: subprocess.Popen[str]) -> tuple[dict[str, Any], list[float]]:
    """Wait for a process; returns its summary with the seconds of run(), and the samples of its memory in MB."""
    memory = []
    while process.poll() is None:
        memory.append(resident_mb(process.pid))
        time.sleep(0.25)
    out, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return json.loads(out.splitlines()[-1]), memory


def killed(model: Path, data: Path, output: Path, precision: str, kills: int, seconds: float) -> list[float]:
    """Score a file in processes that are killed at random moments; returns the seconds after which each was killed.

    `seconds` is the time of an undisturbed run. The last process is not killed.
    """
    draw, moments = random.Random(17), []
    for _ in range(kills):
        process = started(model, data, output, precision)
        moments.append(round(draw.uniform(0, seconds / kills), 2))
        time.sleep(moments[-1])
        process.kill()
        process.communicate()
        sys.stderr.write(f"killed after {moments[-1]} s\n")
    scored(started(model, data, output, precision))
    return moments


def row_numbers(answers: Path) -> list[int]:
    """Return the row numbers in a file of answers."""
    with answers.open(encoding="utf-8") as file:
        return [json.loads(line)["row"] for line in file]


def measured(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure speed, memory and kills, with data and outputs in a folder; returns the report."""
    data = folder / "rows.jsonl"
    repeated(args.data, args.pipeline_rows, data)
    texts = [json.loads(line)["input_string"] for line in data.read_text(encoding="utf-8").splitlines()]
    pipeline = pipeline_rows_per_second(args.model, texts, top_k=1)
    repeated(args.data, args.rows, data)
    summary, memory = scored(started(args.model, data, folder / "whole", args.precision))
    speed = summary["rows"] / summary["seconds"]
    moments = killed(args.model, data, folder / "killed", args.precision, args.kills, summary["seconds"])
    whole, after = (folder / name / "rows.jsonl.answers.jsonl" for name in ("whole", "killed"))
    numbers = row_numbers(after)
    return {
        "rows": summary["rows"],
        "failed": summary["failed"],
        "rows_per_second": speed,
        "pipeline_rows_per_second": pipeline,
        "times_the_pipeline": speed / max(pipeline.values()),
        "memory_mb": tenths(memory),
        "killed_after": moments,
        "lost": args.rows - len(set(numbers)),
        "doubled": len(numbers) - len(set(numbers)),
        "same_answers": whole.read_bytes() == after.read_bytes(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks.batch_scoring", description=__doc__, formatter_class=formatter
    )
    parser.add_argument("--model", type=Path, default=ROOT / "model/embedded", help="a model folder (the embedded one)")
    parser.add_argument("--data", type=Path, default=ROOT / "evaluation/test_set/cloze.jsonl", help="a cloze file")
    parser.add_argument("--rows", type=int, default=100_000, help="repeat the file to this many rows (100,000)")
    parser.add_argument("--precision", default="auto", help="the precision of the engine (auto)")
    parser.add_argument("--pipeline-rows", type=int, default=512, help="rows for the pipeline (512)")
    parser.add_argument("--kills", type=int, default=3, help="kills of the second run (3)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        report = measured(args, Path(name))
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
