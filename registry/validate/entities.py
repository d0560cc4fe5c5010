"""Azure's SDK on what is no job: its loaders of environments, models, endpoints and deployments."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from registry.azure_sdk import Keys, RefusedError, advice, boundary
from registry.findings import Finding
from registry.yaml_file import YamlFile

RULE = "azure-sdk"

LOADERS = {
    "environment": ("load_environment", "assets.environment", "EnvironmentSchema"),
    "model": ("load_model", "assets.model", "ModelSchema"),
    "online endpoint": ("load_online_endpoint", "_endpoint", "ManagedOnlineEndpointSchema"),
    "batch endpoint": ("load_batch_endpoint", "_endpoint", "BatchEndpointSchema"),
    "online deployment": (
        "load_online_deployment",
        "_deployment.online.online_deployment",
        "ManagedOnlineDeploymentSchema",
    ),
    "batch deployment": ("load_batch_deployment", "_deployment.batch.batch_deployment", "BatchDeploymentSchema"),
    # `type: model` with `settings`, which the loader above refuses.
    "model batch deployment": (
        "load_model_batch_deployment",
        "_deployment.batch.model_batch_deployment",
        "ModelBatchDeploymentSchema",
    ),
}
"""What is loaded -> the SDK's loader, the module of its schema, and the schema, which knows the keys of a file."""


def refused(file: YamlFile, kind: str) -> Iterator[Finding]:
    """Yield what the SDK's loader refuses, and its own validation where it has one; `kind` is one of LOADERS."""
    schema = None
    try:
        with boundary():
            loader, module, name = LOADERS[kind]
            schema = getattr(importlib.import_module(f"azure.ai.ml._schema.{module}"), name)
            loaded = getattr(importlib.import_module("azure.ai.ml.entities._load_functions"), loader)(str(file.path))
            if kind == "environment":
                loaded.validate()
    except RefusedError as exc:
        for keys, text in exc.refusals:
            yield finding(file, keys, text, schema)


def finding(file: YamlFile, keys: Keys, text: str, schema: Any = None) -> Finding:  # noqa: ANN401  the SDK has no types
    """Return a finding of the SDK's, with what to do."""
    shown = f"{'.'.join(keys)}: " if keys else ""
    return Finding(file.place(*keys), f"the Azure SDK refuses it: {shown}{text}", advice(keys, text, schema), RULE)
