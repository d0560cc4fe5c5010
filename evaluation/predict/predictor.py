"""A model that predicts the rows of a table: what each task describes of it, its columns, and how it is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from evaluation.config import EvaluationConfig
from evaluation.errors import EvaluationError
from serving.engine.backend import Choice, choose
from serving.engine.engine import OpenFolder, open_folder
from serving.errors import ModelFolderError
from serving.model.checkpoint import read_task
from serving.model.model_folder import find_checkpoint
from serving.model.trust import check_folder
from serving.settings import Settings
from serving.tasks import TASKS, Task
from tables.rows import Reject, Row, kind_of

DEVICES = {"auto": "auto", "cpu": "cpu", "gpu": "cuda"}
"""The component's devices -> the devices of serving's settings."""

GPU_TOKENS = 16384
"""Padded tokens that a GPU gets at once; the settings' default suits CPUs. It fits the memory and is not tuned."""


class Predicted(NamedTuple):
    """A row's line in each of the outputs."""

    ground_truth: dict[str, Any]
    prediction: dict[str, Any]
    probabilities: dict[str, Any]


class Predictor(Protocol):
    """A model of one task that reads rows and writes predictions.

    `long_rows` counts the rows that were longer than the model, and `long_name` is what the summary calls them:
    windowed_rows or truncated_rows. `likelihood_seconds` is the time spent on scoring whole texts.
    """

    long_name: str
    long_rows: int
    likelihood_seconds: float

    def predict(self, rows: Sequence[Row]) -> list[Predicted | Reject]:
        """Return the prediction of each row, in order; a row that cannot be used becomes a Reject."""


@dataclass(frozen=True)
class Columns:
    """The columns of a row's texts and of its label."""

    inputs: tuple[str, ...]
    label: str

    @property
    def all(self) -> list[str]:
        """The different columns to read from a table."""
        return list(dict.fromkeys([*self.inputs, self.label]))


Opening = Callable[[Path, OpenFolder, Settings, Columns, EvaluationConfig], Predictor]
"""Makes a predictor from a model folder and what was read from it; raises ModelFolderError or EvaluationError."""


@dataclass(frozen=True)
class Prediction:
    """How a task is predicted; evaluation/predict/<module of the task>.py has one, called PREDICTION."""

    columns: Columns
    """The columns that are read if the user names none."""
    input_counts: tuple[int, ...]
    """How many input columns the task can have."""
    open: Opening


def prediction_of(task: Task) -> Prediction:
    """Return how a task is predicted."""
    module = importlib.import_module(f"evaluation.predict.{TASKS[task].module}")
    prediction: Prediction = module.PREDICTION
    return prediction


def columns_of(task: Task, input_column_names: str | None, label_column_name: str | None) -> Columns:
    """Read the names of the columns, separated by commas; raises EvaluationError.

    >>> columns_of("question-answering", "question, context", None)
    Columns(inputs=('question', 'context'), label='answers')
    """
    prediction = prediction_of(task)
    default, counts = prediction.columns, prediction.input_counts
    names = tuple(name.strip() for name in (input_column_names or "").split(",") if name.strip()) or default.inputs
    if len(names) not in counts or len(set(names)) < len(names):
        raise EvaluationError(
            f"expected input_column_names to be {' or '.join(map(str, counts))} different names for {task}, "
            f"found {', '.join(names)}; write them with commas, such as {','.join(default.inputs)}"
        )
    return Columns(names, (label_column_name or "").strip() or default.label)


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to predict, and the engine that runs it."""

    predictor: Predictor
    folder: OpenFolder
    choice: Choice
    settings: Settings

    @property
    def described(self) -> dict[str, Any]:
        """The model and its engine, for the summary."""
        return {
            "model": self.folder.parts.name,
            "model_type": self.folder.json.get("model_type", "bert"),
            "precision": self.choice.precision,
            "engine": self.choice.backend,
            "device": "gpu" if self.choice.device == "cuda" else "cpu",
        }


def load(folder: Path, task: Task, columns: Columns, settings: Settings, config: EvaluationConfig) -> Loaded:
    """Load a model folder; raises ModelFolderError if it cannot be served or is for another task."""
    check_folder(folder, settings)
    model_task = read_task(find_checkpoint(folder).checkpoint)
    if model_task != task:
        raise ModelFolderError(
            f"{folder}: expected a model for {task}, found one for {model_task}; set task to {model_task}"
        )
    opened = open_folder(folder, task)
    choice = choose(settings.precision, settings.engine, opened.config, settings.device)
    # The choice is fixed in the settings, so that it is made and logged once.
    chosen = replace(settings, precision=choice.precision, engine=choice.backend, device=choice.device)
    if choice.device == "cuda":
        chosen = replace(chosen, batch_tokens=max(GPU_TOKENS, settings.batch_tokens))
    return Loaded(prediction_of(task).open(folder, opened, chosen, columns, config), opened, choice, chosen)


def settings_for(device: str, precision: str, batch_size: int | None) -> Settings:
    """Return the settings of a run without a server's limits, from serving's environment variables.

    `batch_size` only bounds the rows of a batch: a CPU is slower if a batch does not fit its cache, so the bound on
    tokens stays. Raises SettingsError.
    """
    settings = replace(Settings.from_env().unlimited(), device=DEVICES[device], precision=precision)
    return replace(settings, batch_rows=batch_size) if batch_size else settings


def unusable_text(row: Row, columns: Sequence[str]) -> Reject | None:
    """Return a Reject if an input of a row is not a text with a word in it, else None."""
    for column in columns:
        text = row.values[column]
        if not isinstance(text, str):
            return row.reject("not_text", f"expected {column} to be a text, found {kind_of(text)}")
        if not text.strip():
            return row.reject("empty_text", f"expected {column} to have a word, found an empty text")
        if not is_unicode(text):
            return row.reject("not_text", f"expected {column} to be Unicode, found half of a surrogate pair in it")
    return None


def is_unicode(text: str) -> bool:
    r"""Return True if a string has no lone surrogate, such as JSON's \ud800, which is half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def short(number: float) -> float:
    """Round a number to the seven digits of a 32-bit float.

    >>> short(0.30000001192092896)
    0.3
    """
    return float(f"{number:.7g}")
