"""Predicted labels and their probabilities, against transformers; what is rejected; what is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

NAMES = ["bad", "so-so", "good"]


def test_labels_and_probabilities_are_those_of_transformers(
    predict: Callable[..., Any], sharp_classifier: Path, lines: list[str]
) -> None:
    rows = [{"text": " ".join(line.split()[: 3 + n % 9]), "label": NAMES[n % 3]} for n, line in enumerate(lines[:100])]
    ran = predict("text-classification", sharp_classifier, rows)
    assert ran["ground_truth"] == [{"label": row["label"]} for row in rows]
    assert len({row["predictions"] for row in ran["predictions"]}) > 1
    tokenizer = AutoTokenizer.from_pretrained(sharp_classifier)
    model = AutoModelForSequenceClassification.from_pretrained(sharp_classifier).eval()
    for number, row in enumerate(rows):
        with torch.no_grad():
            expected = model(**tokenizer(row["text"], return_tensors="pt")).logits[0].softmax(-1)
        prediction, found = ran["predictions"][number], ran["prediction_probabilities"][number]
        assert prediction == {"predictions": NAMES[expected.argmax()], "line": number + 1, "text": row["text"]}
        assert found["line"] == number + 1
        assert list(found["probabilities"]) == NAMES
        assert list(found["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-4)


def test_two_columns_are_a_pair_of_texts(predict: Callable[..., Any], sharp_classifier: Path) -> None:
    row = {"sentence1": "the cat sat", "sentence2": "the dog looked", "y": 2}
    columns = ["--input-column-names", "sentence1,sentence2", "--label-column-name", "y"]
    ran = predict("text-classification", sharp_classifier, [row], *columns)
    tokenizer = AutoTokenizer.from_pretrained(sharp_classifier)
    model = AutoModelForSequenceClassification.from_pretrained(sharp_classifier).eval()
    with torch.no_grad():
        encoded = tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt")
        expected = model(**encoded).logits[0].softmax(-1)
    (prediction,), (found,) = ran["predictions"], ran["prediction_probabilities"]
    assert list(found["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert (prediction["text"], prediction["text_pair"]) == ("the cat sat", "the dog looked")
    assert ran["ground_truth"] == [{"y": "good"}]


def test_a_label_may_be_the_number_of_one(predict: Callable[..., Any], sharp_classifier: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.tsv"
    file.write_text("text\tlabel\nthe cat\t1\nthe dog\tbad\nthe dog\t02\n")
    ran = predict("text-classification", sharp_classifier, file)
    assert ran["ground_truth"] == [{"label": "so-so"}, {"label": "bad"}, {"label": "good"}]


def test_a_label_is_the_same_one_in_every_kind_of_file(
    predict: Callable[..., Any], make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    stars = {str(index): str(index + 1) for index in range(5)}
    folder = make_checkpoint(task="text-classification", id2label=stars)
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"the cat,{label}\n" for label in range(7)))
    in_csv = predict("text-classification", folder, file)
    truths, codes = in_csv["ground_truth"], [code for _, code in in_csv.codes]
    in_json = predict("text-classification", folder, [{"text": "the cat", "label": label} for label in range(7)])
    assert truths == in_json["ground_truth"] == [{"label": str(star)} for star in range(1, 6)]
    assert codes == [code for _, code in in_json.codes] == ["unknown_label"] * 2


def test_a_text_longer_than_the_model_is_cut_and_counted(predict: Callable[..., Any], sharp_classifier: Path) -> None:
    rows = [{"text": "the cat sat on the mat " * 8, "label": 0}, {"text": "the cat", "label": 0}]
    assert predict("text-classification", sharp_classifier, rows).summary["truncated_rows"] == 1


def test_a_row_that_cannot_be_used_is_rejected(predict: Callable[..., Any], sharp_classifier: Path) -> None:
    bad = [
        ({"text": ["a"], "label": "bad"}, "not_text"),
        ({"text": "", "label": "bad"}, "empty_text"),
        ({"text": "the cat", "label": "awful"}, "unknown_label"),
        ({"text": "the cat", "label": 3}, "unknown_label"),
        ({"text": "the cat", "label": -1}, "unknown_label"),
        ({"text": "the cat", "label": "3"}, "unknown_label"),
        ({"text": "the cat", "label": None}, "invalid_label"),
        ({"text": "the cat", "label": True}, "invalid_label"),
        ({"text": "the cat", "label": ["bad"]}, "invalid_label"),
        ({"text": "the cat", "label": 1.5}, "invalid_label"),
    ]
    rows = [{"text": "the cat", "label": "bad"}, *(row for row, _ in bad), {"text": "the dog", "label": "good"}]
    ran = predict("text-classification", sharp_classifier, rows)
    assert ran.codes == [(number, code) for number, (_, code) in enumerate(bad, 2)]
    assert [row["text"] for row in ran["predictions"]] == ["the cat", "the dog"]
    unknown = next(reject["message"] for reject in ran["rejects"] if reject["code"] == "unknown_label")
    assert "one of the model's labels (bad, so-so, good) or the number of one, found 'awful'" in unknown


def test_a_regression_is_refused(
    predict: Callable[..., Any], make_checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_checkpoint(task="text-classification", problem_type="regression", num_labels=1)
    assert predict("text-classification", folder, [{"text": "the cat", "label": 0}]).status == 1
    assert "expected a classifier, found problem_type regression" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"num_labels": 1}, "found one of 1 label in config.json"),
        (
            {"problem_type": "multi_label_classification", "num_labels": 3},
            "found one of 3 labels, several of which may hold (multi_label_classification)",
        ),
    ],
)
def test_a_model_without_one_right_label_is_refused(
    predict: Callable[..., Any],
    make_checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    found: str,
) -> None:
    folder = make_checkpoint(task="text-classification", **options)
    assert predict("text-classification", folder, [{"text": "the cat", "label": 0}]).status == 1
    err = capsys.readouterr().err
    assert "expected a classifier that chooses one of at least two labels" in err
    assert found in err
