"""Measure the evaluation's model_prediction on many rows: its memory from start to end, and its speed.

    .venv/bench/bin/python -m benchmarks.prediction --rows 1000000

repeats a cloze file to the number of rows and predicts them in int8 with `python -m evaluation.model_prediction` in
.venv/evaluation, with the evaluation_config of the job. It samples the resident memory of the process each second.
Before that, the first rows go through transformers' fill-mask pipeline in fp32 at several batch sizes, with the same
threads; the best batch size counts. Prints one line of JSON; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.workers import ROOT, environment_of, interpreter
from serving.engine.machine import usable_cpus

BATCH_SIZES = (1, 4, 16, 64)
CONFIG = ROOT / "evaluation/evaluation-config.json"
"""The configuration of the job, which scores some whole texts too."""

OUTPUTS = ("predictions", "prediction-probabilities", "ground-truth", "performance-metadata", "rejects")


def repeated(data: Path, rows: int, to: Path) -> None:
    """Write the lines of a file again and again until there are `rows` lines."""
    lines = [line for line in data.read_bytes().splitlines(keepends=True) if line.strip()]
    with to.open("wb") as file:
        file.writelines(itertools.islice(itertools.cycle(lines), rows))


def command(model: Path, data: Path, folder: Path) -> list[str]:
    """Return the command that predicts a file, with its outputs in a folder."""
    program = [str(interpreter("evaluation")), "-m", "evaluation.model_prediction", "--task", "fill-mask"]
    inputs = ["--model", str(model), "--test-data", str(data), "--evaluation-config", str(CONFIG)]
    outputs = [part for name in OUTPUTS for part in (f"--{name}", str(folder / f"{name}.jsonl"))]
    return [*program, *inputs, "--precision", "int8", *outputs]


def predicted(model: Path, data: Path, folder: Path) -> dict[str, Any]:
    """Predict a file; returns the rows, the rows a second, and the memory (`tenths`).

    Raises CalledProcessError if the command fails.
    """
    memory = []
    arguments = command(model, data, folder)
    with subprocess.Popen(arguments, cwd=ROOT, env=environment_of(usable_cpus())) as process:
        while process.poll() is None:
            memory.append(resident_mb(process.pid))
            time.sleep(1)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    summary = json.loads((folder / "performance-metadata.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    rows = {name: summary[name] for name in ("rows_predicted", "rows_rejected", "rows_per_second")}
    return {**rows, "memory_mb": tenths(memory)}


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process; 0 if it has ended."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def tenths(memory: Sequence[float]) -> dict[str, float]:
    """Return the medians of the second and the last tenth of the samples, and the largest sample."""
    tenth = max(1, len(memory) // 10)
    first, last = memory[tenth : 2 * tenth] or memory, memory[-tenth - 1 : -1] or memory
    return {"second_tenth": statistics.median(first), "last_tenth": statistics.median(last), "most": max(memory)}


def pipeline_rows_per_second(model: Path, texts: Sequence[str], top_k: int = 5) -> dict[int, float]:
    """Return the rows a second of transformers' pipeline at each batch size, with `top_k` words for each mask."""
    import torch
    from tqdm import tqdm
    from transformers import pipeline

    torch.set_num_threads(usable_cpus())
    filler = pipeline("fill-mask", model=str(model), dtype=torch.float32, device="cpu", top_k=top_k)
    speeds = {}
    for size in tqdm(BATCH_SIZES, desc="transformers pipeline", unit="batch size"):
        filler(list(texts[:size]), batch_size=size)
        start = time.perf_counter()
        filler(list(texts), batch_size=size)
        speeds[size] = len(texts) / (time.perf_counter() - start)
    return speeds


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.prediction", description=__doc__, formatter_class=formatter)
    parser.add_argument("--model", type=Path, default=ROOT / "model/embedded", help="a model folder (the embedded one)")
    parser.add_argument("--data", type=Path, default=ROOT / "evaluation/test_set/cloze.jsonl", help="a cloze file")
    parser.add_argument("--rows", type=int, default=1_000_000, help="repeat the file to this many rows (1,000,000)")
    parser.add_argument("--pipeline-rows", type=int, default=512, help="rows for the pipeline (512)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "rows.jsonl"
        repeated(args.data, args.pipeline_rows, data)
        texts = [json.loads(line)["input_string"] for line in data.read_text(encoding="utf-8").splitlines()]
        pipeline = pipeline_rows_per_second(args.model, texts)
        repeated(args.data, args.rows, data)
        ours = predicted(args.model, data, folder)
    best = max(pipeline.values())
    report = {**ours, "pipeline_rows_per_second": pipeline, "times_the_pipeline": ours["rows_per_second"] / best}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
