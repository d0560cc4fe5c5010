"""Options of batch scoring, set as environment_variables of the deployment, beside the settings of the engine."""

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
    """A variable has a name or value that is not valid; the message says what to set."""


@dataclass(frozen=True)
class Options:
    """The options with their defaults; a field such as `part_seconds` is read from BATCH_SCORING_PART_SECONDS.

    output: the folder of outputs, from Azure's variable AZUREML_BI_OUTPUT_PATH.
    columns: the column of a row's text, or the two columns of a pair, separated by a comma; by default, the columns that a
        request may have.
    parameters: the parameters of a request, such as {"top_k": 3}.
    part_seconds: how often a part of a file is kept, and so how much work a kill may cost.
    input_folder: outputs are named by the paths of inputs below this folder; by default, below the folder that Azure mounts.
    """

    output: Path
    columns: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    part_seconds: float = 10.0
    input_folder: Path | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the options; raises OptionsError."""
        unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in KNOWN)
        if unknown:
            raise OptionsError(
                f"there is no option {', '.join(unknown)}; correct the name ({', '.join(sorted(KNOWN))})"
            )
        if not environ.get("AZUREML_BI_OUTPUT_PATH"):
            raise OptionsError("AZUREML_BI_OUTPUT_PATH is not set; set it to the folder of outputs")
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
            f"{PREFIX}COLUMNS is {text!r}; set it to one name, or to two different names with a comma between them"
        )
    return names


def _parameters(text: str) -> dict[str, Any]:
    try:
        parameters = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise OptionsError(f'{PREFIX}PARAMETERS is not JSON ({exc}); write an object such as {{"top_k": 3}}') from exc
    if not isinstance(parameters, dict):
        raise OptionsError(f'{PREFIX}PARAMETERS is {text!r}; write a JSON object such as {{"top_k": 3}}')
    return parameters


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise OptionsError(f"{PREFIX}PART_SECONDS is {text!r}; set it to a number of seconds, such as 10")
    return seconds
