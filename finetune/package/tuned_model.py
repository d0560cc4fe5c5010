"""The folder that `finetune.train` writes, checked.

config.json model.safetensors tokenizer.json …  the best checkpoint; with merge_lora_weights false, instead of it:
adapter_config.json adapter_model.safetensors   the adapter alone, as peft writes it (finetune.train.task_model)
adapter/                                        beside a whole checkpoint, the adapter that is in it
training.json                                   written last: class Training
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from finetune.errors import FinetuneError
from finetune.prepare.prepared import Settings
from serving.errors import ModelFolderError, NotFiniteError
from serving.model.checkpoint import Checkpoint, read_config
from serving.model.model_folder import find_checkpoint
from serving.model.tokenizer import open_tokenizer

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Best(_Part):
    """The checkpoint that was kept: at which optimizer step, and its figures on the validation rows."""

    step: int
    epoch: float
    metrics: dict[str, float]


class Training(_Part):
    """The content of training.json; `history` is the Trainer's log."""

    best: Best
    history: list[dict[str, Any]] = []
    seconds: float = 0.0
    tokens_per_second: float | None = None
    device: str = ""
    precision: str = ""
    processes: int = 1
    versions: dict[str, str] = {}


@dataclass(frozen=True)
class TunedModel:
    """The folder, and whether its root is an adapter alone."""

    path: Path
    training: Training

    @property
    def is_adapter(self) -> bool:
        """True if the weights are an adapter, to be merged with the base model."""
        return (self.path / ADAPTER_FILES[0]).is_file()

    @property
    def adapter(self) -> Path | None:
        """Return the folder of the adapter; None if training made none."""
        return next(
            (place for place in (self.path, self.path / "adapter") if (place / ADAPTER_FILES[0]).is_file()), None
        )


def read_tuned(folder: Path) -> TunedModel:
    """Open the folder that training wrote; raises FinetuneError if training did not finish."""
    file = folder / "training.json"
    if not file.is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else "no such folder"
        raise FinetuneError(
            f"{folder}: expected training.json, which training writes last, found {found or 'nothing'}; training did "
            "not finish: run it again, with resume_from_checkpoint 'true' where it left checkpoints"
        )
    try:
        return TunedModel(folder, Training.model_validate_json(file.read_bytes()))
    except (OSError, ValueError) as exc:
        raise FinetuneError(
            f"{file}: expected what `python -m finetune.train` writes, found: {exc}; train again"
        ) from exc


def check_checkpoint(folder: Path, settings: Settings) -> None:
    """Raise FinetuneError if a checkpoint folder cannot be served, or is not of this run."""
    try:
        parts = find_checkpoint(folder)
        if parts.checkpoint != folder:
            raise FinetuneError(f"{folder}: expected config.json and model.safetensors in it, found {parts.checkpoint}")
        read = Checkpoint.read(folder)
        open_tokenizer(parts.tokenizer, read.config.vocab_size)
    except NotFiniteError as exc:
        raise FinetuneError(f"{exc.found}; training diverged: lower learning_rate") from exc
    except ModelFolderError as exc:
        raise FinetuneError(f"the trained model cannot be served: {exc}; train again") from exc
    if read.task != settings.task:
        raise FinetuneError(
            f"{folder}: expected a model for {settings.task}, as the prepared data, found one for {read.task}; "
            "give the folders of one run"
        )
    if read.labels is not None and (list(read.labels.names), read.labels.function) != (settings.labels, "softmax"):
        raise FinetuneError(
            f"{folder}: expected a classifier that chooses one of the labels {settings.labels}, as the prepared data, "
            f"found {list(read.labels.names)} by {read.labels.function}; give the folders of one run"
        )


def described(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's config.json; raises FinetuneError."""
    try:
        return read_config(folder)
    except ModelFolderError as exc:
        raise FinetuneError(str(exc)) from exc
