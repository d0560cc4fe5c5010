"""MLmodel, the file from which MLflow, and Azure without a script, load a model: its flavors, signature and files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from asset.checks.validate.asset_folder import AssetFolder
from asset.findings import Finding, Place, one_of
from asset.yaml_file import Part, YamlFile
from serving.model.model_folder import has_weights

TYPES = (
    "boolean",
    "integer",
    "long",
    "float",
    "double",
    "string",
    "binary",
    "datetime",
    "object",
    "array",
    "map",
    "any",
)
"""The types of a signature's columns. A tensor has the type `tensor` and a type of its own in it."""

RULE = "mlmodel"


def check(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check the flavors, the signature and, if the model's weights are there, the files that are named."""
    flavors = file.top.part("flavors")
    if not flavors.data:
        message = "expected `flavors`, found none"
        yield Finding(file.place("flavors"), message, "write python_function's and transformers'", RULE)
    elif "python_function" not in flavors:
        message = "expected the flavor python_function, which Azure deploys, found none"
        yield Finding(flavors.place(), message, "log the model with MLflow, which writes it", RULE)
    elif flavors.part("python_function").text("loader_module") is None:
        message = "expected the module that loads the model, found none"
        place = flavors.place("python_function")
        yield Finding(place, message, "write `loader_module: mlflow.transformers`", RULE)
    yield from _signature(file.top)
    if has_weights(file.path.parent):
        yield from _files(file)


def _signature(model: Part) -> Iterator[Finding]:
    signature = model.part("signature")
    if not signature.data:
        fix = "write `signature: {inputs: …, outputs: …}`, or log the model with one"
        yield Finding(model.place("signature"), "expected a signature, found none", fix, "signature")
    for key in ("inputs", "outputs", "params"):
        text = signature.data.get(key)
        if text is None:
            if signature.data and key == "inputs":
                message = "expected the inputs in the signature, found none"
                yield Finding(signature.place(), message, "write what a request has", "signature")
            continue
        try:
            columns = json.loads(text) if isinstance(text, str) else None
        except (ValueError, RecursionError):
            columns = None
        if not isinstance(columns, list) or not all(isinstance(column, dict) for column in columns):
            message = f"expected a JSON list of columns, found {str(text)[:80]!r}"
            fix = """write '[{"type": "string", "name": "input_string"}]'"""
            yield Finding(signature.place(key), message, fix, "signature")
            continue
        yield from _columns(columns, signature.place(key), key)


def _columns(columns: list[dict[str, object]], place: Place, key: str) -> Iterator[Finding]:
    for column in columns:
        kind = column.get("dtype", column.get("type")) if key == "params" else column.get("type")
        if kind not in (*TYPES, "tensor", "sparse"):
            about = f"unknown type {kind!r} of {column.get('name', 'a column')}"
            yield one_of(kind, TYPES, about, write="write").at(place, "signature")


def _files(file: YamlFile) -> Iterator[Finding]:
    folder, flavors = file.path.parent, file.top.part("flavors")
    for flavor in flavors.data:
        if not isinstance(flavor, str):
            continue
        part = flavors.part(flavor)
        environments = part.part("env")
        named = [(part, "model_binary"), (part, "code"), (environments, "conda"), (environments, "virtualenv")]
        for holder, key in named:
            yield from _named(holder, key, folder)
        components = part.data.get("components") if flavor == "transformers" else None
        for component in components if isinstance(components, list) else ():
            if isinstance(component, str) and not _is_there(folder, f"components/{component}"):
                message = f"expected the folder components/{component}, found none"
                yield Finding(part.place("components"), message, "package the model again", "mlmodel-file")
    yield from _named(file.top.part("saved_input_example_info"), "artifact_path", folder)


def _named(holder: Part, key: str, folder: Path) -> Iterator[Finding]:
    name = holder.text(key)
    if name is not None and not _is_there(folder, name):
        message = f"expected {name} beside the MLmodel, found nothing there"
        yield Finding(holder.place(key), message, "add it, or package the model again", "mlmodel-file")


def _is_there(folder: Path, name: str) -> bool:
    try:
        return (folder / name).exists()
    except (OSError, ValueError):
        return False
