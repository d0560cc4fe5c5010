"""Answers as JSON Schema, in the shape that each dialect's client reads, and an example of each."""

from __future__ import annotations

import json

from serving.answering import answers
from serving.answering.fill_mask import Candidate, Filled
from serving.answering.question_answering import Answers, Span
from serving.answering.text_classification import Classified, Label
from serving.errors import INTERNAL_ERROR, BadRequest, DeadlineExceeded, QueueFull, RequestError, TooLarge
from serving.http.openapi.requests import ref, request_name
from serving.requests import schema
from serving.requests.rows import FIELDS, Json, one_row
from serving.requests.schema import DIALECTS, Dialect
from serving.settings import Settings
from serving.tasks import Task

WORDS = (
    ("capital", 3007, 0.74),
    ("city", 2103, 0.13),
    ("town", 2237, 0.02),
    ("state", 2110, 0.01),
    ("port", 3417, 0.01),
)
"""Words for the [MASK] of the sample, as model/embedded finds them."""

LABELS = (Label("positive", 0.98), Label("negative", 0.02))
SPAN = Span("The cat", 0.91, 0, 7)

OBJECTS: dict[str, dict[str, Json]] = {
    "candidate": {
        "token_str": {"type": "string", "description": "A word, or a piece of one as ##ing."},
        "token": {
            "type": ["integer", "array"],
            "minimum": 0,
            "minItems": 2,
            "items": {"type": "integer", "minimum": 0},
            "description": "Its id in the vocabulary; a list for a target of several word pieces.",
        },
        "score": {"type": "number", "minimum": 0, "description": "Its probability at the mask."},
        "sequence": {"type": "string", "description": "The text with the word in the mask's place."},
    },
    "label": {
        "label": {"type": "string", "description": "A label of the model's config.json."},
        "score": {"type": "number", "description": "By function_to_apply; a probability where that is not none."},
    },
    "span": {
        "answer": {"type": "string", "description": "The context from start to end."},
        "score": {"type": "number", "minimum": 0, "description": "Above 1 where it stands for several places."},
        "start": {"type": "integer", "minimum": 0, "description": "In characters (Unicode code points)."},
        "end": {"type": "integer", "minimum": 0, "description": "After the last character."},
    },
}
"""What the answers are made of; every property is always there."""

ERRORS: dict[int, tuple[str, tuple[str, ...]]] = {
    400: ("The body is no request of this model's task.", BadRequest.codes),
    413: ("The request is over a limit.", TooLarge.codes),
    429: ("As many requests as may wait are waiting; send it again after the seconds in Retry-After.", QueueFull.codes),
    500: ("A fault of ours; the server's log has it.", (INTERNAL_ERROR["error"]["code"],)),
    504: ("The answer was not ready in time.", DeadlineExceeded.codes),
}
"""What a status says, and its codes."""


def answer_name(task: Task, dialect: Dialect) -> str:
    """Return what an answer's schema is called, e.g. `fill-mask.azureml.answer`."""
    return f"{request_name(task, dialect)}.answer"


def answer_schemas(settings: Settings) -> dict[str, Json]:
    """Return the schemas of all answers and errors by name, with those that they are made of."""
    schemas = {name: _closed(properties) for name, properties in OBJECTS.items()}
    for task in FIELDS:
        for dialect in DIALECTS:
            if task in dialect.tasks:
                schemas[answer_name(task, dialect)] = _answer(task, dialect, settings)
    return schemas | {f"error.{status}": _error(codes) for status, (_, codes) in ERRORS.items()}


def error_example(status: int) -> dict[str, Json]:
    """Return the body of an error, e.g. 413 -> {"error": {"code": "body_too_large", "message": …}}."""
    settings = Settings()
    examples: dict[int, RequestError] = {
        400: BadRequest("missing_mask", "input_data[1] has no [MASK] token", 1),
        413: TooLarge("too_many_rows", f"input_data has {settings.max_rows + 1} rows, expected {settings.max_rows}"),
        429: QueueFull(1),
        504: DeadlineExceeded(),
    }
    return examples[status].body() if status in examples else INTERNAL_ERROR


def answer_example(task: Task, dialect: Dialect) -> Json:
    """Return the answer to the dialect's example, put into shape by the service's own code."""
    settings = Settings()
    request = schema.parse(json.dumps(dialect.example(task)), settings, task)
    if task == "fill-mask":
        text = request.texts[0]
        start = text.index("[MASK]")
        span = (start, start + len("[MASK]"))
        found = [Candidate(*word, text, span) for word in WORDS[: answers.candidates_wanted(request)]]
        return answers.filled_answer(request, Filled([[found]]), settings)
    if task == "text-classification":
        return answers.classified_answer(request, Classified([list(LABELS[: answers.labels_wanted(request)])]))
    return answers.found_answer(request, Answers([[SPAN]]))


def _answer(task: Task, dialect: Dialect, settings: Settings) -> dict[str, Json]:
    row = _row(task, dialect.full)
    alone = dialect.read is one_row and not (dialect.full and task == "text-classification")
    rows = row if alone else {"type": "array", "maxItems": settings.max_rows, "items": row}
    about = f"{task}, for {dialect.client}."
    if dialect.predictions:
        return _closed({"predictions": rows}) | {"description": about}
    return rows | {"description": about}


def _row(task: Task, full: bool) -> dict[str, Json]:
    """Return what stands for one row, with parameters or without."""
    if task == "text-classification":
        return _some("label") if full else {"anyOf": [ref("label"), _some("label")]}
    if task == "question-answering":
        return {"anyOf": [ref("span"), _some("span")]}
    several = {"type": "array", "minItems": 2, "description": "One for each of several masks."}
    candidates: list[Json] = [_some("candidate"), several | {"items": _some("candidate")}]
    words: list[Json] = [{"type": "string"}, several | {"items": {"type": "string"}}]
    return {"anyOf": candidates if full else words + candidates}


def _some(name: str) -> dict[str, Json]:
    return {"type": "array", "minItems": 1, "items": ref(name), "description": "Best first."}


def _error(codes: tuple[str, ...]) -> dict[str, Json]:
    error = _closed(
        {
            "code": {"type": "string", "enum": list(codes), "description": "Stable, for programs."},
            "message": {"type": "string", "description": "What was expected and what was found, for people."},
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
