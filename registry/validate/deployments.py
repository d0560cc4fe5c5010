"""What online and batch deployments have in common: an endpoint, a model, code and an environment."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from pathlib import Path

from asset.findings import Finding, Place
from asset.yaml_file import Part, YamlFile
from registry.jobs.errors import ELSEWHERE
from registry.jobs.local_data import ASSET, FOLDERS
from registry.jobs.source import REMOTE, is_file, is_folder
from registry.validate import environment
from registry.validate.asset_folder import AssetFolder
from registry.validate.endpoints import check_name, unknown_endpoint
from registry.validate.skus import unknown_machine


def check_shared(file: YamlFile, asset: AssetFolder, batch: bool) -> Iterator[Finding]:
    """Check all but what is of one kind of deployment."""
    yield from check_name(file.top, "name")
    yield from _endpoint(file, asset, batch)
    yield from _model(file.top, asset)
    if "code_configuration" in file.top:
        yield from _code(file)
    else:
        message = "without `code_configuration`, Azure serves an MLflow model by itself, and no script of this checkout"
        fix = "write `code_configuration: {code: .., scoring_script: …}` to have one run"
        yield Finding(file.place("name"), message, fix, "no-code").as_note()
    if "code_configuration" in file.top or "environment" in file.top:
        yield from environment.check_named(file.top, file.path.parent, asset)


def check_machine(part: Part, asset: AssetFolder) -> Iterator[Finding]:
    """Check that the machine is one that the model is served on."""
    machine, lists = part.text("instance_type"), asset.skus
    if machine and "inference" in lists:
        others = [name for one in lists.values() for name in one.allow_list]
        wrong = unknown_machine(machine, lists["inference"].allow_list, "the list for inference", others)
        if wrong:
            yield Finding(part.place("instance_type"), wrong.message, wrong.fix, "sku")


def at_least(part: Part, key: str, least: int, rule: str) -> Iterator[Finding]:
    """Find a number that is too small."""
    found = part.whole(key)
    if found is not None and found < least:
        message = f"expected `{key}` of at least {least}, found {found}"
        yield Finding(part.place(key), message, f"write {least} or more", rule)


def _endpoint(file: YamlFile, asset: AssetFolder, batch: bool) -> Iterator[Finding]:
    beside = asset.read_beside(file.path.parent)
    endpoints = [one for one in beside if _is_endpoint(one, batch)]
    name = file.top.text("endpoint_name")
    if name and (wrong := unknown_endpoint(name, [str(one.data.get("name")) for one in endpoints])):
        yield Finding(file.place("endpoint_name"), wrong.message, wrong.fix, "unknown-endpoint")
    for other in beside:
        same = all(other.data.get(key) == file.data.get(key) for key in ("name", "endpoint_name"))
        if same and other.path < file.path and "endpoint_name" in other.data and "name" in file.data:
            message = f"expected a name of its own, found that of {other.path.name}, a deployment of the same endpoint"
            yield Finding(file.place("name"), message, "rename one of the two", "deployment-twice")


def _is_endpoint(file: YamlFile, batch: bool) -> bool:
    kind = "batchEndpoint." if batch else "managedOnlineEndpoint."
    schema = str(file.data.get("$schema", ""))
    if "schema.json" in schema:
        return kind in schema
    return "auth_mode" in file.data and ("defaults" in file.data) == batch


def _model(deployment: Part, asset: AssetFolder) -> Iterator[Finding]:
    model = deployment.data.get("model")
    part = deployment.part("model")
    own = f"azureml:{asset.own.name}:{asset.own.version}"
    if isinstance(model, str):
        match = ASSET.fullmatch(model)
        if match and match["name"] == asset.own.name and not asset.own.is_named(model):
            message = f"expected {own}, the version of this checkout, found {model}"
            yield Finding(deployment.place("model"), message, f"write {own}", "model-version")
        elif not REMOTE.match(model):
            fix = f"write {own}, or `model: {{path: {model}, type: mlflow_model}}`"
            yield Finding(
                deployment.place("model"), f"expected a registered model, found {model}", fix, "model-reference"
            )
        elif match and match["name"] != asset.own.name:
            message = f"not checked: whether {model} is registered"
            yield Finding(deployment.place("model"), message, f"the model of this checkout is {own}", ELSEWHERE)
    path = part.text("path")
    if path and not REMOTE.match(path):
        folder = deployment.file.path.parent / path
        kind = part.text("type") or "custom_model"
        if not is_folder(folder) and not is_file(folder):
            message = f"expected a model at {path}, found nothing there"
            yield Finding(part.place("path"), message, f"name one that is there, or write `model: {own}`", "model-path")
        elif kind in FOLDERS and not is_folder(folder):
            message = f"expected a folder ({kind}), found the file {path}"
            yield Finding(part.place("path"), message, "name the folder that it is in", "model-path")


def _code(file: YamlFile) -> Iterator[Finding]:
    code = file.top.part("code_configuration")
    path, script = code.text("code"), code.text("scoring_script")
    fix = "write `code_configuration: {code: .., scoring_script: …}`"
    for key, value in (("code", path), ("scoring_script", script)):
        if value is None:
            yield Finding(code.place(), f"expected `{key}` in code_configuration, found none", fix, "no-code")
    if path is None or REMOTE.match(path):
        return
    folder = file.path.parent / path
    if not is_folder(folder):
        message = f"expected a folder of code, found none at {path}"
        yield Finding(code.place("code"), message, "name one that is there", "code-folder")
    elif script is not None and not is_file(folder / script):
        message = f"expected a scoring script in {path}, found none at {script}"
        yield Finding(code.place("scoring_script"), message, _meant(folder, script), "scoring-script")
    elif script is not None:
        yield from _script(folder / script, code.place("scoring_script"))


def _meant(folder: Path, script: str) -> str:
    """Say which script of a folder is likely meant."""
    known = {one.name: one for pattern in ("*/*.py", "*.py") for one in sorted(folder.glob(pattern))}
    close = difflib.get_close_matches(script.rsplit("/", 1)[-1], known, n=1, cutoff=0.8)
    return f"write {known[close[0]].relative_to(folder)}" if close else "name one that is there"


def _script(path: Path, place: Place) -> Iterator[Finding]:
    """See that a scoring script has the two functions that the server, or the batch job, calls."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as exc:
        message = f"expected Python, found: {exc.msg}"
        yield Finding(Place.in_file(path, exc.lineno or 1), message, "correct it", "scoring-script")
        return
    except (OSError, ValueError, RecursionError, MemoryError) as exc:
        yield Finding(place, f"expected a scoring script, found: {exc}", "name another", "scoring-script")
        return
    names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    names |= {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    names |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for name in ("init", "run"):
        if name not in names:
            message = f"expected a function {name} in {path.name}, found none"
            yield Finding(place, message, f"write `def {name}(…)` in it, or name another script", "scoring-script")
