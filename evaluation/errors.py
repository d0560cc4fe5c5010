"""Errors of an evaluation.

    EvaluationError        the input cannot be used; a command prints the message and ends with status 1
    ├── ConfigError        the settings of the evaluation are wrong; `asset validate` reports the message at its key
    ├── MetricsFileError   a file is not a metrics.json; `asset run` then lists no metrics for it
    └── TrackingError      MLflow did not accept the results; `python -m finetune.package` reports it too
    RowError               one row of results is wrong; the caller adds the file and the line
    LeftOut                a metric cannot be computed from these rows; the report gives the reason

A message says what was expected, what was found and what to do.
"""

from __future__ import annotations

from typing import Literal

Part = Literal["ground_truth", "prediction", "prediction_probabilities"]
"""The files that an evaluation compares."""


class EvaluationError(Exception):
    """The input or the options of an evaluation cannot be used."""


class ConfigError(EvaluationError):
    """The settings of an evaluation are wrong."""


class MetricsFileError(EvaluationError):
    """A file is not a metrics.json."""


class TrackingError(EvaluationError):
    """MLflow did not accept the results."""


class RowError(Exception):
    """A row of results cannot be used; `part` is the file with the mistake."""

    def __init__(self, part: Part, message: str) -> None:
        """Keep the part beside the message."""
        super().__init__(message)
        self.part = part


class LeftOut(Exception):
    """A metric cannot be computed from these rows; the message is the reason."""
