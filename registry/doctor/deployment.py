"""A deployment's file: its machine, and the settings that it gives to serving. `asset validate` checks all the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from asset.findings import shown
from registry.doctor.check import Check, NothingToCheckError, note, wrong
from registry.doctor.machine import Machine
from registry.doctor.model import BERT_BASE, Size, opened
from registry.doctor.sku import sku
from registry.doctor.variables import check_settings
from serving.errors import ModelFolderError
from serving.settings import PREFIX


def read(path: Path) -> dict[str, Any]:
    """Read a deployment's file.

    Raises:
        NothingToCheckError: it is not there, no YAML, or no deployment.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        why = getattr(exc, "strerror", None) or "no text"
        raise NothingToCheckError(f"{shown(path)}: expected a deployment's file, found: {why}; name one") from exc
    except yaml.YAMLError as exc:
        said = str(exc).replace("\n", " ")
        raise NothingToCheckError(f"{shown(path)}: expected YAML, found: {said}; correct it") from exc
    if not isinstance(document, dict) or "endpoint_name" not in document:
        raise NothingToCheckError(
            f"{shown(path)}: expected a deployment, found no endpoint_name; name a file as "
            "deployment/online-deployment-blue.yml"
        )
    return document


def deployment(machine: Machine, path: Path, document: dict[str, Any], also: str | None) -> Iterator[Check]:
    """Look at a deployment; `also` is a machine that was asked for by name and stands for that of a batch cluster."""
    size, found = _model(path, document)
    yield from found
    machine_type = document.get("instance_type")
    if isinstance(machine_type, str):
        yield from sku(machine.root, machine_type, size, "inference")
    elif "compute" not in document:
        where = f"{path.name} machine"
        yield wrong(
            where,
            "an instance_type",
            str(machine_type or "none"),
            "write one of sku_lists.yaml, as instance_type: Standard_F4s_v2",
        )
    elif also is None:
        fix = "name its size: --sku Standard_F4s_v2"
        yield note(f"{path.name} machine", "a size that can be checked", f"the cluster {document['compute']}", fix)
    # A batch deployment of a model has them under its settings.
    settings = document.get("settings")
    holder = settings if "environment_variables" not in document and isinstance(settings, dict) else document
    given = holder.get("environment_variables")
    variables = {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    yield check_settings(
        {name: value for name, value in variables.items() if name.startswith(PREFIX)}, f"{path.name} settings"
    )


def _model(path: Path, document: dict[str, Any]) -> tuple[Size, list[Check]]:
    """Return how large the model is that a deployment names: that of a folder here, else BERT-base."""
    named = document.get("model")
    named = named.get("path") if isinstance(named, dict) else named
    if not isinstance(named, str) or ":" in named:
        return Size.of(BERT_BASE), []
    folder = (path.parent / named).resolve()
    try:
        config, task, _ = opened(folder)
    except ModelFolderError as exc:
        title, fix = f"{path.name} model", "name a model folder, or azureml:NAME:VERSION"
        return Size.of(BERT_BASE), [wrong(title, "a model folder that serving can open", str(exc), fix)]
    return Size.of(config, task), []
