from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from tests.finetune.prepare_samples import LABELED, QUESTIONS, asked, labeled, rows, write


def test_labels_are_the_same_in_every_kind_of_file(run: Callable[..., Any], tmp_path: Path) -> None:
    csv = tmp_path / "a.csv"
    csv.write_text("text,label\n" + "".join(f"the cat {n},{n % 11}\n" for n in range(44)), encoding="utf-8")
    table = pyarrow.table({"text": [f"the dog {n}" for n in range(22)], "label": [n % 11 for n in range(22)]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    settings, _, _ = run(LABELED, train_file_path=csv, validation_file_path=tmp_path / "b.parquet")
    assert settings.labels == [str(n) for n in range(11)]


def test_rows_that_are_broken_are_left_out_counted_and_listed(run: Callable[..., Any], tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.jsonl",
        [*labeled(20), {"text": "", "label": "good"}, {"text": "secret"}, {"text": "secret", "label": 0.5}],
    )
    with file.open("a") as opened:
        opened.write("{broken secret\n")
    settings, out, err = run(LABELED, train_file_path=file)
    assert settings.data["train"].dropped == {
        "empty_text": 1,
        "invalid_json": 1,
        "invalid_label": 1,
        "missing_column": 1,
    }
    listed = rows(tmp_path / "out", "dropped")
    assert [(row["part"], row["file"], row["line"]) for row in listed] == [
        ("train", "a.jsonl", n) for n in range(21, 25)
    ]
    assert "prepare: train: left out a.jsonl, line 21: expected a text in column 'text', found an empty one" in err
    assert "secret" not in out + err + json.dumps(listed)


def test_more_bad_rows_than_listed_are_pointed_to(run: Callable[..., Any], tmp_path: Path) -> None:
    _, _, err = run(
        LABELED, train_file_path=write(tmp_path / "a.jsonl", [*labeled(20), *[{"text": " ", "label": 1}] * 9])
    )
    assert err.count("left out a.jsonl") == 5
    assert "all 9 rows left out are in dropped.jsonl" in err


def test_data_that_is_mostly_broken_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [*labeled(3), *[{"text": "", "label": 1}] * 4])
    told = refused(LABELED, train_file_path=file)
    assert "found 4 of 7 that are not (4 empty_text); the first: a.jsonl, line 4: expected a text" in told
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_questions_without_an_answer_are_left_out_and_offsets_repaired(run: Callable[..., Any], tmp_path: Path) -> None:
    data = asked(40)
    data[3]["answers"] = {"text": [], "answer_start": []}
    data[5]["answers"]["answer_start"] = [2]
    data[7]["answers"]["text"] = ["nowhere"]
    settings, _, err = run(
        QUESTIONS,
        train_file_path=write(tmp_path / "a.jsonl", data),
        validation_file_path=write(tmp_path / "b.jsonl", asked(4)),
    )
    assert settings.data["train"].dropped == {"answer_not_in_context": 1, "no_answer": 1}
    assert "1 rows of train had a wrong answer_start; it is repaired" in err
    assert "4 of 4 rows of validation are in train too" not in err
    assert "3 of 4 rows of validation are in train too" in err


def test_a_question_that_leaves_no_room_is_left_out(run: Callable[..., Any], tmp_path: Path) -> None:
    data = asked(40)
    data[3]["question"] = "the cat " * 12  # 24 words of the model's 32 positions
    settings, _, _ = run(QUESTIONS, train_file_path=write(tmp_path / "a.jsonl", data))
    assert settings.data["train"].dropped == {"question_too_long": 1}


def test_one_class_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": f"a {n}", "label": "good"} for n in range(4)])
    assert "expected two classes or more, found only 'good'; check label_key" in refused(LABELED, train_file_path=file)


def test_labels_that_train_has_not_are_refused_with_their_rows(refused: Callable[..., str], tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", labeled(4))
    other = write(tmp_path / "b.jsonl", [*labeled(4), {"text": "x", "label": "odd"}, {"text": "y", "label": "Good"}])
    for part in ("validation", "test"):
        told = refused(LABELED, train_file_path=train, **{f"{part}_file_path": other})
        assert f"{part}: expected labels of train, 'bad', 'good', found 'Good', 'odd' in 2 rows" in told
        assert "(b.jsonl, line 6; b.jsonl, line 5); correct them" in told


def test_rows_of_validation_that_are_in_train_are_counted(run: Callable[..., Any], tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", labeled(20))
    _, _, err = run(LABELED, train_file_path=train, validation_file_path=write(tmp_path / "b.jsonl", labeled(10, 15)))
    assert "5 of 10 rows of validation are in train too, by their text" in err
