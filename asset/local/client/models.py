"""Models of the client of this machine: versions of registered models in MLflow's store, which stay where they lie.

MLflow numbers versions itself; the version that Azure has, 17, is a tag. One that MLflow registered has MLflow's number.
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
from asset.local.client.operations import Operations, invalid, logger, one_of_version_and_label
from asset.local.client.runs import job_output
from asset.local.client.yaml_assets import NAME, order
from asset.local.jobs.tracking import database, set_up, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

VERSION, TYPE, PROPERTIES = "azureml.version", "azureml.type", "azureml.properties"
OURS = (VERSION, TYPE, PROPERTIES)


class LocalModels(Operations):
    """Models."""

    named = "models"

    def create_or_update(self, model: Model) -> Model:
        """Register a model; one of the same version has to have the same path, and gets the rest anew."""
        if not isinstance(model, Model):
            raise invalid(f"expected a Model of azure.ai.ml.entities, found {type(model).__name__}; load or build one")
        name, path = str(model.name), self._path(model)
        if not NAME.fullmatch(name):
            raise invalid(
                f"expected letters, digits, '.', '_' and '-' in the name of a model, found {name!r}; rename it"
            )
        versions = self._versions(name)
        version = str(model.version or max((int(v) for v in versions if v.isdigit()), default=0) + 1)
        tags = {VERSION: version, TYPE: str(model.type), PROPERTIES: json.dumps(model.properties or {})}
        tags |= {key: str(value) for key, value in (model.tags or {}).items()}
        client, before = self._client(), versions.get(version)
        if before is None:
            _make_registered(client, name)
            client.create_model_version(name, str(path), tags=tags, description=model.description)
        else:
            if _local(before.source) != path:
                raise ResourceExistsError(
                    f"expected model {name}:{version}, which is there, to keep its path {before.source}, found {path}; give it "
                    "another version"
                )
            for key in set(before.tags) - set(tags):
                client.delete_model_version_tag(name, before.version, key)
            for key, value in tags.items():
                client.set_model_version_tag(name, before.version, key, value)
            # MLflow refuses to be given none.
            client.update_model_version(name, before.version, model.description or "")
        return self.get(name, version)

    def get(self, name: str, version: str | None = None, label: str | None = None) -> Model:
        """Return a model, the latest where neither says which; raises ResourceNotFoundError where there is none."""
        if found := self.registered(name, version, label):
            return found
        own = OwnModel.read()
        if own.is_named(f"azureml:{name}" + (f":{version}" if version else "")):
            return self._own(own)
        known = ", ".join(f"{one.name}:{one.version}" for one in self.list()) or "none"
        raise ResourceNotFoundError(
            f"expected one of the models here ({known}), found the name {name}{f':{version}' if version else ''}; name one "
            "of those, or register it with models.create_or_update"
        )

    def registered(self, name: str, version: str | None = None, label: str | None = None) -> Model | None:
        """Return a model that was registered, the latest where neither says which; None where there is none."""
        one_of_version_and_label(version, label)
        versions = self._versions(name)
        found = str(version) if version else max(versions, key=order, default=None)
        return _entity(versions[found], found) if found in versions else None

    def list(
        self,
        name: str | None = None,
        stage: str | None = None,
        *,
        list_view_type: ListViewType = ListViewType.ACTIVE_ONLY,
    ) -> Iterator[Model]:
        """Yield the versions of a name, the newest first; without a name, each name's latest."""
        self._refuse("list", stage=stage)
        self._refuse_archived("list", list_view_type)
        if name is None and database(self._state).exists():
            names = sorted(registered.name for registered in self._client().search_registered_models())
            return (self.get(one) for one in names if self._versions(one))
        versions = self._versions(name) if name else {}
        return (_entity(versions[version], version) for version in sorted(versions, key=order, reverse=True))

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
        """Return where a model to register lies: a path, or what a job here wrote, as azureml://jobs/NAME/outputs/OUTPUT."""
        path = job_output(self._state, str(model.path)) if model.path else None
        if path is None and (not model.path or REMOTE.match(str(model.path))):
            raise invalid(f"expected a model of this machine, found the path {model.path}; name a file or a folder")
        path = path or Path(model.base_path or ".", str(model.path)).resolve()
        if not path.exists():
            raise invalid(f"expected a model at {path}, found nothing there; name a file or a folder")
        if model.type == AssetTypes.MLFLOW_MODEL and not (path / "MLmodel").is_file():
            raise invalid(
                f"expected the file MLmodel in the model {path} of type mlflow_model, found none; write custom_model"
            )
        return path

    def _own(self, own: OwnModel) -> Model:
        """Return the model asset of this checkout, which needs no registration."""
        if own.folder.name == "embedded":
            logger.warning(
                "%s is not here: the small embedded model is in its place, whose answers are weaker; `asset pull` gets it",
                own.name,
            )
        kind = AssetTypes.MLFLOW_MODEL if (own.folder / "MLmodel").is_file() else None
        return Model(
            id=f"azureml:{own.name}:{own.version}", name=own.name, version=own.version, path=str(own.folder), type=kind
        )

    def _client(self) -> MlflowClient:
        set_up(self._state)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri(self._state), registry_uri=tracking_uri(self._state))

    def _versions(self, name: str) -> dict[str, ModelVersion]:
        """Return the versions of a model by the number that Azure has, or MLflow's."""
        if not database(self._state).exists():
            return {}
        quoted = name.replace("'", "''")
        found = self._client().search_model_versions(f"name='{quoted}'")
        # A registration that is under way has versions that it will delete.
        whole = [version for version in found if "asset.placeholder" not in version.tags]
        return {str(version.tags.get(VERSION, version.version)): version for version in whole}


def _make_registered(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as exc:
        if exc.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _local(source: str) -> Path:
    """Return the path that MLflow has for a version."""
    parsed = urlparse(source)
    return Path(unquote(parsed.path) if parsed.scheme == "file" else source)


def _entity(found: ModelVersion, version: str) -> Model:
    tags: dict[str, Any] = {key: value for key, value in found.tags.items() if key not in OURS}
    path = _local(found.source)
    return Model(
        id=f"azureml:{found.name}:{version}",
        name=found.name,
        version=version,
        path=str(path),
        type=found.tags.get(TYPE) or (AssetTypes.MLFLOW_MODEL if (path / "MLmodel").is_file() else None),
        description=found.description or None,
        tags=tags,
        properties=json.loads(found.tags.get(PROPERTIES, "{}")),
    )
