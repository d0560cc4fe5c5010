"""The settings of a batch run, read from a batch deployment, and its result.

RuntimeError
└── BatchError          a batch run cannot start, or init() failed; the message says what to do
    └── BatchFailed     more files failed than error_threshold allows; `result` counts those that were scored
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from asset.environments import VirtualEnvironment

if TYPE_CHECKING:
    from azure.ai.ml.entities import BatchDeployment

PATHS = ("code", "python", "model")


class BatchError(RuntimeError):
    """A batch run cannot start, or failed as a whole."""


@dataclass(frozen=True)
class BatchSettings:
    """How files are scored in batches. The names and defaults are Azure's.

    code: the folder of the code, which is on the script's path.
    script: the scoring script, a path in that folder.
    python: the interpreter that runs it.
    model: the folder that AZUREML_MODEL_DIR points to.
    variables: environment variables of the script.
    mini_batch_size: how many files run() gets at once.
    max_concurrency: how many processes score at the same time.
    max_retries: how often a mini-batch is tried that fails, or takes longer than `timeout` seconds.
    error_threshold: how many files may fail before the run is given up; -1 for any number.
    output_action: append_row writes what run() returns to output_file_name; summary_only leaves the writing to the script.
    logging_level: info shows progress.
    """

    code: Path
    script: str
    python: Path
    model: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    mini_batch_size: int = 10
    max_concurrency: int = 1
    max_retries: int = 3
    timeout: float = 30.0
    error_threshold: int = -1
    output_action: str = "append_row"
    output_file_name: str = "predictions.csv"
    logging_level: str = "info"

    @classmethod
    def of(cls, deployment: BatchDeployment, code: Path, script: str, python: Path, model: Path | None) -> Self:
        """Read a deployment as the Azure SDK loads it; its code, interpreter and model are on this machine."""
        settings = deployment._settings
        retry = settings.retry_settings
        values: dict[str, Any] = {
            "mini_batch_size": settings.mini_batch_size or None,
            "max_concurrency": settings.max_concurrency_per_instance or None,
            "max_retries": retry.max_retries if retry else None,
            "timeout": retry.timeout if retry else None,
            "error_threshold": settings.error_threshold,
            "output_action": str(settings.output_action) if settings.output_action else None,
            "output_file_name": settings.output_file_name or None,
            "logging_level": settings.logging_level or None,
        }
        variables = {name: str(value) for name, value in (settings.environment_variables or {}).items()}
        given = {name: value for name, value in values.items() if value is not None}
        return cls(code, script, python, model, variables, **given)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` returns."""
        paths = {name: Path(content[name]) for name in PATHS if content[name] is not None}
        return cls(**{**content, **paths})

    def to_json(self) -> dict[str, Any]:
        """Return the settings as an object for JSON."""
        paths = {name: str(path) for name in PATHS if (path := getattr(self, name)) is not None}
        return {**asdict(self), **paths}

    @property
    def appends(self) -> bool:
        """Return whether what run() returns is written to a file; Azure's service writes AppendRow."""
        return self.output_action.lower().replace("_", "") == "appendrow"

    @property
    def environment(self) -> VirtualEnvironment:
        """Return the virtual environment that the interpreter belongs to."""
        folder = self.python.parents[1]
        return VirtualEnvironment(folder.name, folder.parents[1])

    def require(self) -> None:
        """Raise BatchError if the interpreter or the script is missing; the message says what to do."""
        if not self.python.exists():
            name = self.environment.name
            raise BatchError(f"there is no environment {self.environment.folder}; run `make setup SETS={name}`")
        if not (self.code / self.script).is_file():
            raise BatchError(f"there is no scoring script {self.code / self.script}; correct code_configuration")


@dataclass(frozen=True)
class FailedBatch:
    """A mini-batch that was given up, and why its last try failed."""

    files: tuple[str, ...]
    reason: str


@dataclass
class BatchResult:
    """The counts of a run. `failed` counts files, those that run() left out of its result included."""

    output: Path
    files: int
    mini_batches: int = 0
    succeeded: int = 0
    failed: int = 0
    retries: int = 0
    given_up: list[FailedBatch] = field(default_factory=list)


class BatchFailed(BatchError):
    """More files failed than error_threshold allows. `result` counts the files that were scored until then."""

    def __init__(self, result: BatchResult, threshold: int) -> None:
        self.result = result
        super().__init__(
            f"{result.failed} of {result.files} files failed, and error_threshold allows {threshold}; mend what their "
            f"summaries in {result.output} and the log say, and run it again"
        )
