"""The published description is what the service's own tables say, and what it really takes and answers."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from serving.answering.models import load_model, model_class
from serving.answering.service import Service
from serving.errors import (
    INTERNAL_ERROR,
    BadRequest,
    DeadlineExceeded,
    QueueFull,
    RequestError,
    TooLarge,
)
from serving.http.openapi.answers import answer_example, answer_name, error_example
from serving.http.openapi.documents import asset_version, documents, openapi30, openapi31, text
from serving.http.openapi.requests import request_name
from serving.requests.schema import DIALECTS, Dialect
from serving.settings import Settings
from serving.tasks import TASKS, Task

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(precision="fp32")
FILL, CLASSIFY, ANSWER = TASKS
DOCUMENT = openapi31(SETTINGS, "17")
RESPONSES = DOCUMENT["paths"]["/score"]["post"]["responses"]
PAIRS = [(task, dialect) for task in TASKS for dialect in DIALECTS if dialect.serves(model_class(task).input.fields)]
A, MASKED = "The cat sat.", "The [MASK] sat."
Q = {"question": "Who sat?", "context": "The cat sat on the mat."}


@pytest.fixture(scope="module")
def services(sharp_checkpoint: Path, sharp_classifier: Path, sharp_reader: Path) -> dict[str, Service]:
    folders = zip(TASKS, (sharp_checkpoint, sharp_classifier, sharp_reader), strict=True)
    return {task: Service(load_model(folder, SETTINGS), SETTINGS) for task, folder in folders}


def faults(value: object, name: str) -> list[str]:
    """Return what is wrong with a value by the schema of that name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return [error.message for error in Draft202012Validator(schema).iter_errors(value)]


@pytest.mark.parametrize("name", ["swagger2.json", "swagger3.json", "swagger3.1.json"])
def test_the_committed_files_are_what_the_tables_say(name: str) -> None:
    written = text(documents(asset_version())[name])
    assert (ROOT / name).read_text(encoding="utf-8") == written, "run `asset tools openapi`"


@pytest.mark.parametrize("name", ["swagger2.json", "swagger3.json", "swagger3.1.json"])
def test_each_version_is_what_its_specification_allows(name: str) -> None:
    document = json.loads((ROOT / name).read_text(encoding="utf-8"))
    schemathesis.openapi.from_dict(document).validate()
    broken = copy.deepcopy(document)
    del broken["paths"]["/score"]["post"]["responses"]["200"]["description"]
    with pytest.raises(Exception, match="description"):
        schemathesis.openapi.from_dict(broken).validate()


def test_version_3_0_has_no_word_of_3_1() -> None:
    def walk(value: object) -> None:
        if isinstance(value, dict):
            assert value.get("type") != "null" and not isinstance(value.get("type"), list), value
            assert not {"const", "prefixItems", "$defs", "examples"} & set(value) or "schema" in value, value
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    walk(openapi30(DOCUMENT))
    assert openapi30(DOCUMENT["components"]["schemas"]["fill-mask.parameters"])["nullable"] is True


@pytest.mark.parametrize(("task", "dialect"), PAIRS, ids=lambda value: getattr(value, "name", value))
def test_the_example_of_each_dialect_and_its_answer_fit(
    services: dict[str, Service], task: Task, dialect: Dialect
) -> None:
    example = dialect.example(model_class(task).input)
    assert faults(example, request_name(task, dialect)) == faults(example, "ServiceInput") == []
    several = {"top_k": 2} if task == ANSWER else {"top_k": 2, **({"targets": ["cat", "1234"]} if task == FILL else {})}
    for body in (example, example | {"parameters": several}, example | {"params": {"top_k": 1}}):
        answer = services[task].answer(json.dumps(body))
        assert answer.status == 200, answer.body
        assert faults(answer.body, answer_name(task, dialect)) == []
        assert set(answer.headers) <= set(RESPONSES["200"]["headers"])
        assert {name for name, header in RESPONSES["200"]["headers"].items() if header.get("required")} <= set(
            answer.headers
        )
    shown = answer_example(task, dialect)
    assert faults(shown, answer_name(task, dialect)) == faults(shown, "ServiceOutput") == []
    assert depth(shown) == depth(services[task].answer(json.dumps(example)).body)


def depth(answer: Any) -> list[str]:  # noqa: ANN401
    """Return what is inside of what, along the first items."""
    if isinstance(answer, list):
        return ["list", *depth(answer[0])]
    if isinstance(answer, dict) and "predictions" in answer:
        return ["predictions", *depth(answer["predictions"])]
    return sorted(answer) if isinstance(answer, dict) else ["text"]


def test_every_example_that_is_shown_is_answered(services: dict[str, Service]) -> None:
    shown = DOCUMENT["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert len(shown) == len(PAIRS) + len(TASKS)
    for name, example in shown.items():
        assert services[name.split(".")[0]].answer(json.dumps(example["value"])).status == 200, name


TEXT = st.sampled_from([A, MASKED, MASKED + MASKED]) | st.text(max_size=8)
COLUMN = st.sampled_from(["input_string", "text", "prompt", "sentence1", "sentence2", "text_pair", "any"])
ANY = TEXT | st.none() | st.integers() | st.lists(TEXT, max_size=1)
PAIR = st.fixed_dictionaries({"question": TEXT, "context": TEXT}, optional={"id": ANY})
RECORD = st.dictionaries(COLUMN, TEXT, min_size=1, max_size=2) | st.dictionaries(COLUMN, ANY, max_size=3) | PAIR
COLUMNS = st.one_of(
    st.dictionaries(COLUMN, st.lists(TEXT, min_size=1, max_size=1), max_size=2),
    st.dictionaries(COLUMN | st.just("parameters"), st.lists(ANY, max_size=1) | ANY, max_size=3),
    st.fixed_dictionaries({"question": st.lists(TEXT, max_size=1), "context": st.lists(TEXT, max_size=1)}),
)
FRAME = st.fixed_dictionaries(
    {"columns": st.lists(COLUMN | ANY, min_size=1, max_size=2), "data": st.lists(TEXT | st.lists(TEXT, max_size=2))}
)
ROWS = TEXT | RECORD | st.lists(TEXT, max_size=2) | st.lists(RECORD, max_size=2) | COLUMNS | FRAME
NUMBER = st.none() | st.integers(-1, 3) | st.sampled_from([40, 513, 1001, 1.0])
PARAMETERS: dict[str, st.SearchStrategy[Any]] = {
    FILL: st.fixed_dictionaries({}, optional={"top_k": NUMBER, "targets": st.lists(TEXT, max_size=2) | TEXT}),
    CLASSIFY: st.fixed_dictionaries(
        {}, optional={"top_k": NUMBER, "function_to_apply": st.sampled_from(["none", "softmax", "tanh", None])}
    ),
    ANSWER: st.fixed_dictionaries(
        {},
        optional={name: NUMBER for name in ("top_k", "max_answer_length", "max_answer_len", "doc_stride")}
        | {"align_to_words": st.booleans() | NUMBER, "max_seq_len": NUMBER},
    ),
}


@st.composite
def bodies(draw: st.DrawFn, task: str) -> dict[str, Any]:
    body = {draw(st.sampled_from([dialect.key for dialect in DIALECTS])): draw(ROWS)}
    for place in draw(st.lists(st.sampled_from(["parameters", "params", "options", "more"]), max_size=2)):
        body[place] = draw(PARAMETERS[task] | st.none())
    return body


@pytest.mark.parametrize("task", TASKS)
def test_whatever_is_answered_fits_and_so_does_its_answer(services: dict[str, Service], task: Task) -> None:
    answered = 0

    @settings(max_examples=300, derandomize=True, database=None)
    @given(body=bodies(task))
    def check(body: dict[str, Any]) -> None:
        nonlocal answered
        answer = services[task].answer(json.dumps(body))
        if answer.status == 200:
            answered += 1
            assert faults(body, "ServiceInput") == []
            assert faults(answer.body, "ServiceOutput") == []
        else:
            assert faults(answer.body, f"error.{answer.status.value}") == []

    check()
    assert answered >= 20


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"text": A},
        {"input_data": [A], "inputs": A},
        {"input_data": [A], "more": 1},
        {"input_data": A},
        {"input_data": {}},
        {"input_data": [3]},
        {"input_data": [A, None]},
        {"input_data": [A, {"text": A}]},
        {"input_data": {"text": A}},
        {"input_data": {"columns": [], "data": []}},
        {"input_data": [MASKED] * (SETTINGS.max_rows + 1)},
        {"inputs": 3},
        {"inputs": {"question": "", "context": ""}},
        {"prompt": A},
        {"prompt": MASKED, "parameters": {"top_k": 0}},
        {"prompt": MASKED, "parameters": {"top_k": SETTINGS.max_top_k + 1}},
        {"prompt": MASKED, "parameters": {"targets": []}},
        {"prompt": MASKED, "parameters": {"targets": ["a"] * (SETTINGS.max_targets + 1)}},
        {"X": [A], "parameters": {"function_to_apply": "tanh"}},
        {"inputs": Q, "parameters": {"align_to_words": 1}},
        {"inputs": Q, "parameters": {"max_answer_length": SETTINGS.max_answer_length + 1}},
    ],
    ids=lambda body: json.dumps(body)[:50],
)
def test_what_no_task_answers_does_not_fit(services: dict[str, Service], body: object) -> None:
    assert all(services[task].answer(json.dumps(body)).status in (400, 413) for task in TASKS)
    assert faults(body, "ServiceInput")


def test_limits_are_those_of_the_settings() -> None:
    schemas = openapi31(Settings(max_top_k=7, max_rows=8), "17")["components"]["schemas"]
    assert schemas["text-classification.parameters"]["properties"]["top_k"]["maximum"] == 7
    assert (
        schemas["question-answering.list"]["maxItems"]
        == schemas["fill-mask.kserve.answer"]["properties"]["predictions"]["maxItems"]
        == 8
    )


def test_every_error_that_is_raised_is_described() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "serving").rglob("*.py"))
    for kind in (BadRequest, TooLarge):
        raised = set(re.findall(rf'{kind.__name__}\(\s*"(\w+)"', sources))
        assert raised == set(kind.codes)
    errors: list[RequestError] = [BadRequest("not_text", "m", 3), TooLarge("too_many_rows", "m"), QueueFull(1.5)]
    for error in [*errors, DeadlineExceeded()]:
        assert faults(error.body(), f"error.{error.status.value}") == []
        assert faults(error_example(error.status.value), f"error.{error.status.value}") == []
        assert set(error.headers) <= set(RESPONSES[str(error.status.value)]["headers"])
    assert faults(INTERNAL_ERROR, "error.500") == []
    assert faults({"error": {"code": "of_no_status", "message": ""}}, "error.500") != []
    assert {kind.status.value for kind in RequestError.__subclasses__()} | {500, 200, 431} == set(map(int, RESPONSES))
