"""The request, in the dialect of each client.

DIALECTS is the contract: how each client's body is recognized, an example of it, and what its answer looks like.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.errors import BadRequest, TooLarge
from serving.requests.parameters import check, is_unicode
from serving.requests.rows import FIELDS, Fields, Json, Row, is_record, list_of_rows, listed, one_row, table
from serving.settings import Settings
from serving.tasks import Task
from tables.rows import kind_of

IGNORED_KEYS = {"options", "signature_name"}
"""What the clients of Hugging Face and TensorFlow Serving add, and no answer depends on."""

SAMPLES: dict[Task, Json] = {
    "fill-mask": "Paris is the [MASK] of France.",
    "text-classification": "A joy to read.",
    "question-answering": {"question": "Who sat?", "context": "The cat sat on the mat."},
}
"""A row of each task, for the examples."""

ALL: tuple[Task, ...] = ("fill-mask", "text-classification", "question-answering")


def _itself(row: Json) -> Json:
    return row


def _in_list(row: Json) -> Json:
    return [row]


def _as_record(row: Json) -> Json:
    return row if isinstance(row, dict) else {"text": row}


def _in_columns(row: Json) -> Json:
    return {column: [value] for column, value in row.items()} if isinstance(row, dict) else {"input_string": [row]}


def _in_records(row: Json) -> Json:
    return [_as_record(row)]


def _in_frame(row: Json) -> Json:
    columns = _in_columns(row)
    return {"columns": list(columns), "data": [[values[0] for values in columns.values()]]}


@dataclass(frozen=True)
class Dialect:
    """How one kind of `client` writes a request and reads the answer.

    `key`, with a value of one of `types`, recognizes it and `read` takes the rows from that value. A client to whom
    `full` answers come gets, without asking, five candidates a mask or all labels; others the best alone. An answer is
    a list, or what stands for the row where it was sent alone; `predictions` puts it under that key. `write` puts a row
    there as the client would. `tasks` are those that its clients know.
    """

    name: str
    client: str
    key: str
    types: tuple[type, ...]
    read: Callable[[Json, str, Fields], list[Row]]
    write: Callable[[Json], Json]
    full: bool = False
    predictions: bool = False
    tasks: tuple[Task, ...] = ALL

    def takes(self, data: Json, fields: Fields) -> bool:
        """Tell whether the value under the key is one of this dialect's."""
        alone = self.read is not one_row or not isinstance(data, dict) or is_record(data, fields)
        return isinstance(data, self.types) and alone

    def example(self, task: Task) -> dict[str, Json]:
        """Return a body of it."""
        return {self.key: self.write(SAMPLES[task])}


DIALECTS = (
    Dialect("azureml", "Azure ML, as on the model card", "input_data", (list, dict), table, _in_list),
    Dialect(
        "hugging-face",
        "huggingface_hub.InferenceClient and Hugging Face's endpoints",
        "inputs",
        (str,),
        one_row,
        _itself,
        full=True,
        tasks=("fill-mask", "text-classification"),
    ),
    Dialect(
        "hugging-face-record",
        "huggingface_hub.InferenceClient and Hugging Face's endpoints",
        "inputs",
        (dict,),
        one_row,
        _as_record,
        full=True,
        tasks=("text-classification", "question-answering"),
    ),
    Dialect("hugging-face-list", "Hugging Face's endpoints", "inputs", (list,), list_of_rows, _in_list, full=True),
    Dialect("azureml-examples", "the notebooks of azureml-examples", "inputs", (dict,), table, _in_columns),
    Dialect("mlflow-split", "MLflow", "dataframe_split", (dict,), table, _in_frame, predictions=True),
    Dialect("mlflow-records", "MLflow", "dataframe_records", (list,), list_of_rows, _in_records, predictions=True),
    Dialect("kserve", "KServe v1", "instances", (list,), list_of_rows, _in_list, predictions=True),
    Dialect(
        "banana",
        "Banana Serverless's BERT server",
        "prompt",
        (str,),
        one_row,
        _itself,
        full=True,
        tasks=("fill-mask",),
    ),
    Dialect(
        "flask",
        "a Flask tutorial's classifier",
        "X",
        (list,),
        list_of_rows,
        _in_list,
        tasks=("text-classification",),
    ),
)


@dataclass(frozen=True)
class Request:
    """A request that was understood: its rows, its parameters (serving.requests.parameters), and how its client wants the answer."""

    dialect: Dialect
    rows: list[Row]
    parameters: dict[str, Any]

    @property
    def alone(self) -> bool:
        """Whether a row was sent without a list around it."""
        return self.dialect.read is one_row

    @property
    def texts(self) -> list[str]:
        """The rows' texts, for a task of one text a row."""
        return [text for text, _ in self.rows]

    def row_name(self, index: int) -> str:
        """Name a row as the client knows it, e.g. `input_data[1]`."""
        return self.dialect.key if self.alone else f"{self.dialect.key}[{index}]"


def parse(body: str, settings: Settings, task: Task) -> Request:
    """Understand a request's body; raises BadRequest or TooLarge, whatever it is that was sent."""
    fields = _load(body, settings)
    dialect = _dialect(fields, task)
    data = fields[dialect.key]
    unknown = set(fields) - {dialect.key, "parameters", "params"} - IGNORED_KEYS
    if unknown:
        raise BadRequest("unknown_key", f"expected {dialect.key} and parameters, found also {listed(sorted(unknown))}")
    nested = data.get("parameters") if isinstance(data, dict) else None
    given = [place for place in (fields.get("parameters"), fields.get("params"), nested) if place is not None]
    if len(given) > 1:
        raise BadRequest("invalid_parameter", "expected parameters in one place, found them in several")
    parameters = check(given[0] if given else {}, task, settings)
    rows = dialect.read(data, dialect.key, FIELDS[task])
    if len(rows) > settings.max_rows:
        raise TooLarge(
            "too_many_rows",
            f"{dialect.key} has {len(rows)} rows, expected at most {settings.max_rows}; send them in several requests",
        )
    request = Request(dialect, rows, parameters)
    _check_texts(request, FIELDS[task], settings)
    return request


def _dialect(fields: dict[str, Json], task: Task) -> Dialect:
    present = [dialect for dialect in DIALECTS if dialect.key in fields]
    if len({dialect.key for dialect in present}) > 1:
        raise BadRequest("ambiguous_request", f"expected one kind of input, found {listed(d.key for d in present)}")
    served = [dialect for dialect in DIALECTS if task in dialect.tasks]
    example = json.dumps(served[0].example(task))
    if not present:
        expected = f"expected one of {listed(d.key for d in served)}, found {listed(fields) or 'no keys'}"
        raise BadRequest("unknown_request", f"{expected}; for example {example}")
    key = present[0].key
    data = fields[key]
    able = [dialect for dialect in present if task in dialect.tasks]
    dialect = next((dialect for dialect in able if dialect.takes(data, FIELDS[task])), None)
    if dialect is not None:
        return dialect
    if any(isinstance(data, dialect.types) for dialect in present if task not in dialect.tasks) or not able:
        found = f"{key} with {kind_of(data)} is for models of another task; this model's task is {task}"
        raise BadRequest("wrong_task", f"{found}: send, for example, {example}")
    wanted = " or ".join(dict.fromkeys(FIELDS[task].called(kind) for dialect in able for kind in dialect.types))
    raise BadRequest("invalid_rows", f"expected {key} to be {wanted}, found {kind_of(data)}")


def check_body(size: int, settings: Settings, whole: bool = True) -> None:
    """Raise TooLarge for a body of so many bytes, if they are too many; `whole` is False where it has more of them."""
    if size > settings.max_body_bytes:
        found = f"{size} bytes" if whole else f"more than {size} bytes"
        expected = f"expected at most {settings.max_body_bytes}; send several requests"
        raise TooLarge("body_too_large", f"the body has {found}, {expected}")


def _load(body: str, settings: Settings) -> dict[str, Json]:
    check_body(len(body.encode("utf-8", "surrogatepass")), settings)
    if not body.strip():
        raise BadRequest(
            "invalid_json",
            "the body is empty, or was sent as a form; send JSON with the header Content-Type: application/json",
        )
    try:
        fields = json.loads(body)
    except json.JSONDecodeError as exc:
        raise BadRequest("invalid_json", f"the body is not JSON: {exc}") from exc
    except (ValueError, RecursionError) as exc:  # a number of thousands of digits, brackets by the thousand
        raise BadRequest("invalid_json", "the body's JSON is nested too deep or has a number too long") from exc
    if not isinstance(fields, dict):
        raise BadRequest("invalid_json", f"expected a JSON object, found {kind_of(fields)}")
    return fields


def _check_texts(request: Request, fields: Fields, settings: Settings) -> None:
    for index, row in enumerate(request.rows):
        check_row(row, fields, request.row_name(index), index)
        longest = max(len(text or "") for text in row)
        if longest > settings.max_text_characters:
            raise TooLarge(
                "too_much_work",
                f"{request.row_name(index)} has {longest} characters, expected at most {settings.max_text_characters}; "
                "send it in parts",
            )


def check_row(row: Row, fields: Fields, name: str, index: int | None = None) -> None:
    """Raise BadRequest for a row that is not made of texts; only a classifier's may lack the second of a pair."""
    for place, text in enumerate(row):
        if place == 1 and text is None and not fields.needed:
            continue
        part = name + fields.parts[place]
        if not isinstance(text, str):
            raise BadRequest("not_text", f"expected {part} to be a text, found {kind_of(text)}", index)
        if not is_unicode(text):
            half = "half of a surrogate pair (\\ud800 to \\udfff), which is no character"
            raise BadRequest("not_text", f"{part} has {half}", index)
