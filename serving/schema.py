"""The request and the answer, in the dialect of each client.

DIALECTS is the contract: how each client's body is recognized, an example of it, and the shape of its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from serving.errors import BadRequest, TooLarge
from serving.fill_mask import Filled
from serving.settings import Settings

Json: TypeAlias = Any
"""A value as json.loads returns it: nothing is known of it yet."""

TEXT_COLUMNS = ("input_string", "text", "inputs", "prompt")
"""Names under which a table's texts are looked for where it has several columns."""

IGNORED_KEYS = {"options", "signature_name"}
"""What the clients of Hugging Face and TensorFlow Serving add, and no answer depends on."""


@dataclass(frozen=True)
class Parameters:
    """The options of a fill-mask request; None where the client does not say."""

    top_k: int | None = None
    targets: list[str] | None = None


@dataclass(frozen=True)
class Dialect:
    """How one kind of client writes a request and reads the answer.

    `key` and `accepts` recognize it, `texts` reads the rows, `top_k` is how many candidates a mask its client expects
    without asking (None: the best word alone), and `wrap` turns the list of answers into the body.
    """

    name: str
    key: str
    accepts: Callable[[Json], bool]
    texts: Callable[[Json, str], list[Json]]
    top_k: int | None
    wrap: Callable[[list[Json], Json], Json]
    example: dict[str, Json]


@dataclass(frozen=True)
class Request:
    """A request that was understood: what to fill, and how its client wants the answer."""

    dialect: Dialect
    data: Json
    texts: list[str]
    parameters: Parameters

    def row_name(self, index: int) -> str:
        """Name a row as the client knows it, e.g. `input_data[1]`."""
        return self.dialect.key if isinstance(self.data, str) else f"{self.dialect.key}[{index}]"

    @property
    def top_k(self) -> int:
        """Candidates a mask that the answer needs."""
        asked = self.parameters
        if asked.top_k is not None:
            return asked.top_k
        return len(asked.targets) if asked.targets else self.dialect.top_k or 1

    def answer(self, filled: Filled) -> Json:
        """Put the candidates into the client's shape."""
        plain = self.parameters == Parameters() and self.dialect.top_k is None
        rows = []
        for masks in filled:
            answers: list[Json] = [found[0].token_str if plain else [asdict(word) for word in found] for found in masks]
            rows.append(answers[0] if len(answers) == 1 else answers)
        return self.dialect.wrap(rows, self.data)


def parse(body: str, settings: Settings) -> Request:
    """Understand a request's body; raises BadRequest or TooLarge, whatever it is that was sent."""
    fields = _load(body, settings)
    present = [dialect for dialect in DIALECTS if dialect.key in fields]
    if len({dialect.key for dialect in present}) > 1:
        raise BadRequest("ambiguous_request", f"expected one kind of input, found {_listed(d.key for d in present)}")
    if not present:
        raise BadRequest(
            "unknown_request",
            f"expected one of {_listed(d.key for d in DIALECTS)}, found {_listed(fields) or 'no keys'}; "
            f"for example {json.dumps(DIALECTS[0].example)}",
        )
    data = fields[present[0].key]
    dialect = next((dialect for dialect in present if dialect.accepts(data)), None)
    if dialect is None:
        raise _not_rows(present[0].key, data)
    unknown = set(fields) - {dialect.key, "parameters", "params"} - IGNORED_KEYS
    if unknown:
        raise BadRequest("unknown_key", f"expected {dialect.key} and parameters, found also {_listed(sorted(unknown))}")
    nested = data.get("parameters") if isinstance(data, dict) else None
    parameters = _parameters([fields.get("parameters"), fields.get("params"), nested], settings)
    texts = dialect.texts(data, dialect.key)
    if len(texts) > settings.max_rows:
        raise TooLarge(
            "too_many_rows",
            f"{dialect.key} has {len(texts)} rows, expected at most {settings.max_rows}; send them in several requests",
        )
    request = Request(dialect, data, texts, parameters)
    for index, text in enumerate(texts):
        _check_text(text, request.row_name(index), index)
    return request


def _load(body: str, settings: Settings) -> dict[str, Json]:
    size = len(body.encode("utf-8", "surrogatepass"))
    if size > settings.max_body_bytes:
        raise TooLarge("body_too_large", f"the body has {size} bytes, expected at most {settings.max_body_bytes}")
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
        raise BadRequest("invalid_json", f"expected a JSON object, found {_kind(fields)}")
    return fields


def _parameters(places: list[Json], settings: Settings) -> Parameters:
    given = [place for place in places if place is not None]
    if len(given) > 1:
        raise BadRequest("invalid_parameter", "expected parameters in one place, found them in several")
    values = given[0] if given else {}
    if not isinstance(values, dict):
        raise BadRequest("invalid_parameter", f"expected parameters to be an object, found {_kind(values)}")
    unknown = sorted(set(values) - {"top_k", "targets"})
    if unknown:
        raise BadRequest("unknown_parameter", f"expected top_k or targets, found {_listed(unknown)}")
    top_k, targets = values.get("top_k"), values.get("targets")
    if top_k is not None and (type(top_k) is not int or not 1 <= top_k <= settings.max_top_k):
        found = top_k if type(top_k) is int else _kind(top_k)
        raise BadRequest("invalid_parameter", f"expected top_k from 1 to {settings.max_top_k}, found {found}")
    return Parameters(top_k, None if targets is None else _targets(targets, settings.max_targets))


def _targets(targets: Json, limit: int) -> list[str]:
    words = [targets] if isinstance(targets, str) else targets
    if not isinstance(words, list) or not words or len(words) > limit:
        found = f"{len(words)} of them" if isinstance(words, list) else _kind(words)
        raise BadRequest("invalid_parameter", f"expected targets to be 1 to {limit} words, found {found}")
    for word in words:
        if not isinstance(word, str) or not word.strip() or not _is_unicode(word):
            raise BadRequest("invalid_parameter", f"expected each of targets to be a word, found {_kind(word)}")
    return words


def _check_text(text: Json, name: str, index: int) -> None:
    if not isinstance(text, str):
        raise BadRequest("not_text", f"expected {name} to be a text, found {_kind(text)}", index)
    if not _is_unicode(text):
        raise BadRequest(
            "not_text", f"{name} has half of a surrogate pair (\\ud800 to \\udfff), which is no character", index
        )


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else True


def _list(data: Json, name: str) -> list[Json]:
    """Read a list of texts, or of records with a column of texts."""
    if not isinstance(data, list):
        raise _not_rows(name, data)
    if data and all(isinstance(row, dict) for row in data):
        column = _text_column(list(data[0]), name)
        return [row.get(column) for row in data]
    return data


def _table(data: Json, name: str) -> list[Json]:
    """Read a list, a {"columns", "index", "data"} frame, or a {column: list} object."""
    if not isinstance(data, dict):
        return _list(data, name)
    if "columns" in data:
        return _frame(data, name)
    columns = {column: values for column, values in data.items() if column != "parameters"}
    values = columns[_text_column(list(columns), name)]
    if not isinstance(values, list):
        raise _not_rows(f"{name}'s column", values)
    return values


def _frame(data: Mapping[str, Json], name: str) -> list[Json]:
    columns, rows = data["columns"], data.get("data")
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise BadRequest("invalid_rows", f"expected {name} to have columns and data, both lists, found {_listed(data)}")
    place = columns.index(_text_column(columns, name))
    if len(columns) == 1 and not any(isinstance(row, list) for row in rows):
        return rows  # a frame of one column is often written without the inner lists
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            found = f"{len(row)} values" if isinstance(row, list) else _kind(row)
            raise BadRequest(
                "invalid_rows", f"expected {name}.data[{index}] to have {len(columns)} values, found {found}", index
            )
    return [row[place] for row in rows]


def _text_column(columns: list[Json], name: str) -> Json:
    if len(columns) == 1:
        return columns[0]
    found = next((column for column in TEXT_COLUMNS if column in columns), None)
    if found is None:
        expected = f"one column, or one called {' or '.join(TEXT_COLUMNS)}"
        raise BadRequest("invalid_rows", f"expected {name} to have {expected}, found {_listed(columns) or 'none'}")
    return found


def _not_rows(name: str, data: Json) -> BadRequest:
    return BadRequest("invalid_rows", f"expected {name} to be a list of texts, found {_kind(data)}")


def _kind(value: Json) -> str:
    """Name what was found by its JSON type, never by its content: messages end up in logs."""
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "null")


def _listed(names: Iterable[Json]) -> str:
    """List keys of the client's for a message; a few, and not at length."""
    shown = list(dict.fromkeys(str(name)[:40] for name in names))
    return ", ".join(shown[:10]) + (", …" if len(shown) > 10 else "")


def _as_list(rows: list[Json], _data: Json) -> Json:
    return rows


def _as_predictions(rows: list[Json], _data: Json) -> Json:
    return {"predictions": rows}


def _as_hugging_face(rows: list[Json], data: Json) -> Json:
    return rows[0] if isinstance(data, str) else rows


def _is_table(data: Json) -> bool:
    return isinstance(data, list | dict)


def _one_or_more(data: Json, name: str) -> list[Json]:
    return [data] if isinstance(data, str) else _list(data, name)


_TEXT = "Paris is the [MASK] of France."

DIALECTS = (
    # Azure ML, as on the model card
    Dialect("azureml", "input_data", _is_table, _table, None, _as_list, {"input_data": [_TEXT]}),
    # the notebooks of azureml-examples
    Dialect(
        "azureml-examples",
        "inputs",
        lambda data: isinstance(data, dict),
        _table,
        None,
        _as_list,
        {"inputs": {"input_string": [_TEXT]}},
    ),
    # huggingface_hub.InferenceClient and Hugging Face's endpoints
    Dialect(
        "hugging-face",
        "inputs",
        lambda data: isinstance(data, str | list),
        _one_or_more,
        5,
        _as_hugging_face,
        {"inputs": _TEXT, "parameters": {"top_k": 2}},
    ),
    # MLflow and KServe v1
    Dialect(
        "mlflow-split",
        "dataframe_split",
        lambda data: isinstance(data, dict),
        _table,
        None,
        _as_predictions,
        {"dataframe_split": {"columns": ["input_string"], "data": [[_TEXT]]}},
    ),
    Dialect(
        "mlflow-records",
        "dataframe_records",
        lambda data: isinstance(data, list),
        _list,
        None,
        _as_predictions,
        {"dataframe_records": [{"input_string": _TEXT}]},
    ),
    Dialect(
        "kserve", "instances", lambda data: isinstance(data, list), _list, None, _as_predictions, {"instances": [_TEXT]}
    ),
    # Banana Serverless's BERT server
    Dialect(
        "banana", "prompt", lambda data: isinstance(data, str), _one_or_more, 5, _as_hugging_face, {"prompt": _TEXT}
    ),
)
