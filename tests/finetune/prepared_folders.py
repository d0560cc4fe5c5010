"""Prepared folders, as `python -m finetune.prepare` writes them, of rows that the tiny checkpoint can learn."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from finetune.prepare.prepared import Base, DataPart, PreparedFolder, Settings
from finetune.settings import FeatureSettings, TrainingSettings

Rows = list[dict[str, Any]]

WARM = ("warm", "cold", "red")


@pytest.fixture(scope="session")
def labelled(lines: list[str]) -> Rows:
    """Rows of 20 to 30 tokens whose label is their adjective."""
    draw = random.Random(3)
    return [
        {"text": line + " The moon." * draw.randrange(4), "label": next(word for word in WARM if word in line)}
        for line in lines
    ]


@pytest.fixture(scope="session")
def asked(lines: list[str]) -> Rows:
    """Questions about who sat, which is one word of the context."""
    found = []
    for number, line in enumerate(lines):
        who = line.split()[1]
        answers = {"text": [who], "answer_start": [line.index(who)]}
        found.append({"id": f"q{number}", "question": "Who sat?", "context": line, "answers": answers})
    return found


@pytest.fixture
def make_prepared(tmp_path: Path) -> Callable[..., PreparedFolder]:
    """Write a prepared folder; keywords are settings of the training."""

    def make(
        model: Path,
        train: Rows,
        validation: Rows,
        labels: Sequence[str] = WARM,
        features: dict[str, Any] | None = None,
        name: str = "prepared",
        **training: Any,  # noqa: ANN401
    ) -> PreparedFolder:
        folder = PreparedFolder(tmp_path / name)
        shutil.rmtree(folder.path, ignore_errors=True)
        shutil.copytree(model, folder.model)
        parts = {}
        for part, rows in (("train", train), ("validation", validation)):
            file = folder.file(part)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            parts[part] = DataPart(source=f"{part}.csv", rows=len(rows), sha256=digest)
        asks = bool(train) and "question" in train[0]
        quick = {
            "apply_deepspeed": False,
            "apply_lora": False,
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 16,
            "learning_rate": 3e-3,
        }
        digest = hashlib.sha256((folder.model / "model.safetensors").read_bytes()).hexdigest()
        settings = Settings(
            task="question-answering" if asks else "text-classification",
            columns={},
            features=FeatureSettings(**features or {}),
            training=TrainingSettings(**{**quick, **training}),
            base=Base(name="tiny", source=str(model), sha256=digest),
            data=parts,
            labels=[] if asks else list(labels),
        )
        folder.write_settings(settings)
        return folder

    return make
