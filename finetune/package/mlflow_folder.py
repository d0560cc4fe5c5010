"""A tuned model as an MLflow folder that transformers, MLflow and score.py load without changes.

    MLmodel  config.json  model.safetensors  tokenizer.json …  components/tokenizer/  README.md  input_example.json
    requirements.txt  conda.yaml  python_env.yaml  training.json  adapter/ (LoRA)  code/ (question answering)

`stage` makes the folder in a temporary place, with a link to the weights. `publish` copies it to its final place; MLmodel
appears there last.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from finetune.checkpoint_files import TOKENIZER_FILES
from finetune.errors import FinetuneError
from finetune.package.mlflow_files import Described, columns_of, copy_tokenizer, read_object, write_files, write_json
from finetune.package.tuned_model import ADAPTER_FILES, TunedModel, described
from finetune.prepare.prepared import Settings

WEIGHTS = "model.safetensors"
LAST = (WEIGHTS, "config.json", "MLmodel")
"""The files that make a folder look complete, in the order in which they are written."""


def model_name(settings: Settings) -> str:
    """Return the name of the tuned model: the base model's name and the task.

    >>> model_name(settings)
    'bert-base-cased-text-classification'
    """
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", settings.base.name.rsplit("/", 1)[-1]).strip("-.") or "model"
    return f"{base}-{settings.task}"


def input_columns(settings: Settings) -> list[str]:
    """Return the columns of the input frame: text, and text_pair for pairs; or question and context."""
    return columns_of(settings.task, pairs="sentence2_key" in settings.columns)


def stage(tuned: TunedModel, checkpoint: Path, settings: Settings, folder: Path) -> None:
    """Make the folder, but for the card, of a checkpoint that was checked; its weights are a link. Raises OSError."""
    config = _config(checkpoint, settings)
    write_json(folder / "config.json", config)
    (folder / WEIGHTS).symlink_to((checkpoint / WEIGHTS).resolve())
    copy_tokenizer(checkpoint, folder, config["max_position_embeddings"])
    shutil.copyfile(tuned.path / "training.json", folder / "training.json")
    if tuned.adapter is not None:
        _copy_adapter(tuned.adapter, folder / "adapter", settings)
    metadata = {"base_model_name": settings.base.name}
    write_files(
        folder, folder, Described(settings.task, input_columns(settings), config, config["model_name"], metadata)
    )


def publish(staged: Path, output: Path) -> None:
    """Put a folder in its place and delete the earlier content; raises FinetuneError if this command did not write that content."""
    check_output(output)
    output.mkdir(parents=True, exist_ok=True)
    for name in reversed(LAST):
        (output / name).unlink(missing_ok=True)
    for path in output.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in sorted(staged.iterdir()):
        if path.is_dir():
            shutil.copytree(path, output / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.name not in LAST:
            shutil.copyfile(path, output / path.name)
    for name in LAST:
        unfinished = output / f".{name}.partial"
        shutil.copyfile(staged / name, unfinished)
        unfinished.replace(output / name)


def check_output(output: Path) -> None:
    """Raise FinetuneError if a folder has files that this command did not write."""
    if output.exists() and not output.is_dir():
        raise FinetuneError(f"--mlflow-model-folder {output}: expected a folder, found a file; give another")
    known = {*LAST, *TOKENIZER_FILES, "components", "adapter", "code", "training.json", "README.md", ".compiled"}
    known |= {"requirements.txt", "conda.yaml", "python_env.yaml", "input_example.json"}
    known |= {f".{name}.partial" for name in LAST}
    others = sorted(path.name for path in output.iterdir() if path.name not in known) if output.is_dir() else []
    if others:
        raise FinetuneError(
            f"--mlflow-model-folder {output}: expected an empty folder, or an earlier result, which is written over; "
            f"found {', '.join(others[:5])}; give another"
        )


def _config(checkpoint: Path, settings: Settings) -> dict[str, Any]:
    """Return config.json as it is to be: with a name of its own, and without the path that it was trained from."""
    config = {key: value for key, value in described(checkpoint).items() if not key.startswith("_")}
    return {**config, "model_name": model_name(settings), "dtype": "float32"}


def _copy_adapter(adapter: Path, folder: Path, settings: Settings) -> None:
    folder.mkdir()
    for name in ADAPTER_FILES:
        shutil.copyfile(adapter / name, folder / name)
    config = read_object(folder / ADAPTER_FILES[0])
    write_json(folder / ADAPTER_FILES[0], {**config, "base_model_name_or_path": settings.base.name})
