"""Training by its command, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune.prepare.prepared import PreparedFolder
from finetune.train import __main__ as train


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model has no work for more."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("RANK", "WORLD_SIZE", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def run(prepared: PreparedFolder, output: Path) -> int:
    return train.main(["--prepared", str(prepared.path), "--pytorch-model-folder", str(output)])


def trained(prepared: PreparedFolder, output: Path) -> dict[str, Any]:
    assert run(prepared, output) == 0
    return json.loads((output / "training.json").read_bytes())


def changed(prepared: PreparedFolder, **training: object) -> None:
    """Change settings of the training."""
    settings = prepared.settings()
    new = settings.training.model_copy(update=training)
    prepared.write_settings(settings.model_copy(update={"training": new}))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]
