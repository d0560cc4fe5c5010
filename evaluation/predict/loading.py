"""Load a model folder to predict with: on which device, in which precision, and without a server's limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.config import EvaluationConfig
from evaluation.predict.fill_mask import FillMaskPredictor
from evaluation.predict.predictor import Columns, Predictor
from evaluation.predict.question_answering import QuestionAnsweringPredictor
from evaluation.predict.text_classification import TextClassificationPredictor
from serving.engine.backend import Choice, choose
from serving.engine.engine import OpenFolder, open_folder
from serving.errors import ModelFolderError
from serving.model.checkpoint import read_task
from serving.model.model_folder import find_checkpoint
from serving.model.trust import check_folder
from serving.settings import Settings
from serving.tasks import Task

DEVICES = {"auto": "auto", "cpu": "cpu", "gpu": "cuda"}
"""The component's device -> that of serving's settings."""

GPU_TOKENS = 16384
"""Padded tokens that a GPU gets at once, as the settings' default suits CPUs. It is safe for its memory, and not tuned."""


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to predict, and what runs it."""

    predictor: Predictor
    folder: OpenFolder
    choice: Choice
    settings: Settings

    @property
    def described(self) -> dict[str, Any]:
        """What the summary says of the model."""
        return {
            "model": self.folder.parts.name,
            "model_type": self.folder.json.get("model_type", "bert"),
            "precision": self.choice.precision,
            "engine": self.choice.backend,
            "device": "gpu" if self.choice.device == "cuda" else "cpu",
        }


def load(folder: Path, task: Task, columns: Columns, settings: Settings, config: EvaluationConfig) -> Loaded:
    """Load a model folder for a task; raises ModelFolderError where it cannot be served or is of another task."""
    check_folder(folder, settings)
    found = read_task(find_checkpoint(folder).checkpoint)
    if found != task:
        raise ModelFolderError(f"{folder}: expected a model for {task}, found one for {found}; set task to {found}")
    opened = open_folder(folder, task)
    choice = choose(settings.precision, settings.engine, opened.config, settings.device)
    # From here on it is settled, so that it is chosen, and told, once.
    chosen = replace(settings, precision=choice.precision, engine=choice.backend, device=choice.device)
    if choice.device == "cuda":
        chosen = replace(chosen, batch_tokens=max(GPU_TOKENS, settings.batch_tokens))
    if task == "fill-mask":
        likelihood_rows = config.pseudo_perplexity_rows if config.pseudo_perplexity else 0
        predictor: Predictor = FillMaskPredictor.open(opened, chosen, columns, config.top_k, likelihood_rows)
    elif task == "text-classification":
        predictor = TextClassificationPredictor.open(folder, chosen, columns)
    else:
        predictor = QuestionAnsweringPredictor.open(folder, chosen, columns, config.max_answer_length)
    return Loaded(predictor, opened, choice, chosen)


def settings_for(device: str, precision: str, batch_size: int | None) -> Settings:
    """Return serving's settings, from its environment variables, for a run without limits; raises SettingsError.

    `batch_size` is a maximum of rows: batch_tokens stays, as what leaves the CPU's cache is slower there.
    """
    settings = replace(Settings.from_env().unlimited(), device=DEVICES[device], precision=precision)
    return replace(settings, batch_rows=batch_size) if batch_size else settings
