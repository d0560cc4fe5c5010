"""Requests in the dialect of each client, and how they are parsed.

DIALECTS is the contract: how each client's body is recognized, an example of it, and the form of its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.errors import BadRequest, TooLarge
from serving.requests.parameters import Parameter, check, is_unicode
from serving.requests.rows import Fields, Json, Row, is_record, list_of_rows, listed, one_row, table
from serving.settings import Settings
from serving.tasks import Task
from tables.rows import kind_of

IGNORED_KEYS = {"options", "signature_name"}
"""Keys that the clients of Hugging Face and TensorFlow Serving add; no answer depends on them."""


@dataclass(frozen=True)
class TaskInput:
    """The input of a task: the columns of its rows, its parameters, a sample row and the JSON Schema of a text."""

    fields: Fields
    parameters: Mapping[str, Parameter]
    sample: Json
    text: Mapping[str, Json]

    @property
    def task(self) -> Task:
        """The task."""
        return self.fields.task

    @property
    def sample_row(self) -> Row:
        """The sample as a row."""
        if isinstance(self.sample, dict):
            return self.sample[self.fields.text[0]], self.sample[self.fields.pair[0]]
        return self.sample, None


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
    """How one kind of client writes a request and reads the answer.

    key, types: the dialect is recognized by this key, with a value of one of these types.
    read: reads the rows from that value; `write` writes a row as the client would.
    full: the client gets five candidates a mask, or all labels, without asking; other clients get the best only.
    predictions: the answer is put under this key; otherwise it is a list, or the answer to a row that was sent alone.
    only: the only task that these clients know; None if they know every task whose rows fit.
    """

    name: str
    client: str
    key: str
    types: tuple[type, ...]
    read: Callable[[Json, str, Fields], list[Row]]
    write: Callable[[Json], Json]
    full: bool = False
    predictions: bool = False
    only: Task | None = None

    def serves(self, fields: Fields) -> bool:
        """Return whether the dialect's clients know a task: a row sent alone is either a text or a record of a pair."""
        if self.only or self.read is not one_row:
            return self.only in (None, fields.task)
        return bool(fields.pair) if dict in self.types else not fields.needed

    def takes(self, data: Json, fields: Fields) -> bool:
        """Return whether the value under the key is written in this dialect."""
        alone = self.read is not one_row or not isinstance(data, dict) or is_record(data, fields)
        return isinstance(data, self.types) and alone

    def example(self, inputs: TaskInput) -> dict[str, Json]:
        """Return the body of a request with a task's sample row."""
        return {self.key: self.write(inputs.sample)}


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
    ),
    Dialect(
        "hugging-face-record",
        "huggingface_hub.InferenceClient and Hugging Face's endpoints",
        "inputs",
        (dict,),
        one_row,
        _as_record,
        full=True,
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
        only="fill-mask",
    ),
    Dialect(
        "flask",
        "a Flask tutorial's classifier",
        "X",
        (list,),
        list_of_rows,
        _in_list,
        only="text-classification",
    ),
)


@dataclass(frozen=True)
class Request:
    """A request that was parsed: its dialect, its rows, and its checked parameters (serving.requests.parameters)."""

    dialect: Dialect
    rows: list[Row]
    parameters: dict[str, Any]

    @property
    def alone(self) -> bool:
        """Whether a row was sent alone, without a list around it."""
        return self.dialect.read is one_row

    @property
    def texts(self) -> list[str]:
        """The texts of the rows, for a task of one text a row."""
        return [text for text, _ in self.rows]

    def row_name(self, index: int) -> str:
        """Name a row as its client knows it, such as `input_data[1]`."""
        return self.dialect.key if self.alone else f"{self.dialect.key}[{index}]"

    def shaped(self, rows: Sequence[Json]) -> Json:
        """Put the answers of the rows in the form that the client reads."""
        answer = rows[0] if self.alone else rows
        return {"predictions": answer} if self.dialect.predictions else answer


def parse(body: str, settings: Settings, inputs: TaskInput) -> Request:
    """Parse a request's body for a task; raises BadRequest or TooLarge for any body that cannot be answered."""
    keys = _load(body, settings)
    dialect = _dialect(keys, inputs)
    data = keys[dialect.key]
    unknown = set(keys) - {dialect.key, "parameters", "params"} - IGNORED_KEYS
    if unknown:
        raise BadRequest("unknown_key", f"expected {dialect.key} and parameters, found also {listed(sorted(unknown))}")
    nested = data.get("parameters") if isinstance(data, dict) else None
    places = [place for place in (keys.get("parameters"), keys.get("params"), nested) if place is not None]
    if len(places) > 1:
        raise BadRequest("invalid_parameter", "expected parameters in one place, found them in several")
    parameters = check(places[0] if places else {}, inputs.parameters, inputs.task, settings)
    rows = dialect.read(data, dialect.key, inputs.fields)
    if len(rows) > settings.max_rows:
        raise TooLarge(
            "too_many_rows",
            f"{dialect.key} has {len(rows)} rows, expected at most {settings.max_rows}; send them in several requests",
        )
    request = Request(dialect, rows, parameters)
    _check_texts(request, inputs.fields, settings)
    return request


def _dialect(keys: dict[str, Json], inputs: TaskInput) -> Dialect:
    present = [dialect for dialect in DIALECTS if dialect.key in keys]
    if len({dialect.key for dialect in present}) > 1:
        raise BadRequest("ambiguous_request", f"expected one kind of input, found {listed(d.key for d in present)}")
    fields = inputs.fields
    served = [dialect for dialect in DIALECTS if dialect.serves(fields)]
    example = json.dumps(served[0].example(inputs))
    if not present:
        expected = f"expected one of {listed(d.key for d in served)}, found {listed(keys) or 'no keys'}"
        raise BadRequest("unknown_request", f"{expected}; for example {example}")
    key = present[0].key
    data = keys[key]
    able = [dialect for dialect in present if dialect.serves(fields)]
    dialect = next((dialect for dialect in able if dialect.takes(data, fields)), None)
    if dialect is not None:
        return dialect
    others = [dialect for dialect in present if not dialect.serves(fields)]
    if not able or any(isinstance(data, dialect.types) for dialect in others):
        found = f"{key} with {kind_of(data)} is for models of another task; this model's task is {inputs.task}"
        raise BadRequest("wrong_task", f"{found}: send, for example, {example}")
    expected = " or ".join(dict.fromkeys(fields.called(kind) for dialect in able for kind in dialect.types))
    raise BadRequest("invalid_rows", f"expected {key} to be {expected}, found {kind_of(data)}")


def check_body(size: int, settings: Settings, whole: bool = True) -> None:
    """Raise TooLarge if a body of `size` bytes is too large; `whole` is False if the body has more bytes than that."""
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
        keys = json.loads(body)
    except json.JSONDecodeError as exc:
        raise BadRequest("invalid_json", f"the body is not JSON: {exc}") from exc
    except (ValueError, RecursionError) as exc:  # a number of thousands of digits, brackets by the thousand
        raise BadRequest("invalid_json", "the body's JSON is nested too deep or has a number too long") from exc
    if not isinstance(keys, dict):
        raise BadRequest("invalid_json", f"expected a JSON object, found {kind_of(keys)}")
    return keys


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
    """Raise BadRequest for a row that is not made of texts; the second of a pair may be missing if it is not needed."""
    for place, text in enumerate(row):
        if place == 1 and text is None and not fields.needed:
            continue
        part = name + fields.parts[place]
        if not isinstance(text, str):
            raise BadRequest("not_text", f"expected {part} to be a text, found {kind_of(text)}", index)
        if not is_unicode(text):
            half = "half of a surrogate pair (\\ud800 to \\udfff), which is no character"
            raise BadRequest("not_text", f"{part} has {half}", index)
