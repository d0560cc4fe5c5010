"""The parts of online and batch deployments on this machine: code, environment and model."""

from __future__ import annotations

import copy
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.ai.ml._utils._endpoint_utils import validate_scoring_script
from azure.ai.ml.entities import BatchDeployment, Environment, Model, OnlineDeployment

from asset.checks.pipeline.data import ASSET
from asset.environments import VirtualEnvironment, environment_of
from asset.local.client.assets import LocalEnvironments
from asset.local.client.errors import invalid, translated
from asset.local.client.models import LocalModels
from asset.local.client.resources import Resource, deployment_resource


@dataclass(frozen=True)
class ServedModel:
    """The model of a deployment. `resource` is its name in the deployment's JSON: azureml:NAME:VERSION, or a path."""

    name: str
    version: str
    path: Path
    resource: str

    def link_in(self, folder: Path) -> Path:
        """Link the model into a folder as Azure mounts it, and return the folder NAME/VERSION for AZUREML_MODEL_DIR.

        Each model gets a folder of its own, because a server that still runs uses the folder that it was started with.
        """
        place = folder / hashlib.sha256(str(self.path).encode()).hexdigest()[:12] / self.name / self.version
        place.mkdir(parents=True, exist_ok=True)
        link = place / self.path.name
        if not link.is_symlink():
            link.symlink_to(self.path)
        return place


@dataclass(frozen=True)
class Parts:
    """The parts of a deployment: `script` is a path in the folder `code`, `resource` the deployment's JSON."""

    code: Path
    script: str
    python: Path
    model: ServedModel | None
    resource: Resource


@dataclass(frozen=True)
class DeploymentParts:
    """Finds the parts of a deployment, and registers its model and environment as Azure does."""

    models: LocalModels
    environments: LocalEnvironments

    def of(self, deployment: OnlineDeployment | BatchDeployment, unchecked: bool) -> Parts:
        """Return the parts of a deployment; `unchecked` skips the check of the scoring script.

        Raises:
            ValidationException, ResourceNotFoundError: a part is not on this machine.
        """
        code = _code(deployment)
        if not unchecked:
            validate_scoring_script(deployment)
        environment = virtual_environment(deployment.environment, self.environments)
        with translated():
            environment.require()
        model = _served_model(deployment.model, Path(deployment.base_path or "."), self.models)
        stored = copy.copy(deployment)
        stored.code_configuration = copy.copy(deployment.code_configuration)
        stored.code_configuration.code = str(code)
        stored.environment = self._registered_name(deployment.environment)
        stored.model = model.resource if model else None
        return Parts(
            code, str(deployment.scoring_script), environment.folder / "bin/python", model, deployment_resource(stored)
        )

    def _registered_name(self, environment: Environment | str) -> str:
        """Return the name of an environment; an entity is registered first."""
        if isinstance(environment, str):
            return environment
        registered = self.environments.create_or_update(environment)
        return f"azureml:{registered.name}:{registered.version}"


def _code(deployment: OnlineDeployment | BatchDeployment) -> Path:
    """Return the folder of a deployment's code."""
    if deployment.code_path is None or not deployment.scoring_script:
        raise invalid(
            f"deployment {deployment.name} has no scoring script; write code_configuration with code and scoring_script"
        )
    folder = Path(deployment.base_path or ".", str(deployment.code_path)).resolve()
    script = folder / str(deployment.scoring_script)
    if not script.is_file():
        raise invalid(f"there is no scoring script {script}; correct code_configuration")
    return folder


def _served_model(model: Model | str | os.PathLike[str] | None, base: Path, models: LocalModels) -> ServedModel | None:
    """Return the model of a deployment: an entity, azureml:NAME:VERSION, or a path; None if the deployment has none.

    Raises:
        ValidationException: there is nothing at the model's path.
        ResourceNotFoundError: no model is registered under the name.
    """
    if model is None:
        return None
    text = str(model.path) if isinstance(model, Model) else str(model)
    if isinstance(model, Model) and not text.startswith("azureml:"):
        return _entity_model(model, base, models)
    path = Path(base, text.removeprefix("file:")).resolve()
    if path.exists():
        return ServedModel(path.name, "1", path, str(path))
    match = _reference(text)
    if match is None:
        raise invalid(f"there is no model at {path}; name a folder, or a registered model as azureml:NAME:VERSION")
    known = models.get(match["name"], match["version"], match["label"])
    name, version = str(known.name), str(known.version)
    return ServedModel(name, version, _existing(Path(str(known.path))), f"azureml:{name}:{version}")


def _entity_model(model: Model, base: Path, models: LocalModels) -> ServedModel:
    """Return the model of an entity with a path; a named entity is registered."""
    if not model._is_anonymous:
        model = models.create_or_update(model)
    path = _existing(Path(model.base_path or base, str(model.path)).resolve())
    resource = str(path) if model._is_anonymous else f"azureml:{model.name}:{model.version}"
    return ServedModel(str(model.name), str(model.version or 1), path, resource)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise invalid(f"there is no model at {path}; put it there, or register the model again")
    return path


def virtual_environment(environment: Environment | str | None, environments: LocalEnvironments) -> VirtualEnvironment:
    """Return the virtual environment for an environment, or for the name of a registered one: NAME:VERSION, NAME@latest.

    Raises:
        ValidationException: no virtual environment stands for it; the message lists those of this checkout.
        ResourceNotFoundError: no environment is registered under the name.
    """
    if isinstance(environment, str):
        match = _reference(environment)
        if match is None:
            raise invalid(f"{environment} is not the name of an environment; write azureml:NAME:VERSION")
        environment = environments.get(match["name"], match["version"], match["label"])
    with translated():
        return environment_of(environment)


def _reference(text: str) -> Any:  # noqa: ANN401  a match
    """Match the name of a registered asset; the SDK may have taken the prefix azureml: off."""
    return ASSET.fullmatch(f"azureml:{text.removeprefix('azureml:')}")
