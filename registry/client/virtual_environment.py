"""Which virtual environment of this checkout stands for an environment of Azure's, however that is named.

environment/serving/environment.yaml, what it builds from (`build: path: .`), its name bert-base-cased-serving: .venv/serving
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from azure.ai.ml.entities import Environment

from asset.checks.pipeline.data import ASSET, OwnModel
from asset.environments import ROOT, VirtualEnvironment
from registry.client.assets import LocalEnvironments, environment_file
from registry.client.errors import invalid


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
