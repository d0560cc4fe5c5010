"""The validator of Microsoft's registry (azureml-assets), run on a copy of the asset because it can rewrite spec.yaml.

Its rule on minimum specifications asks an Azure subscription for the sizes of machines. It gets the sizes of sku_lists.yaml
here, so that it needs no subscription.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asset.azure_sdk import quiet
from asset.checks.validate.asset_folder import AssetFolder
from asset.findings import Finding, InvalidFileError, Place
from asset.tools.sku_lists import SkuListsError, read_sizes
from asset.yaml_file import YamlFile

RULE = "azureml-assets"
RENDER = "run `asset tools sku-lists`, or correct sku_lists.yaml"
SKU_KEYS = {"min-sku-spec": "MinSkuSpec", "recommended-sku": "RecommendedSkus"}

PLACES: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    (
        r"for (?P<key>\S+) => .* != (?P<to>.*)",
        "spec",
        ("system_metadata", "SKU", "{sku}"),
        "write {to}, or correct sku_lists.yaml",
    ),
    (r"(?P<key>\S+) is missing in model properties", "spec", ("system_metadata", "SKU", "{sku}"), RENDER),
    (r"(?P<key>\S+) is missing in model tags", "spec", ("tags", "{key}"), RENDER),
    (r"(?P<key>\S+) and \S+ does not match", "spec", ("system_metadata", "SKU", "{sku}"), RENDER),
    (
        r"Unsupported inference SKU",
        "spec",
        ("system_metadata", "supportedComputes", "inferenceComputes"),
        "take it out of sku_lists.yaml, and run `asset tools sku-lists`",
    ),
    (r"task missing", "spec", ("tags", "task"), "write the task under tags and system_metadata.tasks"),
    (r"license missing", "spec", ("tags", "license"), "write the license under tags and system_metadata"),
    (r"(Tag|Property) (?P<key>\S+) ", "spec", ("properties", "{key}"), "write `sharedComputeCapacityEnabled: true`"),
    (r"(?P<key>finetuning-tasks) not set", "spec", ("properties", "{key}"), "name the tasks there"),
    (
        r"Exception in fetching SKU details",
        "spec",
        ("system_metadata", "SKU"),
        "add the machine's size to sku_lists.yaml",
    ),
    (r"Name '.*' contains", "spec", ("name",), "rename the asset"),
    (r"Asset and spec (?P<key>name|version) mismatch", "asset", ("{key}",), "leave it out: the spec's is taken"),
    (r"Categories not found", "asset", ("categories",), 'write `categories: ["Foundation Models"]`'),
    (r"Invalid spec file", "spec", (), "correct what the Azure SDK refuses of it"),
    (
        r"Invalid model config|Missing model|Invalid model",
        "model",
        (),
        "write `path: {type: local, uri: …}` and `publish: {type: …, description: …}`",
    ),
    (r"(Missing|Invalid) (?P<key>\w+) property", "asset", ("{key}",), "correct it"),
)
"""For each message: a pattern, the file, the keys of the part in that file, and what to do."""


def check(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check asset.yaml and what it names."""
    said = errors(file, _details(asset))
    for text in dict.fromkeys(said):
        # The list of machines below a wrong minimum; each such machine would be a mistake of its own.
        if "SKUs having smaller spec" not in text:
            yield _finding(text, file, asset)


def errors(file: YamlFile, details: dict[str, Any]) -> list[str]:
    """Return the validator's errors about an asset folder; `details` has what each machine has, by name."""
    with tempfile.TemporaryDirectory(prefix="asset-") as name:
        copy = Path(name).resolve()
        _copy(file, copy)
        with _sizes(details), _log() as said, quiet():
            from azureml.assets.validate_assets import validate_assets

            try:
                validate_assets([copy], "asset.yaml", check_names=True, check_categories=True)
            except Exception as exc:
                # The validator raises any error for a file of a form that it does not expect.
                said.append(f"{type(exc).__name__}: {exc}")
    return [one.replace(f"{copy}/", "") for one in said]


def _copy(file: YamlFile, copy: Path) -> None:
    """Copy the files that the validator reads: named files and files that it searches for, without the weights."""
    folder = file.path.parent
    names = [name for key in ("spec", "extra_config", "description_file") if (name := file.top.text(key))]
    names += [path.name for pattern in ("*.yaml", "*.yml", "*.md") for path in folder.glob(pattern)]
    shutil.copy(file.path, copy / "asset.yaml")
    for name in dict.fromkeys(names):
        target = (copy / name).resolve()
        if target.is_relative_to(copy) and (folder / name).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, target)
    for place in folder.glob("model/*/"):
        (copy / "model" / place.name).mkdir(parents=True, exist_ok=True)


def _details(asset: AssetFolder) -> dict[str, Any]:
    """Return what each machine has, in the form of Azure's answer."""
    try:
        asset.read(asset.root / "sku_lists.yaml")
        sizes = read_sizes(asset.root / "sku_lists.yaml")
    except (InvalidFileError, SkuListsError):
        return {}
    return {
        name: {
            "vCPUs": size.vcpus,
            "gpus": size.gpus,
            "memoryGB": size.memory_gb,
            "maxResourceVolumeMB": size.disk_gb * 1024,
        }
        for name, size in sizes.items()
    }


@contextlib.contextmanager
def _sizes(details: dict[str, Any]) -> Iterator[None]:
    """Put the sizes where the validator keeps Azure's answer; without sizes it leaves that rule out."""
    with quiet():
        from azureml.assets.util import sku_utils
    before = os.environ.pop("SUBSCRIPTION_ID", None)
    if details:
        os.environ["SUBSCRIPTION_ID"] = "none-is-asked"
    sku_utils.all_sku_details = details
    try:
        yield
    finally:
        sku_utils.all_sku_details = None
        os.environ.pop("SUBSCRIPTION_ID", None)
        if before is not None:
            os.environ["SUBSCRIPTION_ID"] = before


@contextlib.contextmanager
def _log() -> Iterator[list[str]]:
    """Collect the errors that the validator logs."""
    with quiet():
        from azureml.assets.util.logger import Logger

        # The package has a function of the module's name.
        module = importlib.import_module("azureml.assets.validate_assets")

    said: list[str] = []

    class Collector(Logger):
        def log_error(self, message: str, title: str | None = None) -> None:
            said.append(message)

        def print(self, message: str) -> None:
            """Leave out the validator's progress notes."""

    before = module.logger
    module.logger = Collector()
    try:
        yield said
    finally:
        module.logger = before


def _finding(said: str, file: YamlFile, asset: AssetFolder) -> Finding:
    match = re.fullmatch(r"Validation of \S+ failed: (.*)", said, re.DOTALL)
    text = re.sub(r"\s+", " ", match[1] if match else said).strip()
    for pattern, name, keys, fix in PLACES:
        if found := re.match(pattern, text):
            words = {"to": "", "key": "", **found.groupdict()}
            words["sku"] = _sku_key(words["key"])
            place = _place(name, tuple(key.format(**words) for key in keys), file, asset)
            return Finding(place, f"Microsoft's validator refuses it: {text}", fix.replace("{to}", words["to"]), RULE)
    return Finding(file.place(), f"Microsoft's validator refuses it: {text}", "correct it", RULE)


def _sku_key(key: str) -> str:
    """Return the name of a property in system_metadata: inferenceMinSkuSpec for inference-min-sku-spec."""
    scenario, _, rest = key.partition("-")
    return scenario + SKU_KEYS.get(rest, "")


def _place(name: str, keys: tuple[str, ...], file: YamlFile, asset: AssetFolder) -> Place:
    other = {"spec": file.top.text("spec"), "model": file.top.text("extra_config")}.get(name)
    if other is None:
        return file.place(*keys)
    try:
        return asset.read(file.path.parent / other).place(*keys)
    except InvalidFileError:
        return Place.in_file(file.path.parent / other, 1)
