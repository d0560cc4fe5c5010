"""The sample data is what its README says: balanced, without repetition, right about answers; jobs can do without it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from asset.checks.pipeline.data import OwnModel
from asset.checks.pipeline.job import checked_job
from asset.local.jobs.plan import plan_job
from tables.table import open_table

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "finetune/sample_data"
ELSEWHERE = ROOT.parent / "shared/data"
PARTS = ("train", "validation")
CLASSES = {
    "sentiment": ("jsonl", ("text", "label"), {"POSITIVE", "NEGATIVE"}, {"train": 240, "validation": 60}),
    "topics": (
        "csv",
        ("text", "tag"),
        {"python", "javascript", "java", "c", "sql"},
        {"train": 200, "validation": 50},
    ),
}
QUESTIONS = {"train": 60, "validation": 20}


def rows(name: str, part: str, columns: tuple[str, ...], kind: str = "jsonl") -> list[dict[str, Any]]:
    """Read a part with the reader that the jobs read it with."""
    return [row.values for row in open_table(SAMPLES / name / f"{part}.{kind}").rows(columns)]


def classes(name: str, part: str) -> list[dict[str, Any]]:
    kind, columns, *_ = CLASSES[name]
    return rows(name, part, columns, kind)


def questions(part: str) -> list[dict[str, Any]]:
    return rows("question-answering", part, ("id", "question", "context", "answers"))


def plain(text: str) -> str:
    """Return a text as its words, so that a comma or a capital does not make it another."""
    return " ".join(re.findall(r"\w+|[^\w\s]+", text.lower())).strip(" .!")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", CLASSES)
def test_each_label_has_as_many_texts(name: str, part: str) -> None:
    _, (text, label), labels, sizes = CLASSES[name]
    found = classes(name, part)
    assert Counter(row[label] for row in found) == dict.fromkeys(labels, sizes[part] // len(labels))
    assert [row for row in found if row[text] != row[text].strip() or not row[text]] == []


@pytest.mark.parametrize("name", CLASSES)
def test_no_text_is_there_twice(name: str) -> None:
    column = CLASSES[name][1][0]
    texts = Counter(plain(row[column]) for part in PARTS for row in classes(name, part))
    assert [text for text, count in texts.items() if count > 1] == []


def test_the_table_has_what_csv_is_hard_to_read_for() -> None:
    texts = [row["text"] for row in classes("topics", "train")]
    assert all(any(mark in text for text in texts) for mark in (",", '"', "\n", "'"))


@pytest.mark.parametrize("part", PARTS)
def test_every_answer_stands_in_its_context_where_it_is_said_to(part: str) -> None:
    found = questions(part)
    assert len(found) == QUESTIONS[part]
    for row in found:
        (answer,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert answer and row["context"][start : start + len(answer)] == answer, row["id"]
        around = row["context"][max(0, start - 1) : start] + row["context"][start + len(answer) :][:1]
        assert not re.search(r"\w", around), f"{row['id']}: part of a word"
        assert row["question"].endswith("?")


def test_questions_to_validate_with_are_on_paragraphs_of_their_own() -> None:
    train, validation = ({row["context"] for row in questions(part)} for part in PARTS)
    assert (len(train), len(validation)) == (25, 8)
    assert train.isdisjoint(validation)
    everything = [row for part in PARTS for row in questions(part)]
    assert len({row["id"] for row in everything}) == len(everything)
    assert len({(row["question"], row["context"]) for row in everything}) == len(everything)


@pytest.mark.skipif(not ELSEWHERE.is_dir(), reason="no data sets beside this checkout (../shared/data)")
def test_no_text_is_one_of_a_data_set_that_others_made() -> None:
    ours = {plain(row["text"]) for name in CLASSES for part in PARTS for row in classes(name, part)}
    ours |= {plain(row[column]) for part in PARTS for row in questions(part) for column in ("question", "context")}
    theirs = set()
    for file in ELSEWHERE.glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            theirs |= {plain(value) for value in json.loads(line).values() if isinstance(value, str)}
    assert len(theirs) > 10_000
    assert ours & theirs == set()


@pytest.mark.parametrize(
    ("job", "columns"),
    [
        ("sentiment", ("sentence1_key", "label_key")),
        ("topics", ("sentence1_key", "label_key")),
        ("question-answering", ("question_key", "context_key", "answers_key")),
    ],
)
def test_each_job_names_its_sample_data_and_the_columns(job: str, columns: tuple[str, ...]) -> None:
    inputs = yaml.safe_load((ROOT / f"finetune/finetune-{job}.yml").read_text(encoding="utf-8"))["inputs"]
    for part in PARTS:
        path = ROOT / "finetune" / inputs[f"{part}_file_path"]["path"]
        assert path.resolve().parent == SAMPLES / job
        first = next(iter(open_table(path).rows(tuple(inputs[key] for key in columns))))
        assert all(first.values[inputs[key]] for key in columns)
        if job == "question-answering":
            assert {inputs["answer_start_key"], inputs["answer_text_key"]} == set(first.values["answers"])


def test_a_job_may_do_without_its_validation_data_and_start_from_the_hub() -> None:
    own = OwnModel.read()
    without = ["inputs.validation_file_path.path=", "inputs.mlflow_model_path.path="]
    settings = [*without, "jobs.finetune.inputs.huggingface_id=some/bert"]
    [prepare, *_] = plan_job(*checked_job(ROOT / "finetune/finetune-topics.yml", settings, own), own).steps
    assert {"validation_file_path", "mlflow_model_path"} & set(prepare.inputs) == set()
    assert prepare.inputs["huggingface_id"] == "some/bert"
    assert prepare.inputs["train_file_path"] == SAMPLES / "topics/train.csv"


def test_the_readme_says_how_many_rows_there_are() -> None:
    table = (SAMPLES / "README.md").read_text(encoding="utf-8")
    for name, (*_, sizes) in CLASSES.items():
        assert re.search(rf"\| `{name}/` .*\| {sizes['train']} \| {sizes['validation']} \|", table), name
    assert "| 60 questions on 25 paragraphs | 20 on 8 others |" in table
