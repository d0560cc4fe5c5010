"""Rows, options and files for the tests of preparing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LABELED = {"task": "text-classification", "sentence1_key": "text", "label_key": "label"}
QUESTIONS = {
    "task": "question-answering",
    "question_key": "question",
    "context_key": "context",
    "answers_key": "answers",
    "answer_start_key": "answer_start",
    "answer_text_key": "text",
    "doc_stride": "8",
}


def argv(given: dict[str, Any]) -> list[str]:
    return [str(text) for name, value in given.items() for text in (f"--{name}", value)]


def write(file: Path, rows: Iterable[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def labeled(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": f"the cat number {n}", "label": "good" if n % 2 else "bad"} for n in range(start, start + count)]


def asked(count: int) -> list[dict[str, Any]]:
    """Questions, two a context."""
    return [
        {
            "question": f"which number {n}?",
            "context": f"the cat has number {n // 2} now",
            "answers": {"text": [str(n // 2)], "answer_start": [19]},
        }
        for n in range(count)
    ]


def rows(folder: Path, part: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
