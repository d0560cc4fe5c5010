"""What can be set for batch scoring, in the environment_variables of the deployment; the engine's settings go on holding."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

PREFIX = "BATCH_SCORING_"
KNOWN = {f"{PREFIX}{name}" for name in ("COLUMNS", "PARAMETERS", "PART_SECONDS", "INPUT_FOLDER")}


class OptionsError(ValueError):
    """A variable has a value that it cannot take; the message says what was expected, what was found and what to do."""


@dataclass(frozen=True)
class Options:
    """What was set.

    output: the folder of outputs, from Azure's own AZUREML_BI_OUTPUT_PATH.
    columns (BATCH_SCORING_COLUMNS): the columns of a row's text, or of both texts of a pair, with a comma; without them,
        those that a request may have.
    parameters (BATCH_SCORING_PARAMETERS): those of a request, as {"top_k": 3}.
    part_seconds (BATCH_SCORING_PART_SECONDS): how much work a kill may cost; a part of a file is kept so often.
    input_folder (BATCH_SCORING_INPUT_FOLDER): below which outputs are named as inputs are; else the folder that Azure
        mounts is recognized.
    """

    output: Path
    columns: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    part_seconds: float = 10.0
    input_folder: Path | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read them; raises OptionsError."""
        unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in KNOWN)
        if unknown:
            raise OptionsError(f"expected {', '.join(sorted(KNOWN))}, found {', '.join(unknown)}; correct the name")
        if not environ.get("AZUREML_BI_OUTPUT_PATH"):
            raise OptionsError("expected AZUREML_BI_OUTPUT_PATH to name the folder of outputs, found nothing; set it")
        folder = environ.get(f"{PREFIX}INPUT_FOLDER")
        return cls(
            output=Path(environ["AZUREML_BI_OUTPUT_PATH"]),
            columns=_columns(environ.get(f"{PREFIX}COLUMNS", "")),
            parameters=_parameters(environ.get(f"{PREFIX}PARAMETERS") or "{}"),
            part_seconds=_seconds(environ.get(f"{PREFIX}PART_SECONDS") or str(cls.part_seconds)),
            input_folder=Path(folder) if folder else None,
        )


def _columns(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if len(names) > 2 or len(set(names)) < len(names):
        raise OptionsError(
            f"{PREFIX}COLUMNS: expected one name, or two different ones with a comma, found {text!r}; write that"
        )
    return names


def _parameters(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise OptionsError(f'{PREFIX}PARAMETERS: expected JSON as {{"top_k": 3}}, found: {exc}; correct it') from exc
    if not isinstance(found, dict):
        raise OptionsError(f'{PREFIX}PARAMETERS: expected a JSON object as {{"top_k": 3}}, found {text!r}; write that')
    return found


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise OptionsError(f"{PREFIX}PART_SECONDS: expected seconds, as in 10, found {text!r}; write that")
    return found
