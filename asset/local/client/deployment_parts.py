"""What online and batch deployments are made of, found on this machine: code, environment, model.

The model of a deployment: where it lies here, and the folder that AZUREML_MODEL_DIR points to.

Which virtual environment of this checkout stands for an environment of Azure's, however that is named.

environment/serving/environment.yaml, what it builds from (`build: path: .`), its name bert-base-cased-serving: .venv/serving
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.ai.ml._utils._endpoint_utils import validate_scoring_script
from azure.ai.ml.entities import BatchDeployment, Environment, Model, OnlineDeployment

from asset.checks.pipeline.data import ASSET, OwnModel
from asset.environments import ROOT, VirtualEnvironment
from asset.local.client.assets import LocalEnvironments, environment_file
from asset.local.client.models import LocalModels
from asset.local.client.operations import invalid, translated
from asset.local.client.resources import Resource, deployment_resource


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


@dataclass(frozen=True)
class ServedModel:
    """A model: `resource` is what it is called in the deployment as Azure has it."""

    name: str
    version: str
    path: Path
    resource: str

    def link_in(self, folder: Path) -> Path:
        """Return a folder as Azure mounts it: NAME/VERSION, with the file or folder that was registered in it.

        A server that is still running has the folder of what it was started with, so each model gets its own.
        """
        place = folder / hashlib.sha256(str(self.path).encode()).hexdigest()[:12] / self.name / self.version
        place.mkdir(parents=True, exist_ok=True)
        link = place / self.path.name
        if not link.is_symlink():
            link.symlink_to(self.path)
        return place


def served_model(model: Model | str | os.PathLike[str] | None, base: Path, models: LocalModels) -> ServedModel | None:
    """Return the model that a deployment names: an entity, azureml:NAME:VERSION, or a path; None where it names none.

    Raises:
        ValidationException: there is nothing at its path.
        ResourceNotFoundError: no model is registered under that name.
    """
    if model is None:
        return None
    if isinstance(model, Model) and not model._is_anonymous and not _is_reference(str(model.path)):
        model = models.create_or_update(model)
    if isinstance(model, Model) and not _is_reference(str(model.path)):
        path = Path(model.base_path or base, str(model.path)).resolve()
        resource = str(path) if model._is_anonymous else f"azureml:{model.name}:{model.version}"
        return ServedModel(str(model.name), str(model.version or 1), _there(path), resource)
    text = str(model.path) if isinstance(model, Model) else str(model)
    if (path := Path(base, text.removeprefix("file:")).resolve()).exists():
        return ServedModel(path.name, "1", path, str(path))
    match = ASSET.fullmatch(text if text.startswith("azureml:") else f"azureml:{text}")
    if match is None:
        raise invalid(f"expected a model at {path}, found nothing there; name a folder, or azureml:NAME:VERSION")
    found = models.get(match["name"], match["version"], match["label"])
    name, version = str(found.name), str(found.version)
    return ServedModel(name, version, _there(Path(str(found.path))), f"azureml:{name}:{version}")


def _is_reference(path: str) -> bool:
    return path.startswith("azureml:")


def _there(path: Path) -> Path:
    if not path.exists():
        raise invalid(f"expected a model at {path}, found nothing there; put it there, or register it anew")
    return path


def virtual_environment(environment: Environment | str | None, environments: LocalEnvironments) -> VirtualEnvironment:
    """Return the virtual environment for an environment, or for the name of a registered one: NAME:VERSION, NAME@latest.

    Raises:
        ValidationException: none stands for it; the message says which there are.
        ResourceNotFoundError: no environment is registered under that name.
    """
    if isinstance(environment, str):
        environment = _registered(environment, environments)
    if environment is not None:
        for name in _names(environment):
            if (ROOT / "environment" / name / "requirements.txt").is_file():
                return VirtualEnvironment(name)
    known = ", ".join(sorted(path.parent.name for path in ROOT.glob("environment/*/environment.yaml")))
    found = "no environment" if environment is None else f"the environment {environment.name}"
    raise invalid(
        f"expected an environment of this checkout ({known}), found {found}; name one of those, as in "
        "`environment: file:../environment/serving/environment.yaml`"
    )


def _registered(text: str, environments: LocalEnvironments) -> Environment:
    match = ASSET.fullmatch(text if text.startswith("azureml:") else f"azureml:{text}")
    if match is None:
        raise invalid(f"expected the name and the version of an environment, found {text}; write azureml:NAME:VERSION")
    return environments.get(match["name"], match["version"], match["label"])


def _names(environment: Environment) -> Iterator[str]:
    """Yield what an environment of this checkout may be called by it: its folder's name, then its own."""
    if source := environment_file(environment):
        yield source.parent.name
    build = environment.build.path if environment.build else None
    if build:
        # A plain `.` starts from the file that it stands in, which the base path does not always tell.
        yield Path(environment.base_path or ".", str(build)).resolve().name
    name = str(environment.name)
    yield name
    yield name.removeprefix(f"{OwnModel.read().name}-")
