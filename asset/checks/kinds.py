"""The kind of a file: a pipeline job, an online endpoint, a model's specification and so on.

Every command that takes files asks here, so that a file which one command recognizes is recognized by all of them.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from asset.yaml_file import YamlFile


class Kind(StrEnum):
    """A kind of file; the value is its name in messages."""

    PIPELINE_JOB = "pipeline job"
    COMMAND_COMPONENT = "command component"
    PIPELINE_COMPONENT = "pipeline component"
    ENVIRONMENT = "environment"
    MODEL = "model"
    ONLINE_ENDPOINT = "online endpoint"
    ONLINE_DEPLOYMENT = "online deployment"
    BATCH_ENDPOINT = "batch endpoint"
    BATCH_DEPLOYMENT = "batch deployment"
    MODEL_BATCH_DEPLOYMENT = "batch deployment of a model"
    TABLE = "MLTable"
    PACKAGED_MODEL = "MLmodel"
    REGISTRY_ASSET = "asset.yaml"
    REGISTRY_MODEL = "model.yaml"
    SKU_LISTS = "sku_lists.yaml"
    DOCKERFILE = "Dockerfile"
    REQUIREMENTS = "requirements file"
    EVALUATION_CONFIG = "evaluation's configuration"
    MODEL_CARD = "model card"


SCHEMAS = {
    "pipelineJob": Kind.PIPELINE_JOB,
    "commandComponent": Kind.COMMAND_COMPONENT,
    "pipelineComponent": Kind.PIPELINE_COMPONENT,
    "environment": Kind.ENVIRONMENT,
    "managedOnlineEndpoint": Kind.ONLINE_ENDPOINT,
    "kubernetesOnlineEndpoint": Kind.ONLINE_ENDPOINT,
    "managedOnlineDeployment": Kind.ONLINE_DEPLOYMENT,
    "kubernetesOnlineDeployment": Kind.ONLINE_DEPLOYMENT,
    "batchEndpoint": Kind.BATCH_ENDPOINT,
    "batchDeployment": Kind.BATCH_DEPLOYMENT,
    "modelBatchDeployment": Kind.MODEL_BATCH_DEPLOYMENT,
    "model": Kind.MODEL,
    "MLTable": Kind.TABLE,
}
"""The name in a file's `$schema` and the kind of the file."""

KINDS_BY_SCHEMA = {name.lower(): kind for name, kind in SCHEMAS.items()}

FILE_NAMES = {
    "MLmodel": Kind.PACKAGED_MODEL,
    "MLTable": Kind.TABLE,
    "asset.yaml": Kind.REGISTRY_ASSET,
    "model.yaml": Kind.REGISTRY_MODEL,
    "sku_lists.yaml": Kind.SKU_LISTS,
    "spec.yaml": Kind.MODEL,
}
"""YAML files whose name tells their kind. A name that ends in .yaml counts only in a folder with an asset.yaml."""

TEXT_NAMES = {
    r"Dockerfile(\..+)?": Kind.DOCKERFILE,
    r"requirements.*\.txt": Kind.REQUIREMENTS,
    r"evaluation[-_]config.*\.json": Kind.EVALUATION_CONFIG,
    r"description\.md": Kind.MODEL_CARD,
}
"""Files that are not YAML, by a pattern of their name."""

YAML = (".yml", ".yaml")
ENDPOINTS = (Kind.ONLINE_ENDPOINT, Kind.BATCH_ENDPOINT)
DEPLOYMENTS = (Kind.ONLINE_DEPLOYMENT, Kind.BATCH_DEPLOYMENT, Kind.MODEL_BATCH_DEPLOYMENT)
BATCH = (Kind.BATCH_ENDPOINT, Kind.BATCH_DEPLOYMENT, Kind.MODEL_BATCH_DEPLOYMENT)

AZURE_SCHEMA = re.compile(r"azuremlschemas\S*?([\w-]+)\.schema\.json")


def text_kind(path: Path) -> Kind | None:
    """Return the kind of a file that is not YAML; None if its name tells none."""
    return next((kind for pattern, kind in TEXT_NAMES.items() if re.fullmatch(pattern, path.name)), None)


def yaml_kind(file: YamlFile) -> Kind | None:
    """Return the kind of a YAML file by its `$schema`, else its content, else its name; None if nothing tells it."""
    kind = KINDS_BY_SCHEMA.get(schema_name(file).lower()) or _by_content(file.data) or _by_name(file.path)
    if kind is Kind.BATCH_DEPLOYMENT and ("settings" in file.data or file.data.get("type") == "model"):
        return Kind.MODEL_BATCH_DEPLOYMENT
    return kind


def schema_name(file: YamlFile) -> str:
    """Return the name in an Azure `$schema`: pipelineJob for …/pipelineJob.schema.json; empty if there is none."""
    match = AZURE_SCHEMA.search(str(file.data.get("$schema", "")))
    return match[1] if match else ""


def _by_content(data: dict[str, object]) -> Kind | None:
    """Recognize a file of Azure that leaves out its `$schema`; Azure's command line does not need it."""
    keys, type_ = set(map(str, data)), data.get("type")
    if "endpoint_name" in keys:
        batch = type_ == "model" or keys & {"compute", "settings", "mini_batch_size", "output_action"}
        known = type_ in (None, "managed", "kubernetes", "model")
        return (Kind.BATCH_DEPLOYMENT if batch else Kind.ONLINE_DEPLOYMENT) if known else None
    if keys & {"auth_mode", "traffic", "mirror_traffic"}:
        return Kind.BATCH_ENDPOINT if "defaults" in keys else Kind.ONLINE_ENDPOINT
    if type_ == "pipeline":
        return Kind.PIPELINE_COMPONENT if "version" in keys else Kind.PIPELINE_JOB
    if type_ == "command" and {"command", "version"} <= keys:
        return Kind.COMMAND_COMPONENT
    if type_ in ("mlflow_model", "custom_model", "triton_model") and {"name", "path"} <= keys:
        return Kind.MODEL
    return Kind.ENVIRONMENT if "name" in keys and keys & {"build", "image"} else None


def _by_name(path: Path) -> Kind | None:
    counts = path.suffix not in YAML or path.with_name("asset.yaml").is_file()
    return FILE_NAMES.get(path.name) if counts else None
