"""Classifiers and question answerers are asked and answered in every client's own way, by way of the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.answering.models import load_model, model_class
from serving.answering.service import Service
from serving.errors import RequestError
from serving.requests.schema import DIALECTS, Dialect, parse
from serving.settings import Settings
from serving.tasks import TASKS, Task

SETTINGS = Settings(precision="fp32")
FILL, CLASSIFY, ANSWER = TASKS
A, B, MASKED = "The cat sat.", "a red roof", "a [MASK]"
Q = {"question": "Who sat?", "context": "The cat sat on the mat."}
FRAME = {"columns": ["id", "context", "question"], "data": [[1, Q["context"], Q["question"]]] * 2}
COLUMNS = {"question": [Q["question"]] * 2, "context": [Q["context"]] * 2}

LABEL, LABELS, SPAN, SPANS = "label", ["label"] * 3, "span", ["span"] * 2


@pytest.fixture(scope="module")
def services(sharp_checkpoint: Path, sharp_classifier: Path, sharp_reader: Path) -> dict[str, Service]:
    folders = zip(TASKS, (sharp_checkpoint, sharp_classifier, sharp_reader), strict=True)
    return {task: Service(load_model(folder, SETTINGS), SETTINGS) for task, folder in folders}


def shape(answer: Any) -> Any:  # noqa: ANN401
    """Replace each object in an answer by what it is."""
    kinds = {("label", "score"): "label", ("answer", "end", "score", "start"): "span"}
    if isinstance(answer, list):
        return [shape(item) for item in answer]
    if "predictions" in answer:
        return {"predictions": shape(answer["predictions"])}
    return kinds[tuple(sorted(answer))]


@pytest.mark.parametrize(
    ("task", "body", "expected"),
    [
        (CLASSIFY, {"input_data": [A, B]}, [LABEL, LABEL]),
        (CLASSIFY, {"input_data": [A, B], "parameters": {"top_k": None}}, [LABELS, LABELS]),
        (CLASSIFY, {"input_data": [A], "parameters": {"top_k": 1}}, [[LABEL]]),
        (CLASSIFY, {"input_data": [A], "parameters": {"function_to_apply": "sigmoid"}}, [LABEL]),
        (CLASSIFY, {"input_data": {"columns": ["text", "text_pair"], "data": [[A, B], [B, None]]}}, [LABEL, LABEL]),
        (CLASSIFY, {"input_data": [{"sentence1": A, "sentence2": B}]}, [LABEL]),
        (CLASSIFY, {"inputs": {"input_string": [A, B]}}, [LABEL, LABEL]),
        (CLASSIFY, {"inputs": A}, [LABELS]),
        (CLASSIFY, {"inputs": A, "parameters": {"top_k": 2}}, [[LABEL] * 2]),
        (CLASSIFY, {"inputs": [A, B]}, [LABELS, LABELS]),
        (CLASSIFY, {"inputs": {"text": A, "text_pair": B}}, [LABELS]),
        (CLASSIFY, {"X": [A, B]}, [LABEL, LABEL]),
        (CLASSIFY, {"instances": [A]}, {"predictions": [LABEL]}),
        (CLASSIFY, {"dataframe_records": [{"text": A, "text_pair": B}]}, {"predictions": [LABEL]}),
        (CLASSIFY, {"dataframe_split": {"columns": ["x"], "data": [[A]]}}, {"predictions": [LABEL]}),
        (CLASSIFY, {"inputs": []}, []),
        (ANSWER, {"input_data": [Q, Q]}, [SPAN, SPAN]),
        (ANSWER, {"input_data": [Q], "parameters": {"top_k": 2, "max_answer_length": 3, "doc_stride": 4}}, [SPANS]),
        (ANSWER, {"input_data": [Q], "parameters": {"top_k": 1}}, [[SPAN]]),
        (ANSWER, {"input_data": FRAME}, [SPAN, SPAN]),
        (ANSWER, {"input_data": COLUMNS}, [SPAN, SPAN]),
        (ANSWER, {"inputs": COLUMNS}, [SPAN, SPAN]),
        (ANSWER, {"inputs": Q}, SPAN),
        (ANSWER, {"inputs": Q, "parameters": {"top_k": 1, "max_answer_len": 3}}, SPAN),
        (ANSWER, {"inputs": Q, "parameters": {"top_k": 2}}, SPANS),
        (ANSWER, {"inputs": [Q, Q]}, [SPAN, SPAN]),
        (ANSWER, {"instances": [Q]}, {"predictions": [SPAN]}),
        (ANSWER, {"dataframe_records": [Q]}, {"predictions": [SPAN]}),
        (ANSWER, {"dataframe_split": FRAME}, {"predictions": [SPAN, SPAN]}),
        (ANSWER, {"input_data": []}, []),
    ],
)
def test_each_dialect_is_answered_in_its_own_shape(
    services: dict[str, Service], task: str, body: dict[str, Any], expected: object
) -> None:
    answer = services[task].answer(json.dumps(body))
    assert answer.status == 200, answer.body
    assert shape(answer.body) == expected


@pytest.mark.parametrize(
    ("dialect", "task"),
    [(dialect, task) for dialect in DIALECTS for task in TASKS if dialect.serves(model_class(task).input.fields)],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_example_is_answered(services: dict[str, Service], dialect: Dialect, task: Task) -> None:
    assert services[task].answer(json.dumps(dialect.example(model_class(task).input))).status == 200


@pytest.mark.parametrize(
    ("task", "body", "code", "message"),
    [
        (
            ANSWER,
            {"input_data": [MASKED]},
            "wrong_task",
            "[0] to be an object with question and context, as this model's",
        ),
        (ANSWER, {"inputs": MASKED}, "wrong_task", "this model's task is question-answering: send, for example"),
        (ANSWER, {"prompt": MASKED}, "wrong_task", "this model's task is question-answering"),
        (ANSWER, {"dataframe_records": [{"text": A}]}, "wrong_task", "expected dataframe_records to have question and"),
        (
            CLASSIFY,
            {"input_data": [Q]},
            "wrong_task",
            "has a question and a context, but this model's task is",
        ),
        (CLASSIFY, {"prompt": MASKED}, "wrong_task", "this model's task is text-classification"),
        (FILL, {"X": [A]}, "wrong_task", "this model's task is fill-mask"),
        (FILL, {"inputs": Q}, "wrong_task", "but this model's task is fill-mask"),
        (ANSWER, {"text": A}, "unknown_request", "expected one of input_data, inputs, dataframe_split"),
        (ANSWER, {"input_data": [{"question": A}]}, "invalid_rows", "to have question and context, as this model's"),
        (ANSWER, {"input_data": [7]}, "invalid_rows", "[0] to be an object with question and context"),
        (ANSWER, {"input_data": A}, "invalid_rows", "a list of objects with question and context or an object with"),
        (ANSWER, {"input_data": {"question": [A], "context": [A, B]}}, "invalid_rows", "as long, found 1 and 2 rows"),
        (ANSWER, {"input_data": [Q, {"question": A}]}, "not_text", "input_data[1].context to be a text, found null"),
        (ANSWER, {"inputs": Q | {"question": 3}}, "not_text", "inputs.question to be a text, found a number"),
        (
            ANSWER,
            {"input_data": [Q, Q | {"context": " "}]},
            "empty_context",
            "input_data[1] has no word in its context",
        ),
        (ANSWER, {"inputs": Q | {"question": ""}}, "empty_question", "inputs has no word in its question"),
        (CLASSIFY, {"input_data": [{"text": A, "text_pair": 3}]}, "not_text", "input_data[0].text_pair to be a text"),
        (CLASSIFY, {"X": [A, None]}, "not_text", "X[1] to be a text, found null"),
        (CLASSIFY, {"X": A}, "invalid_rows", "expected X to be a list of texts, found a text"),
        (
            CLASSIFY,
            {"X": [A], "parameters": {"targets": ["x"]}},
            "unknown_parameter",
            "top_k or function_to_apply, found",
        ),
        (
            ANSWER,
            {"inputs": Q, "parameters": {"max_question_len": 3}},
            "unknown_parameter",
            "task is question-answering",
        ),
        (CLASSIFY, {"X": [A], "parameters": {"top_k": 0}}, "invalid_parameter", "top_k from 1 to 1000, found 0"),
        (
            CLASSIFY,
            {"X": [A], "params": {"function_to_apply": "tanh"}},
            "invalid_parameter",
            "softmax, sigmoid or none",
        ),
        (
            ANSWER,
            {"inputs": Q, "params": {"doc_stride": -1}},
            "invalid_parameter",
            "doc_stride from 0 to 65536, found -1",
        ),
        (ANSWER, {"inputs": Q, "params": {"max_answer_length": 513}}, "invalid_parameter", "from 1 to 512, found 513"),
        (ANSWER, {"inputs": Q, "params": {"align_to_words": 1}}, "invalid_parameter", "true or false, found a number"),
        (
            ANSWER,
            {"inputs": Q, "params": {"max_answer_length": 5, "max_answer_len": 5}},
            "invalid_parameter",
            "two names",
        ),
    ],
)
def test_a_body_that_cannot_be_answered_says_what_was_expected_and_found(
    services: dict[str, Service], task: str, body: dict[str, Any], code: str, message: str
) -> None:
    answer = services[task].answer(json.dumps(body))
    assert (answer.body["error"]["code"], answer.status) == (code, 400), answer.body
    assert message in answer.body["error"]["message"]


def test_the_second_of_a_pair_is_read_though_the_first_record_has_none(services: dict[str, Service]) -> None:
    rows = [{"text": A}, {"text": A, "text_pair": B}]
    answers = [services[CLASSIFY].answer(json.dumps({"input_data": order})).body for order in (rows, rows[::-1])]
    assert answers[0] == answers[1][::-1]
    assert answers[0][0] != answers[0][1]


def test_null_parameters_are_as_if_they_were_not_there(services: dict[str, Service]) -> None:
    for task, row in ((FILL, MASKED), (ANSWER, Q)):
        plain, nulls = (
            services[task].answer(json.dumps({"input_data": [row], "parameters": parameters})).body
            for parameters in ({}, dict.fromkeys(model_class(task).input.parameters))
        )
        assert plain == nulls


def test_texts_longer_than_the_model_are_counted_in_a_header(services: dict[str, Service]) -> None:
    long = "The cat sat on the mat. " * 9
    classified = services[CLASSIFY].answer(json.dumps({"input_data": [A, long, long]}))
    answered = services[ANSWER].answer(json.dumps({"input_data": [Q, {"question": "Who sat?", "context": long}]}))
    assert classified.headers["x-truncated-rows"] == "2"
    assert answered.headers["x-windowed-rows"] == "1"


ROW = st.text(max_size=60)
BODIES = {
    FILL: st.fixed_dictionaries({"input_data": st.lists(st.builds("{}[MASK]{}".format, ROW, ROW), max_size=3)}),
    CLASSIFY: st.fixed_dictionaries(
        {"inputs": st.fixed_dictionaries({"text": ROW}, optional={"text_pair": ROW})}
        | {"parameters": st.fixed_dictionaries({}, optional={"top_k": st.none() | st.integers(-1, 9)})}
    ),
    ANSWER: st.fixed_dictionaries(
        {"instances": st.lists(st.fixed_dictionaries({"question": ROW, "context": ROW}), max_size=3)}
        | {
            "parameters": st.fixed_dictionaries(
                {},
                optional={
                    "top_k": st.integers(0, 40),
                    "max_answer_length": st.integers(0, 40),
                    "doc_stride": st.integers(0, 40),
                    "max_seq_len": st.integers(1, 40),
                    "align_to_words": st.booleans(),
                    "handle_impossible_answer": st.booleans(),
                },
            )
        }
    ),
}


@given(data=st.data(), task=st.sampled_from(list(TASKS)))
def test_any_texts_with_any_parameters_get_an_answer_or_a_4xx(
    services: dict[str, Service], data: st.DataObject, task: Task
) -> None:
    answer = services[task].answer(json.dumps(data.draw(BODIES[task])))
    json.dumps(answer.body, allow_nan=False)
    assert answer.status < 500


def test_no_message_repeats_a_text_of_the_users() -> None:
    secret = "my secret"
    for body in ({"inputs": secret}, {"input_data": [secret]}, {"instances": [{"question": secret, "context": 3}]}):
        with pytest.raises(RequestError) as caught:
            parse(json.dumps(body), SETTINGS, model_class(ANSWER).input)
        assert secret not in str(caught.value)
