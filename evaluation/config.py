"""The settings of an evaluation: the JSON of `evaluation_config`, and that of `evaluation_config_params` over it.

{"bootstrap_samples": 2000, "pseudo_perplexity": true} -> EvaluationConfig(bootstrap_samples=2000, pseudo_perplexity=True)

Every step of a job reads the same file, and takes from it what concerns it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from tables.regular_file import read_text


class ConfigError(ValueError):
    """The configuration cannot be used; the message says what was expected, what was found and what to do."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What can be set, with its default.

    bootstrap_samples, confidence, seed: of the intervals around each figure (evaluation.metrics.bootstrap).
    ece_bins: bins of the expected calibration error and of the reliability diagram.
    pseudo_perplexity: score the texts with the label filled in, too; pseudo_perplexity_rows: so many first rows of them.
    top_k: words a mask that predictions list beside the best one.
    max_answer_length: tokens of the longest answer to a question.
    ignored: keys of the public component's configuration that mean nothing here.
    """

    bootstrap_samples: int = 1000
    confidence: float = 0.95
    seed: int = 17
    ece_bins: int = 10
    pseudo_perplexity: bool = False
    pseudo_perplexity_rows: int = 200
    top_k: int = 5
    max_answer_length: int = 30
    ignored: tuple[str, ...] = ()


IGNORED = ("metrics", "model_id", "batch_size", "add_start_token")
"""Keys with which the public component is told to score filled-in texts by GPT-2. Nothing of that is done here."""


class _Range(NamedTuple):
    kind: type
    least: float
    most: float
    words: str


_RANGES = {
    "bootstrap_samples": _Range(int, 100, 10_000, "a whole number from 100 to 10000"),
    "confidence": _Range(float, 0.5, 0.999, "a number from 0.5 to 0.999"),
    "seed": _Range(int, 0, 2**32 - 1, "a whole number from 0 to 4294967295"),
    "ece_bins": _Range(int, 2, 100, "a whole number from 2 to 100"),
    "pseudo_perplexity": _Range(bool, 0, 1, "true or false"),
    "pseudo_perplexity_rows": _Range(int, 1, 1_000_000, "a whole number from 1 to 1000000"),
    "top_k": _Range(int, 1, 1000, "a whole number from 1 to 1000"),
    "max_answer_length": _Range(int, 1, 512, "a whole number from 1 to 512"),
}
KEYS = tuple(field.name for field in fields(EvaluationConfig) if field.name != "ignored")


def read_config(file: Path | None = None, params: str | None = None) -> EvaluationConfig:
    """Read the file and the JSON text, either of which may be left out; raises ConfigError."""
    values: dict[str, Any] = {}
    ignored: list[str] = []
    for where, text in ((str(file), _read(file)), ("evaluation_config_params", params)):
        found = _parse(text, where)
        ignored += [key for key in found if key in IGNORED]
        values |= {key: _checked(where, key, value) for key, value in found.items() if key not in IGNORED}
    return EvaluationConfig(**values, ignored=tuple(dict.fromkeys(ignored)))


def _read(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return read_text(file, "utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{file}: expected a file of JSON that can be read, found: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file}: expected UTF-8 text, found {exc.reason} at byte {exc.start}; convert it") from exc


def _parse(text: str | None, where: str) -> Mapping[str, Any]:
    if text is None or not text.strip():
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{where}: expected a JSON object, found: {exc}") from exc
    if not isinstance(found, dict):
        raise ConfigError(f'{where}: expected a JSON object, found {found!r}; write {{"seed": 17}}')
    return found


def _checked(where: str, key: str, value: object) -> object:
    expected = _RANGES.get(key)
    if expected is None:
        known = ", ".join(KEYS)
        raise ConfigError(f"{where}: unknown key {key!r}; expected one of {known}; correct it or take it out")
    numbers = (int, float) if expected.kind is float else expected.kind
    is_kind = isinstance(value, numbers) and isinstance(value, bool) == (expected.kind is bool)
    if not is_kind or not expected.least <= value <= expected.most:  # type: ignore[operator]
        raise ConfigError(f"{where}: {key}: expected {expected.words}, found {json.dumps(value)}")
    return value
