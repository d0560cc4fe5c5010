"""The asset that a file belongs to: its other files, each read once, and the machines that it lists."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from asset.checks.pipeline.data import OwnModel
from asset.checks.pipeline.source import is_file
from asset.environments import ROOT
from asset.findings import Finding, InvalidFileError, problem
from asset.tools.sku_lists import SkuList, SkuListsError, read_sku_lists
from asset.yaml_file import YamlFile

MARKS = ("spec.yaml", "sku_lists.yaml")
"""The files that are at the top of an asset."""


class AssetFolder:
    """A folder with spec.yaml and sku_lists.yaml. If one of these is broken, other files are not checked against it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[Path, YamlFile | InvalidFileError] = {}
        self.refused: dict[Path, list[Finding]] = {}
        """What the SDK refuses in each job and component, kept because several files may name the same component."""

    def read(self, path: Path) -> YamlFile:
        """Read a YAML file.

        Raises:
            InvalidFileError: the file is not usable YAML.
        """
        path = path.resolve()
        if path not in self._files:
            try:
                self._files[path] = YamlFile(path)
            except InvalidFileError as exc:
                self._files[path] = exc
        found = self._files[path]
        if isinstance(found, InvalidFileError):
            raise found
        return found

    def read_beside(self, folder: Path) -> list[YamlFile]:
        """Read the YAML files of a folder; files that cannot be read are left out."""
        files = []
        for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
            try:
                files.append(self.read(path))
            except InvalidFileError:
                continue
        return files

    @cached_property
    def own(self) -> OwnModel:
        """Return the model of this asset; a model without a name if spec.yaml does not tell."""
        try:
            spec = self.read(self.root / "spec.yaml").data
        except InvalidFileError:
            spec = {}
        return OwnModel(str(spec.get("name", "")), str(spec.get("version", "")), self.root)

    @cached_property
    def skus(self) -> dict[str, SkuList]:
        """Return the lists of machines by scenario; no lists if sku_lists.yaml is missing or wrong."""
        try:
            self.read(self.root / "sku_lists.yaml")
            return read_sku_lists(self.root / "sku_lists.yaml")
        except (InvalidFileError, SkuListsError):
            return {}


def asset_root(path: Path) -> Path:
    """Return the folder of the asset that a file is in; this checkout if the file is in no asset."""
    for folder in path.resolve().parents:
        if all(is_file(folder / name) for name in MARKS):
            return folder
    return ROOT


SIZE = re.compile(r"standard_[a-z]{1,4}\d{1,3}(-\d{1,3})?[a-z]{0,5}(_[a-z0-9]{1,8}){0,3}(_v\d)?", re.IGNORECASE)
"""How Azure names sizes of virtual machines: Standard_D12_v2, Standard_NC24ads_A100_v4."""

WITH_GPU = re.compile(r"standard_n", re.IGNORECASE)


def unknown_machine(name: str, known: Iterable[str], where: str, others: Iterable[str] = ()) -> Finding | None:
    """Say that a machine is not in a list, or return None. Case does not count, as for Azure: Standard_nc24rs_v3.

    `others` are machines listed for other purposes: their names are not misspelled.
    """
    names = {one.lower(): one for one in known}
    if name.lower() in names:
        return None
    real = name.lower() in map(str.lower, others)
    close = [] if real else difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.85)
    fix = "choose one of sku_lists.yaml" + (f", such as {names[close[0]]}" if close else "")
    return problem(f"expected a machine of {where} in sku_lists.yaml, found {name}", fix)


def unsuitable_machine(name: str, known: Iterable[str], where: str) -> Finding | None:
    """Say what is wrong with a machine for a step of a job, or return None.

    A machine with GPUs runs the model and must be in the asset's lists; a step without GPUs runs on any size of Azure.
    """
    if SIZE.fullmatch(name) and not WITH_GPU.match(name):
        return None
    return unknown_machine(name, known, where)
