"""What online and batch deployments are made of, found on this machine: code, environment, model."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.ai.ml._utils._endpoint_utils import validate_scoring_script
from azure.ai.ml.entities import BatchDeployment, OnlineDeployment

from registry.client.assets import LocalEnvironments
from registry.client.errors import invalid, translated
from registry.client.models import LocalModels
from registry.client.resources import Resource, deployment_resource
from registry.client.served_model import ServedModel, served_model
from registry.client.virtual_environment import virtual_environment


@dataclass(frozen=True)
class Parts:
    """A deployment's parts: `script` is a path in the folder `code`, `resource` the deployment as Azure has it."""

    code: Path
    script: str
    python: Path
    model: ServedModel | None
    resource: Resource


@dataclass(frozen=True)
class DeploymentParts:
    """Finds the parts of deployments; what they name is in these registries, or comes into them as on Azure."""

    models: LocalModels
    environments: LocalEnvironments

    def of(self, deployment: OnlineDeployment | BatchDeployment, unchecked: bool) -> Parts:
        """Return the parts of a deployment; the scoring script is not parsed where `unchecked`.

        Raises:
            ValidationException, ResourceNotFoundError: something that it names is not here.
        """
        code = _code(deployment)
        if not unchecked:
            validate_scoring_script(deployment)
        with translated():
            environment = virtual_environment(deployment.environment, self.environments)
            environment.require()
        model = served_model(deployment.model, Path(deployment.base_path or "."), self.models)
        stored = copy.copy(deployment)
        stored.code_configuration = copy.copy(deployment.code_configuration)
        stored.code_configuration.code = str(code)
        stored.environment = self._kept(deployment.environment)
        stored.model = model.resource if model else None
        return Parts(
            code, str(deployment.scoring_script), environment.folder / "bin/python", model, deployment_resource(stored)
        )

    def _kept(self, environment: Any) -> str:  # noqa: ANN401  an entity or a name
        """Return the name of an environment; an entity is registered under its own."""
        if isinstance(environment, str):
            return environment
        kept = self.environments.create_or_update(environment)
        return f"azureml:{kept.name}:{kept.version}"


def _code(deployment: OnlineDeployment | BatchDeployment) -> Path:
    """Return the folder of a deployment's code, which is on this machine."""
    if deployment.code_path is None or not deployment.scoring_script:
        raise invalid(
            f"expected code_configuration with code and scoring_script in deployment {deployment.name}, found none; write both"
        )
    folder = Path(deployment.base_path or ".", str(deployment.code_path)).resolve()
    script = folder / str(deployment.scoring_script)
    if not script.is_file():
        raise invalid(f"expected the scoring script {script}, found no such file; correct code_configuration")
    return folder
