"""Find the checkpoint and the tokenizer in a model folder, and which folder that is."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ModelFolderError
from serving.model.checkpoint import read_config

logger = logging.getLogger("serving.model.model_folder")

DEPTH = 3
"""How far down a checkpoint is looked for: Azure mounts <name>/<version>, MLflow adds `model/` or `data/model/`."""


LONGEST_NAME = 200
"""Characters of what a model calls itself; every answer has it in a header."""


@dataclass(frozen=True)
class ModelFolder:
    """Where a model's parts are, and what it calls itself."""

    checkpoint: Path
    tokenizer: Path
    name: str


def chosen_folder(root: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder to serve: AZUREML_MODEL_DIR, else bert-base-cased if it was pulled, else the embedded model."""
    if environ.get("AZUREML_MODEL_DIR"):
        return Path(environ["AZUREML_MODEL_DIR"])
    pulled = root / "model" / "bert-base-cased"
    if has_weights(pulled):
        return pulled
    logger.warning(
        "bert-base-cased is not here: serving the small embedded model in its place, whose answers are weaker; "
        "`asset pull` gets it, and AZUREML_MODEL_DIR names another model folder"
    )
    return root / "model" / "embedded"


def has_weights(folder: Path) -> bool:
    """Return whether there is a checkpoint in a folder or below it, as after a pull."""
    return next(_checkpoints(folder), None) is not None


def find_checkpoint(folder: Path) -> ModelFolder:
    """Find a checkpoint in a folder or below it: plain Hugging Face, or MLflow's with `model/` and `components/tokenizer/`.

    Raises ModelFolderError where there is none, there are several, or it has no tokenizer.json.
    """
    checkpoint = find_weights(folder)
    places = [checkpoint, *(checkpoint.parent / place for place in ("components/tokenizer", "tokenizer"))]
    tokenizer = next((place / "tokenizer.json" for place in places if (place / "tokenizer.json").is_file()), None)
    if tokenizer is None:
        raise ModelFolderError(
            f"{checkpoint}: expected tokenizer.json beside config.json, found none; "
            "write it with transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…)"
        )
    return ModelFolder(checkpoint, tokenizer, name_of(folder, checkpoint))


def find_weights(folder: Path) -> Path:
    """Find the folder of config.json and the weights in a folder or below it.

    Raises ModelFolderError where there is none, or there are several.
    """
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: expected a model folder, found no such folder")
    found = list(_checkpoints(folder))
    if not found:
        names = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise ModelFolderError(f"{folder}: expected config.json and model.safetensors in it or below it, found {names}")
    if len(found) > 1:
        raise ModelFolderError(
            f"{folder}: expected one checkpoint, found {', '.join(map(str, found))}; name one of them"
        )
    return found[0]


def _checkpoints(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    if (folder / "config.json").is_file() and (any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))):
        yield folder
    elif depth and folder.is_dir():
        for below in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _checkpoints(below, depth - 1)


def name_of(folder: Path, checkpoint: Path) -> str:
    """Return what config.json calls the model (`model_name`), else the folder, without Azure's version below the name."""
    name = read_config(checkpoint).get("model_name")
    if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable() and name.isascii():
        return name
    folder = folder.resolve()
    return folder.parent.name if folder.name.isdigit() else folder.name
