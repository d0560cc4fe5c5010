"""Exact match and F1 are those of the official script of SQuAD v1.1."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics import squad

XQUAD = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "xquad_en_validation.jsonl"


# The algorithm of evaluate-v1.1.py, the official script of SQuAD v1.1 (https://rajpurkar.github.io/SQuAD-explorer/), one
# step after the other as it has them.


def official_normalize(text: str) -> str:
    text = text.lower()
    punctuation = set(string.punctuation)
    text = "".join(character for character in text if character not in punctuation)
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split())


def official_f1(prediction: str, truth: str) -> float:
    predicted, true = official_normalize(prediction).split(), official_normalize(truth).split()
    common = Counter(predicted) & Counter(true)
    same = sum(common.values())
    if same == 0:
        return 0
    precision = 1.0 * same / len(predicted)
    recall = 1.0 * same / len(true)
    return (2 * precision * recall) / (precision + recall)


def official_scores(prediction: str, truths: list[str]) -> tuple[float, float]:
    exact = max(official_normalize(prediction) == official_normalize(truth) for truth in truths)
    return float(exact), max(official_f1(prediction, truth) for truth in truths)


def ours(prediction: str, truths: list[str]) -> tuple[float, float]:
    return squad.exact_match(prediction, truths), squad.f1(prediction, truths)


words = st.sampled_from(
    ["the", "The", "a", "an", "cat", "Cat's", "sat,", "sat", "theory", "U.S.", "–", "-", "1,000", "é"]
)
texts = st.one_of(st.text(), st.lists(words, max_size=8).map(" ".join), st.lists(words, max_size=8).map("\u00a0".join))


@given(texts, st.lists(texts, min_size=1, max_size=4))
def test_scores_are_the_official_ones(prediction: str, truths: list[str]) -> None:
    assert ours(prediction, truths) == official_scores(prediction, truths)
    assert squad.normalized(prediction) == official_normalize(prediction)


@pytest.mark.parametrize(
    ("prediction", "truths", "exact", "f1"),
    [
        ("the Panthers' defense", ["Panthers defense."], 1, 1),
        ("308 points", ["308", "three hundred"], 0, 2 / 3),
        ("Josh Norman", ["Norman", "Josh Norman", "J. Norman"], 1, 1),
        ("cat cat", ["cat"], 0, 2 / 3),
        ("theory", ["ory"], 0, 0),
        ("The", ["a"], 1, 0),  # nothing is left of both: the same, and no word shared
        ("", ["x"], 0, 0),
        ("co-op", ["coop"], 1, 1),
        ("1 000", ["1,000"], 0, 0),
    ],
)
def test_scores_of_rows_by_hand(prediction: str, truths: list[str], exact: float, f1: float) -> None:
    assert ours(prediction, truths) == (exact, pytest.approx(f1))
    assert official_scores(prediction, truths) == (exact, pytest.approx(f1))


def test_a_question_without_an_answer_is_right_where_nothing_is_predicted() -> None:
    assert ours("", []) == (1, 1)
    assert ours("a", []) == (1, 1)
    assert ours("cat", []) == (0, 0)


def perturbed(answers: list[str]) -> list[str]:
    """Return predictions that are right, nearly right and wrong, in turn."""
    changes = [
        lambda n: answers[n],
        lambda n: f"The {answers[n].upper()}.",
        lambda n: " ".join(answers[n].split()[1:]),
        lambda n: f"{answers[n]} and {answers[n - 1]}",
        lambda n: answers[n - 1],
        lambda n: answers[n][: len(answers[n]) // 2],
        lambda n: "",
    ]
    return [changes[n % len(changes)](n) for n in range(len(answers))]


@pytest.mark.skipif(not XQUAD.is_file(), reason=f"no {XQUAD.name} beside this checkout (../shared/data)")
def test_figures_of_xquad_are_those_of_the_official_script() -> None:
    truths = [json.loads(line)["answers"]["text"] for line in XQUAD.read_text(encoding="utf-8").splitlines()]
    predictions = perturbed([answers[0] for answers in truths])
    official = [official_scores(*row) for row in zip(predictions, truths, strict=True)]
    assert [ours(*row) for row in zip(predictions, truths, strict=True)] == official
    exact, f1 = (100 * sum(column) / len(official) for column in zip(*official, strict=True))
    assert 25 < exact < 35 < f1 < 60  # neither all right nor all wrong
