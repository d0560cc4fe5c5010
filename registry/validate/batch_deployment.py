"""Batch deployments: mini-batches, retries and what becomes of the output."""

from __future__ import annotations

from collections.abc import Iterator

from asset.azure_sdk import refused
from asset.findings import Finding, one_of
from asset.yaml_file import Part, YamlFile
from registry.validate.asset_folder import AssetFolder
from registry.validate.deployments import at_least, check_machine, check_shared

RULE = "batch-settings"
LEAST = {"mini_batch_size": 1, "max_concurrency_per_instance": 1, "error_threshold": -1, "instance_count": 1}
LEVELS = ("warning", "info", "debug")


def check(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check a batch deployment of a model, whose settings stand under `settings`, or at the top without a `type`."""
    of_type = "settings" in file.data or "modelBatchDeployment" in str(file.data.get("$schema"))
    yield from refused(file, "model batch deployment" if of_type else "batch deployment")
    yield from check_shared(file, asset, batch=True)
    yield from _settings(file.top.part("settings") if of_type else file.top)
    if "compute" not in file.top:
        message = "expected the compute that it runs on, found none"
        yield Finding(file.place("name"), message, "write `compute: azureml:NAME`", "no-compute")
    resources = file.top.part("resources")
    yield from at_least(resources, "instance_count", 1, RULE)
    yield from check_machine(resources, asset)


def _settings(settings: Part) -> Iterator[Finding]:
    for key, least in LEAST.items():
        yield from at_least(settings, key, least, RULE)
    retries = settings.part("retry_settings")
    yield from at_least(retries, "max_retries", 0, RULE)
    yield from at_least(retries, "timeout", 1, RULE)
    level = settings.text("logging_level")
    if level and level.lower() not in LEVELS:
        names = one_of(level, LEVELS)
        message = f"{names.message}, found {level}"
        yield Finding(settings.place("logging_level"), message, names.fix.replace("rename it to", "write"), RULE)
    if settings.text("output_action") == "summary_only" and "output_file_name" in settings:
        message = "expected a file's name with `output_action: append_row` only, found one with summary_only"
        yield Finding(settings.place("output_file_name"), message, "take it out, or write append_row", RULE)
