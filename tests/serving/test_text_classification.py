"""Texts to labels, as transformers' pipeline gives them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast, pipeline

from serving.answering.fill_mask import FillMask
from serving.answering.text_classification import Label, Pair, TextClassification, score
from serving.errors import ModelFolderError, TooLarge
from serving.settings import Settings

TEXTS = [
    "The cat sat on the warm mat.",
    "",
    "moon number 1234",
    "The bird looked at the dog and the mouse. " * 9,
    "garden \U0001f33b roof",
]
PAIRS = [
    Pair("The cat sat.", "The dog sat on the cold roof."),
    Pair("The red chair " * 9, "a cat"),
    Pair("a cat", "The red chair " * 9),
    Pair("The mouse and the cat sat. " * 4, "The bird sat on the garden chair. " * 4),
    Pair("", ""),
]


@pytest.fixture(scope="module")
def model(sharp_classifier: Path) -> TextClassification:
    return TextClassification.load(sharp_classifier, "fp32")


@pytest.fixture(scope="module")
def theirs(sharp_classifier: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(sharp_classifier)


def assert_equal_answers(ours: list[list[Label]], theirs: list[list[dict[str, object]]]) -> None:
    assert len(ours) == len(theirs)
    for found, expected in zip(ours, theirs, strict=True):
        assert [label.label for label in found] == [label["label"] for label in expected]
        np.testing.assert_allclose([label.score for label in found], [label["score"] for label in expected], atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("bert", {"id2label": {0: "bad", 1: "so-so", 2: "good"}}),
        ("bert", {"lowercase": False}),
        ("bert", {"num_labels": 4, "problem_type": "multi_label_classification"}),
        ("bert", {"num_labels": 1}),
        ("bert", {"num_labels": 1, "problem_type": "regression"}),
        ("bert", {"num_labels": 3, "problem_type": "regression"}),
        ("distilbert", {"num_labels": 12}),
        ("distilbert", {"num_labels": 2, "problem_type": "single_label_classification"}),
    ],
    ids=["softmax", "cased", "sigmoid", "one", "regression", "regression-3", "distilbert", "distilbert-2"],
)
def test_answers_equal_those_of_transformers_pipeline(
    make_checkpoint: Callable[..., Path], architecture: str, config: dict[str, object]
) -> None:
    task = "text-classification"
    folder = make_checkpoint(architecture=architecture, task=task, initializer_range=0.5, **config)
    ours, theirs = TextClassification.load(folder, "fp32"), pipeline(task, str(folder))
    assert_equal_answers(ours.classify(TEXTS, None), theirs(TEXTS, top_k=None, truncation=True))
    assert_equal_answers(ours.classify(TEXTS, 2), theirs(TEXTS, top_k=2, truncation=True))
    assert_equal_answers(ours.classify(TEXTS), [[row] for row in theirs(TEXTS, truncation=True)])
    for function in ("softmax", "sigmoid", "none"):
        expected = theirs(TEXTS, top_k=None, truncation=True, function_to_apply=function)
        assert_equal_answers(ours.classify(TEXTS, None, function), expected)
    if architecture == "bert":
        expected = [theirs({**pair._asdict(), "truncation": True}, top_k=None) for pair in PAIRS]
        assert_equal_answers(ours.classify(PAIRS, None), expected)


def test_texts_and_pairs_share_a_request_and_keep_their_order(model: TextClassification) -> None:
    mixed = [PAIRS[0], TEXTS[0], PAIRS[2], TEXTS[3], TEXTS[1]]
    together = model.classify(mixed, None)
    for row, labels in zip(mixed, together, strict=True):
        (alone,) = model.classify([row], None)
        assert [label.label for label in labels] == [label.label for label in alone]
        np.testing.assert_allclose([x.score for x in labels], [x.score for x in alone], atol=1e-5)


def test_a_text_that_was_cut_is_counted(model: TextClassification) -> None:
    assert model.classify([*TEXTS, *PAIRS]).truncated == 4
    assert model.classify(TEXTS[:2]).truncated == 0


@given(first=st.integers(0, 60), second=st.integers(0, 60))
def test_pairs_are_cut_as_transformers_cuts_them(
    model: TextClassification, theirs: PreTrainedTokenizerFast, first: int, second: int
) -> None:
    texts = "cat " * first, "dog " * second
    passage, cut = model.tokenizer.fitted(*(tokens.ids for tokens in model.tokenizer.encode(texts)))
    expected = theirs(*texts, truncation=True, max_length=32)
    assert passage.ids == expected["input_ids"]
    assert (passage.segments or [0] * len(passage.ids)) == expected["token_type_ids"]
    assert cut == (len(theirs(*texts)["input_ids"]) > 32)


def test_scores_of_large_logits_are_finite() -> None:
    with np.errstate(all="raise"):
        assert score(np.array([-500, 500], np.float32), "sigmoid").tolist() == [0, 1]
        assert score(np.array([0, 80], np.float32), "softmax")[1] == 1


def test_int8_finds_the_label_of_fp32_where_fp32_is_clear(sharp_classifier: Path, lines: list[str]) -> None:
    fp32, int8 = (TextClassification.load(sharp_classifier, name).classify(lines, None) for name in ("fp32", "int8"))
    clear = [(a[0].label, b[0].label) for a, b in zip(fp32, int8, strict=True) if a[0].score - a[1].score > 0.2]
    assert len(clear) > 100
    assert np.mean([a == b for a, b in clear]) >= 0.97


def test_over_a_limit_is_refused(sharp_classifier: Path) -> None:
    few = TextClassification.load(sharp_classifier, "fp32", Settings(max_passages=2))
    with pytest.raises(TooLarge, match="grows to 3 model inputs"):
        few.classify(["a"] * 3)
    short = TextClassification.load(sharp_classifier, "fp32", Settings(max_answer_bytes=300))
    assert len(short.classify(["a"] * 3)) == 3
    with pytest.raises(TooLarge, match="the answer would have about 396 bytes"):
        short.classify(["a"] * 3, None)


def test_a_model_of_another_task_is_refused(sharp_checkpoint: Path, sharp_classifier: Path) -> None:
    with pytest.raises(ModelFolderError, match="expected a text classifier, found a masked-language model"):
        TextClassification.load(sharp_checkpoint)
    with pytest.raises(ModelFolderError, match="expected a masked-language model, found a text classifier"):
        FillMask.load(sharp_classifier)


def test_nothing_asked_is_nothing_answered(model: TextClassification) -> None:
    assert model.classify([]) == []
