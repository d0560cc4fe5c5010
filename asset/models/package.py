"""Make a checkpoint folder an MLflow model: the files beside the weights, which stay where they are.

transformers, MLflow and score.py each load the folder. MLmodel is written last and as a whole.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asset.findings import shown
from asset.models.errors import RequestError, disk_error
from asset.models.record import Record, file_sha256
from finetune.checkpoint_files import TOKENIZER_FILES, WHOLE, TensorFile
from finetune.package.mlflow_files import Described, columns_of, write_files
from serving.errors import ModelFolderError
from serving.model.checkpoint import Checkpoint, read_config
from serving.model.model_folder import find_checkpoint, name_of
from serving.model.tokenizer import open_tokenizer
from serving.tasks import Task

MLMODEL = "MLmodel"
UNFINISHED = ".package-"
HASHED = ("config.json", WHOLE, *TOKENIZER_FILES)
"""The files that decide the answers of the model."""


@dataclass(frozen=True)
class Packaged:
    """A folder that is an MLflow model: its name, its task, and its origin as MLmodel says it."""

    folder: Path
    name: str
    task: Task
    metadata: Mapping[str, Any]

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags of a registered version, as flat texts."""
        kept = ("huggingface_model_id", "commit", "pinned_commit", "commit_note")
        found = {key: str(self.metadata[key]) for key in kept if key in self.metadata}
        return {"task": self.task, **found, "sha256": self.metadata["sha256"][WHOLE]}

    @property
    def note(self) -> str:
        """Return the description of a registered version: a sentence on the commit, or nothing."""
        return str(self.metadata.get("commit_note", ""))


def package(folder: Path, called: str | None = None, record: Record | None = None) -> Packaged:
    """Make a checkpoint folder an MLflow model.

    Args:
        folder: config.json, model.safetensors and tokenizer.json, of a model that score.py serves.
        called: the model's name if config.json has none (`model_name`); by default the name of the folder.
        record: the record of the pull; by default that in the folder.

    Raises:
        RequestError: the folder has no such model, or its files are others than were pulled.
        ModelError: the folder cannot be written.
    """
    record = record or Record.read(folder)
    task = _check(folder)
    name = name_of(Path(called) if called else folder, folder)
    metadata = _metadata(folder, record)
    config = read_config(folder)
    dtypes = {entry["dtype"] for entry in TensorFile.read(folder / WHOLE).tensors.values()}
    fp32 = dtypes.isdisjoint({"F16", "BF16", "F64"})
    described = Described(task, columns_of(task), config, name, metadata, fp32)
    try:
        for path in folder.glob(f"{UNFINISHED}*"):  # left by a run that was killed
            shutil.rmtree(path)
        # In the folder itself, so that each file is replaced in one step and a reader always finds a whole MLmodel.
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as made:
            write_files(folder, Path(made), described)
            _move(Path(made), folder)
    except ModelFolderError as exc:
        raise RequestError("not_servable", f"{shown(folder)}: {exc}") from exc
    except OSError as exc:
        raise disk_error(exc, folder, "package a copy of it") from exc
    return Packaged(folder, described.name, task, metadata)


def packaged(folder: Path) -> Packaged | None:
    """Return the package that a folder already is; None if there is none, or its files have changed since."""
    try:
        read = yaml.safe_load((folder / MLMODEL).read_text(encoding="utf-8"))
        metadata = read["metadata"]
        task, name = read["flavors"]["transformers"]["task"], metadata.pop("model_name")
        hashes = metadata["sha256"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    there = all((folder / place).exists() for place in ("input_example.json", "conda.yaml", "components/tokenizer"))
    if not there or WHOLE not in hashes or hashes != _hashes(folder):
        return None
    return Packaged(folder, name, task, metadata)


def _check(folder: Path) -> Task:
    """Return the task of a folder that score.py serves; raises RequestError."""
    try:
        parts = find_checkpoint(folder)
        if parts.checkpoint != folder:
            raise RequestError(
                "not_servable",
                f"{shown(folder)}: expected config.json and {WHOLE} in it, found them in {shown(parts.checkpoint)}; give "
                "that folder, unless an MLmodel stands above it: then it is packaged",
            )
        if parts.tokenizer.parent != folder:
            raise RequestError(
                "not_servable",
                f"{shown(folder)}: expected tokenizer.json in it, found it in {shown(parts.tokenizer.parent)}; copy it",
            )
        read = Checkpoint.read(folder)
        open_tokenizer(parts.tokenizer, read.config.vocab_size)
    except ModelFolderError as exc:
        raise RequestError(
            "not_servable",
            f"{exc}; choose a model that score.py serves, or pull one with `asset pull` (with --no-package, to fine-tune "
            "what has no head)",
        ) from exc
    return read.task


def _metadata(folder: Path, record: Record | None) -> dict[str, Any]:
    """Return the origin of the files, as far as it is known, and their hashes."""
    hashes = _hashes(folder)
    if record is None:
        return {"sha256": hashes}
    changed = [name for name, digest in hashes.items() if record.files.get(name, digest) != digest]
    if changed:
        raise RequestError(
            "not_servable",
            f"{shown(folder)}: expected {', '.join(changed)} as pulled from {record.repository} at {record.commit}, found "
            "another; pull again, or remove pulled.json if it is another model now",
        )
    found: dict[str, Any] = {"huggingface_model_id": record.repository, "commit": record.commit}
    if record.note:
        found |= {"pinned_commit": record.asked_revision, "commit_note": record.note}
    return {**found, "sha256": hashes}


def _hashes(folder: Path) -> dict[str, str]:
    found = {name: file_sha256(folder / name) for name in HASHED}
    return {name: digest for name, digest in found.items() if digest is not None}


def _move(made: Path, folder: Path) -> None:
    """Put files in their places, MLmodel last."""
    for path in sorted(made.rglob("*"), key=lambda path: path.name == MLMODEL):
        target = folder / path.relative_to(made)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            os.replace(path, target)
