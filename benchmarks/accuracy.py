"""Accuracy on a cloze file: ours in both precisions by benchmarks.cloze, the peers' by their own best tokens."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.crew import ROOT, WorkerError, environment_of, hired, interpreter
from benchmarks.inputs import encode
from benchmarks.peers import SYSTEMS

DATA = ROOT.parent / "shared/data/wikitext2_cloze_validation.jsonl"
"""Where the validation data is beside a development checkout; it is not part of the project."""

ROWS_A_BATCH = 32
PEERS = ("ONNX Runtime int8", "OpenVINO bf16", "OpenVINO int8")


def measure(
    model: Path, data: Path, cache: Path, threads: int, peers: Sequence[str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Return shares from 0 to 1, by system, of rows whose masked word was the best; `problems` by system."""
    report: dict[str, Any] = {"model": model.name, "data": data.name, "problems": {}}
    say(f"accuracy: ours on {data.name}")
    command = [str(interpreter("serving")), "-m", "benchmarks.cloze", "--model", str(model), "--data", str(data)]
    done = subprocess.run(
        [*command, "--precision", "fp32", "int8", "--json"],
        cwd=ROOT,
        env=environment_of(threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WorkerError(f"benchmarks.cloze ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    ours = json.loads(done.stdout)
    report |= {"rows": ours["rows"], "int8_vs_fp32": ours["int8_vs_fp32"]}
    report["accuracy@1"] = {f"ours {precision}": ours[precision]["accuracy@1"] for precision in ("fp32", "int8")}
    for name in peers:
        say(f"accuracy: {name}")
        try:
            report["accuracy@1"][name] = _peer(name, model, data, cache, threads)
        except WorkerError as exc:
            report["problems"][name] = str(exc)
    return report


def _peer(name: str, model: Path, data: Path, cache: Path, threads: int) -> float:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    lines = [json.loads(line) for line in data.read_text(encoding="utf-8").split("\n") if line.strip()]
    batch = encode(tokenizer, [line["input_string"] for line in lines])
    # Rows of like length together; their shapes vary, so OpenVINO compiles for all shapes at once.
    order = sorted(range(len(lines)), key=lambda index: len(batch.ids[index]))
    options = {"fixed_shapes": False} if name.startswith("OpenVINO") else {}
    right = 0
    with hired(name, SYSTEMS[name].environment, threads, cache / "logs") as member:
        member.ask("prepare", system=name, model=str(model), cache=str(cache), threads=threads, **options)
        for start in range(0, len(order), ROWS_A_BATCH):
            part = order[start : start + ROWS_A_BATCH]
            rows = batch.chosen(part).to_json()
            for index, token in zip(part, member.ask("answer", batch=rows)["tokens"], strict=True):
                normalized = [
                    tokenizer.normalizer.normalize_str(word) if tokenizer.normalizer else word
                    for word in (tokenizer.id_to_token(token), lines[index]["title"].strip())
                ]
                right += normalized[0] == normalized[1]
    return right / len(lines)
