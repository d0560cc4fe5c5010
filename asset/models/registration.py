"""A model folder as a version of a registered model, in the MLflow store of this checkout's local state."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from asset.findings import shown
from asset.local.jobs.tracking import database, set_up, tracking_uri
from asset.models.errors import ModelError, RequestError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

T = TypeVar("T")
LONGEST_JUMP = 1000
PLACEHOLDER = "asset.placeholder"


@dataclass(frozen=True)
class Registered:
    """A version of a registered model; `fresh` if it is new."""

    name: str
    version: int
    fresh: bool = True

    @property
    def uri(self) -> str:
        """Return the address by which MLflow loads the version."""
        return f"models:/{self.name}/{self.version}"


def check_name(name: str) -> None:
    """Raise RequestError for a name that MLflow or Azure ML would refuse."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", name):
        raise RequestError(
            "invalid",
            f"--name: expected letters, digits, '.', '_' and '-', beginning with a letter or digit, found {name!r}",
        )


def name_for(called: str) -> str:
    """Return the name under which a model is registered.

    >>> name_for("my model")
    'my-model'
    """
    return re.sub(r"[^A-Za-z0-9._-]", "-", called).lstrip("._-")[:255] or "model"


def register(
    state: Path, folder: Path, name: str, version: int | None, tags: Mapping[str, str], description: str = ""
) -> Registered:
    """Register a folder in its place; a version that has the folder already gets the new tags.

    Args:
        state: the folder of local state; its store is set up if there is none.
        folder: the model folder. MLflow loads it from there.
        name: the model's name.
        version: the number of the version, or None for the next. MLflow numbers versions itself, so lower versions are
            made and deleted.
        tags: the tags of the version, as flat texts.
        description: a sentence on the version.

    Raises:
        RequestError: another folder has that number, or MLflow has given a higher number already.
        ModelError: the store cannot be used.
    """
    check_name(name)

    def act() -> Registered:
        from mlflow import MlflowClient

        set_up(state)
        client = MlflowClient(tracking_uri(state), registry_uri=tracking_uri(state))
        versions = _versions(client, name)
        source = folder.resolve().as_uri()
        same = [known for known in versions if known.source == source and version in (None, int(known.version))]
        if same:
            for key, value in tags.items():
                client.set_model_version_tag(name, str(same[-1].version), key, value)
            client.update_model_version(name, str(same[-1].version), description)
            return Registered(name, int(same[-1].version), fresh=False)
        taken = next((known for known in versions if int(known.version) == version), None)
        if taken is not None:
            raise RequestError(
                "invalid",
                f"--version: expected a free version of {name}, found that {version} is {taken.source}; choose another, or "
                "leave it out for the next one",
            )
        return _create(client, name, version, source, tags, description)

    return _using(state, act)


def _create(
    client: MlflowClient, name: str, version: int | None, source: str, tags: Mapping[str, str], description: str
) -> Registered:
    while True:
        made = client.create_model_version(name, source, tags={**tags, PLACEHOLDER: "yes"})
        number = int(made.version)
        if version in (None, number):
            client.delete_model_version_tag(name, str(number), PLACEHOLDER)
            client.update_model_version(name, str(number), description)
            return Registered(name, number)
        client.delete_model_version(name, str(number))
        if number > int(version or 0) or int(version or 0) - number > LONGEST_JUMP:
            raise RequestError(
                "invalid",
                f"--version: expected one that MLflow can give to {name}, which counts upward and is at {number}, found "
                f"{version}; choose one of the next {LONGEST_JUMP:,}, or leave it out",
            )


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Return the versions of a model in their order, and make the model if there is none.

    Placeholders, which a killed registration leaves, are deleted.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as exc:
        if exc.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = sorted(client.search_model_versions(f"name = '{name}'"), key=lambda version: int(version.version))
    for version in versions:
        if PLACEHOLDER in version.tags:
            client.delete_model_version(name, str(version.version))
    return [version for version in versions if PLACEHOLDER not in version.tags]


def _using(state: Path, act: Callable[[], T]) -> T:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return act()
    except (MlflowException, SQLAlchemyError, OSError) as exc:
        reason = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise ModelError(
            "registry",
            f"{shown(database(state))}: expected a store of MLflow's, found: {reason}; mend or remove it, and run `asset "
            "package` again",
        ) from exc
