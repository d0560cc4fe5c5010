"""Answers as JSON Schema, in the form that each dialect's client reads, with an example of each."""

from __future__ import annotations

import json

from serving.answering.models import model_class
from serving.errors import INTERNAL_ERROR, BadRequest, DeadlineExceeded, QueueFull, RequestError, TooLarge
from serving.http.openapi.requests import request_name
from serving.requests import schema
from serving.requests.rows import Json, one_row
from serving.requests.schema import DIALECTS, Dialect
from serving.settings import Settings
from serving.tasks import TASKS, Task

ERRORS: dict[int, tuple[str, tuple[str, ...]]] = {
    400: ("The body is not a request for this model's task.", BadRequest.codes),
    413: ("The request is over a limit.", TooLarge.codes),
    429: ("The queue is full; send the request again after the seconds in Retry-After.", QueueFull.codes),
    500: ("An error of the server; its log says why.", (INTERNAL_ERROR["error"]["code"],)),
    504: ("The answer was not ready in time.", DeadlineExceeded.codes),
}
"""An error's status -> its meaning and its codes."""


def answer_name(task: Task, dialect: Dialect) -> str:
    """Return the name of an answer's schema, such as `fill-mask.azureml.answer`."""
    return f"{request_name(task, dialect)}.answer"


def answer_schemas(settings: Settings) -> dict[str, Json]:
    """Return the schemas of all answers and errors by name, with the schemas that they refer to."""
    models = {task: model_class(task) for task in TASKS}
    schemas = {model.form.name: _closed(dict(model.form.properties)) for model in models.values()}
    for task, model in models.items():
        for dialect in DIALECTS:
            if dialect.serves(model.input.fields):
                schemas[answer_name(task, dialect)] = _answer(task, dialect, settings)
    return schemas | {f"error.{status}": _error(codes) for status, (_, codes) in ERRORS.items()}


def error_example(status: int) -> dict[str, Json]:
    """Return the example of an error's body, such as 413 -> {"error": {"code": "body_too_large", "message": …}}."""
    settings = Settings()
    examples: dict[int, RequestError] = {
        400: BadRequest("missing_mask", "input_data[1] has no [MASK] token", 1),
        413: TooLarge("too_many_rows", f"input_data has {settings.max_rows + 1} rows, expected {settings.max_rows}"),
        429: QueueFull(1),
        504: DeadlineExceeded(),
    }
    return examples[status].body() if status in examples else INTERNAL_ERROR


def answer_example(task: Task, dialect: Dialect) -> Json:
    """Return the answer to a dialect's example, put in form by the service's own code."""
    model = model_class(task)
    return model.form.example(schema.parse(json.dumps(dialect.example(model.input)), Settings(), model.input))


def _answer(task: Task, dialect: Dialect, settings: Settings) -> dict[str, Json]:
    form = model_class(task).form
    row = form.row(form, dialect.full)
    alone = dialect.read is one_row and not (dialect.full and form.lists)
    rows = row if alone else {"type": "array", "maxItems": settings.max_rows, "items": row}
    about = f"{task}, for {dialect.client}."
    if dialect.predictions:
        return _closed({"predictions": rows}) | {"description": about}
    return rows | {"description": about}


def _error(codes: tuple[str, ...]) -> dict[str, Json]:
    error = _closed(
        {
            "code": {"type": "string", "enum": list(codes), "description": "Stable, for programs."},
            "message": {"type": "string", "description": "The reason, for people."},
        }
    )
    error["properties"]["index"] = {"type": "integer", "minimum": 0, "description": "The row at fault."}
    return _closed({"error": error})


def _closed(properties: dict[str, Json]) -> dict[str, Json]:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }
