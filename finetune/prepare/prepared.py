"""What the step that prepares a fine-tuning run hands to those that train and package: a folder.

settings.json             class Settings: checked once, here
train.jsonl               class-label rows {"text", "text_pair" (where there are pairs), "label"} or questions
validation.jsonl          {"id", "question", "context", "answers": {"text": [...], "answer_start": [...]}}
test.jsonl                where test data was given
model/                    the base checkpoint: config.json, model.safetensors, the tokenizer's files
deepspeed.json            the user's own DeepSpeed config, where one was given

Rows of a prepared folder, checked: what a step that reads them again can rely on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from finetune.settings import FeatureSettings, Frozen, Task, TrainingSettings
from tables.whole_file import write_whole

Part = Literal["train", "validation", "test"]


class FinetuneError(Exception):
    """Fine-tuning cannot start or go on; the message says what was expected, what was found and what to do."""


class Base(Frozen):
    """The model that training starts from: its name for people, what was given, and the SHA-256 of its weights."""

    name: str
    source: str
    sha256: str


class DataPart(Frozen):
    """One part of the data: where it came from, and what became of its rows."""

    source: str
    rows: int
    sha256: str
    """Of the written .jsonl."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Reason code -> rows that were left out."""


class Settings(Frozen):
    """All that a run was asked for."""

    task: Task
    columns: dict[str, str]
    """The public *_key inputs that were given, as sentence1_key -> "text"."""
    features: FeatureSettings
    training: TrainingSettings
    base: Base
    data: dict[Part, DataPart]
    labels: list[str] = Field(default_factory=list)
    """A classifier's labels, in the order of their ids."""


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
        """Return the user's own DeepSpeed config, where there is one."""
        file = self.path / "deepspeed.json"
        return file if file.is_file() else None

    def settings(self) -> Settings:
        """Return the settings; raises FinetuneError where the folder is not one of `finetune.prepare.__main__`."""
        file = self.path / "settings.json"
        try:
            return Settings.model_validate_json(file.read_bytes())
        except (OSError, ValueError) as exc:
            raise FinetuneError(
                f"{file}: expected what `python -m finetune.prepare.__main__` writes, found: {exc}; prepare the data again"
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


TEXTS: dict[Task, tuple[str, ...]] = {
    "text-classification": ("text", "label"),
    "question-answering": ("question", "context"),
}
"""What every row of a task has as a text."""


def read_rows(prepared: PreparedFolder, settings: Settings, part: Part) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part; raises FinetuneError, without the row's text, at the first that is none."""
    file, line = prepared.file(part), 1
    try:
        for row in prepared.rows(part):
            if not _is_row(row, settings.task):
                raise ValueError("another")
            yield row
            line += 1
    except OSError as exc:
        raise FinetuneError(f"{file}: expected rows, found: {exc.strerror}; prepare the data again") from exc
    except ValueError as exc:
        texts = ", ".join(TEXTS[settings.task])
        raise FinetuneError(
            f"{file}, line {line}: expected a JSON object with {texts}, found another; prepare the data again"
        ) from exc


def _is_row(row: object, task: Task) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in TEXTS[task]):
        return False
    if task == "text-classification":
        return isinstance(row.get("text_pair"), str | None)
    answers = row.get("answers")
    texts = answers.get("text") if isinstance(answers, dict) else None
    return isinstance(texts, list) and all(isinstance(text, str) for text in texts)
