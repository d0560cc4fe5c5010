"""The request and the answer, in the dialect of each client.

DIALECTS is the contract: how each client's body is recognized, an example of it, and the shape of its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.errors import BadRequest, TooLarge
from serving.fill_mask import CANDIDATE_BYTES, Candidate, Filled, check_answer
from serving.rows import Json, kind_of, list_of_texts, listed, one_text, table
from serving.settings import Settings

IGNORED_KEYS = {"options", "signature_name"}
"""What the clients of Hugging Face and TensorFlow Serving add, and no answer depends on."""

EXPECTED: dict[type, str] = {str: "a text", list: "a list of texts", dict: "an object with the texts in a column"}
"""What a dialect's types are called in a message."""


@dataclass(frozen=True)
class Parameters:
    """The options of a fill-mask request; None where the client does not say."""

    top_k: int | None = None
    targets: list[str] | None = None


@dataclass(frozen=True)
class Dialect:
    """How one kind of client writes a request and reads the answer.

    `key`, with a value of one of `types`, recognizes it and `read` takes the rows from that value. `top_k` is how many
    candidates a mask its client expects without asking; with None it gets the best word alone. An answer is a list, or
    what stands for the text where it was sent alone; `predictions` puts it under that key.
    """

    name: str
    key: str
    types: tuple[type, ...]
    read: Callable[[Json, str], list[Json]]
    top_k: int | None
    predictions: bool
    example: dict[str, Any]


_TEXT = "Paris is the [MASK] of France."
_FRAME = {"columns": ["input_string"], "data": [[_TEXT]]}

DIALECTS = (
    # Azure ML, as on the model card
    Dialect("azureml", "input_data", (list, dict), table, None, False, {"input_data": [_TEXT]}),
    # the notebooks of azureml-examples
    Dialect("azureml-examples", "inputs", (dict,), table, None, False, {"inputs": {"input_string": [_TEXT]}}),
    # huggingface_hub.InferenceClient and Hugging Face's endpoints
    Dialect("hugging-face", "inputs", (str,), one_text, 5, False, {"inputs": _TEXT, "parameters": {"top_k": 2}}),
    Dialect("hugging-face-list", "inputs", (list,), list_of_texts, 5, False, {"inputs": [_TEXT]}),
    # MLflow and KServe v1
    Dialect("mlflow-split", "dataframe_split", (dict,), table, None, True, {"dataframe_split": _FRAME}),
    Dialect(
        "mlflow-records",
        "dataframe_records",
        (list,),
        list_of_texts,
        None,
        True,
        {"dataframe_records": [{"text": _TEXT}]},
    ),
    Dialect("kserve", "instances", (list,), list_of_texts, None, True, {"instances": [_TEXT]}),
    # Banana Serverless's BERT server
    Dialect("banana", "prompt", (str,), one_text, 5, False, {"prompt": _TEXT}),
)


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

    def answer(self, filled: Filled, settings: Settings) -> Json:
        """Put the candidates into the client's shape; raises TooLarge where their texts make it too long."""
        plain = self.parameters == Parameters() and self.dialect.top_k is None
        if not plain:
            counts = (sum(map(len, masks)) for masks in filled)
            sizes = (len(text) + CANDIDATE_BYTES for text in self.texts)
            check_answer(sum(count * size for count, size in zip(counts, sizes, strict=True)), settings)
        rows = []
        for masks in filled:
            answers: list[Json] = [
                found[0].token_str if plain else [_object(word) for word in found] for found in masks
            ]
            rows.append(answers[0] if len(answers) == 1 else answers)
        answer = rows[0] if isinstance(self.data, str) else rows
        return {"predictions": answer} if self.dialect.predictions else answer


def _object(word: Candidate) -> dict[str, Json]:
    return {"token_str": word.token_str, "token": word.token, "score": word.score, "sequence": word.sequence}


def parse(body: str, settings: Settings) -> Request:
    """Understand a request's body; raises BadRequest or TooLarge, whatever it is that was sent."""
    fields = _load(body, settings)
    present = [dialect for dialect in DIALECTS if dialect.key in fields]
    if len({dialect.key for dialect in present}) > 1:
        raise BadRequest("ambiguous_request", f"expected one kind of input, found {listed(d.key for d in present)}")
    if not present:
        raise BadRequest(
            "unknown_request",
            f"expected one of {listed(d.key for d in DIALECTS)}, found {listed(fields) or 'no keys'}; "
            f"for example {json.dumps(DIALECTS[0].example)}",
        )
    data = fields[present[0].key]
    dialect = next((dialect for dialect in present if isinstance(data, dialect.types)), None)
    if dialect is None:
        wanted = " or ".join(EXPECTED[kind] for dialect in present for kind in dialect.types)
        raise BadRequest("invalid_rows", f"expected {present[0].key} to be {wanted}, found {kind_of(data)}")
    unknown = set(fields) - {dialect.key, "parameters", "params"} - IGNORED_KEYS
    if unknown:
        raise BadRequest("unknown_key", f"expected {dialect.key} and parameters, found also {listed(sorted(unknown))}")
    nested = data.get("parameters") if isinstance(data, dict) else None
    parameters = _parameters([fields.get("parameters"), fields.get("params"), nested], settings)
    texts = dialect.read(data, dialect.key)
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
        raise BadRequest("invalid_json", f"expected a JSON object, found {kind_of(fields)}")
    return fields


def _parameters(places: list[Json], settings: Settings) -> Parameters:
    given = [place for place in places if place is not None]
    if len(given) > 1:
        raise BadRequest("invalid_parameter", "expected parameters in one place, found them in several")
    values = given[0] if given else {}
    if not isinstance(values, dict):
        raise BadRequest("invalid_parameter", f"expected parameters to be an object, found {kind_of(values)}")
    unknown = sorted(set(values) - {"top_k", "targets"})
    if unknown:
        raise BadRequest("unknown_parameter", f"expected top_k or targets, found {listed(unknown)}")
    top_k, targets = values.get("top_k"), values.get("targets")
    if top_k is not None and (type(top_k) is not int or not 1 <= top_k <= settings.max_top_k):
        found = top_k if type(top_k) is int else kind_of(top_k)
        raise BadRequest("invalid_parameter", f"expected top_k from 1 to {settings.max_top_k}, found {found}")
    return Parameters(top_k, None if targets is None else _targets(targets, settings.max_targets))


def _targets(targets: Json, limit: int) -> list[str]:
    words = [targets] if isinstance(targets, str) else targets
    if not isinstance(words, list) or not words or len(words) > limit:
        found = f"{len(words)} of them" if isinstance(words, list) else kind_of(words)
        raise BadRequest("invalid_parameter", f"expected targets to be 1 to {limit} words, found {found}")
    for word in words:
        if not isinstance(word, str) or not word.strip() or not _is_unicode(word):
            raise BadRequest("invalid_parameter", f"expected each of targets to be a word, found {kind_of(word)}")
    return words


def _check_text(text: Json, name: str, index: int) -> None:
    if not isinstance(text, str):
        raise BadRequest("not_text", f"expected {name} to be a text, found {kind_of(text)}", index)
    if not _is_unicode(text):
        raise BadRequest(
            "not_text", f"{name} has half of a surrogate pair (\\ud800 to \\udfff), which is no character", index
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
