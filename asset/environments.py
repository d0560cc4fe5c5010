"""The virtual environments of this checkout, and which of them stands for an environment of Azure.

A component says `environment: file:../../environment/evaluation/environment.yaml`. On Azure that builds an image from
the folder; on this machine it is `.venv/evaluation`, which `make setup SETS=evaluation` sets up from the same folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from asset.findings import JobError

if TYPE_CHECKING:
    from azure.ai.ml.entities import Environment

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class VirtualEnvironment:
    """A virtual environment of this checkout."""

    name: str
    root: Path = ROOT

    @property
    def folder(self) -> Path:
        """Return its folder."""
        return self.root / ".venv" / self.name

    @property
    def file(self) -> Path:
        """Return the file of the Azure environment that it stands for."""
        return self.root / "environment" / self.name / "environment.yaml"

    def require(self) -> None:
        """Check that the environment is set up.

        Raises:
            JobError: it is not; the message names the command that sets it up.
        """
        if not (self.root / "environment" / self.name / "requirements.txt").is_file():
            known = ", ".join(sorted(path.parent.name for path in self.root.glob("environment/*/requirements.txt")))
            raise JobError(
                f"this checkout has no environment '{self.name}' (it has: {known}); name one of those, such as "
                "`environment: file:…/environment/evaluation/environment.yaml`"
            )
        # make writes this file last, when all packages are there.
        if not (self.folder / ".installed").exists():
            raise JobError(f"the environment {self.folder} is not set up; set it up with `make setup SETS={self.name}`")

    def has(self, package: str) -> bool:
        """Return whether a package is installed in the environment."""
        return any((self.folder / "lib").glob(f"python*/site-packages/{package}"))

    def variables(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return environment variables in which this environment is the active one, as `activate` leaves them."""
        # A step must log to its run's MLflow store, not to the user's, and has no notebook's backend of matplotlib.
        stores = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
        runs = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
        left_out = ("PYTHONHOME", "PYTHONPATH", "MPLBACKEND", *stores, *runs)
        variables = {name: value for name, value in environ.items() if name not in left_out}
        path = [str(self.folder / "bin"), *filter(None, [environ.get("PATH", os.defpath)])]
        return variables | {"PATH": os.pathsep.join(path), "VIRTUAL_ENV": str(self.folder)}


def environment_of(environment: Environment | str | None) -> VirtualEnvironment:
    """Return the virtual environment that stands for an environment of Azure: an entity of the SDK, or a name.

    An environment is recognized by the folder that it is loaded or built from, else by its name: a folder in environment/,
    or the `name` in an environment.yaml of this checkout.

    Raises:
        JobError: none stands for it; the message lists the environments of this checkout.
    """
    known = sorted(path.parent.name for path in ROOT.glob("environment/*/requirements.txt"))
    own_names = {_own_name(path): path.parent.name for path in ROOT.glob("environment/*/environment.yaml")}
    for candidate in _candidates(environment):
        if (name := own_names.get(candidate, candidate)) in known:
            return VirtualEnvironment(name)
    label = environment if environment is None or isinstance(environment, str) else environment.name
    raise JobError(
        f"no environment of this checkout ({', '.join(known)}) stands for the environment "
        f"{environment_file(environment) or label}; name one of those, such as "
        "`environment: file:../environment/serving/environment.yaml`"
    )


def _own_name(file: Path) -> str:
    return str(yaml.safe_load(file.read_text(encoding="utf-8"))["name"])


def _candidates(environment: Environment | str | None) -> Iterator[str]:
    """Yield the names by which an environment may be known in this checkout: of its folders, then its own."""
    if environment is None:
        return
    if isinstance(environment, str):
        # azureml:NAME:VERSION or azureml:NAME@LABEL; the SDK may have taken the prefix off.
        yield re.split("[:@]", environment.removeprefix("azureml:"))[0]
        return
    if source := environment_file(environment):
        yield source.parent.name
    if environment.build and environment.build.path:
        yield Path(environment.base_path or ".", str(environment.build.path)).resolve().name
    yield str(environment.name)


def environment_file(environment: object) -> Path | None:
    """Return the file that an environment of the SDK was loaded from; None if it was built in Python, or the file is gone."""
    source = getattr(environment, "_source_path", None)
    return Path(str(source)).resolve() if source and Path(str(source)).is_file() else None
