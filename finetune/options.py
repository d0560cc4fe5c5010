"""Command-line options that are made from the settings of a step: names, types, choices, defaults and help, written once.

A step describes its settings as pydantic models. Values arrive as texts, so that all wrong values can be told at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound=BaseModel)


def add_options(group: argparse._ArgumentGroup, model: type[BaseModel], notes: Mapping[str, str] | None = None) -> None:
    """Add an option for each setting of a model; `notes` are added to the help of some."""
    for name, field in model.model_fields.items():
        note = f"; {notes[name]}" if notes and name in notes else ""
        group.add_argument(f"--{name}", metavar=_metavar(name, field), help=_help(name, field, note))


def about(name: str, field: FieldInfo) -> str:
    """Return a setting's description, which is its name if it needs no other."""
    return field.description or name.replace("_", " ")


def _metavar(name: str, field: FieldInfo) -> str:
    if field.default is not None:
        return "VALUE"
    return "NAME" if name.endswith("_id") else "PATH"


def _help(name: str, field: FieldInfo, note: str) -> str:
    text = about(name, field)
    if field.default is not None:
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        text += f"; {expected_of(field)}{note} ({default})"
    return text.replace("%", "%%")


def read_settings(model: type[Model], texts: Mapping[str, str], wrong: list[str]) -> Model:
    """Make settings of the texts that are given; a message for each wrong value is added to `wrong`, with the default kept."""
    given = {name: texts[name] for name in model.model_fields if name in texts}
    values = {name: _typed(model.model_fields[name], text) for name, text in given.items()}
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        names = dict.fromkeys(str(error["loc"][0]) for error in exc.errors())
        wrong += [f"{name}: expected {expected_of(model.model_fields[name])}, found {given[name]!r}" for name in names]
        return model.model_validate({name: value for name, value in values.items() if name not in names})


def _typed(field: FieldInfo, text: str) -> object:
    """Read a text whose type pydantic would not read: "True" -> True, and "2" of Literal[2, 3] -> 2."""
    schema = _schema(field)
    if schema.get("type") == "boolean":
        return {"true": True, "false": False}.get(text.lower(), "neither")
    if all(isinstance(choice, int) for choice in schema.get("enum", ["none"])):
        return int(text) if text.isdecimal() else text
    return text


def expected_of(field: FieldInfo) -> str:
    """Say which values a setting may have.

    >>> from finetune.settings import TrainingSettings
    >>> expected_of(TrainingSettings.model_fields["learning_rate"])
    'a number of 0 or more'
    """
    schema = _schema(field)
    kind, low, high = schema.get("type"), schema.get("minimum"), schema.get("maximum")
    if kind == "boolean":
        return "true or false"
    if "enum" in schema:
        return " or ".join([", ".join(map(str, schema["enum"][:-1])), str(schema["enum"][-1])])
    if kind not in ("integer", "number"):
        return "a text"
    if low == -1:
        return "a count of 1 or more, or -1"
    below = schema.get("exclusiveMaximum")
    if kind == "integer" and below is not None:
        return f"an integer from {low} to {below - 1}"
    article = "an integer" if kind == "integer" else "a number"
    if high is not None:
        return f"{article} from {low:g} to {high:g}"
    return f"{article} of {low:g} or more" + (f" and below {below:g}" if below is not None else "")


def _schema(field: FieldInfo) -> dict[str, Any]:
    return TypeAdapter(field.rebuild_annotation()).json_schema()
