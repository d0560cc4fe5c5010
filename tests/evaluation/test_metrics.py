"""Each task's figures are those of a plain loop or of scikit-learn, and slices part the rows."""

from __future__ import annotations

import json
import math
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.config import EvaluationConfig
from evaluation.errors import RowError
from evaluation.metrics import masked_words, question_answering, slices, squad, text_classification
from evaluation.metrics.figures import Figures
from evaluation.metrics.fill_mask import FillMask
from evaluation.metrics.question_answering import QuestionAnswering
from evaluation.metrics.rows import Examples, Row
from evaluation.metrics.text_classification import TextClassification

FEW = EvaluationConfig(bootstrap_samples=100)
ALL_METRICS = [
    *masked_words.METRICS,
    *masked_words.PSEUDO_METRICS,
    *text_classification.METRICS,
    *question_answering.METRICS,
]


def values(found: Figures) -> dict[str, float]:
    return {metric["name"]: metric["value"] for metric in found.metrics}


def left_out(found: Figures) -> dict[str, str]:
    return {left_out["name"]: left_out["reason"] for left_out in found.left_out}


def rows_by_slice(found: Figures) -> dict[tuple[str, str], int]:
    """Return how many rows all bands of a kind have together, by kind and metric."""
    sums: dict[tuple[str, str], int] = {}
    for part in found.slices:
        kind = part["by"], part["metric"]
        sums[kind] = sums.get(kind, 0) + part["rows"]
    return sums


def test_every_metric_says_what_it_is_and_where_it_is_from() -> None:
    for metric in ALL_METRICS:
        assert re.fullmatch(r"[a-z0-9_@]+", metric.name)
        assert re.fullmatch(r"[A-Z].{30,}\.", metric.definition), metric.name
        assert "Source" not in metric.definition
        assert re.fullmatch(r".{5,}\.", metric.source), metric.name


# Fill-mask

probability = st.floats(0, 1, allow_subnormal=False)
WRONG_MASK = {
    "label_probability": 0.2,
    "label_rank": 2,
    "label_pieces": 1,
    "best_probability": 0.5,
    "found": False,
    "exact": False,
    "position": 0,
    "words": 3,
}
EVEN = {"label_probability": 0.5, "best_probability": 0.5}
masks = st.fixed_dictionaries(
    {
        "label": st.sampled_from(["the", "capital", "violin", "Zymurgy", "."]),
        "label_probability": probability,
        "rank": st.integers(1, 9),
        "label_pieces": st.sampled_from([1, 1, 1, 3]),
        "best_probability": probability,
        "exact": st.booleans(),
        "place": st.integers(0, 3),
        "words": st.integers(4, 40),
    }
)


def fill_mask_row(line: int, masks: list[dict[str, Any]]) -> Row:
    """Make a row of the files: a word of one piece that ranks first is found, and perhaps as it is spelled."""
    truth, predicted, tops, told = [], [], [], []
    for mask in masks:
        label, whole = mask["label"], mask["label_pieces"] == 1
        found = whole and mask["rank"] == 1
        best = [f"other{n}" for n in range(5)]
        if whole and mask["rank"] <= 5:
            best[mask["rank"] - 1] = label if mask["exact"] else label.swapcase() + "~"
        truth.append(label)
        predicted.append(best[0])
        tops.append([[word, 0.1] for word in best])
        told.append(
            {
                "label_probability": mask["label_probability"],
                "label_rank": mask["rank"] if whole else None,
                "label_pieces": mask["label_pieces"],
                "best_probability": mask["best_probability"],
                "found": found,
                "exact": found and mask["exact"],
                "position": mask["place"],
                "words": mask["words"],
            }
        )
    one = len(masks) == 1
    prediction = {"line": line, "input_string": f"text {line}", "top": tops[0] if one else tops}
    probabilities = {"line": line, "masks": told, "pll": None, "pll_l2r": None, "pll_tokens": None, "pll_words": None}
    return Row(line, truth[0] if one else truth, predicted[0] if one else predicted, prediction, probabilities)


def fill_mask(rows: list[list[dict[str, Any]]], config: EvaluationConfig = FEW) -> Figures:
    task = FillMask(config)
    for line, row in enumerate(rows, 1):
        task.add(fill_mask_row(line, row))
    return task.figures()


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@settings(max_examples=40)
@given(st.lists(st.lists(masks, min_size=1, max_size=3), min_size=1, max_size=20))
def test_fill_mask_figures_are_those_of_a_plain_loop(rows: list[list[dict[str, Any]]]) -> None:
    found = fill_mask(rows)
    flat = [mask for row in rows for mask in row]
    whole = [mask for mask in flat if mask["label_pieces"] == 1]

    def nll(mask: dict[str, Any]) -> float:
        return -math.log(max(mask["label_probability"], 1.401298464324817e-45))

    def rank(mask: dict[str, Any]) -> float:
        return mask["rank"] if mask["label_pieces"] == 1 else math.inf

    expected = {
        "accuracy@1": mean([rank(mask) == 1 for mask in flat]),
        "accuracy@5": mean([rank(mask) <= 5 for mask in flat]),
        "exact_accuracy@1": mean([rank(mask) == 1 and mask["exact"] for mask in flat]),
        "exact_accuracy@5": mean([rank(mask) <= 5 and mask["exact"] for mask in flat]),
        "mean_reciprocal_rank": mean([1 / rank(mask) for mask in flat]),
        "mean_nll": mean([nll(mask) for mask in flat]),
        "perplexity": math.exp(mean([nll(mask) for mask in flat])),
    }
    if whole:
        expected["one_piece_accuracy@1"] = mean([rank(mask) == 1 for mask in whole])
        expected["one_piece_accuracy@5"] = mean([rank(mask) <= 5 for mask in whole])
        expected["one_piece_mean_reciprocal_rank"] = mean([1 / rank(mask) for mask in whole])
        expected["one_piece_mean_nll"] = mean([nll(mask) for mask in whole])
    if len(whole) < len(flat):
        expected["several_pieces_mean_nll"] = mean([nll(mask) for mask in flat if mask["label_pieces"] > 1])
    figures = values(found)
    del figures["expected_calibration_error"]  # has a test of its own
    assert figures == pytest.approx(expected)
    assert set(left_out(found)) == {metric.name for metric in masked_words.METRICS + masked_words.PSEUDO_METRICS} - set(
        values(found)
    )
    assert found.data == {
        "masks": len(flat),
        "one_piece_masks": len(whole),
        "several_pieces_masks": len(flat) - len(whole),
    }


@settings(max_examples=40)
@given(st.lists(st.lists(masks, min_size=1, max_size=3), min_size=1, max_size=20))
def test_fill_mask_slices_part_the_masks(rows: list[list[dict[str, Any]]]) -> None:
    found = fill_mask(rows)
    kinds = ("word frequency", "sentence length in words", "position of the mask")
    assert rows_by_slice(found) == {(kind, "accuracy@1"): found.data["masks"] for kind in kinds}
    accuracy = values(found)["accuracy@1"]
    for kind in kinds:
        parts = [part for part in found.slices if part["by"] == kind]
        assert sum(part["value"] * part["rows"] for part in parts) / found.data["masks"] == pytest.approx(accuracy)
    assert sum(found.plots["histogram"]["counts"]) == found.data["masks"]
    assert sum(part["rows"] for part in found.plots["reliability"]["bins"]) == found.data["masks"]


def test_a_row_is_in_the_slice_it_belongs_to() -> None:
    mask = {"label_probability": 0.5, "rank": 1, "label_pieces": 1, "best_probability": 0.5, "exact": True}
    found = fill_mask(
        [
            [{**mask, "label": "the", "place": 0, "words": 4}],
            [{**mask, "label": "zymurgy", "place": 3, "words": 9, "rank": 2}],
            [{**mask, "label": "!", "place": 2, "words": 31, "rank": 2}],
        ]
    )
    assert [(part["name"], part["value"], part["rows"]) for part in found.slices] == [
        ("very common (Zipf 6 and more)", 1, 1),
        ("rare (below Zipf 4)", 0, 1),
        ("no word (signs only)", 0, 1),
        ("up to 10", 0.5, 2),
        ("more than 30", 0, 1),
        ("first third", 0.5, 2),
        ("middle third", 0, 1),
    ]


@pytest.mark.parametrize(
    ("word", "band"), [("the", 0), ("The", 0), ("capital", 1), ("garden", 2), ("violin", 3), ("qwxzv", 3), ("…", 4)]
)
def test_words_are_banded_by_how_often_they_are_used(word: str, band: int) -> None:
    assert slices.frequency_band(word) == band


@given(st.integers(0, 500), st.integers(0, 500))
def test_bands_follow_the_length_and_the_place(a: int, b: int) -> None:
    for most in (slices.SENTENCE_WORDS, slices.TEXT_WORDS, slices.CONTEXT_WORDS, slices.ANSWER_WORDS):
        assert 0 <= slices.length_band(min(a, b), most) <= slices.length_band(max(a, b), most) <= len(most)
    if a < b:
        assert slices.position_band(a, b) == math.floor(3 * (a / b)) or (3 * a) % b == 0
    assert slices.SENTENCE_LENGTH.names == ["up to 10", "11 to 20", "21 to 30", "more than 30"]
    assert slices.ANSWER_LENGTH.names == ["up to 1", "2 to 3", "4 to 6", "more than 6"]


def test_a_likelihood_that_no_float32_holds_counts_in_full() -> None:
    mask = {"label": "zymurgy", "label_probability": 0.0, "rank": 1, "label_pieces": 12, "best_probability": 0.5}
    row = fill_mask_row(1, [{**mask, "exact": True, "place": 0, "words": 4}])
    (told,) = row.probabilities["masks"]
    for log, expected in ((-150.0, 150), (None, 103.28)):  # without it, what the probability says
        task = FillMask(FEW)
        task.add(row._replace(probabilities={"masks": [{**told, "label_log_probability": log}]}))
        assert values(task.figures())["several_pieces_mean_nll"] == pytest.approx(expected, abs=0.005)


def test_pseudo_perplexity_is_of_the_texts_that_were_scored() -> None:
    task = FillMask(FEW)
    mask = {"label": "cat", "label_probability": 0.5, "rank": 1, "label_pieces": 1, "best_probability": 0.5}
    row = fill_mask_row(1, [{**mask, "exact": True, "place": 0, "words": 4}])
    for pll, l2r, tokens in ((-10.0, -12.0, 4), (-2.0, -2.5, 3), (None, None, None)):
        told = {**row.probabilities, "pll": pll, "pll_l2r": l2r, "pll_tokens": tokens}
        task.add(row._replace(probabilities=told))
    found = {metric["name"]: metric for metric in task.figures().metrics}
    assert found["pseudo_perplexity"]["value"] == pytest.approx(math.exp(12 / 7))
    assert found["pseudo_perplexity_l2r"]["value"] == pytest.approx(math.exp(14.5 / 7))
    assert found["pseudo_perplexity"]["rows"] == 2
    # Of two texts, drawn are both, or one of them twice.
    ends = found["pseudo_perplexity"]["low"], found["pseudo_perplexity"]["high"]
    assert ends == pytest.approx((math.exp(2 / 3), math.exp(10 / 4)))


def test_a_perplexity_that_no_number_can_hold_is_left_out() -> None:
    task = FillMask(FEW)
    row = fill_mask_row(
        1, [{"label": "a", "rank": 1, "label_pieces": 1, "exact": True, "place": 0, "words": 4, **EVEN}]
    )
    task.add(row._replace(probabilities={**row.probabilities, "pll": -1e9, "pll_l2r": -1.0, "pll_tokens": 1}))
    found = task.figures()
    assert left_out(found)["pseudo_perplexity"] == "is larger than a number can be"
    assert values(found)["pseudo_perplexity_l2r"] == pytest.approx(math.e)


def test_a_row_leaves_nothing_behind_but_numbers() -> None:
    task = FillMask(FEW)
    mask = {"label": "the", "rank": 2, "label_pieces": 1, "exact": True, "place": 0, "words": 4, **EVEN}

    def add(first: int, end: int) -> None:
        for line in range(first, end):
            task.add(fill_mask_row(line, [mask]))

    add(0, 1000)  # the word list, and whatever else is read once
    tracemalloc.start()
    add(1000, 6000)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / 5000 < 100  # bytes; its texts alone take more


def test_without_probabilities_what_is_left_is_the_spelling() -> None:
    task = FillMask(FEW)
    for label, word in (("cat", "cat"), ("Cat", "cat")):
        task.add(Row(1, label, word, {}, None))
    found = task.figures()
    assert values(found) == {"exact_accuracy@1": 0.5}
    assert found.slices == []
    assert left_out(found)["accuracy@1"] == "takes prediction_probabilities, which were not given"
    assert left_out(found)["exact_accuracy@5"].startswith("takes the five best words of each mask in 'top'")
    assert set(left_out(found)) > {"slices", "plots", "examples", "pseudo_perplexity", "perplexity"}


def test_examples_are_rare_words_found_and_wrong_words_held_for_sure() -> None:
    mask = {"label_pieces": 1, "exact": True, "place": 0, "words": 4, "label_probability": 0.5, "best_probability": 0.5}
    found = fill_mask(
        [
            [{**mask, "label": "the", "rank": 1, "label_probability": 0.9}],
            [{**mask, "label": "violin", "rank": 1, "label_probability": 0.2}],
            [{**mask, "label": "zither", "rank": 1, "label_probability": 0.3}],
            [{**mask, "label": "garden", "rank": 1, "label_probability": 0.1}],
            [{**mask, "label": ".", "rank": 1, "label_probability": 0.8}],
            *[[{**mask, "label": "the", "rank": 7, "best_probability": n / 10}] for n in range(8)],
        ]
    )
    assert [(example["expected"], example["score"]) for example in found.examples["best"]] == [
        ("zither", 0.3),
        ("violin", 0.2),
        ("garden", 0.1),
        ("the", 0.9),
        (".", 0.8),
    ]
    assert [example["score"] for example in found.examples["worst"]] == [0.7, 0.6, 0.5, 0.4, 0.3]
    assert found.examples["worst"][0] == {
        "line": 13,
        "input": "text 13",
        "expected": "the",
        "predicted": "other0",
        "top": [[f"other{n}", 0.1] for n in range(5)],
        "score": 0.7,
    }


def test_examples_carry_which_of_the_best_words_are_right_to_the_model() -> None:
    row = Row(1, "Cat", "dog", {"top": [["dog", 0.5], ["cat", 0.2]], "right": [False, True]}, {"masks": [WRONG_MASK]})
    two = Row(
        2,
        ["Cat", "Cow"],
        ["dog", "cow"],
        {"input_string": "another", "top": [[["dog", 0.4]], [["cow", 0.5]]], "right": [[False], [True]]},
        {"masks": [{**WRONG_MASK, "best_probability": 0.4}, {**WRONG_MASK, "found": True, "label_rank": 1}]},
    )
    task = FillMask(FEW)
    task.add(row)
    task.add(two)
    examples = task.figures().examples
    assert [example["right"] for example in examples["worst"]] == [[False, True], [False]]
    assert [example["right"] for example in examples["best"]] == [[True]]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8)), max_size=40))
def test_the_kept_examples_are_the_highest_of_different_inputs(offered: list[tuple[int, int]]) -> None:
    kept = Examples(3)
    highest: dict[str, int] = {}
    for rank, text in offered:
        kept.offer((float(rank),), {"input": f"text {text}", "expected": "x", "rank": rank})
        highest[f"text {text}"] = max(rank, highest.get(f"text {text}", 0))
    assert [example["rank"] for example in kept.rows()] == sorted(highest.values(), reverse=True)[:3]
    assert all(highest[example["input"]] == example["rank"] for example in kept.rows())


# Text classification

NAMES = ["bad", "so-so", "good"]
classified = st.tuples(
    st.sampled_from(NAMES), st.lists(st.integers(1, 1000), min_size=3, max_size=3), st.integers(1, 80)
)


def classify(rows: list[tuple[str, list[int], int]]) -> tuple[Figures, list[str], list[str], np.ndarray]:
    task = TextClassification(FEW)
    true, predicted, scores = [], [], []
    for line, (label, weights, words) in enumerate(rows, 1):
        shares = [weight / sum(weights) for weight in weights]
        best = NAMES[int(np.argmax(shares))]
        text = {"line": line, "text": " ".join(["word"] * words)}
        task.add(Row(line, label, best, text, {"probabilities": dict(zip(NAMES, shares, strict=True))}))
        true.append(label)
        predicted.append(best)
        scores.append(shares)
    return task.figures(), true, predicted, np.array(scores)


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=60)
@given(st.lists(classified, min_size=1, max_size=40))
def test_text_classification_figures_are_scikit_learns(rows: list[tuple[str, list[int], int]]) -> None:
    found, true, predicted, scores = classify(rows)
    alphabetic = sorted(NAMES)
    ordered = scores[:, [NAMES.index(name) for name in alphabetic]]
    figures = values(found)
    confidence = scores.max(axis=1)
    del figures["expected_calibration_error"]
    assert figures == pytest.approx(
        {
            "accuracy": sklearn.metrics.accuracy_score(true, predicted),
            "macro_f1": sklearn.metrics.f1_score(true, predicted, average="macro"),
            "mcc": sklearn.metrics.matthews_corrcoef(true, predicted),
            "log_loss": sklearn.metrics.log_loss(true, ordered, labels=alphabetic),
        }
    )
    assert found.plots["confusion"]["labels"] == NAMES
    matrix = sklearn.metrics.confusion_matrix(true, predicted, labels=NAMES)
    assert found.plots["confusion"]["counts"] == matrix.tolist()
    assert sum(part["confidence"] * part["rows"] for part in found.plots["reliability"]["bins"]) == pytest.approx(
        confidence.sum()
    )
    assert rows_by_slice(found) == dict.fromkeys(
        [("text length in words", "accuracy"), ("true label", "accuracy")], len(rows)
    )
    recall = sklearn.metrics.recall_score(true, predicted, average=None, labels=sorted(set(true)), zero_division=0)
    by_label = {part["name"]: part["value"] for part in found.slices if part["by"] == "true label"}
    assert by_label == pytest.approx(dict(zip(sorted(set(true)), recall, strict=True)))


def test_labels_of_the_data_stand_beside_the_models() -> None:
    task = TextClassification(FEW)
    told = {"probabilities": {"yes": 0.75, "no": 0.25}}
    task.add(Row(1, "no", "no", {"text": "a"}, told))
    task.add(Row(2, "maybe", "yes", {"text": "b"}, told))
    found = task.figures()
    assert found.plots["confusion"] == {"labels": ["yes", "no", "maybe"], "counts": [[0, 0, 0], [0, 1, 0], [1, 0, 0]]}
    # What the model has no name for has no probability: the least that scikit-learn takes.
    assert values(found)["log_loss"] == pytest.approx((-math.log(0.25) - math.log(np.finfo(float).eps)) / 2)


def test_labels_without_probabilities_may_be_numbers() -> None:
    task = TextClassification(FEW)
    for true, predicted in ((0, "0"), (1, "0"), (1, 1)):
        task.add(Row(1, true, predicted, {}, None))
    found = task.figures()
    assert values(found) == pytest.approx({"accuracy": 2 / 3, "macro_f1": 2 / 3, "mcc": 0.5})
    assert set(left_out(found)) == {
        "log_loss",
        "expected_calibration_error",
        "slices by text length in words",
        "reliability",
        "examples",
    }
    assert "reliability" not in found.plots


# Question answering


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["the cat", "cat", "a red dog sat", "dog"]), st.integers(0, 1), st.integers(1, 300)),
        min_size=1,
        max_size=20,
    )
)
def test_question_answering_figures_are_means_of_the_scores(rows: list[tuple[str, int, int]]) -> None:
    task = QuestionAnswering(FEW)
    exact, f1 = [], []
    for line, (predicted, kind, words) in enumerate(rows, 1):
        truth = {"text": ["the red dog", "a Cat"], "answer_start": [0, 0]} if kind else "dog"
        prediction = {"line": line, "question": "Who?", "context": "word " * words}
        task.add(Row(line, truth, predicted, prediction, {"score": 1.25, "start": 0, "end": 1}))
        texts = truth["text"] if isinstance(truth, dict) else [truth]
        exact.append(squad.exact_match(predicted, texts))
        f1.append(squad.f1(predicted, texts))
    found = task.figures()
    error = 1 - mean(exact)  # all scores count as 1
    assert values(found) == pytest.approx(
        {"exact_match": mean(exact), "f1": mean(f1), "expected_calibration_error": error}
    )
    assert [part["rows"] for part in found.plots["reliability"]["bins"]] == [len(rows)]
    assert sum(found.plots["histogram"]["counts"]) == len(rows)
    assert found.plots["histogram"]["counts"][-1] == f1.count(1)
    kinds = [(f"{of} length in words", metric) for of in ("answer", "context") for metric in ("exact_match", "f1")]
    assert rows_by_slice(found) == dict.fromkeys(kinds, len(rows))
    assert left_out(found) == {}
    for example in found.examples["best"] + found.examples["worst"]:
        assert example["input"].startswith("Who?\nword ")


def test_answers_of_which_one_has_no_score_have_no_reliability() -> None:
    task = QuestionAnswering(FEW)
    for probabilities in ({"score": 0.5}, {}):
        task.add(Row(1, "cat", "cat", {"context": "a cat"}, probabilities))
    found = task.figures()
    assert "reliability" not in found.plots
    reason = "takes the 'score' of every row in prediction_probabilities"
    assert left_out(found) == dict.fromkeys(("expected_calibration_error", "reliability", "examples"), reason)


# Rows that cannot be used

GOOD_MASK = {
    "label_probability": 0.5,
    "label_rank": 1,
    "label_pieces": 1,
    "best_probability": 0.5,
    "found": True,
    "exact": True,
    "position": 0,
    "words": 3,
}


@pytest.mark.parametrize(
    ("change", "part", "message"),
    [
        ({"truth": 7}, "ground_truth", "expected a word, or a list of words if there are several masks, found 7"),
        ({"truth": []}, "ground_truth", r"expected a word, .* found \[\]"),
        ({"truth": ["a", "b"]}, "prediction", "expected 2 words, as many as in ground_truth, found 1"),
        (
            {"truth": ["a", "b"], "predicted": ["a", "b"], "prediction": {}},
            "prediction_probabilities",
            "expected 2 masks, as many as in ground_truth, found 1",
        ),
        (
            {"prediction": {"top": ["x"]}},
            "prediction",
            r"expected 'top' to be \[\[word, probability\], …\] for each mask",
        ),
        ({"prediction": {"top": [[None, 0.5]]}}, "prediction", r"expected 'top' to be .*, found \[\[null, 0.5\]\]"),
        ({"prediction": {"top": [["x", "0.5"]]}}, "prediction", "expected 'top' to be"),
        ({"prediction": {"top": [["x", math.nan]]}}, "prediction", "expected 'top' to be .*, found .*NaN"),
        ({"prediction": {"top": [["x", 1.5]]}}, "prediction", "expected 'top' to be .*, found .*1.5"),
        (
            {"prediction": {"top": [["x", 0.5]], "right": [True, False]}},
            "prediction",
            r"expected 'right' to be true or false for each word of 'top', .*, found \[true, false\]",
        ),
        ({"prediction": {"top": [["x", 0.5]], "right": ["yes"]}}, "prediction", "expected 'right' to be true or false"),
        ({"probabilities": {}}, "prediction_probabilities", "expected 'masks' to be a list of objects, found null"),
        ({"mask": {"found": 1}}, "prediction_probabilities", "expected 'found' and 'exact' to be true or false, found"),
        (
            {"mask": {"label_probability": 1.2}},
            "prediction_probabilities",
            "'label_probability' .* from 0 to 1, found 1.2",
        ),
        ({"mask": {"best_probability": None}}, "prediction_probabilities", "'best_probability' .*, found null"),
        ({"mask": {"label_probability": math.nan}}, "prediction_probabilities", "'label_probability' .*, found NaN"),
        ({"mask": {"label_probability": True}}, "prediction_probabilities", "'label_probability' .*, found true"),
        ({"mask": {"label_log_probability": 0.5}}, "prediction_probabilities", "'label_log_probability' .*, found 0.5"),
        ({"mask": {"label_log_probability": -math.inf}}, "prediction_probabilities", "'label_log_.*, found -Infinity"),
        ({"mask": {"label_rank": 0}}, "prediction_probabilities", "'label_rank' .*, found 0"),
        ({"mask": {"position": 3}}, "prediction_probabilities", "'position' to be a number from 0 to 2, found 3"),
        ({"pll": {"pll": -3.0, "pll_l2r": -3.0}}, "prediction_probabilities", "'pll_tokens' .*, found null"),
        ({"pll": {"pll": -math.inf}}, "prediction_probabilities", "'pll' .*, found -Infinity"),
    ],
)
def test_a_fill_mask_row_that_cannot_be_used_says_why(change: dict[str, Any], part: str, message: str) -> None:
    row = Row(1, "cat", "cat", {"top": [["cat", 0.5]]}, {"masks": [GOOD_MASK]})
    FillMask(FEW).add(row)
    told = {"masks": [{**GOOD_MASK, **change.get("mask", {})}], **change.get("pll", {})}
    fields = {"probabilities": told, **{name: value for name, value in change.items() if name in Row._fields}}
    with pytest.raises(RowError, match=message) as refused:
        FillMask(FEW).add(row._replace(**fields))
    assert refused.value.part == part


@pytest.mark.parametrize(
    ("change", "part", "message"),
    [
        ({"truth": None}, "ground_truth", "expected a label, a text or a whole number, found null"),
        ({"predicted": 0.5}, "prediction", "expected a label, .*, found 0.5"),
        ({"predicted": "maybe"}, "prediction", r"expected a label that has a probability, of \['yes', 'no'\], found"),
        (
            {"probabilities": {"yes": 1}},
            "prediction_probabilities",
            "expected 'probabilities' to be an object of labels",
        ),
        (
            {"probabilities": {"probabilities": {"yes": 3, "no": -2}}},
            "prediction_probabilities",
            "expected 'yes' to be a number from 0 to 1, found 3",
        ),
    ],
)
def test_a_classified_row_that_cannot_be_used_says_why(change: dict[str, Any], part: str, message: str) -> None:
    row = Row(1, "yes", "yes", {"text": "a"}, {"probabilities": {"yes": 0.75, "no": 0.25}})
    TextClassification(FEW).add(row)
    with pytest.raises(RowError, match=message) as refused:
        TextClassification(FEW).add(row._replace(**change))
    assert refused.value.part == part


def test_labels_that_are_none_of_the_models_are_refused() -> None:
    task = TextClassification(FEW)
    task.add(Row(1, 1, "yes", {"text": "a"}, {"probabilities": {"yes": 0.75, "no": 0.25}}))
    with pytest.raises(
        RowError,
        match=r"expected labels of the model, such as \['yes', 'no'\], found only others, such as \['1'\]; rename",
    ):
        task.figures()


def test_a_column_of_texts_is_no_column_of_labels() -> None:
    task = TextClassification(FEW)
    for n in range(1001):
        task.add(Row(n, f"text {n}", f"text {n}", {}, None))
    with pytest.raises(RowError, match="expected at most 1000 different labels, found 1001; name the label's column"):
        task.figures()


@pytest.mark.parametrize(
    ("change", "part", "message"),
    [
        ({"truth": {"answers": ["x"]}}, "ground_truth", r'expected an answer, or \{"text": .*, found \{"answers"'),
        ({"predicted": None}, "prediction", "expected an answer, a text, found null"),
        ({"prediction": {"top": [["x", math.inf]]}}, "prediction", "expected 'top' to be .*, found .*Infinity"),
        ({"prediction": {"top": ["x"]}}, "prediction", r"expected 'top' to be \[\[answer, score\], …\], found"),
        ({"probabilities": {"score": "0.5"}}, "prediction_probabilities", "expected 'score' to be a number from 0 up"),
        ({"probabilities": {"score": math.inf}}, "prediction_probabilities", "'score' .* from 0 up, found Infinity"),
        ({"probabilities": {"score": math.nan}}, "prediction_probabilities", "'score' .* from 0 up, found NaN"),
    ],
)
def test_an_answered_row_that_cannot_be_used_says_why(change: dict[str, Any], part: str, message: str) -> None:
    row = Row(1, {"text": ["x"], "answer_start": [0]}, "x", {"question": "a", "context": "b"}, {"score": 0.5})
    QuestionAnswering(FEW).add(row)
    with pytest.raises(RowError, match=message) as refused:
        QuestionAnswering(FEW).add(row._replace(**change))
    assert refused.value.part == part


def test_a_long_value_is_shortened_in_a_message() -> None:
    with pytest.raises(RowError) as refused:
        QuestionAnswering(FEW).add(Row(1, "x", ["word"] * 1000, {}, None))
    assert len(str(refused.value)) < 150
    assert json.dumps(["word"] * 3)[:-1] in str(refused.value)
