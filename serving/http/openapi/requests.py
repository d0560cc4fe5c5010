"""Requests as JSON Schema: the rows, lists and tables of each task, and the bodies of each dialect.

A body that is answered with status 200 fits its schema. A body that fits may still be refused: a schema cannot say that a
column is as long as another, or that the tokenizer finds a mask in the text.
"""

from __future__ import annotations

from serving.answering.models import model_class
from serving.requests.rows import Fields, Json, list_of_rows, one_row, table
from serving.requests.schema import DIALECTS, IGNORED_KEYS, Dialect, TaskInput
from serving.settings import Settings
from serving.tasks import TASKS, Task


def ref(name: str) -> dict[str, Json]:
    """Return a reference to a schema, such as "label" -> {"$ref": "#/components/schemas/label"}."""
    return {"$ref": f"#/components/schemas/{name}"}


def request_name(task: Task, dialect: Dialect) -> str:
    """Return the name of a request's schema, such as `fill-mask.azureml`."""
    return f"{task}.{dialect.name}"


def request_schemas(settings: Settings) -> dict[str, Json]:
    """Return the schemas of all requests by name, with the schemas that they refer to."""
    schemas: dict[str, Json] = {}
    for task in TASKS:
        inputs = model_class(task).input
        schemas[f"{task}.record"] = _record(inputs)
        schemas[f"{task}.list"] = _list(inputs, settings)
        schemas[f"{task}.table"] = _table(inputs, settings)
        schemas[f"{task}.parameters"] = _parameters(inputs, settings)
        served = [dialect for dialect in DIALECTS if dialect.serves(inputs.fields)]
        schemas |= {request_name(task, dialect): _request(inputs, dialect) for dialect in served}
    return schemas


def _request(inputs: TaskInput, dialect: Dialect) -> dict[str, Json]:
    task = inputs.task
    forms: dict[tuple[object, type], dict[str, Json]] = {
        (one_row, str): dict(inputs.text),
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


def _parameters(inputs: TaskInput, settings: Settings) -> dict[str, Json]:
    properties = {
        name: _or_null(parameter.kind.schema(settings)) | {"description": parameter.about}
        for name, parameter in inputs.parameters.items()
    }
    return {
        "type": ["object", "null"],
        "description": f"The parameters of {inputs.task}; null leaves a parameter out, unless null is a value of its own.",
        "properties": properties,
        "additionalProperties": False,
    }


def _second(inputs: TaskInput) -> dict[str, Json]:
    if inputs.fields.needed:
        return dict(inputs.text)
    return {"type": ["string", "null"], "description": "The second of a pair."}


def _texts(text: dict[str, Json], settings: Settings) -> dict[str, Json]:
    return {"type": "array", "maxItems": settings.max_rows, "items": text}


def _record(inputs: TaskInput) -> dict[str, Json]:
    text = dict(inputs.text)
    alone = {"minProperties": 1, "maxProperties": 1, "additionalProperties": text}
    return _by_column(inputs.fields, text, _second(inputs), alone)


def _table(inputs: TaskInput, settings: Settings) -> dict[str, Json]:
    fields = inputs.fields
    texts = _texts(dict(inputs.text), settings)
    parameters = {"parameters": {"description": "Those of the request may stand here."}}
    alone = {"minProperties": 1, "maxProperties": 2, "properties": parameters, "additionalProperties": texts}
    alone |= {"not": {"required": ["columns"]}}  # that is a frame
    columns = _by_column(fields, texts, _texts(_second(inputs), settings), alone, parameters)
    row: dict[str, Json] = {"type": "array", "description": "A value for each column."}
    data = _texts(row if fields.needed else _any_of([row, dict(inputs.text)]), settings)
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
    """Return an object with the text under one of the task's columns; or under any column, if it is the only one."""
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


def _list(inputs: TaskInput, settings: Settings) -> dict[str, Json]:
    records = _texts(ref(f"{inputs.task}.record"), settings)
    return records if inputs.fields.needed else _any_of([_texts(dict(inputs.text), settings), records])


def _any_of(forms: list[dict[str, Json]]) -> dict[str, Json]:
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _or_null(schema: dict[str, Json]) -> dict[str, Json]:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [*kinds, "null"]} | words
