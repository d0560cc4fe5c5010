"""Which virtual environment of this checkout stands for the image that a component names.

A component says `environment: file:../../environment/evaluation/environment.yaml`. On Azure that builds an image from
the folder; here it is `.venv/evaluation`, which `make .venv/evaluation/.installed` sets up from the same folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asset.checks.pipeline.errors import JobError

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

    def require(self) -> None:
        """See that it is set up.

        Raises:
            JobError: it is not; the message names the command that does it.
        """
        if not (self.root / "environment" / self.name / "requirements.txt").is_file():
            known = ", ".join(sorted(path.parent.name for path in self.root.glob("environment/*/requirements.txt")))
            raise JobError(
                f"expected an environment of this checkout ({known}), found '{self.name}'; name one of those, as in "
                "`environment: file:…/environment/evaluation/environment.yaml`"
            )
        # Made last, when all packages are there.
        if not (self.folder / ".installed").exists():
            raise JobError(
                f"expected the environment {self.folder}, found none; set it up with `make .venv/{self.name}/.installed`"
            )

    def has(self, package: str) -> bool:
        """Return whether a package is installed in it."""
        return any((self.folder / "lib").glob(f"python*/site-packages/{package}"))

    def variables(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return environment variables in which this environment is the active one, as `activate` leaves them."""
        # A store of the user's own is not where a step of ours logs, and a notebook's way to draw is not in its environment.
        stores = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
        runs = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
        left_out = ("PYTHONHOME", "PYTHONPATH", "MPLBACKEND", *stores, *runs)
        variables = {name: value for name, value in environ.items() if name not in left_out}
        path = [str(self.folder / "bin"), *filter(None, [environ.get("PATH", os.defpath)])]
        return variables | {"PATH": os.pathsep.join(path), "VIRTUAL_ENV": str(self.folder)}


def environment_for(file: Path) -> VirtualEnvironment:
    """Return the environment for …/environment/evaluation/environment.yaml: .venv/evaluation."""
    return VirtualEnvironment(file.resolve().parent.name)
