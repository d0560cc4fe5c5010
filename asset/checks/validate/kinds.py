"""What kind of file a file is, by its `$schema`, its name or its content.

Which files there are to check.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from asset.checks.validate import (
    asset_files,
    deployments,
    endpoints,
    evaluation_files,
    images,
    mlflow_model,
    model_spec,
    pipelines,
)
from asset.checks.validate.asset_folder import AssetFolder
from asset.findings import Finding
from asset.yaml_file import YamlFile

YamlCheck = Callable[[YamlFile, AssetFolder], Iterator[Finding]]
TextCheck = Callable[[Path, AssetFolder], Iterator[Finding]]

SCHEMAS: dict[str, YamlCheck] = {
    "pipelineJob": pipelines.check_job,
    "commandComponent": pipelines.check_component_file,
    "pipelineComponent": pipelines.check_component_file,
    "environment": images.check_environment_file,
    "managedOnlineEndpoint": endpoints.check_online,
    "managedOnlineDeployment": deployments.check_online,
    "batchEndpoint": endpoints.check_batch,
    "batchDeployment": deployments.check_batch,
    "modelBatchDeployment": deployments.check_batch,
    "model": model_spec.check,
    "MLTable": evaluation_files.check_table,
}
"""The files of Azure that are checked, by the name in their `$schema`."""

OTHER_SCHEMAS = re.compile(
    r"(command|sweep|parallel|spark|autoML\w*|finetuning\w*)(Job|Component)|data|schedule|workspace|registry|\w*[cC]ompute"
    r"|computeInstance|kubernetesOnline(Endpoint|Deployment)|pipelineComponentBatchDeployment|\w*[dD]atastore|\w*[cC]onnection"
    r"|featureSet|featureStore\w*|\w*Monitor\w*|import\w*|index|attachedKubernetes\w*|virtualMachine\w*"
)
"""Those that are not."""

NAMES: dict[str, YamlCheck] = {
    "MLmodel": mlflow_model.check,
    "MLTable": evaluation_files.check_table,
    "asset.yaml": asset_files.check_asset,
    "model.yaml": asset_files.check_model,
    "sku_lists.yaml": asset_files.check_sku_lists,
    "spec.yaml": model_spec.check,
}
"""The files without a `$schema`, by their own name; those of an asset where there is one."""

TEXTS: dict[str, TextCheck] = {
    r"Dockerfile(\..+)?": images.check_dockerfile,
    r"requirements.*\.txt": images.check_requirements,
    r"evaluation[-_]config.*\.json": evaluation_files.check_evaluation_config,
    r"description\.md": asset_files.check_card,
}
"""The files that are no YAML, by a pattern of their name."""

AZURE = re.compile(r"azuremlschemas\S*?([\w-]+)\.schema\.json")


def text_check(path: Path) -> TextCheck | None:
    """Return what checks a file that is no YAML."""
    return next((check for pattern, check in TEXTS.items() if re.fullmatch(pattern, path.name)), None)


def yaml_check(file: YamlFile) -> YamlCheck | None:
    """Return what checks a YAML file; None where it is of nobody's, and only has to be YAML."""
    schema = str(file.data.get("$schema", ""))
    match = AZURE.search(schema)
    if match:
        return SCHEMAS.get(match[1], _unknown_schema)
    beside = file.path.with_name("asset.yaml").is_file()
    named = NAMES.get(file.path.name) if beside or file.path.suffix not in YAML else None
    return _by_content(file.data) or named


def _by_content(data: dict[str, object]) -> YamlCheck | None:
    """Tell a file of Azure that leaves out its `$schema`, as the command line lets it."""
    keys, kind = set(map(str, data)), data.get("type")
    if "endpoint_name" in keys:
        batch = keys & {"compute", "settings", "mini_batch_size", "output_action"}
        return deployments.check_batch if batch else deployments.check_online
    if "auth_mode" in keys:
        return endpoints.check_batch if "defaults" in keys else endpoints.check_online
    if kind == "pipeline" and "jobs" in keys:
        return pipelines.check_component_file if "version" in keys else pipelines.check_job
    if kind == "command" and {"command", "version"} <= keys:
        return pipelines.check_component_file
    return images.check_environment_file if "name" in keys and keys & {"build", "image"} else None


def _unknown_schema(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    name = "".join(AZURE.findall(str(file.data["$schema"]))[:1])
    close = difflib.get_close_matches(name, SCHEMAS, n=1, cutoff=0.8)
    place = file.place("$schema")
    if close and not OTHER_SCHEMAS.fullmatch(name):
        message = f"expected the name of one of Azure's schemas, found {name}"
        yield Finding(place, message, f"write {close[0]}.schema.json", "schema-name")
    else:
        message = f"not checked beyond its YAML: there are no rules here for Azure's {name}"
        yield Finding(place, message, "check it in Azure", "schema-unknown").as_note()


YAML = (".yml", ".yaml")
NAMED = ("MLmodel", "MLTable")

SKIPPED = re.compile(r"\..*|__pycache__|node_modules|runs|.*\.egg-info")
"""Folders of tools, environments and results, which are nobody's to correct. One that is named is looked into all the same."""


def find(paths: Iterable[Path]) -> list[Path]:
    """Return the files to check among files and folders, each once, those of a folder in the order of their names."""
    found: dict[Path, None] = {}
    for path in paths:
        for file in _below(path) if path.is_dir() else [path]:
            found.setdefault(file.resolve())
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not SKIPPED.fullmatch(name))
        for name in sorted(names):
            if _is_checked(name, names):
                yield Path(where) / name


def _is_checked(name: str, beside: list[str]) -> bool:
    """Return whether a file of a folder is to be checked, by its name and what lies beside it."""
    if name.endswith(YAML) or name in NAMED or re.fullmatch(r"Dockerfile(\..+)?", name):
        return True
    if name == "description.md":
        return "asset.yaml" in beside
    if re.fullmatch(r"requirements.*\.txt", name):
        return "Dockerfile" in beside or "environment.yaml" in beside
    return re.fullmatch(r"evaluation[-_]config.*\.json", name) is not None
