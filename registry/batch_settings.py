"""What a batch deployment says of its runs, from the Azure SDK's entity, and what stands for its parts on this machine.

RuntimeError
└── BatchError          a batch run cannot be started, or went wrong as a whole; the message says what to do
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from registry.jobs.environments import ROOT, VirtualEnvironment, environment_for
from registry.jobs.errors import JobError
from registry.jobs.local_data import OwnModel, local_path

if TYPE_CHECKING:
    from azure.ai.ml.entities import BatchDeployment, Environment

APPEND_ROW, SUMMARY_ONLY = "append_row", "summary_only"


class BatchError(RuntimeError):
    """A batch run cannot be started, or went wrong as a whole."""


@dataclass(frozen=True)
class BatchSettings:
    """How files are scored in batches; the defaults are Azure's.

    code, script: the folder of the code, and the scoring script in it. environment: what the script runs in. model: the
    model folder. mini_batch_size: files that run() gets at once. processes: that do so beside each other. tries: of a
    mini-batch that fails or takes longer than `timeout` seconds. error_threshold: files that may fail before the run is
    given up, -1 for any number. output_action: append_row writes what run() returns to output_file_name, summary_only
    leaves the writing to the script. variables: environment variables of the script. warning: what the user should know.
    """

    code: Path
    script: str
    environment: VirtualEnvironment
    model: Path
    mini_batch_size: int = 10
    processes: int = 1
    tries: int = 3
    timeout: float = 30.0
    error_threshold: int = -1
    output_action: str = APPEND_ROW
    output_file_name: str = "predictions.csv"
    variables: Mapping[str, str] = field(default_factory=dict)
    warning: str | None = None

    @classmethod
    def of(
        cls, deployment: BatchDeployment, model: Path | None = None, environment: VirtualEnvironment | None = None
    ) -> BatchSettings:
        """Read a deployment, as load_batch_deployment or load_model_batch_deployment gives it.

        A `model` or an `environment` that is given stands for the deployment's own.

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
        if not (folder / code.scoring_script).is_file():
            raise BatchError(
                f"expected the scoring script {folder / code.scoring_script}, found none; correct its path"
            )
        warning = None
        if model is None:
            model, warning = _model(deployment, base)
        found = deployment._settings
        retry = found.retry_settings
        given: dict[str, Any] = {
            "mini_batch_size": found.mini_batch_size,
            "processes": found.max_concurrency_per_instance,
            "tries": retry.max_retries if retry else None,
            "timeout": retry.timeout if retry else None,
            "error_threshold": found.error_threshold,
            "output_action": found.output_action,
            "output_file_name": found.output_file_name,
        }
        return cls(
            folder,
            str(code.scoring_script),
            environment or _environment(deployment.environment),
            model,
            variables={name: str(value) for name, value in (found.environment_variables or {}).items()},
            warning=warning,
            **{name: value for name, value in given.items() if value is not None},
        )


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


def require(environment: VirtualEnvironment) -> None:
    """See that an environment is set up; raises BatchError with the command that does it."""
    try:
        environment.require()
    except JobError as exc:
        raise BatchError(str(exc)) from exc
