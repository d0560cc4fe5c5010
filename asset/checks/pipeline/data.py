"""The places of a job's data on this machine.

A path is relative to the job's file, or names the model asset of this checkout (`azureml:bert-base-cased:17`). The asset
stands for model/bert-base-cased, or for model/embedded while model/bert-base-cased has no weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asset.checks.pipeline.references import bound
from asset.checks.pipeline.source import REMOTE, JobSource
from asset.environments import ROOT
from asset.findings import ELSEWHERE, Finding, Place
from serving.model.model_folder import has_weights

ASSET = re.compile(
    r"azureml:(?://registries/[^/]+/models/)?(?P<name>[\w.-]+)(?:(?::|/versions/)(?P<version>[\w.-]+)|(?:@|/labels/)(?P<label>\w+))?"
)

FOLDERS = ("uri_folder", "mltable", "mlflow_model")
"""The types of data that must be folders; Azure refuses files for these."""


@dataclass(frozen=True)
class OwnModel:
    """The model asset of this checkout, as spec.yaml names it."""

    name: str
    version: str
    root: Path = ROOT

    @classmethod
    def read(cls, root: Path = ROOT) -> OwnModel:
        """Read the name and the version from spec.yaml."""
        spec = yaml.safe_load((root / "spec.yaml").read_text(encoding="utf-8"))
        return cls(str(spec["name"]), str(spec["version"]), root)

    def is_named(self, path: str) -> bool:
        """Decide if a path names this asset, at this version or the latest: azureml:bert-base-cased@latest."""
        match = ASSET.fullmatch(path)
        return bool(
            match
            and match["name"] == self.name
            and match["version"] in (None, self.version)
            and match["label"] in (None, "latest")
        )

    @property
    def folder(self) -> Path:
        """Return the model folder that stands for the asset here."""
        pulled = self.root / "model" / self.name
        return pulled if has_weights(pulled) else self.root / "model" / "embedded"

    def warning(self, option: str | None = None) -> str | None:
        """Return a warning that the embedded model runs instead of the asset; None if the asset's weights are here.

        Args:
            option: the option of the command line that names another model folder, if there is one.
        """
        if self.folder.name != "embedded":
            return None
        return (
            f"{self.name} is not here: running the small embedded model in its place, whose answers are weaker; get its "
            f"weights with `asset pull`" + (f", or name a model folder with {option}" if option else "")
        )


def local_path(path: str, folder: Path, own: OwnModel) -> Path | None:
    """Return the absolute path of data that a job in `folder` names; None if the data is not on this machine."""
    if own.is_named(path):
        return own.folder
    if REMOTE.match(path):
        return None
    return (folder / path.removeprefix("file:")).resolve()


def quoted(path: Path) -> bool:
    """Decide if a path would end the quotation marks that a command puts around it: '${{inputs.data}}'."""
    return any(mark in str(path) for mark in "'\"")


def check_data(job: JobSource, own: OwnModel) -> Iterator[Finding]:
    """Find data of a job or a step that is missing, or that is not on this machine."""
    holders = [((), job.ports("inputs"))]
    holders += [(("jobs", step.name), step.given("inputs")) for step in job.steps.values()]
    for keys, inputs in holders:
        for name, value in inputs.items():
            path = value.get("path") if isinstance(value, dict) else None
            if isinstance(path, str) and path and not bound(value):
                # --set cannot change what is written into a pipeline component.
                option = None if job.above else f"--set {'.'.join((*keys, 'inputs', str(name)))}.path=PATH"
                yield from _check(value, job.place(*keys, "inputs", name, "path"), job.file.path.parent, own, option)


def _check(value: dict[str, Any], place: Place, folder: Path, own: OwnModel, option: str | None) -> Iterator[Finding]:
    try:
        path = local_path(value["path"], folder, own)
        found = None if path is None else "folder" if path.is_dir() else "file" if path.exists() else "nothing"
    except (OSError, ValueError):
        path, found = folder, "nothing"
    kind = value.get("type", "data")
    if path is None:
        yield _elsewhere(value["path"], place, own, option)
    elif found == "nothing":
        message = f"expected {kind} at {value['path']}, found nothing there"
        yield Finding(place, message, f"give {option or 'another'}", "data-path")
    elif quoted(path):
        message = f"expected a path without quotation marks, found {path}"
        yield Finding(place, message, "rename or move it", "data-quotes")
    elif kind == "uri_file" and found == "folder":
        message = f"expected a file (uri_file), found the folder {value['path']}"
        yield Finding(place, message, "name a file in it", "data-kind")
    elif kind in FOLDERS and found == "file":
        fix = "write `type: uri_file`" if kind == "uri_folder" else "name the folder that it is in"
        yield Finding(place, f"expected a folder ({kind}), found the file {value['path']}", fix, "data-kind")


def _elsewhere(path: str, place: Place, own: OwnModel, option: str | None) -> Finding:
    known = f"the model azureml:{own.name}:{own.version} of this checkout"
    message = f"expected {known} or a path of this machine, found {path}"
    # Another version of this checkout's model is always a mistake; other assets may be registered on Azure.
    match = ASSET.fullmatch(path)
    rule = "model-version" if match and match["name"] == own.name and match["version"] else ELSEWHERE
    return Finding(place, message, f"give one with {option}" if option else "give another", rule)
