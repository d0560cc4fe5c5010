"""A small model for each task: the embedded one, and its encoder under heads of random weights.

How long an answer takes, and what the server does to give it, does not depend on what the head has learned.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from benchmarks.checkpoint import SEED, SPREAD
from benchmarks.crew import ROOT

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
