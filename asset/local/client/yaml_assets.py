"""Environments, components and data assets on this machine: YAML files as the Azure SDK writes and loads them.

.asset/environments/bert-base-cased-serving/1.yaml
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import yaml
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

from asset.azure_sdk import quiet
from asset.local.client.operations import invalid, one_of_version_and_label


class Asset(Protocol):
    """What an entity of the SDK has."""

    name: str | None
    version: str | None
    _id: str | None


T = TypeVar("T", bound=Asset)
NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,254}", re.ASCII)


class YamlAssets(Generic[T]):
    """The assets of one kind: `what` is its name for messages, `load` the SDK's function for its files."""

    def __init__(self, folder: Path, what: str, load: Callable[[str], T]) -> None:
        self._folder, self._what, self._load = folder, what, load

    def keep(self, name: str, version: str | None, content: dict[str, Any], fixed: tuple[str, ...]) -> T:
        """Keep an asset under its version, the next number where it has none.

        Raises:
            ValidationException: the name or the version cannot be.
            ResourceExistsError: this version is there with another value of a `fixed` key; on Azure it cannot change either.
        """
        version = str(version or self._next(name))
        path = self._path(name, version)
        if path.is_file():
            before = yaml.safe_load(path.read_text(encoding="utf-8"))
            changed = [key for key in fixed if before.get(key) != plain(content).get(key)]
            if changed:
                raise ResourceExistsError(
                    f"expected {self._what} {name}:{version}, which is there, to keep its {' and '.join(changed)}, found "
                    "another; give it another version"
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(
            yaml.safe_dump(plain(content) | {"name": name, "version": version}, sort_keys=False), encoding="utf-8"
        )
        fresh.replace(path)
        return self.get(name, version)

    def get(self, name: str, version: str | None = None, label: str | None = None) -> T:
        """Return an asset, the latest where neither says which; raises ResourceNotFoundError where there is none."""
        one_of_version_and_label(version, label)
        found = str(version) if version else self._latest(name)
        path = self._path(name, found) if found else None
        if path is None or not path.is_file():
            known = ", ".join(f"{one}:{number}" for one, number in self._all()) or "none"
            asked = f"{name}:{version}" if version else name
            raise ResourceNotFoundError(
                f"expected one of the {self._what}s here ({known}), found the name {asked}; name one of those, or register it "
                "with create_or_update"
            )
        with quiet():
            loaded = self._load(str(path))
        # What others name it by: on Azure the path of a resource.
        loaded._id = f"azureml:{name}:{found}"
        return loaded

    def list(self, name: str | None = None) -> Iterator[T]:
        """Yield the versions of a name, the newest first; without a name, each name's latest."""
        if name is not None:
            yield from (self.get(name, version) for version in reversed(self._versions(name)))
        else:
            for one in sorted({one for one, _ in self._all()}):
                yield self.get(one)

    def _path(self, name: str, version: str) -> Path:
        for text in (name, version):
            if not NAME.fullmatch(text):
                raise invalid(
                    f"expected letters, digits, '.', '_' and '-' in the name of an asset, found {text!r}; rename it"
                )
        return self._folder / name / f"{version}.yaml"

    def _all(self) -> list[tuple[str, str]]:
        return sorted((path.parent.name, path.stem) for path in self._folder.glob("*/[!.]*.yaml"))

    def _versions(self, name: str) -> list[str]:
        return sorted((version for one, version in self._all() if one == name), key=order)

    def _latest(self, name: str) -> str | None:
        return next(reversed(self._versions(name)), None)

    def _next(self, name: str) -> int:
        numbers = [int(version) for version in self._versions(name) if version.isdigit()]
        return max(numbers, default=0) + 1


def order(version: str) -> tuple[int, str]:
    """Return the key by which versions are sorted: numbers as numbers, after texts."""
    with contextlib.suppress(ValueError):
        return int(version), ""
    return -1, version


def plain(content: Any) -> Any:  # noqa: ANN401  what the SDK makes of an entity
    """Return the SDK's ordered mappings, and texts of classes of its own, as plain ones."""
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items() if value is not None}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return content if isinstance(content, bool | int | float) else str(content)
