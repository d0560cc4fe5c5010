"""metrics.json: null and absent are the same, what is wrong is named by its place, what is new is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.errors import MetricsFileError
from evaluation.report.metrics_file import parse, read
from tests.evaluation.metrics_samples import TASKS, sample


@pytest.mark.parametrize("task", TASKS)
def test_a_file_is_read_as_it_was_written(tmp_path: Path, task: str) -> None:
    file = tmp_path / "metrics.json"
    file.write_text("\ufeff" + json.dumps(sample(task)), encoding="utf-8")  # some editors mark UTF-8
    found = parse(read(file))
    assert found == parse(sample(task))
    assert [(m.name, m.value, m.rows) for m in found.metrics] == [
        (m["name"], m["value"], m["rows"]) for m in sample(task)["metrics"]
    ]


def test_null_and_absent_are_the_same() -> None:
    least = {"task": "fill-mask", "metrics": [{"name": "accuracy@1"}]}
    nulls = dict.fromkeys(("model", "data", "settings", "slices", "plots", "examples"))
    metric = dict.fromkeys(("value", "low", "high", "rows", "unit", "better", "headline", "definition", "source"))
    assert parse(least | nulls | {"metrics": [metric | {"name": "accuracy@1"}]}) == parse(least)


def test_what_a_later_version_adds_is_left_alone() -> None:
    assert parse({"task": "t", "metrics": [], "plots": {"new": 1}, "new": {}}) == parse({"task": "t", "metrics": []})


@pytest.mark.parametrize(
    ("top", "found"),
    [
        ([["a", 0.5], ["b", 0.25]], [[("a", 0.5), ("b", 0.25)]]),
        ([[["a", 0.5]], [["b", 0.25], ["c", None]]], [[("a", 0.5)], [("b", 0.25), ("c", None)]]),
        ([], []),
        ([[]], []),
        (None, []),
    ],
)
def test_candidates_are_a_list_a_mask(top: object, found: object) -> None:
    (row,) = parse({"task": "t", "metrics": [], "examples": {"best": [{"top": top}]}}).examples.best
    assert row.top == found


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        ({"task": 7}, "task: "),
        ({"metrics": {}}, "metrics: "),
        ({"metrics": [{"value": 1.0}]}, "metrics.0.name: field required"),
        ({"slices": [{"by": "a", "name": "b", "metric": "c", "rows": "many"}]}, "slices.0.rows: "),
        (
            {"plots": {"confusion": {"labels": ["a"], "counts": [[1, 2]]}}},
            "plots.confusion: value error, expected 1 rows",
        ),
        (
            {"plots": {"histogram": {"edges": [0, 1], "counts": [1, 2]}}},
            "plots.histogram: value error, expected 3 edges",
        ),
        ({"examples": {"best": [{"top": "word"}]}}, "examples.best.0.top.0"),
        (
            {"examples": {"best": [{"top": [["a", 0.5], ["b", 0.2]], "right": [True]}]}},
            "examples.best.0: value error, expected 'right' to be true or false for each of 'top'",
        ),
        ({"examples": {"best": [{"top": [["word", "often"]]}]}}, "examples.best.0.top.0.0.1"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(broken: dict[str, Any], place: str) -> None:
    with pytest.raises(MetricsFileError, match="expected metrics.json as compute_metrics writes it") as caught:
        parse({"task": "t", "metrics": [], **broken})
    assert place in str(caught.value) and "\n" not in str(caught.value)
