"""What a batch deployment says of its runs, from the Azure SDK's entity, and what stands for its parts on this machine.

RuntimeError
└── BatchError          a batch run cannot be started, or init() failed; the message says what to do
    └── BatchFailed     more files failed than may; `result` is what came of the others
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from asset.checks.pipeline.data import OwnModel, local_path
from asset.environments import ROOT, VirtualEnvironment, environment_for

if TYPE_CHECKING:
    from azure.ai.ml.entities import BatchDeployment, Environment


class BatchError(RuntimeError):
    """A batch run cannot be started, or went wrong as a whole."""


@dataclass(frozen=True)
class BatchSettings:
    """How files are scored in batches; the names and the defaults are Azure's.

    script: the scoring script. python: the interpreter that it runs in. model: the model folder. code: the folder of the
    code, which is on the script's path; by default the folder that the script's package is in. variables: environment
    variables of the script. mini_batch_size: files that run() gets at once. max_concurrency: processes that do so beside
    each other. max_retries: tries of a mini-batch that fails, or takes longer than `timeout` seconds. error_threshold:
    files that may fail before the run is given up, -1 for any number. output_action: append_row writes what run() returns
    to output_file_name, summary_only leaves the writing to the script. logging_level: at `info` progress is told.
    warning: what the user should know.
    """

    script: Path
    python: Path
    model: Path | None = None
    code: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    mini_batch_size: int = 10
    max_concurrency: int = 1
    max_retries: int = 3
    timeout: float = 30.0
    error_threshold: int = -1
    output_action: str = "append_row"
    output_file_name: str = "predictions.csv"
    logging_level: str = "info"
    warning: str | None = None

    @property
    def root(self) -> Path:
        """Return the folder of the code: what a module of it is named from."""
        if self.code is not None:
            return self.code.absolute()
        return next(folder for folder in self.script.absolute().parents if not (folder / "__init__.py").is_file())

    @property
    def appends(self) -> bool:
        """Return whether what run() returns is written to a file; the service writes AppendRow."""
        return self.output_action.lower().replace("_", "") == "appendrow"

    @property
    def environment(self) -> VirtualEnvironment:
        """Return the virtual environment that the interpreter is of."""
        folder = self.python.parents[1]
        return VirtualEnvironment(folder.name, folder.parents[1])

    def require(self) -> None:
        """See that the interpreter and the script are there; raises BatchError with what to do."""
        if not self.python.exists():
            raise BatchError(
                f"expected the environment {self.environment.folder}, found none; set it up with "
                f"`make .venv/{self.environment.name}/.installed`"
            )
        if not self.script.is_file():
            raise BatchError(f"expected the scoring script {self.script}, found none; correct its path")

    @classmethod
    def of(cls, deployment: BatchDeployment, model: Path | None = None) -> BatchSettings:
        """Read a deployment, as load_batch_deployment or load_model_batch_deployment gives it.

        A `model` folder that is given stands for the deployment's own.

        Raises:
            BatchError: the deployment has no scoring script, or names what is not on this machine.
        """
        base = Path(deployment._base_path or ".")
        code = deployment.code_configuration
        if code is None or not code.code or not code.scoring_script:
            raise BatchError(
                f"expected a scoring script in the deployment {deployment.name}, found none; write code_configuration"
            )
        folder = (base / str(code.code)).resolve()
        warning = None
        if model is None:
            model, warning = _model(deployment, base)
        found = deployment._settings
        retry = found.retry_settings
        given: dict[str, Any] = {
            "mini_batch_size": found.mini_batch_size,
            "max_concurrency": found.max_concurrency_per_instance,
            "max_retries": retry.max_retries if retry else None,
            "timeout": retry.timeout if retry else None,
            "error_threshold": found.error_threshold,
            "output_action": found.output_action,
            "output_file_name": found.output_file_name,
            "logging_level": found.logging_level,
        }
        settings = cls(
            script=folder / code.scoring_script,
            python=_environment(deployment.environment).folder / "bin/python",
            model=model,
            code=folder,
            variables={name: str(value) for name, value in (found.environment_variables or {}).items()},
            warning=warning,
            **{name: value for name, value in given.items() if value is not None},
        )
        settings.require()
        return settings


def _model(deployment: BatchDeployment, base: Path) -> tuple[Path, str | None]:
    """Return the folder that stands for the deployment's model, and what is to be said of it."""
    named, own = deployment.model, OwnModel.read()
    path = str(getattr(named, "path", None) or getattr(named, "id", None) or named)
    if isinstance(named, str) and not path.startswith("azureml:"):
        # The SDK's loader takes the prefix off.
        path = f"azureml:{path}"
    found = local_path(path, base, own)
    if found is None or not found.is_dir():
        raise BatchError(
            f"expected the model azureml:{own.name}:{own.version} of this checkout or a model folder, found {path}; "
            "name one of those"
        )
    if not own.is_named(path) or found.name != "embedded":
        return found, None
    return found, (
        f"{own.name} is not here: scoring with the small embedded model in its place, whose answers are weaker; put its "
        f"weights in {own.root / 'model' / own.name}, as `asset pull` does"
    )


def _environment(named: Environment | str | None) -> VirtualEnvironment:
    """Return the environment of this checkout that stands for the deployment's."""
    folder = getattr(named, "path", None)
    if folder:
        return environment_for(Path(folder) / "environment.yaml")
    name = re.sub(r"^azureml:|[:@].*$", "", str(getattr(named, "name", None) or named or "").removeprefix("azureml:"))
    for file in sorted(ROOT.glob("environment/*/environment.yaml")):
        if yaml.safe_load(file.read_text(encoding="utf-8"))["name"] == name:
            return environment_for(file)
    raise BatchError(
        f"expected an environment of this checkout, found {name or 'none'}; write "
        "`environment: file:../environment/batch/environment.yaml`"
    )


class BatchFailed(BatchError):
    """More files failed than may. `result` is what came of those that were scored before."""

    def __init__(self, result: BatchResult, threshold: int) -> None:
        self.result = result
        super().__init__(
            f"expected at most {threshold} of {result.files} files to fail (error_threshold), found {result.failed}; "
            f"mend what their summaries and the log say, and run it again: {result.output}"
        )


@dataclass(frozen=True)
class FailedBatch:
    """A mini-batch that was given up, and why its last try failed."""

    files: tuple[str, ...]
    reason: str


@dataclass
class BatchResult:
    """What came of a run. `failed` counts files; those of a mini-batch that run() left out of its result are among them."""

    output: Path
    files: int
    mini_batches: int = 0
    succeeded: int = 0
    failed: int = 0
    retries: int = 0
    given_up: list[FailedBatch] = field(default_factory=list)
