"""The files beside spec.yaml: asset.yaml, model.yaml and the card, which Microsoft's registry tools read, and sku_lists.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from asset.checks.pipeline.source import is_file, is_folder
from asset.checks.validate import microsoft_validator
from asset.checks.validate.asset_folder import AssetFolder
from asset.findings import Finding, InvalidFileError, Place, one_of
from asset.tools.sku_lists import SkuListsError, read_sku_lists
from asset.yaml_file import Part, YamlFile
from tables.disk import read_text

ASSET_KEYS = (
    *("name", "version", "type", "spec", "extra_config", "description_file", "categories"),
    *("release_paths", "test"),
)
MODEL_KEYS = ("path", "publish")
PATH_KEYS = ("type", "uri", "branch", "commit", "storage_name", "container_name", "container_path")
FILES = {"spec": "spec.yaml", "extra_config": "model.yaml", "description_file": "description.md"}


def check_asset(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check asset.yaml, and run Microsoft's own validator on what it names."""
    yield from _unknown(file.top, ASSET_KEYS)
    broken = False
    required = ("spec", "extra_config") if file.top.text("type") == "model" else ("spec",)
    for key, example in FILES.items():
        name = file.top.text(key)
        if name is None and key in required:
            broken = True
            yield Finding(file.place(key), f"expected `{key}`, found none", f"write `{key}: {example}`", "asset-file")
        elif name is not None and not is_file(file.path.parent / name):
            broken = True
            message = f"expected a file for `{key}`, found none at {name}"
            yield Finding(file.place(key), message, "name one that is there", "asset-file")
    spec = _read(file.path.parent / (file.top.text("spec") or "spec.yaml"), asset)
    for key in ("name", "version") if spec is not None else ():
        expected, found = spec.data.get(key), file.data.get(key)
        if None not in (expected, found) and str(found) not in (str(expected), "auto"):
            message = f"expected {expected}, the {key} in spec.yaml, found {found}"
            yield Finding(file.place(key), message, "leave it out: the spec's is taken", "version")
    if not broken:
        yield from microsoft_validator.check(file, asset)


def check_model(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check model.yaml, and that it agrees with spec.yaml."""
    path, publish = file.top.part("path"), file.top.part("publish")
    yield from _unknown(file.top, MODEL_KEYS)
    yield from _unknown(path, PATH_KEYS)
    uri = path.text("uri")
    if path.text("type") == "local" and uri and not is_folder(file.path.parent / uri):
        message = f"expected the folder to publish, found none at {uri}"
        yield Finding(path.place("uri"), message, "name one that is there", "model-path")
    card = publish.text("description")
    if card and not is_file(file.path.parent / card):
        message = f"expected the model's card, found none at {card}"
        yield Finding(publish.place("description"), message, "name one that is there", "asset-file")
    spec = _read(file.path.with_name("spec.yaml"), asset)
    if spec is None:
        return
    for part, key, of_spec in ((path, "uri", "path"), (publish, "type", "type")):
        expected, found = spec.text(of_spec), part.text(key)
        local = key != "uri" or path.text("type") == "local"
        if local and expected and found and found.removeprefix("./") != expected.removeprefix("./"):
            message = f"expected {expected}, the {of_spec} in spec.yaml, found {found}"
            yield Finding(part.place(key), message, f"write {expected}, or correct spec.yaml", "model-files-agree")


def check_sku_lists(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check the lists of machines by the rules that they are rendered with."""
    try:
        read_sku_lists(file.path)
    except SkuListsError as exc:
        yield Finding(file.place(*exc.keys), exc.message, exc.fix, "sku-lists")


def check_card(path: Path, asset: AssetFolder) -> Iterator[Finding]:
    """Check the model's card: its samples, its links, and the commit that it names."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as exc:
        message = f"expected the model's card, found: {getattr(exc, 'strerror', None) or exc}"
        yield Finding(Place.in_file(path, 1), message, "write it in UTF-8", "card")
        return
    yield from _samples(path, text)
    for match in re.finditer(r"\]\((?!\w+:|#)([^)\s#]+)", text):
        if not (is_file(path.parent / match[1]) or is_folder(path.parent / match[1])):
            message = f"expected a file or folder at {match[1]}, found nothing there"
            yield Finding(_at(path, text, match.start()), message, "correct the link", "card-link")
    yield from _commit(path, text, asset)


def _samples(path: Path, text: str) -> Iterator[Finding]:
    samples = []
    for match in re.finditer(r"(?ms)^```json\n(.*?)^```", text):
        try:
            samples.append((json.loads(match[1].rstrip()), match.start()))
        except (ValueError, RecursionError) as exc:
            line = getattr(exc, "lineno", 1)
            place = Place.in_file(path, text[: match.start()].count("\n") + 1 + line)
            yield Finding(place, f"expected JSON in the sample, found: {exc}", "correct it", "card-sample")
    request = path.parent / "sample_input.json"
    if not samples or not is_file(request):
        return
    try:
        expected = json.loads(request.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        yield Finding(Place.in_file(request, 1), f"expected JSON, found: {exc}", "correct it", "card-sample")
        return
    found, start = samples[0]
    if found != expected:
        message = f"expected the request of {request.name}, found another"
        yield Finding(_at(path, text, start), message, "write the same in both", "card-sample")


def _commit(path: Path, text: str, asset: AssetFolder) -> Iterator[Finding]:
    spec = _read(path.with_name("spec.yaml"), asset)
    commit = None if spec is None else spec.part("properties").text("SHA")
    if commit is None or commit in text:
        return
    other = re.search(r"\b[0-9a-f]{40}\b", text)
    found = f"found {other[0]}" if other else "found none"
    place = _at(path, text, other.start() if other else 0)
    yield Finding(place, f"expected the commit in spec.yaml, {commit}, {found}", f"write {commit}", "card-commit")


def _read(path: Path, asset: AssetFolder) -> Part | None:
    """Return the specification beside a file; None if it cannot be read, which its own check says."""
    try:
        return asset.read(path).top
    except (InvalidFileError, OSError, ValueError):
        return None


def _unknown(part: Part, known: tuple[str, ...]) -> Iterator[Finding]:
    for key in part.data:
        if key not in known:
            wrong = one_of(key, known, f"unknown key '{key}'", otherwise="remove it")
            yield wrong.at(part.place(str(key)), "unknown-key")


def _at(path: Path, text: str, start: int) -> Place:
    return Place.in_file(path, text[:start].count("\n") + 1)
