"""spec.yaml, the model asset: its version, its model folder, its tags, and the lists of machines in it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asset.azure_sdk import refused
from asset.checks.kinds import Kind
from asset.checks.pipeline.source import REMOTE
from asset.checks.validate.asset_folder import AssetFolder
from asset.findings import Finding, InvalidFileError, Place
from asset.tools.sku_lists import COMMAND, SkuListsError, different_values, render
from asset.yaml_file import Keys, Part, YamlFile
from serving.model.model_folder import has_weights

SURVIVORS: tuple[tuple[Keys, str, str], ...] = (
    (("license",), "tags", "license"),
    (("datasets",), "tags", "datasets"),
    (("huggingFaceModelId",), "tags", "huggingface_model_id"),
    (("hiddenLayerScanned",), "tags", "hiddenlayerscanned"),
    (("tasks", "inferenceTasks"), "tags", "task"),
    (("tasks", "fineTuningTasks"), "properties", "finetuning-tasks"),
    (("languages",), "properties", "languages"),
    (("sharedComputeCapacityEnabled",), "properties", "SharedComputeCapacityEnabled"),
)
"""Keys of system_metadata, and the tag or property that must repeat them: a registration in a workspace drops system_metadata."""


def check(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check a model's file; the asset's own spec.yaml also against the files that repeat what it says."""
    yield from refused(file, Kind.MODEL)
    yield from _flat(file)
    yield from _path(file)
    if file.path == (asset.root / "spec.yaml").resolve():
        yield from _version(file, asset.root)
        yield from _commit(file)
        yield from _survivors(file)
        yield from _defaults(file)
        yield from _lists(file, asset)
        yield from _task(file, asset)


def _flat(file: YamlFile) -> Iterator[Finding]:
    """Find tags and properties that are not texts; a workspace would turn them into texts of the SDK's choosing."""
    for name in ("tags", "properties"):
        part = file.top.part(name)
        for key, value in part.data.items():
            if not isinstance(value, str):
                text = value if isinstance(value, (bool, int, float)) else None
                fix = f'write "{str(text).lower()}", in quotation marks' if text is not None else "write JSON in a text"
                message = f"expected a text for `{key}`, which is all that a workspace keeps, found {str(value)[:80]!r}"
                yield Finding(part.place(str(key)), message, fix, "flat-tag")


def _path(file: YamlFile) -> Iterator[Finding]:
    path = file.top.text("path")
    if path is None or REMOTE.match(path):
        return
    folder, place = file.path.parent / path, file.place("path")
    try:
        is_there, has_model = folder.is_dir(), has_weights(folder)
        is_file = folder.is_file()
    except (OSError, ValueError):
        is_there = has_model = is_file = False
    if not is_there and not is_file:
        message = f"expected a model folder at {path}, found nothing there"
        yield Finding(place, message, "name one that is there", "model-path")
    elif is_file and file.data.get("type") == "mlflow_model":
        yield Finding(
            place, f"expected a folder (mlflow_model), found the file {path}", "name its folder", "model-path"
        )
    elif not has_model and not is_file:
        message = f"{path} has no weights yet, so what is in it is not checked"
        yield Finding(place, message, "get them with `asset pull`", "weights").as_note()


def _version(file: YamlFile, root: Path) -> Iterator[Finding]:
    version = file.data.get("version")
    place = file.place("version")
    if not isinstance(version, int) or isinstance(version, bool):
        message = f"expected a whole number for the version, as registries want, found {version!r}"
        yield Finding(place, message, "write one, without quotation marks", "version")
    for name, found, line in _other_versions(root):
        if found != str(version):
            message = f"expected {version}, the version in spec.yaml, found {found}"
            yield Finding(
                Place.in_file(root / name, line), message, f"write {version}, or correct spec.yaml", "version"
            )


def _other_versions(root: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the files that repeat the version, what they say, and the line."""
    changes, project = root / "CHANGELOG.md", root / "pyproject.toml"
    if changes.is_file():
        text = changes.read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"(?m)^## (\S+)", text):
            yield "CHANGELOG.md", match[1], _line(text, match.start())
    if project.is_file():
        text = project.read_text(encoding="utf-8", errors="replace")
        try:
            found = tomllib.loads(text).get("project", {}).get("version")
        except tomllib.TOMLDecodeError:
            return
        match = re.search(r"(?m)^version\s*=", text)
        if isinstance(found, str) and match:
            yield "pyproject.toml", found, _line(text, match.start())


def _line(text: str, start: int) -> int:
    return text[:start].count("\n") + 1


def _commit(file: YamlFile) -> Iterator[Finding]:
    properties = file.top.part("properties")
    commit = properties.text("SHA")
    if commit is None or not re.fullmatch(r"[0-9a-f]{40}", commit):
        message = f"expected the 40 digits of a commit on the Hugging Face hub, found {commit or 'none'}"
        yield Finding(properties.place("SHA"), message, "write the commit that the weights are pulled at", "commit")


def _survivors(file: YamlFile) -> Iterator[Finding]:
    metadata = file.top.part("system_metadata")
    expected = {(part, key): _text(_value(metadata, keys), part) for keys, part, key in SURVIVORS}
    defaults = metadata.part("modelSpecificDefaults").data
    expected |= {("tags", str(key)): _text(value, "tags") for key, value in defaults.items()}
    for (part, key), text in expected.items():
        found = file.top.part(part).data.get(key)
        if text is not None and found != text:
            message = (
                f"expected `{key}: {text}`, what system_metadata says and a workspace drops, found {found or 'none'}"
            )
            yield Finding(file.place(part, key), message, f'write `{key}: "{text}"`, or correct both', "dropped")


def _value(part: Part, keys: Keys) -> Any:  # noqa: ANN401  what YAML holds
    for key in keys[:-1]:
        part = part.part(key)
    return part.data.get(keys[-1])


def _text(value: Any, part: str) -> str | None:  # noqa: ANN401
    """Write a value as tags and properties have it: a list with commas, and in tags a boolean in lower case."""
    if value is None or isinstance(value, dict):
        return None
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) and part == "tags" else str(value)


def _defaults(file: YamlFile) -> Iterator[Finding]:
    """Check that the tag of the fine-tuning defaults is JSON, as Microsoft's notebooks read it, and agrees with system_metadata."""
    tags = file.top.part("tags")
    text, expected = (
        tags.text("model_specific_defaults"),
        _value(file.top, ("system_metadata", "modelSpecificDefaults")),
    )
    if text is None or not isinstance(expected, dict):
        return
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if found != expected:
        message = f"expected the modelSpecificDefaults of system_metadata as JSON, found {text[:120]}"
        fix = f"write '{json.dumps(expected, default=str)}'"
        yield Finding(tags.place("model_specific_defaults"), message, fix, "dropped")


def _lists(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check that the lists of machines agree with sku_lists.yaml."""
    if not asset.skus:
        return
    fix = f"run `{COMMAND}`, or correct sku_lists.yaml"
    try:
        rendered = render(file.text, asset.skus)
        different = different_values(file.text, rendered)
    except SkuListsError as exc:
        yield Finding(file.place(*exc.keys), exc.message, exc.fix, "sku-lists")
        return
    for keys, text in different.items():
        yield Finding(file.place(*keys), f"{'.'.join(keys)}: {text}", fix, "sku-lists")
    if rendered != file.text and not different:
        line = next(
            number
            for number, (have, want) in enumerate(zip(_open(file.text), _open(rendered), strict=False), 1)
            if have != want
        )
        message = "expected the notation that sku_lists.yaml is rendered in, found another for the same machines"
        yield Finding(Place.in_file(file.path, line), message, fix, "sku-lists")


def _open(text: str) -> list[str]:
    return [*text.split("\n"), "\0"]


def _task(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check that the task is the one in the MLmodel."""
    path, tags = file.top.text("path"), file.top.part("tags")
    if path is None or REMOTE.match(path):
        return
    try:
        model = asset.read(file.path.parent / path / "MLmodel")
    except (InvalidFileError, OSError, ValueError):
        return
    task, found = model.top.part("flavors").part("transformers").text("task"), tags.text("task")
    if task and found and task != found:
        message = f"expected `task: {task}`, as in {path}/MLmodel, found {found}"
        yield Finding(tags.place("task"), message, f"write {task}, or correct the MLmodel", "task")
