"""What the clients of the soak ask: of each task short and long texts, one and many, and mistakes among them.

A small model for each task: the embedded one, and its encoder under heads of random weights.

How long an answer takes, and what the server does to give it, does not depend on what the head has learned.
"""

from __future__ import annotations

import json
import math
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.checkpoint import SEED, SPREAD
from benchmarks.crew import ROOT
from benchmarks.inputs import MASK, sentences

COUNT = 200
"""Requests that are sent in turn; a share of 0.05 is ten of them."""

LONG_WORDS = 200
TOLERANCE = 0.02
"""How far a score may be from that of the same request alone: what an engine rounds may depend on the batch."""

ASKED_ABOUT = ("Who is this about?", "Where does it happen?", "What is done?", "How much of it is there?")


@dataclass(frozen=True)
class Asked:
    """A request's body, and the status that it gets from a server that has time for it."""

    body: str
    status: str


def traffic(task: str, seed: int) -> list[Asked]:
    """Return requests of a task, the same in every run of one seed."""
    draw = random.Random(f"{seed} {task}")
    rows = [_row(task, text, draw) for text in sentences()]
    lengths = [_row(task, text, draw) for text in _long(draw)]
    made = [_good(task, [draw.choice(rows)]) for _ in range(COUNT * 60 // 100)]
    made += [_good(task, draw.choices(rows, k=draw.randint(2, 8))) for _ in range(COUNT * 20 // 100)]
    made += [_good(task, [draw.choice(lengths)]) for _ in range(COUNT * 10 // 100)]
    made += [_good(task, draw.choices(rows, k=2), top_k=5) for _ in range(COUNT * 5 // 100)]
    wrong = _mistakes(task)
    made += [wrong[number % len(wrong)] for number in range(COUNT - len(made))]
    draw.shuffle(made)
    return made


def _long(draw: random.Random) -> list[str]:
    """Return texts of LONG_WORDS words and one mask."""
    found = []
    for _ in range(8):
        words = " ".join(draw.sample(sentences(), 24)).replace(MASK, "one").split()[:LONG_WORDS]
        words[draw.randrange(len(words))] = MASK
        found.append(" ".join(words))
    return found


def _row(task: str, text: str, draw: random.Random) -> Any:  # noqa: ANN401 - a text or a question
    if task == "question-answering":
        return {"question": draw.choice(ASKED_ABOUT), "context": text.replace(MASK, "one")}
    return text if task == "fill-mask" else text.replace(MASK, "one")


def _good(task: str, rows: list[Any], **parameters: object) -> Asked:
    # A list of questions is taken under `inputs` alone.
    key = "inputs" if task == "question-answering" else "input_data"
    content: dict[str, Any] = {key: rows[0] if key == "inputs" and len(rows) == 1 else rows}
    return Asked(json.dumps(content | ({"parameters": parameters} if parameters else {})), "200")


def _mistakes(task: str) -> list[Asked]:
    found = [
        Asked('{"input_data": ["cut off', "400"),
        Asked('{"hello": ["there"]}', "400"),
        Asked(json.dumps({"input_data": [[["deep"]]]}), "400"),
    ]
    if task == "fill-mask":
        found.append(Asked(json.dumps({"input_data": ["Nothing is missing here."]}), "400"))
        found.append(Asked(json.dumps({"input_data": [f"A {MASK}."] * 1025}), "413"))
    return found


def same(found: object, expected: object) -> bool:
    """Tell whether two answers, as they come out of JSON, are the same but for scores that differ a little.

    >>> same([{"label": "a", "score": 0.501}], [{"label": "a", "score": 0.5}])
    True
    """
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, abs_tol=TOLERANCE)
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[name], expected[name]) for name in found)
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected


EMBEDDED = ROOT / "model/embedded"
TASKS = ("fill-mask", "text-classification", "question-answering")
ARCHITECTURES = {
    "text-classification": "BertForSequenceClassification",
    "question-answering": "BertForQuestionAnswering",
}


def model_for(task: str, cache: Path, encoder: Path = EMBEDDED) -> Path:
    """Return a model folder for a task, made on the first call."""
    if task == "fill-mask":
        return encoder
    from safetensors.numpy import load_file, save_file

    folder = cache / f"{encoder.name}-{task}"
    weights = folder / "model.safetensors"
    if weights.is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    config |= {"architectures": [ARCHITECTURES[task]], "model_name": f"soak-{task}"}
    if task == "text-classification":
        config["id2label"] = {"0": "negative", "1": "neutral", "2": "positive"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(encoder / name, folder)
    tensors = {name: array for name, array in load_file(encoder / "model.safetensors").items() if "cls." not in name}
    partial = weights.with_suffix(".partial")
    save_file(tensors | _head(task, config["hidden_size"]), partial, metadata={"format": "pt"})
    partial.replace(weights)
    return folder


def _head(task: str, hidden: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(SEED)

    def linear(name: str, outputs: int) -> dict[str, np.ndarray]:
        weight = draw.normal(0, SPREAD, (outputs, hidden)).astype(np.float32)
        return {f"{name}.weight": weight, f"{name}.bias": np.zeros(outputs, np.float32)}

    if task == "text-classification":
        return {**linear("bert.pooler.dense", hidden), **linear("classifier", 3)}
    return linear("qa_outputs", 2)
