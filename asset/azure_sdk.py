"""The Azure SDK's loaders, and what they refuse in a file: the place, the message, and what to do.

RuntimeError
└── RefusedError    the SDK refuses a file; every error that the SDK raises becomes this one
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from asset.checks.kinds import Kind
from asset.findings import Finding, InvalidFileError, one_of
from asset.yaml_file import YamlFile

Keys = tuple[str, ...]

GENERAL = ("In order to specify", "Environment schema data cannot be a string", "Invalid input type")
"""The SDK's messages about the other forms that a value can have. They are left out if one form has a message of its own."""


NOT_IN_SET = re.compile(r"Value '(?P<value>.*)' passed is not in set \[(?P<known>.*)\]", re.DOTALL)
FIXES = {
    "Not a valid integer.": "write a whole number",
    "Not a valid number.": "write a number",
    "Not a valid boolean.": "write true or false",
    "Not a valid string.": "write a text, in quotation marks where it looks like a number",
    "Not a valid mapping type.": "write keys and values below it",
    "Not a valid list.": "write a list",
    "Field may not be null.": "write a value, or remove the key",
    "String does not match expected pattern.": "write letters, digits and hyphens, with a letter first and no hyphen last",
}


class RefusedError(RuntimeError):
    """The SDK refuses a file; `refusals` has the keys of each refused part and the SDK's message about it."""

    def __init__(self, refusals: Iterable[tuple[Keys, str]]) -> None:
        self.refusals = list(refusals)
        super().__init__("; ".join(text for _, text in self.refusals))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the SDK's notes on its own experimental classes, and on names of anonymous assets, from the terminal."""
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def boundary() -> Iterator[None]:
    """Call the SDK inside this: what it raises about a file becomes a RefusedError, and nothing reaches the terminal."""
    with quiet():
        from azure.ai.ml.exceptions import MlException
        from marshmallow import ValidationError

        try:
            with _without_its_lines():
                yield
        except ValidationError as exc:
            raise RefusedError(refusals(exc.messages)) from exc
        except MlException as exc:
            raise RefusedError([((), _shortened(str(exc.message)))]) from exc
        except Exception as exc:
            # For a value of a type that it does not expect, the SDK raises what Python happens to raise.
            text = f"a value has another type than the SDK expects ({type(exc).__name__}: {exc})"
            raise RefusedError([((), _shortened(text))]) from exc


@contextlib.contextmanager
def _without_its_lines() -> Iterator[None]:
    """Keep the SDK from searching for a mistake's line, which takes time that grows with the square of the file's size."""
    from azure.ai.ml.entities._validation.core import _YamlLocationResolver as Resolver

    theirs = Resolver.resolve
    Resolver.resolve = lambda *_: None
    try:
        yield
    finally:
        Resolver.resolve = theirs


def refusals(messages: Any) -> list[tuple[Keys, str]]:  # noqa: ANN401  marshmallow's are lists or dicts
    """Return the keys of each refused part and the SDK's message about it.

    The SDK's messages are a dict by key, or a text with JSON in it: a dict by key, or a list of paths and messages.
    """
    if isinstance(messages, dict):
        return list(_flat(messages, ()))
    text = "\n".join(map(str, messages)) if isinstance(messages, list) else str(messages)
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        found, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        if "errors" in found:
            return [one for error in found["errors"] for one in _of_path(error["path"], error["message"])]
        return list(_flat(found, ()))
    return [((), _shortened(text))]


def _flat(messages: Any, keys: Keys) -> Iterator[tuple[Keys, str]]:  # noqa: ANN401
    if isinstance(messages, dict):
        for key, value in messages.items():
            # "_schema" stands for the whole, not for a part.
            yield from _flat(value, keys if key == "_schema" else (*keys, str(key)))
    elif isinstance(messages, list):
        yield from _alternatives(messages, keys)
    else:
        yield keys, _shortened(str(messages))


def _alternatives(messages: list[Any], keys: Keys) -> Iterator[tuple[Keys, str]]:
    """Yield the messages about the forms that a value can have; if one form alone has a message of its own, only that one."""
    forms = [list(_flat(message, keys)) for message in messages]
    own = [form for form in forms if not all(text.startswith(GENERAL) for _, text in form)] or forms[:1]
    if len(own) == 1:
        yield from own[0]
        return
    said = [": ".join(filter(None, [".".join(at[len(keys) :]), text])) for form in own for at, text in form]
    yield keys, "; ".join(list(dict.fromkeys(said))[:3])


def of_paths(messages: Mapping[str, str]) -> list[tuple[Keys, str]]:
    """Read the result of the SDK's validation of a loaded job or component: a message by path, such as "inputs.data"."""
    return [one for path, text in messages.items() for one in _of_path(path, text)]


def advice(keys: Keys, text: str, schema: Any = None) -> str:  # noqa: ANN401  the SDK comes without types
    """Say what to do about a refusal; `schema` is the SDK's for the whole file, which knows the file's keys."""
    if text in FIXES:
        return FIXES[text]
    if text == "Missing data for required field." and keys:
        return f"write `{keys[-1]}: …`"
    if text == "Unknown field." and keys:
        known = _known(schema, keys[:-1])
        return one_of(keys[-1], known, otherwise="remove it").fix
    if match := NOT_IN_SET.search(text):
        known = [one.strip(" '\"") for one in match["known"].split(",")]
        return one_of(match["value"], known, write="write", otherwise=f"write {' or '.join(known)}").fix
    return "correct it"


def _known(schema: Any, keys: Keys) -> list[str]:  # noqa: ANN401
    """Return the keys that a schema allows in the part that `keys` lead to; none if the schema does not tell."""
    schemas = [schema] if hasattr(schema, "_declared_fields") else []
    for key in keys:
        fields = [field for one in schemas for name, field in _fields(one) if name == key]
        forms = [form for field in fields for form in getattr(field, "_union_fields", [field])]
        schemas = [form.nested for form in forms if hasattr(getattr(form, "nested", None), "_declared_fields")]
    return sorted({name for one in schemas for name, field in _fields(one) if not field.dump_only})


def _fields(schema: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    return [(field.data_key or name, field) for name, field in schema._declared_fields.items()]


def _of_path(path: str, message: str) -> Iterator[tuple[Keys, str]]:
    """Read a message about a path; for a value with several forms it is one dict, as text, for each form."""
    keys = () if path == "*" else tuple(path.split("."))
    forms = []
    for part in message.split("; "):
        try:
            forms.append(ast.literal_eval(part) if part.startswith("{") else part)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            yield keys, _shortened(message)
            return
    yield from _alternatives(forms, keys)


def _shortened(text: str) -> str:
    """Return a message on one line, without the SDK's advice about its editor."""
    details = re.search(r"\(x\) (.*)", text)
    return re.sub(r"\s+", " ", details[1] if details else text.strip().split("\n\n")[0]).strip()[:400]


RULE = "azure-sdk"

LOADERS = {
    Kind.ENVIRONMENT: ("load_environment", "assets.environment", "EnvironmentSchema"),
    Kind.MODEL: ("load_model", "assets.model", "ModelSchema"),
    Kind.ONLINE_ENDPOINT: ("load_online_endpoint", "_endpoint", "ManagedOnlineEndpointSchema"),
    Kind.BATCH_ENDPOINT: ("load_batch_endpoint", "_endpoint", "BatchEndpointSchema"),
    Kind.ONLINE_DEPLOYMENT: (
        "load_online_deployment",
        "_deployment.online.online_deployment",
        "ManagedOnlineDeploymentSchema",
    ),
    Kind.BATCH_DEPLOYMENT: ("load_batch_deployment", "_deployment.batch.batch_deployment", "BatchDeploymentSchema"),
    Kind.MODEL_BATCH_DEPLOYMENT: (
        "load_model_batch_deployment",
        "_deployment.batch.model_batch_deployment",
        "ModelBatchDeploymentSchema",
    ),
}
"""For each kind the SDK's loader, the module of its schema, and the schema, which has the keys of a file."""


def load(file: YamlFile, kind: Kind) -> Any:  # noqa: ANN401  an entity of the SDK
    """Load a file of one of the LOADERS' kinds.

    Raises:
        InvalidFileError: the SDK refuses the file.
    """
    loader, module, name = LOADERS[kind]
    schema = None
    try:
        with boundary():
            schema = getattr(importlib.import_module(f"azure.ai.ml._schema.{module}"), name)
            loaded = getattr(importlib.import_module("azure.ai.ml.entities._load_functions"), loader)(str(file.path))
            if kind is Kind.ENVIRONMENT:
                loaded.validate()
    except RefusedError as exc:
        raise InvalidFileError(finding(file, keys, text, schema) for keys, text in exc.refusals) from exc
    return loaded


def refused(file: YamlFile, kind: Kind) -> list[Finding]:
    """Return what the SDK refuses in a file of one of the LOADERS' kinds."""
    try:
        load(file, kind)
    except InvalidFileError as exc:
        return exc.findings
    return []


def finding(file: YamlFile, keys: Keys, text: str, schema: Any = None) -> Finding:  # noqa: ANN401  the SDK has no types
    """Return a finding about what the SDK refuses."""
    shown = f"{'.'.join(keys)}: " if keys else ""
    return Finding(file.place(*keys), f"the Azure SDK refuses it: {shown}{text}", advice(keys, text, schema), RULE)
