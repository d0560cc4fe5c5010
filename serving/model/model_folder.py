"""Choose the model folder, and find the checkpoint and the tokenizer in it."""

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
"""How many levels down a checkpoint may be: Azure mounts <name>/<version>, MLflow adds `model/` or `data/model/`."""


LONGEST_NAME = 200
"""Characters of a model's name; every answer has the name in a header."""


@dataclass(frozen=True)
class ModelFolder:
    """The paths of a model's checkpoint and tokenizer, and the model's name."""

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
        "bert-base-cased is not here: serving the small embedded model instead, whose answers are weaker; "
        "get bert-base-cased with `asset pull`, or name another model folder in AZUREML_MODEL_DIR"
    )
    return root / "model" / "embedded"


def has_weights(folder: Path) -> bool:
    """Return whether a folder has a checkpoint in it or below it, as after a pull."""
    return next(_checkpoints(folder), None) is not None


def find_checkpoint(folder: Path) -> ModelFolder:
    """Find a checkpoint in a folder or below it: Hugging Face's layout, or MLflow's `model/` and `components/tokenizer/`.

    Raises ModelFolderError if there is no checkpoint, if there are several, or if tokenizer.json is missing.
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
    """Find the folder with config.json and the weights, in a folder or below it.

    Raises ModelFolderError if there is none, or there are several.
    """
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: expected a model folder, found no such folder")
    checkpoints = list(_checkpoints(folder))
    if not checkpoints:
        names = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise ModelFolderError(f"{folder}: expected config.json and model.safetensors in it or below it, found {names}")
    if len(checkpoints) > 1:
        raise ModelFolderError(
            f"{folder}: expected one checkpoint, found {', '.join(map(str, checkpoints))}; name one of them"
        )
    return checkpoints[0]


def _checkpoints(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    if (folder / "config.json").is_file() and (any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))):
        yield folder
    elif depth and folder.is_dir():
        for below in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _checkpoints(below, depth - 1)


def name_of(folder: Path, checkpoint: Path) -> str:
    """Return the model's name: `model_name` of config.json, else the folder's name, without a version below it."""
    name = read_config(checkpoint).get("model_name")
    if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable() and name.isascii():
        return name
    folder = folder.resolve()
    return folder.parent.name if folder.name.isdigit() else folder.name
