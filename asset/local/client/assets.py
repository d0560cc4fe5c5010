"""Environments, components and data assets of the client of this machine."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from azure.ai.ml import load_component, load_data, load_environment
from azure.ai.ml.constants import ListViewType
from azure.ai.ml.entities import Component, Data, Environment

from asset.azure_sdk import quiet
from asset.checks.pipeline.source import REMOTE
from asset.local.client.operations import Operations, invalid, translated
from asset.local.client.yaml_assets import YamlAssets


class LocalEnvironments(Operations):
    """Environments: `.asset/environments`. Which virtual environment stands for one is in `virtual_environment`."""

    named = "environments"

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self._assets = YamlAssets(state / "environments", "environment", load_environment)

    def create_or_update(self, environment: Environment) -> Environment:
        """Keep an environment; one of the same version has to have the same image and build."""
        _require(environment, Environment, "environments.create_or_update")
        content = environment._to_dict()
        return self._assets.keep(
            _name(environment.name, "environment"), environment.version, content, ("image", "build", "conda_file")
        )

    def get(self, name: str, version: str | None = None, label: str | None = None) -> Environment:
        """Return an environment."""
        return self._assets.get(name, version, label)

    def list(
        self, name: str | None = None, *, list_view_type: ListViewType = ListViewType.ACTIVE_ONLY
    ) -> Iterator[Environment]:
        """Yield the versions of a name, or each name's latest."""
        self._refuse_archived("list", list_view_type)
        return self._assets.list(name)


class LocalComponents(Operations):
    """Components: `.asset/components`."""

    named = "components"

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self._assets = YamlAssets(state / "components", "component", load_component)

    def create_or_update(
        self,
        component: Component,
        version: str | None = None,
        *,
        skip_validation: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> Component:
        """Keep a component; one of the same version has to have the same command, code, inputs and outputs."""
        self._refuse("create_or_update", **kwargs)
        component = _component(component, "components.create_or_update")
        if not skip_validation:
            self.validate(component, raise_on_failure=True)
        with quiet():
            content = component._to_dict()
        if source := environment_file(getattr(component, "environment", None)):
            # Its folder says which virtual environment stands for it; written out, that would be lost.
            content["environment"] = f"file:{source}"
        fixed = ("type", "command", "code", "inputs", "outputs", "environment", "jobs")
        kept = version or component.version
        return self._assets.keep(_name(component.name, "component"), kept, content, fixed)

    def get(self, name: str, version: str | None = None, label: str | None = None) -> Component:
        """Return a component."""
        return self._assets.get(name, version, label)

    def list(
        self, name: str | None = None, *, list_view_type: ListViewType = ListViewType.ACTIVE_ONLY
    ) -> Iterator[Component]:
        """Yield the versions of a name, or each name's latest."""
        self._refuse_archived("list", list_view_type)
        return self._assets.list(name)

    def validate(self, component: Any, raise_on_failure: bool = False, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return what the SDK finds in a component, without a workspace."""
        self._refuse("validate", **kwargs)
        with quiet():
            return _component(component, "components.validate")._validate(raise_error=raise_on_failure)


class LocalData(Operations):
    """Data assets: `.asset/data`. What they name stays where it is, and jobs find it by azureml:NAME:VERSION."""

    named = "data"

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self._assets = YamlAssets(state / "data", "data asset", load_data)

    def create_or_update(self, data: Data) -> Data:
        """Keep a data asset; one of the same version has to have the same path."""
        _require(data, Data, "data.create_or_update")
        if REMOTE.match(str(data.path)):
            raise invalid(f"expected data of this machine, found the path {data.path}; name a file or a folder")
        path = Path(data.base_path or ".", str(data.path)).resolve()
        if not path.exists():
            raise invalid(f"expected data at {path}, found nothing there; name a file or a folder")
        kept = copy.copy(data)
        kept.path = str(path)
        return self._assets.keep(_name(data.name, "data asset"), data.version, kept._to_dict(), ("path", "type"))

    def get(self, name: str, version: str | None = None, label: str | None = None) -> Data:
        """Return a data asset."""
        return self._assets.get(name, version, label)

    def list(
        self, name: str | None = None, *, list_view_type: ListViewType = ListViewType.ACTIVE_ONLY
    ) -> Iterator[Data]:
        """Yield the versions of a name, or each name's latest."""
        self._refuse_archived("list", list_view_type)
        return self._assets.list(name)


def environment_file(environment: object) -> Path | None:
    """Return the file that an environment within a component was loaded from; None where it was not, or is gone."""
    source = getattr(environment, "_source_path", None)
    return Path(str(source)).resolve() if source and Path(str(source)).is_file() else None


def _component(component: Any, method: str) -> Component:  # noqa: ANN401
    """Return a component; a function that the SDK has made one of has it."""
    with translated():
        entity = getattr(component, "component", component)
        _require(entity, Component, method)
        return entity


def _require(entity: object, kind: type, method: str) -> None:
    if not isinstance(entity, kind):
        raise invalid(
            f"expected {kind.__name__} of azure.ai.ml.entities in {method}, found {type(entity).__name__}; load or build one"
        )


def _name(name: str | None, what: str) -> str:
    if not name:
        raise invalid(f"expected a name of the {what}, found none; give it one")
    return name
