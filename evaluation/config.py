"""The settings of an evaluation: a JSON file (`evaluation_config`) and JSON text that overrides it.

    {"bootstrap_samples": 2000, "pseudo_perplexity": true}

All steps of a job read the same file, and each uses the settings that concern it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.errors import ConfigError
from tables.disk import read_text


class EvaluationConfig(BaseModel):
    """The settings, with their ranges and defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    bootstrap_samples: int = Field(1000, ge=100, le=10_000, description="Draws for each interval.")
    confidence: float = Field(0.95, ge=0.5, le=0.999, description="The confidence of the intervals.")
    seed: int = Field(17, ge=0, le=2**32 - 1, description="The seed of the draws.")
    ece_bins: int = Field(10, ge=2, le=100, description="Bins of the calibration error and the reliability diagram.")
    pseudo_perplexity: bool = Field(False, description="Score whole texts too, with the label filled in.")
    pseudo_perplexity_rows: int = Field(200, ge=1, le=1_000_000, description="Score only this many texts, the first.")
    top_k: int = Field(5, ge=1, le=1000, description="Words listed for each mask.")
    max_answer_length: int = Field(30, ge=1, le=512, description="Tokens of the longest answer to a question.")
    ignored: tuple[str, ...] = Field((), exclude=True, description="Keys that were given and have no effect here.")


IGNORED = ("metrics", "model_id", "batch_size", "add_start_token")
"""Settings of the public component for scoring texts with GPT-2, which is not done here."""

KEYS = tuple(name for name, field in EvaluationConfig.model_fields.items() if not field.exclude)


def read_config(file: Path | None = None, params: str | None = None) -> EvaluationConfig:
    """Read the settings from a file and from JSON text, both optional; raises ConfigError."""
    values: dict[str, Any] = {}
    for source, text in ((str(file), _read(file)), ("evaluation_config_params", params)):
        values |= _parse(text, source)
    ignored = tuple(key for key in values if key in IGNORED)
    return EvaluationConfig(**{key: values[key] for key in values if key not in IGNORED}, ignored=ignored)


def _read(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return read_text(file, "utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{file}: expected a file of JSON that can be read, found: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file}: expected UTF-8 text, found {exc.reason} at byte {exc.start}; convert it") from exc


def _parse(text: str | None, source: str) -> dict[str, Any]:
    """Return the settings of a JSON text, each checked by itself so that the message can name the source."""
    if text is None or not text.strip():
        return {}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{source}: expected a JSON object, found: {exc}") from exc
    if not isinstance(values, dict):
        raise ConfigError(f'{source}: expected a JSON object, found {values!r}; write {{"seed": 17}}')
    for key, value in values.items():
        if key not in IGNORED:
            _check(source, key, value)
    return values


def _check(source: str, key: str, value: object) -> None:
    if key not in KEYS:
        known = ", ".join(KEYS)
        raise ConfigError(f"{source}: unknown key {key!r}; expected one of {known}; correct it or take it out")
    try:
        EvaluationConfig.model_validate({key: value})
    except ValidationError as exc:
        raise ConfigError(f"{source}: {key}: expected {_allowed(key)}, found {json.dumps(value)}") from exc


def _allowed(key: str) -> str:
    """Describe a setting's values, such as "a whole number from 2 to 100"."""
    field = EvaluationConfig.model_fields[key]
    if field.annotation is bool:
        return "true or false"
    least, most = (next(getattr(item, name) for item in field.metadata if hasattr(item, name)) for name in ("ge", "le"))
    return f"a {'whole ' if field.annotation is int else ''}number from {least} to {most}"
