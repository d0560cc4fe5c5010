"""The model of a deployment: where it lies here, and the folder that AZUREML_MODEL_DIR points to."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from azure.ai.ml.entities import Model

from asset.checks.pipeline.data import ASSET
from registry.client.errors import invalid
from registry.client.models import LocalModels


@dataclass(frozen=True)
class ServedModel:
    """A model: `resource` is what it is called in the deployment as Azure has it."""

    name: str
    version: str
    path: Path
    resource: str

    def link_in(self, folder: Path) -> Path:
        """Return a folder as Azure mounts it: NAME/VERSION, with the file or folder that was registered in it.

        A server that is still running has the folder of what it was started with, so each model gets its own.
        """
        place = folder / hashlib.sha256(str(self.path).encode()).hexdigest()[:12] / self.name / self.version
        place.mkdir(parents=True, exist_ok=True)
        link = place / self.path.name
        if not link.is_symlink():
            link.symlink_to(self.path)
        return place


def served_model(model: Model | str | os.PathLike[str] | None, base: Path, models: LocalModels) -> ServedModel | None:
    """Return the model that a deployment names: an entity, azureml:NAME:VERSION, or a path; None where it names none.

    Raises:
        ValidationException: there is nothing at its path.
        ResourceNotFoundError: no model is registered under that name.
    """
    if model is None:
        return None
    if isinstance(model, Model) and not model._is_anonymous and not _is_reference(str(model.path)):
        model = models.create_or_update(model)
    if isinstance(model, Model) and not _is_reference(str(model.path)):
        path = Path(model.base_path or base, str(model.path)).resolve()
        resource = str(path) if model._is_anonymous else f"azureml:{model.name}:{model.version}"
        return ServedModel(str(model.name), str(model.version or 1), _there(path), resource)
    text = str(model.path) if isinstance(model, Model) else str(model)
    if (path := Path(base, text.removeprefix("file:")).resolve()).exists():
        return ServedModel(path.name, "1", path, str(path))
    match = ASSET.fullmatch(text if text.startswith("azureml:") else f"azureml:{text}")
    if match is None:
        raise invalid(f"expected a model at {path}, found nothing there; name a folder, or azureml:NAME:VERSION")
    found = models.get(match["name"], match["version"], match["label"])
    name, version = str(found.name), str(found.version)
    return ServedModel(name, version, _there(Path(str(found.path))), f"azureml:{name}:{version}")


def _is_reference(path: str) -> bool:
    return path.startswith("azureml:")


def _there(path: Path) -> Path:
    if not path.exists():
        raise invalid(f"expected a model at {path}, found nothing there; put it there, or register it anew")
    return path
