"""Models of the client of this machine: registered model versions in MLflow's store. The model files stay where they are.

MLflow numbers versions itself, so Azure's version, such as 17, is kept in a tag. A version that MLflow registered without
the tag has MLflow's number.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from azure.ai.ml.constants import AssetTypes, ListViewType
from azure.ai.ml.entities import Model
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

from asset.checks.pipeline.data import OwnModel
from asset.checks.pipeline.source import REMOTE
from asset.local.client.assets import NAME, require_entity, version_order
from asset.local.client.errors import invalid
from asset.local.client.operations import Operations, check_version_or_label, logger
from asset.local.client.runs import job_output
from asset.local.jobs.tracking import database, set_up, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

VERSION, TYPE, PROPERTIES = "azureml.version", "azureml.type", "azureml.properties"
OWN_TAGS = (VERSION, TYPE, PROPERTIES)


class LocalModels(Operations):
    """Models."""

    named = "models"

    def create_or_update(self, model: Model) -> Model:
        """Register a model. A version that exists keeps its path; its description, tags and properties are replaced."""
        require_entity(model, Model)
        name, path = str(model.name), self._path(model)
        if not NAME.fullmatch(name):
            raise invalid(f"{name!r} is not a valid name of a model; use letters, digits, '.', '_' and '-'")
        versions = self._versions(name)
        version = str(model.version or max((int(v) for v in versions if v.isdigit()), default=0) + 1)
        tags = {VERSION: version, TYPE: str(model.type), PROPERTIES: json.dumps(model.properties or {})}
        tags |= {key: str(value) for key, value in (model.tags or {}).items()}
        if version in versions:
            self._update(versions[version], path, tags, model.description)
        else:
            client = self._client()
            _make_registered(client, name)
            client.create_model_version(name, str(path), tags=tags, description=model.description)
        return self.get(name, version)

    def get(self, name: str, version: str | None = None, label: str | None = None) -> Model:
        """Return a model; without a version, the latest. Raises ResourceNotFoundError if there is none."""
        if model := self.registered(name, version, label):
            return model
        own = OwnModel.read()
        if own.is_named(f"azureml:{name}" + (f":{version}" if version else "")):
            return _own_entity(own)
        known = ", ".join(f"{model.name}:{model.version}" for model in self.list()) or "none"
        raise ResourceNotFoundError(
            f"there is no model {name}{f':{version}' if version else ''} on this machine (there are: {known}); register it "
            "with models.create_or_update"
        )

    def registered(self, name: str, version: str | None = None, label: str | None = None) -> Model | None:
        """Return a registered model; without a version, the latest. None if there is none."""
        check_version_or_label(version, label)
        versions = self._versions(name)
        number = str(version) if version else max(versions, key=version_order, default=None)
        return _entity(versions[number], number) if number in versions else None

    def list(
        self,
        name: str | None = None,
        stage: str | None = None,
        *,
        list_view_type: ListViewType = ListViewType.ACTIVE_ONLY,
    ) -> Iterator[Model]:
        """Yield the versions of a name, the newest first; without a name, the latest version of each."""
        self._refuse("list", stage=stage)
        self._refuse_archived("list", list_view_type)
        if name is None and database(self._state).exists():
            names = sorted(registered.name for registered in self._client().search_registered_models())
            return (self.get(name) for name in names if self._versions(name))
        versions = self._versions(name) if name else {}
        return (_entity(versions[version], version) for version in sorted(versions, key=version_order, reverse=True))

    def download(self, name: str, version: str, download_path: os.PathLike[str] | str = ".") -> None:
        """Copy a model's file or folder into download_path/NAME, as MLClient does."""
        source = Path(str(self.get(name, version).path))
        target = Path(download_path) / name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".compiled"))
        else:
            shutil.copy2(source, target)

    def _path(self, model: Model) -> Path:
        """Return the path of a model to register: a file, a folder, or a job's azureml://jobs/NAME/outputs/OUTPUT."""
        path = job_output(self._state, str(model.path)) if model.path else None
        if path is None and (not model.path or REMOTE.match(str(model.path))):
            raise invalid(
                f"the model's path {model.path} is not on this machine; name a file or a folder of this machine"
            )
        path = path or Path(model.base_path or ".", str(model.path)).resolve()
        if not path.exists():
            raise invalid(f"there is no model at {path}; correct the path of the model")
        if model.type == AssetTypes.MLFLOW_MODEL and not (path / "MLmodel").is_file():
            raise invalid(f"the model {path} has the type mlflow_model but no file MLmodel; write type: custom_model")
        return path

    def _update(self, known: ModelVersion, path: Path, tags: dict[str, str], description: str | None) -> None:
        """Replace the tags and the description of a version, which has to keep its path."""
        if _local(known.source) != path:
            version = known.tags.get(VERSION, known.version)
            raise ResourceExistsError(
                f"model {known.name}:{version} exists with the path {known.source}, and {path} was passed; choose another version"
            )
        client = self._client()
        for key in set(known.tags) - set(tags):
            client.delete_model_version_tag(known.name, known.version, key)
        for key, value in tags.items():
            client.set_model_version_tag(known.name, known.version, key, value)
        # MLflow refuses None as a description.
        client.update_model_version(known.name, known.version, description or "")

    def _client(self) -> MlflowClient:
        set_up(self._state)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri(self._state), registry_uri=tracking_uri(self._state))

    def _versions(self, name: str) -> dict[str, ModelVersion]:
        """Return the versions of a model by Azure's number, or MLflow's if there is none of Azure's."""
        if not database(self._state).exists():
            return {}
        quoted = name.replace("'", "''")
        versions = self._client().search_model_versions(f"name='{quoted}'")
        # A registration in progress has placeholder versions, which it deletes at its end.
        complete = [version for version in versions if "asset.placeholder" not in version.tags]
        return {str(version.tags.get(VERSION, version.version)): version for version in complete}


def _make_registered(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as exc:
        if exc.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _local(source: str) -> Path:
    """Return the path in a version's source, which is a path or a file: address."""
    parsed = urlparse(source)
    return Path(unquote(parsed.path) if parsed.scheme == "file" else source)


def _entity(known: ModelVersion, version: str) -> Model:
    """Return a registered version as the SDK's entity."""
    tags: dict[str, Any] = {key: value for key, value in known.tags.items() if key not in OWN_TAGS}
    path = _local(known.source)
    return Model(
        id=f"azureml:{known.name}:{version}",
        name=known.name,
        version=version,
        path=str(path),
        type=known.tags.get(TYPE) or _type_of(path),
        description=known.description or None,
        tags=tags,
        properties=json.loads(known.tags.get(PROPERTIES, "{}")),
    )


def _own_entity(own: OwnModel) -> Model:
    """Return the model asset of this checkout, which needs no registration, as the SDK's entity."""
    if warning := own.warning():
        logger.warning("%s", warning)
    return Model(
        id=f"azureml:{own.name}:{own.version}",
        name=own.name,
        version=own.version,
        path=str(own.folder),
        type=_type_of(own.folder),
    )


def _type_of(path: Path) -> str | None:
    return AssetTypes.MLFLOW_MODEL if (path / "MLmodel").is_file() else None
