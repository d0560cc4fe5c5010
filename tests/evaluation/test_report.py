"""The report: every figure is on the page, nothing on it runs or is loaded, and what is missing leaves no trace."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evaluation.report import page
from evaluation.report.metrics_file import parse
from evaluation.report.page import excerpt, render
from tests.evaluation.metrics_samples import HOSTILE, PLOTS, TASKS, sample

ROOT = Path(__file__).parents[2]

# The page as text


class Page(HTMLParser):
    """What a page holds: its elements with their attributes, its text, and the elements that hold nothing."""

    VOID = {"meta", "link", "br", "img", "input", "hr"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.empty: list[str] = []
        self._open: list[list[Any]] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append([tag, dict(attrs), False])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._fill()

    def handle_endtag(self, tag: str) -> None:
        opened, attrs, filled = self._open.pop()
        assert opened == tag
        if tag in ("dt", "dd", "p", "td", "th", "li"):
            self.text += " "
        if filled or tag == "td" or "style" in attrs:  # not every metric has a source; a bar is drawn by its style
            self._fill()
        else:
            self.empty.append(f"{tag} {attrs}")

    def handle_data(self, data: str) -> None:
        if "style" not in [tag for tag, _, _ in self._open]:
            self.text += data
        if data.strip():
            self._fill()

    def _fill(self) -> None:
        if self._open:
            self._open[-1][2] = True


@pytest.mark.parametrize("task", TASKS)
def test_every_figure_is_on_the_page(task: str) -> None:
    metrics = sample(task)
    text = Page(render(metrics)).text
    for found in metrics["metrics"]:
        assert found["name"] in text and found["definition"] in text
    for words in ("1,940", "95\u202f%", "bert", "20260801", "ONNX Runtime 1.31.0", "1,021\u202frows/s", "1.9\u202fs"):
        assert words in text
    for row in (*metrics["examples"]["best"], *metrics["examples"]["worst"]):
        assert f"line {row['line']:,}" in text
        words = re.findall(r'\["(.*?)", [\d.]+\]', json.dumps(row["top"]))
        assert [word for word in words if json.loads(f'"{word}"') not in text] == []


def test_figures_are_written_for_people() -> None:
    text = Page(render(sample("fill-mask"))).text
    for written in (
        "24.1\u202f%",
        "22.2–26.0\u202f%",
        "3.42\u202fnats",
        "0.331",
        "−14.0 to −12.4\u202fnats",
        "1.2 × 10⁷",
    ):
        assert written in text
    assert "it is too sure of itself by 7.2 points" in text


def test_what_was_counted_and_what_was_left_out_is_on_the_page() -> None:
    text = " ".join(Page(render(sample("fill-mask"))).text.split())
    assert "Several pieces 57" in text
    assert "pseudo-log-likelihood, within words no text was scored so; ask for it." in text


def test_an_example_says_which_of_its_masks_it_is_about() -> None:
    assert "line 78, mask 2" in Page(render(sample("fill-mask"))).text


def test_an_example_says_which_of_several_files_it_is_in() -> None:
    text = Page(render(sample("fill-mask"))).text
    assert "y/<plays>.csv, line 78" in text
    assert text.count(".csv, ") == 1


@pytest.mark.parametrize(
    ("kind", "task", "expected", "top", "right"),
    [
        ("worst", "fill-mask", "Wales", ["wales", "spain"], []),  # nothing says that the model is an uncased one
        ("worst", "fill-mask", "Wales", ["wales", "Spain"], []),
        ("worst", "fill-mask", "Wales", ["Spain", "Wales"], ["Wales"]),
        ("best", "question-answering", ["the Nile", "Nile"], ["The Nile", "Nile"], ["The Nile", "Nile"]),
        ("worst", "question-answering", ["the Nile"], ["The Nile"], []),
        ("worst", "text-classification", "bad", ["good", "bad"], ["bad"]),
    ],
)
def test_candidates_that_are_right_are_ticked(
    kind: str, task: str, expected: object, top: list[str], right: list[str]
) -> None:
    row = {"expected": expected, "predicted": top[0], "top": [[word, 0.5] for word in top]}
    text = Page(render({"task": task, "metrics": [], "examples": {kind: [row]}})).text
    assert re.findall(r"(\S.*) ✓", text) == right


@pytest.mark.parametrize(
    ("top", "right", "ticked"),
    [
        ([["wales", 0.5], ["Spain", 0.2]], [True, False], ["wales"]),  # an uncased model's, whatever else it writes
        ([["Wales", 0.5], ["wales", 0.2]], [False, True], ["wales"]),
        ([["Wales", 0.5], ["wales", 0.2]], [False, False], []),
        ([[["a", 0.5]], [["x", 0.5], ["b", 0.2]]], [[False], [False, True]], ["b"]),
    ],
)
def test_where_an_evaluation_says_what_is_right_that_is_ticked(
    top: list[object], right: list[object], ticked: list[str]
) -> None:
    row = {"expected": "Wales", "predicted": "Wales", "top": top, "right": right}
    text = Page(render({"task": "fill-mask", "metrics": [], "examples": {"best": [row]}})).text
    assert re.findall(r"(\S.*) ✓", text) == ticked


def test_a_name_may_break_after_an_underscore() -> None:
    page = render({"task": "fill-mask", "metrics": [{"name": "a_<b>", "value": 0.5, "headline": True}]})
    assert page.count("a_<wbr>&lt;b&gt;") == 2


def test_a_question_stands_apart_from_its_context() -> None:
    text = " ".join(Page(render(sample("question-answering"))).text.split())
    assert "question Which team won? context … " in text


@pytest.mark.parametrize("task", TASKS)
def test_plots_are_told_to_those_who_cannot_see_them(task: str) -> None:
    labels = {e["data-plot"]: e["aria-label"] for tag, e in Page(render(sample(task))).elements if tag == "svg"}
    assert list(labels) == PLOTS[task]
    told = {
        "reliability": "65.0 % sure on average, 50.0 % right, 112 rows",
        "confusion": "of 489 rows that are Business: 18 as World, 3 as Sports, 438 as Business, 30 as Sci/Tech",
        "histogram": ". 0 to 0.1: 104 rows; 0.1 to 0.2: 3 rows; ",
        "slices-1": "accuracy@1 by sentence length. 1 to 10 words: 17.0 % (from 13.0–22.0 %), 1,200 rows",
    }
    assert [name for name, words in told.items() if name in labels and words not in labels[name]] == []


@pytest.mark.parametrize("task", TASKS)
def test_nothing_on_the_page_runs_or_is_loaded(task: str) -> None:
    page = render(sample(task))
    found = Page(page)
    assert {tag for tag, _ in found.elements} & {"script", "img", "iframe", "object", "embed", "image", "form"} == set()
    assert [name for _, attrs in found.elements for name in attrs if name.startswith("on")] == []
    for tag, attrs in found.elements:
        loads = [attrs[name] or "" for name in ("src", "href", "srcset", "data") if name in attrs]
        assert all(link.startswith("https://" if tag == "a" else ("#", "data:,")) for link in loads)
    assert re.findall(r"@import|url\((?!#)", page) == []
    assert "default-src 'none'" in page
    ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_what_users_wrote_is_shown_as_they_wrote_it() -> None:
    text = " ".join(Page(render(sample("fill-mask"))).text.split())
    assert " ".join(HOSTILE.replace("\ud800", "?").split()) in text  # half a letter cannot be written in UTF-8
    assert "<b>bold</b>" in text
    assert "models/my team's <classifier>" in Page(render(sample("text-classification"))).text


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "part",
    ["nothing", "model", "data", "settings", "left_out", "slices", "plots", "examples", "intervals", "probabilities"],
)
def test_a_part_that_is_missing_leaves_no_empty_box(task: str, part: str) -> None:
    metrics = sample(task)
    if part == "intervals":
        for found in (*metrics["metrics"], *metrics["slices"]):
            found["low"] = found["high"] = None
    elif part == "probabilities":
        del metrics["plots"]["histogram" if task == "question-answering" else "reliability"]
        for row in (*metrics["examples"]["best"], *metrics["examples"]["worst"]):
            row["top"] = []
    elif part != "nothing":
        metrics[part] = None
    page = Page(render(metrics))
    assert page.empty == []
    assert "None" not in page.text and "nan" not in page.text.split()


def test_parts_with_nothing_in_them_leave_no_empty_box() -> None:
    metrics = sample("fill-mask")
    metrics["slices"] = [{"by": "length", "name": "long", "metric": "accuracy@1", "value": None, "rows": 0}]
    metrics["plots"] = {
        "reliability": {"bins": []},
        "confusion": {"labels": [], "counts": []},
        "histogram": {"counts": [0], "edges": [0, 1]},
    }
    metrics["examples"] = {"best": [], "worst": []}
    page = Page(render(metrics))
    assert page.empty == []
    assert [tag for tag, _ in page.elements if tag in ("svg", "article", "figure")] == []
    least = Page(render({"task": "fill-mask", "metrics": []}))
    assert least.empty == []
    assert [tag for tag, _ in least.elements if tag in ("table", "h2")] == ["h2"]


def test_a_long_text_is_shown_around_its_mask() -> None:
    text = "[MASK] " + "before " * 200 + "[MASK] here " + "after " * 200
    (row,) = parse(
        {"task": "", "metrics": [], "examples": {"best": [{"input": text, "expected": "it", "mask": 2}]}}
    ).examples.best
    short = excerpt(text, row)
    assert "[MASK] here" in short and len(short) < 450
    assert short.startswith("… before") and short.endswith("after …")
    assert excerpt(short[:400], row) == short[:400]


# The command


@pytest.mark.parametrize("task", TASKS)
def test_the_command_makes_the_same_page_again(tmp_path: Path, task: str) -> None:
    file, page = tmp_path / "metrics.json", tmp_path / "page.html"
    file.write_text(json.dumps(sample(task)), encoding="utf-8")
    command = [sys.executable, "-m", "evaluation.report.page", str(file), str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert page.read_text(encoding="utf-8") == render(sample(task))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a file that can be read, found: No such file or directory"),
        ("{", "expected JSON, found: Expecting property name"),
        ("[1]", "expected metrics.json as compute_metrics writes it, found the file: input should be"),
        (
            '{"line": 3, "predictions": "capital"}',
            "expected metrics.json as compute_metrics writes it, found task: field",
        ),
        ('{"task": "fill-mask", "metrics": [{"name": "a", "value": "x"}]}', "found metrics.0.value: input should be"),
    ],
)
def test_a_file_that_is_no_metrics_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    file = tmp_path / "metrics.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    assert page.main([str(file), str(tmp_path / "page.html")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"report: {file}: expected ") and message in line
    assert not (tmp_path / "page.html").exists()


def test_a_page_is_written_whole_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, written = tmp_path / "metrics.json", tmp_path / "page.html"
    file.write_text(json.dumps(sample("fill-mask")), encoding="utf-8")
    written.write_text("the page before", encoding="utf-8")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert page.main([str(file), str(written)]) == 1
    found = "expected a file that can be written, found: No space left on device"
    assert capsys.readouterr().err == f"report: {written}: {found}\n"
    assert written.read_text(encoding="utf-8") == "the page before"
    assert sorted(tmp_path.iterdir()) == [file, written]


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(sample("fill-mask")), encoding="utf-8")
    assert page.main([str(file), str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err == f"report: {tmp_path}: expected a file that can be written, found: Is a directory\n"
    )
