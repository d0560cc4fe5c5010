"""The folder that the preparation of a fine-tuning run hands to the training and the packaging.

settings.json             class Settings, checked once when it is read
train.jsonl               rows of the task, such as {"text", "label"}; finetune.tasks describes those of each task
validation.jsonl
test.jsonl                if test data was given
model/                    the base checkpoint: config.json, model.safetensors, the tokenizer's files
deepspeed.json            the user's own DeepSpeed config, if there is one
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from finetune.errors import FinetuneError
from finetune.settings import FeatureSettings, Frozen, Part, TrainingSettings
from finetune.tasks.task import TUNED, TuningTask, tuning_task
from serving.tasks import Task
from tables.disk import write_whole


def _tuned(task: Task) -> Task:
    if task not in TUNED:
        raise ValueError(f"expected one of {', '.join(TUNED)}")
    return task


class Base(Frozen):
    """The model that training starts from: its name for people, where it is from, and the SHA-256 of its weights."""

    name: str
    source: str
    sha256: str


class DataPart(Frozen):
    """One part of the data: where it came from, and how many rows were kept and left out."""

    source: str
    rows: int
    sha256: str
    """Of the written .jsonl."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Reason code -> rows that were left out."""


class Settings(Frozen):
    """All settings of a run."""

    task: Annotated[Task, AfterValidator(_tuned)]
    columns: dict[str, str]
    """The public *_key inputs that were given, such as sentence1_key -> "text"."""
    features: FeatureSettings
    training: TrainingSettings
    base: Base
    data: dict[Part, DataPart]
    labels: list[str] = Field(default_factory=list)
    """A classifier's labels, in the order of their ids."""

    @property
    def tuning(self) -> TuningTask:
        """Return the description of the task."""
        return tuning_task(self.task)


@dataclass(frozen=True)
class PreparedFolder:
    """The folder."""

    path: Path

    @property
    def model(self) -> Path:
        """Return the folder of the base checkpoint."""
        return self.path / "model"

    @property
    def deepspeed(self) -> Path | None:
        """Return the user's own DeepSpeed config; None if there is none."""
        file = self.path / "deepspeed.json"
        return file if file.is_file() else None

    def settings(self) -> Settings:
        """Return the settings; raises FinetuneError if `python -m finetune.prepare` did not write the folder."""
        file = self.path / "settings.json"
        try:
            return Settings.model_validate_json(file.read_bytes())
        except (OSError, ValueError) as exc:
            raise FinetuneError(
                f"{file}: expected what `python -m finetune.prepare` writes, found: {exc}; prepare the data again"
            ) from exc

    def write_settings(self, settings: Settings) -> None:
        """Write settings.json, whole; the last of the folder's files."""
        write_whole(self.path / "settings.json", settings.model_dump_json(indent=2) + "\n")

    def file(self, part: Part) -> Path:
        """Return the file of a part of the data."""
        return self.path / f"{part}.jsonl"

    def rows(self, part: Part) -> Iterator[dict[str, Any]]:
        """Read a part of the data."""
        with self.file(part).open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def read_rows(prepared: PreparedFolder, settings: Settings, part: Part) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part; raises FinetuneError, without the row's text, at the first that is no row of the task."""
    file, line, task = prepared.file(part), 1, settings.tuning
    try:
        for row in prepared.rows(part):
            if not _is_row(row, task):
                raise ValueError("not a row of the task")
            yield row
            line += 1
    except OSError as exc:
        raise FinetuneError(f"{file}: expected rows, found: {exc.strerror}; prepare the data again") from exc
    except ValueError as exc:
        raise FinetuneError(
            f"{file}, line {line}: expected a JSON object with {', '.join(task.texts)}, found another; prepare the data again"
        ) from exc


def _is_row(row: object, task: TuningTask) -> bool:
    texts = isinstance(row, dict) and all(isinstance(row.get(name), str) for name in task.texts)
    return texts and task.is_prepared(row)
