"""Open a model folder for a task: what its config says, and the engine on its compiled graph."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from serving.backend import choose
from serving.checkpoint import MODELS, BertConfig, read_config, read_task
from serving.compile import compiled
from serving.engine import Engine
from serving.errors import ModelFolderError
from serving.heads import Head
from serving.model_folder import ModelFolder, find_checkpoint
from serving.settings import Settings
from serving.tasks import Task

logger = logging.getLogger("serving.loading")

Result = TypeVar("Result")


@dataclass(frozen=True)
class OpenFolder:
    """A model folder that is one of the task: its parts, its config.json, and the dimensions in it."""

    parts: ModelFolder
    json: dict[str, Any]
    config: BertConfig


def open_folder(folder: Path, task: Task) -> OpenFolder:
    """Find the checkpoint and read its config; raises ModelFolderError where it cannot be served or is of another task."""
    parts = find_checkpoint(folder)
    described = read_config(parts.checkpoint)
    config = BertConfig.from_json(described)
    found = read_task(parts.checkpoint)
    if found != task:
        raise ModelFolderError(f"{parts.checkpoint}: expected a {MODELS[task]}, found a {MODELS[found]}")
    return OpenFolder(parts, described, config)


def open_engine(
    opened: OpenFolder, head: Head[Result], pad_id: int, precision: str | None, settings: Settings
) -> Engine[Result]:
    """Return an engine on the checkpoint, compiled now where that was not done yet; raises ModelFolderError."""
    choice = choose(precision or settings.precision, settings.engine, opened.config, settings.device)
    logger.info("%s runs it in %s on %s", choice.backend, choice.precision, choice.device)
    content = compiled(opened.parts.checkpoint, choice.precision, settings.cache_dir, choice.backend)
    return Engine(content, head, pad_id, settings, choice.device)
