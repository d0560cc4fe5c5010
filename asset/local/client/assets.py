"""Environments, components and data assets of the client of this machine.

Each version is a YAML file as the Azure SDK writes and loads it: .asset/environments/bert-base-cased-serving/1.yaml
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from azure.ai.ml import load_component, load_data, load_environment
from azure.ai.ml.constants import ListViewType
from azure.ai.ml.entities import Component, Data, Environment
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

from asset.azure_sdk import quiet
from asset.checks.pipeline.source import REMOTE
from asset.environments import environment_file
from asset.local.client.errors import invalid, translated
from asset.local.client.operations import Operations, check_version_or_label
from tables.disk import write_whole

NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,254}", re.ASCII)
T = TypeVar("T", Environment, Component, Data)


class _Assets(Operations, Generic[T]):
    """The assets of one kind, in the folder of local state that is named after the sub-object."""

    _kind: str
    _load: Callable[..., T]
    _fixed: tuple[str, ...]
    """Keys that cannot change within a version; on Azure they cannot either."""

    def get(self, name: str, version: str | None = None, label: str | None = None) -> T:
        """Return an asset; without a version, the latest. Raises ResourceNotFoundError if there is none."""
        check_version_or_label(version, label)
        number = str(version) if version else next(iter(self._versions(name)), None)
        path = self._path(name, number) if number else None
        if path is None or not path.is_file():
            known = ", ".join(f"{name}:{number}" for name, number in self._all()) or "none"
            raise ResourceNotFoundError(
                f"there is no {self._kind} {name}{f':{version}' if version else ''} on this machine (there are: {known}); "
                "register it with create_or_update"
            )
        with quiet():
            loaded = type(self)._load(str(path))
        # Other entities refer to an asset by its id; on Azure that is the path of a resource.
        loaded._id = f"azureml:{name}:{number}"
        return loaded

    def list(self, name: str | None = None, *, list_view_type: ListViewType = ListViewType.ACTIVE_ONLY) -> Iterator[T]:
        """Yield the versions of a name, the newest first; without a name, the latest version of each."""
        self._refuse_archived("list", list_view_type)
        if name is not None:
            return (self.get(name, version) for version in self._versions(name))
        return (self.get(name) for name in sorted({name for name, _ in self._all()}))

    def _keep(self, name: str | None, version: str | None, content: dict[str, Any]) -> T:
        """Write an asset under its version; without one, under the next number.

        Raises:
            ValidationException: the name or the version is not valid.
            ResourceExistsError: the version exists, with another value of a fixed key.
        """
        if not name:
            raise invalid(f"the {self._kind} has no name; give it one")
        version = str(version or self._next_version(name))
        path = self._path(name, version)
        if path.is_file():
            before = yaml.safe_load(path.read_text(encoding="utf-8"))
            changed = [key for key in self._fixed if before.get(key) != plain(content).get(key)]
            if changed:
                raise ResourceExistsError(
                    f"{self._kind} {name}:{version} exists with another {' and '.join(changed)}; choose another version"
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = plain(content) | {"name": name, "version": version}
        write_whole(path, yaml.safe_dump(whole, sort_keys=False))
        return self.get(name, version)

    def _path(self, name: str, version: str) -> Path:
        for text in (name, version):
            if not NAME.fullmatch(text):
                raise invalid(f"{text!r} is not a valid name of an asset; use letters, digits, '.', '_' and '-'")
        return self._folder / name / f"{version}.yaml"

    @property
    def _folder(self) -> Path:
        return self._state / self.named

    def _all(self) -> list[tuple[str, str]]:
        return sorted((path.parent.name, path.stem) for path in self._folder.glob("*/[!.]*.yaml"))

    def _versions(self, name: str) -> list[str]:
        """Return the versions of a name, the newest first."""
        return sorted((version for known, version in self._all() if known == name), key=version_order, reverse=True)

    def _next_version(self, name: str) -> int:
        return max((int(version) for version in self._versions(name) if version.isdigit()), default=0) + 1


class LocalEnvironments(_Assets[Environment]):
    """Environments."""

    named, _kind = "environments", "environment"
    _load = load_environment
    _fixed = ("image", "build", "conda_file")

    def create_or_update(self, environment: Environment) -> Environment:
        """Register an environment; a version keeps its image and build."""
        require_entity(environment, Environment)
        return self._keep(environment.name, environment.version, environment._to_dict())


class LocalComponents(_Assets[Component]):
    """Components."""

    named, _kind = "components", "component"
    _load = load_component
    _fixed = ("type", "command", "code", "inputs", "outputs", "environment", "jobs")

    def create_or_update(
        self,
        component: Component,
        version: str | None = None,
        *,
        skip_validation: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> Component:
        """Register a component; a version keeps its command, code, inputs and outputs."""
        self._refuse("create_or_update", **kwargs)
        component = _component(component)
        if not skip_validation:
            self.validate(component, raise_on_failure=True)
        with quiet():
            content = component._to_dict()
        if source := environment_file(getattr(component, "environment", None)):
            # The file's folder says which virtual environment to use; the SDK would write the environment out without it.
            content["environment"] = f"file:{source}"
        return self._keep(component.name, version or component.version, content)

    def validate(self, component: Any, raise_on_failure: bool = False, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return the SDK's own validation of a component, without a workspace."""
        self._refuse("validate", **kwargs)
        with quiet():
            return _component(component)._validate(raise_error=raise_on_failure)


class LocalData(_Assets[Data]):
    """Data assets. The data stays where it is; jobs find it by azureml:NAME:VERSION."""

    named, _kind = "data", "data asset"
    _load = load_data
    _fixed = ("path", "type")

    def create_or_update(self, data: Data) -> Data:
        """Register a file or folder of this machine; a version keeps its path."""
        require_entity(data, Data)
        if REMOTE.match(str(data.path)):
            raise invalid(f"{data.path} is not on this machine; register a file or a folder of this machine")
        path = Path(data.base_path or ".", str(data.path)).resolve()
        if not path.exists():
            raise invalid(f"there is no file or folder {path}; correct the path of the data asset")
        stored = copy.copy(data)
        stored.path = str(path)
        return self._keep(data.name, data.version, stored._to_dict())


def require_entity(entity: object, kind: type) -> None:
    """Refuse an argument that is not the expected entity of the SDK."""
    if not isinstance(entity, kind):
        raise invalid(f"pass a {kind.__name__} of azure.ai.ml.entities, not a {type(entity).__name__}")


def _component(component: Any) -> Component:  # noqa: ANN401
    """Return a component, also if it is wrapped in the function that the SDK makes of it."""
    with translated():
        entity = getattr(component, "component", component)
        require_entity(entity, Component)
        return entity


def version_order(version: str) -> tuple[int, str]:
    """Return the sort key of a version: numbers in their order, after texts."""
    with contextlib.suppress(ValueError):
        return int(version), ""
    return -1, version


def plain(content: Any) -> Any:  # noqa: ANN401  what the SDK makes of an entity
    """Return the SDK's ordered mappings and text classes as plain dicts, lists and texts."""
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items() if value is not None}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return content if isinstance(content, bool | int | float) else str(content)
