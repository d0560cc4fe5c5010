"""Requests as JSON Schema: the rows, lists and tables of each task, and the bodies that each dialect puts them in.

A body that is answered with 200 fits its schema. One that fits may still be refused: that a column is as long as
another, or that there is a mask in the text after the tokenizer has read it, a schema cannot say.
"""

from __future__ import annotations

from serving.requests.parameters import PARAMETERS
from serving.requests.rows import FIELDS, Fields, Json, list_of_rows, one_row, table
from serving.requests.schema import DIALECTS, IGNORED_KEYS, Dialect
from serving.settings import Settings
from serving.tasks import Task

MASK_PATTERN = r"\[MASK\]"
MENTIONS: dict[Task, str] = {
    "fill-mask": "A text with one [MASK] or more.",
    "text-classification": "A text to classify.",
    "question-answering": "Not empty.",
}


def ref(name: str) -> dict[str, Json]:
    """Return a reference to a schema, e.g. "label" -> {"$ref": "#/components/schemas/label"}."""
    return {"$ref": f"#/components/schemas/{name}"}


def request_name(task: Task, dialect: Dialect) -> str:
    """Return what a request's schema is called, e.g. `fill-mask.azureml`."""
    return f"{task}.{dialect.name}"


def request_schemas(settings: Settings) -> dict[str, Json]:
    """Return the schemas of all requests by name, with those that they are made of."""
    schemas: dict[str, Json] = {}
    for task, fields in FIELDS.items():
        schemas[f"{task}.record"] = _record(fields)
        schemas[f"{task}.list"] = _list(fields, settings)
        schemas[f"{task}.table"] = _table(fields, settings)
        schemas[f"{task}.parameters"] = _parameters(task, settings)
        served = [dialect for dialect in DIALECTS if task in dialect.tasks]
        schemas |= {request_name(task, dialect): _request(task, dialect) for dialect in served}
    return schemas


def _request(task: Task, dialect: Dialect) -> dict[str, Json]:
    forms: dict[tuple[object, type], dict[str, Json]] = {
        (one_row, str): _text(FIELDS[task]),
        (one_row, dict): ref(f"{task}.record"),
        (list_of_rows, list): ref(f"{task}.list"),
        (table, list): ref(f"{task}.list"),
        (table, dict): ref(f"{task}.table"),
    }
    rows = [forms[dialect.read, kind] for kind in dialect.types]
    more = {"params": {"description": "Another name for parameters."}}
    more |= {name: {"description": "Not read."} for name in sorted(IGNORED_KEYS)}
    return {
        "type": "object",
        "description": f"{task}, from {dialect.client}.",
        "required": [dialect.key],
        "properties": {dialect.key: _any_of(rows), "parameters": ref(f"{task}.parameters"), **more},
        "additionalProperties": False,
    }


def _parameters(task: Task, settings: Settings) -> dict[str, Json]:
    properties = {
        name: _or_null(parameter.kind.schema(settings)) | {"description": parameter.about}
        for name, parameter in PARAMETERS[task].items()
    }
    return {
        "type": ["object", "null"],
        "description": f"What {task} takes; null is as if it were not there, but where it says something.",
        "properties": properties,
        "additionalProperties": False,
    }


def _text(fields: Fields) -> dict[str, Json]:
    text: dict[str, Json] = {"type": "string", "description": MENTIONS[fields.task]}
    if fields.task == "fill-mask":
        return text | {"pattern": MASK_PATTERN}
    return text | {"minLength": 1} if fields.needed else text


def _second(fields: Fields) -> dict[str, Json]:
    return _text(fields) if fields.needed else {"type": ["string", "null"], "description": "The second of a pair."}


def _texts(text: dict[str, Json], settings: Settings) -> dict[str, Json]:
    return {"type": "array", "maxItems": settings.max_rows, "items": text}


def _record(fields: Fields) -> dict[str, Json]:
    alone = {"minProperties": 1, "maxProperties": 1, "additionalProperties": _text(fields)}
    return _by_column(fields, _text(fields), _second(fields), alone)


def _table(fields: Fields, settings: Settings) -> dict[str, Json]:
    texts = _texts(_text(fields), settings)
    parameters = {"parameters": {"description": "Those of the request may stand here."}}
    alone = {"minProperties": 1, "maxProperties": 2, "properties": parameters, "additionalProperties": texts}
    alone |= {"not": {"required": ["columns"]}}  # that is a frame
    columns = _by_column(fields, texts, _texts(_second(fields), settings), alone, parameters)
    row: dict[str, Json] = {"type": "array", "description": "A value for each column."}
    data = _texts(row if fields.needed else _any_of([row, _text(fields)]), settings)
    frame = {
        "type": "object",
        "description": "A frame, as pandas writes it with orient='split'.",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "minItems": 1, "items": {}},
            "index": {"description": "Not read."},
            "data": data,
            **parameters,
        },
    }
    return _any_of([frame, columns])


def _by_column(
    fields: Fields,
    text: dict[str, Json],
    second: dict[str, Json],
    alone: dict[str, Json],
    extra: dict[str, Json] | None = None,
) -> dict[str, Json]:
    """Return an object with the text under one of the task's columns; or under any, where it is `alone`."""
    pair = {name: second if place == 0 else {"description": "As that."} for place, name in enumerate(fields.pair)}
    forms = [
        {
            "type": "object",
            "required": [column, *fields.pair] if fields.needed else [column],
            "properties": {column: text, **pair, **(extra or {})},
        }
        for column in fields.text
    ]
    if not fields.needed:
        forms.append({"type": "object", "description": "One column, of any name.", **alone})
    return _any_of(forms)


def _list(fields: Fields, settings: Settings) -> dict[str, Json]:
    records = _texts(ref(f"{fields.task}.record"), settings)
    return records if fields.needed else _any_of([_texts(_text(fields), settings), records])


def _any_of(forms: list[dict[str, Json]]) -> dict[str, Json]:
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _or_null(schema: dict[str, Json]) -> dict[str, Json]:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [*kinds, "null"]} | words
