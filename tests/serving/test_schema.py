"""Every client's request is understood and answered in its own shape; anything else is a RequestError."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.answering.fill_mask import Candidate, Filled, FillMask, candidates_wanted, filled_answer
from serving.answering.models import model_class
from serving.errors import RequestError, TooLarge
from serving.requests.schema import DIALECTS, Dialect, parse
from serving.settings import Settings
from serving.tasks import TASKS, Task
from tests.serving.json_requests import BODIES, JSON, A, B

SETTINGS = Settings()
CANDIDATE = Candidate("word", 7, 0.5, "a [MASK]", (2, 8))
OBJECT = {"token_str": "word", "token": 7, "score": 0.5, "sequence": "a word"}


def filled(texts: list[str]) -> Filled:
    """Answer as the model would, with one candidate a mask."""
    return Filled([[[CANDIDATE]] * text.count("[MASK]") for text in texts])


def answer(body: dict[str, Any]) -> object:
    request = parse(json.dumps(body), SETTINGS, FillMask.input)
    return filled_answer(request, filled(request.texts), SETTINGS)


PLAIN = ["word", ["word", "word"]]
FULL = [[OBJECT], [[OBJECT], [OBJECT]]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"input_data": [A, B]}, PLAIN),
        ({"input_data": [A, B], "parameters": {"top_k": 3}}, FULL),
        ({"input_data": [A, B], "params": {"targets": ["x"]}}, FULL),
        ({"input_data": {"columns": ["input_string"], "index": [0, 1], "data": [[A], [B]]}}, PLAIN),
        ({"input_data": {"columns": ["input_string"], "index": [0, 1], "data": [A, B]}}, PLAIN),
        ({"input_data": {"columns": ["id", "text"], "data": [[1, A], [2, B]]}}, PLAIN),
        ({"input_data": {"input_string": [A, B]}}, PLAIN),
        ({"input_data": {"input_string": [A, B], "parameters": {"top_k": 2}}}, FULL),
        ({"input_data": [{"text": A}, {"text": B}]}, PLAIN),
        ({"inputs": {"input_string": [A, B]}}, PLAIN),
        ({"inputs": [A, B]}, FULL),
        ({"inputs": A}, [OBJECT]),
        ({"inputs": B, "parameters": {"top_k": 1}, "options": {"wait_for_model": True}}, [[OBJECT], [OBJECT]]),
        ({"dataframe_split": {"columns": ["any"], "data": [[A], [B]]}}, {"predictions": PLAIN}),
        ({"dataframe_split": {"columns": ["any"], "data": [[A]]}, "params": {"top_k": 1}}, {"predictions": [[OBJECT]]}),
        ({"dataframe_records": [{"input_string": A}, {"input_string": B}]}, {"predictions": PLAIN}),
        ({"instances": [A, B], "signature_name": "serving_default"}, {"predictions": PLAIN}),
        ({"prompt": A}, [OBJECT]),
        ({"input_data": []}, []),
        ({"inputs": []}, []),
        ({"instances": []}, {"predictions": []}),
    ],
)
def test_each_dialect_is_answered_in_its_own_shape(body: dict[str, Any], expected: object) -> None:
    assert answer(body) == expected


EXAMPLES = [(dialect, task) for dialect in DIALECTS for task in TASKS if dialect.serves(model_class(task).input.fields)]


@pytest.mark.parametrize(("dialect", "task"), EXAMPLES, ids=lambda value: getattr(value, "name", value))
def test_the_example_of_each_dialect_is_one_of_it(dialect: Dialect, task: Task) -> None:
    assert (
        parse(json.dumps(dialect.example(model_class(task).input)), SETTINGS, model_class(task).input).dialect
        is dialect
    )


@pytest.mark.parametrize(
    ("body", "top_k"),
    [
        ({"input_data": [A]}, 1),
        ({"inputs": A}, 5),
        ({"prompt": A}, 5),
        ({"inputs": A, "parameters": {"top_k": 2}}, 2),
        ({"input_data": [A], "parameters": {"targets": ["x", "y"]}}, 2),
        ({"inputs": A, "parameters": {"targets": "x"}}, 1),
        ({"input_data": [A], "parameters": {"targets": ["x", "y"], "top_k": 1}}, 1),
    ],
)
def test_candidates_a_mask_are_what_the_client_asks_or_expects(body: dict[str, Any], top_k: int) -> None:
    assert candidates_wanted(parse(json.dumps(body), SETTINGS, FillMask.input)) == top_k


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("", "invalid_json", "the body is empty"),
        ("{bad", "invalid_json", "not JSON: Expecting property name"),
        ("[" * 100_000, "invalid_json", "nested too deep"),
        ("[1]", "invalid_json", "expected a JSON object, found a list"),
        ({}, "unknown_request", "found no keys"),
        ({"text": A}, "unknown_request", "expected one of input_data, inputs"),
        ({"input_data": [A], "inputs": A}, "ambiguous_request", "input_data, inputs"),
        ({"input_data": [A], "paramters": {}}, "unknown_key", "found also paramters"),
        (
            {"input_data": A},
            "invalid_rows",
            "to be a list of texts or an object with the texts in a column, found a text",
        ),
        ({"input_data": None}, "invalid_rows", "found null"),
        ({"inputs": 3}, "invalid_rows", "found a number"),
        ({"dataframe_split": [A]}, "invalid_rows", "to be an object with the texts in a column, found a list"),
        ({"input_data": {}}, "invalid_rows", "expected input_data to have one column"),
        ({"input_data": {"a": [A], "b": [A]}}, "invalid_rows", "called input_string"),
        ({"input_data": {"columns": [[1], {}], "data": []}}, "invalid_rows", "one column, or one called input_string"),
        ({"input_data": {"text": A}}, "invalid_rows", "column to be a list of texts, found a text"),
        ({"input_data": {"columns": ["text"], "rows": []}}, "invalid_rows", "columns and data, both lists"),
        (
            {"input_data": {"columns": ["a", "text"], "data": [["x", A], [A]]}},
            "invalid_rows",
            "data[1] to have 2 values",
        ),
        ({"input_data": [1]}, "not_text", "input_data[0] to be a text, found a number"),
        ({"input_data": [A, None]}, "not_text", "input_data[1] to be a text, found null"),
        ({"input_data": [[A]]}, "not_text", "found a list"),
        ({"inputs": "\ud800"}, "not_text", "half of a surrogate pair"),
        ({"input_data": [A], "parameters": []}, "invalid_parameter", "to be an object, found a list"),
        ({"input_data": [A], "parameters": {"k": 1}}, "unknown_parameter", "expected top_k or targets, found k"),
        ({"input_data": [A], "parameters": {"top_k": 0}}, "invalid_parameter", "top_k from 1 to 1000, found 0"),
        ({"input_data": [A], "parameters": {"top_k": 1001}}, "invalid_parameter", "found 1001"),
        ({"input_data": [A], "parameters": {"top_k": True}}, "invalid_parameter", "found true or false"),
        ({"input_data": [A], "parameters": {"top_k": 1.5}}, "invalid_parameter", "found a number"),
        ({"input_data": [A], "parameters": {"targets": []}}, "invalid_parameter", "1 to 100 words, found 0 of them"),
        ({"input_data": [A], "parameters": {"targets": ["x"] * 101}}, "invalid_parameter", "found 101 of them"),
        ({"input_data": [A], "parameters": {"targets": [" "]}}, "invalid_parameter", "to be a word, found a text"),
        ({"input_data": [A], "parameters": {"targets": [1]}}, "invalid_parameter", "to be a word, found a number"),
        ({"input_data": [A], "parameters": {"top_k": 10**4000}}, "invalid_parameter", "to 1000, found a number"),
        (
            {"input_data": [A], "parameters": {"targets": ["x" * 5000]}},
            "invalid_parameter",
            "found a word of 5000 letters",
        ),
        ({"input_data": [A], "parameters": {}, "params": {}}, "invalid_parameter", "found them in several"),
    ],
)
def test_a_body_that_cannot_be_answered_says_what_was_expected_and_found(
    body: dict[str, Any] | str, code: str, message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body if isinstance(body, str) else json.dumps(body), SETTINGS, FillMask.input)
    assert (caught.value.code, caught.value.status) == (code, 400)
    assert message in str(caught.value)


def test_limits_are_answered_413() -> None:
    with pytest.raises(TooLarge, match="has 3 rows, expected at most 2") as caught:
        parse(json.dumps({"input_data": [A] * 3}), Settings(max_rows=2), FillMask.input)
    assert caught.value.status == 413
    with pytest.raises(
        TooLarge, match=r"input_data\[1\] has 12 characters, expected at most 8; send it in parts"
    ) as caught:
        parse(json.dumps({"input_data": [A, A + " and"]}), Settings(max_text_characters=8), FillMask.input)
    assert (caught.value.status, caught.value.code) == (413, "too_much_work")
    with pytest.raises(TooLarge, match="the body has 14 bytes, expected at most 13"):
        parse('"ééééé"  ', Settings(max_body_bytes=13), FillMask.input)


def test_an_answer_that_would_be_too_long_is_not_made() -> None:
    texts = ["x" * 1000 + "[MASK]"] * 10
    settings = Settings(max_answer_bytes=10_000)
    plain, full = (
        parse(json.dumps({"input_data": texts} | extra), settings, FillMask.input)
        for extra in ({}, {"params": {"top_k": 1}})
    )
    assert filled_answer(plain, filled(texts), settings) == ["word"] * 10
    with pytest.raises(TooLarge, match="the answer would have about 10700 bytes, expected at most 10000"):
        filled_answer(full, filled(texts), settings)


def test_no_message_repeats_a_text_of_the_users() -> None:
    secret = "my secret"
    for body in (
        {"input_data": secret},
        {"input_data": [A], "parameters": {"top_k": secret}},
        {"inputs": {"a": secret}},
    ):
        with pytest.raises(RequestError) as caught:
            parse(json.dumps(body), SETTINGS, FillMask.input)
        assert secret not in str(caught.value)


@given(body=JSON | BODIES, task=st.sampled_from(list(TASKS)))
def test_any_json_gives_an_answer_or_a_request_error(body: object, task: Task) -> None:
    try:
        request = parse(json.dumps(body), SETTINGS, model_class(task).input)
    except RequestError as exc:
        assert 400 <= exc.status < 500
        json.dumps(exc.body())
    else:
        assert all(isinstance(text, str) for text in request.texts)
        if task == "fill-mask":
            json.dumps(filled_answer(request, filled(request.texts), SETTINGS), allow_nan=False)
        if task == "question-answering":
            assert all(isinstance(context, str) for _, context in request.rows)


@given(body=st.text(), task=st.sampled_from(list(TASKS)))
def test_any_text_gives_an_answer_or_a_request_error(body: str, task: Task) -> None:
    try:
        parse(body, SETTINGS, model_class(task).input)
    except RequestError as exc:
        assert str(exc)
