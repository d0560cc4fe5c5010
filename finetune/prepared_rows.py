"""Rows of a prepared folder, checked: what a step that reads them again can rely on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetune.prepared import FinetuneError, Part, PreparedFolder, Settings
from finetune.settings import Task

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
