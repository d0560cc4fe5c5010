"""The asset that a file belongs to: what other files of it say, each read once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from asset.environments import ROOT
from asset.findings import Finding, InvalidFileError
from asset.yaml_file import YamlFile
from registry.jobs.local_data import OwnModel
from registry.jobs.source import is_file
from registry.sku_lists import SkuList, SkuListsError, read_sku_lists

MARKS = ("spec.yaml", "sku_lists.yaml")
"""The files that are at the top of an asset."""


class AssetFolder:
    """A folder with spec.yaml and sku_lists.yaml. What they do not say, as they are broken, is not asked of others."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[Path, YamlFile | InvalidFileError] = {}
        self.refused: dict[Path, list[Finding]] = {}
        """What the SDK has said of jobs and components, each of which may be named by several."""

    def read(self, path: Path) -> YamlFile:
        """Read a YAML file.

        Raises:
            InvalidFileError: it is not one.
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
        """Read the YAML files of a folder, without those that are none."""
        files = []
        for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
            try:
                files.append(self.read(path))
            except InvalidFileError:
                continue
        return files

    @cached_property
    def own(self) -> OwnModel:
        """Return the model of this asset; one without a name where spec.yaml does not say."""
        try:
            spec = self.read(self.root / "spec.yaml").data
        except InvalidFileError:
            spec = {}
        return OwnModel(str(spec.get("name", "")), str(spec.get("version", "")), self.root)

    @cached_property
    def skus(self) -> dict[str, SkuList]:
        """Return the machines by scenario; none where sku_lists.yaml does not say."""
        try:
            self.read(self.root / "sku_lists.yaml")
            return read_sku_lists(self.root / "sku_lists.yaml")
        except (InvalidFileError, SkuListsError):
            return {}


def asset_root(path: Path) -> Path:
    """Return the folder of the asset that a file is in; this checkout for one that is in none."""
    for folder in path.resolve().parents:
        if all(is_file(folder / name) for name in MARKS):
            return folder
    return ROOT
