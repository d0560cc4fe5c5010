"""The script of batch deployments answers every row of a file in its order, and goes on where one cannot be answered."""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from deployment import batch_file
from serving.answering.models import load_model
from serving.answering.service import Service
from serving.settings import Settings
from tests.deployment.scoring import Scored

Score = Callable[..., Scored]
Put = Callable[[str, Any], Path]

FILL = [{"text": f"The [MASK] sat on {'the warm ' * (n % 4)}mat {n}."} for n in range(20)]
CLASSIFY = [{"text": f"The cat sat {'on the mat ' * (n % 3)}{n}.", "text_pair": f"A dog {n}."} for n in range(20)]
ASK = [
    {"question": f"Who sat {n}?", "context": f"The cat sat on the {'warm ' * (n % 5)}mat and looked at {n}."}
    for n in range(20)
]


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def online(model: Path, rows: list[Any], **parameters: object) -> list[Any]:
    """Return what the online endpoint answers."""
    settings = Settings(precision="fp32")
    body: dict[str, object] = {"input_data": rows}
    answer = Service(load_model(model, settings), settings).answer(
        json.dumps(body | ({"parameters": parameters} if parameters else {}))
    )
    assert answer.status == 200, answer.body
    return answer.body


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet", "txt"])
def test_rows_are_answered_in_their_order_as_online(score: Score, put: Put, sharp_checkpoint: Path, kind: str) -> None:
    written = {
        "jsonl": FILL,
        "json": json.dumps(FILL),
        "csv": as_csv(FILL),
        "tsv": as_csv(FILL, "\t"),
        "parquet": as_parquet(FILL),
        "txt": "\n".join(row["text"] for row in FILL),
    }
    scored = score(sharp_checkpoint, [put(f"a.{kind}", written[kind])])
    expected = online(sharp_checkpoint, [row["text"] for row in FILL])
    assert len(set(expected)) > 3
    name = f"a.{kind}"
    assert scored.rows(name) == [{"row": row, "answer": answer, "file": name} for row, answer in enumerate(expected, 1)]
    assert [(found["file"], found["rows"], found["failed"]) for found in scored.summaries] == [(name, 20, 0)]
    assert scored.files == [f"{name}.answers.jsonl", f"{name}.summary.json"]


@pytest.mark.parametrize(
    ("model", "rows", "parameters"),
    [
        ("sharp_checkpoint", FILL, {"top_k": 3}),
        ("sharp_checkpoint", FILL, {"targets": ["cat", "dog"]}),
        ("sharp_classifier", CLASSIFY, {}),
        ("sharp_classifier", CLASSIFY, {"top_k": None}),
        ("sharp_reader", ASK, {}),
        ("sharp_reader", ASK, {"top_k": 2, "max_answer_length": 3}),
    ],
)
def test_every_task_is_answered_as_online_with_the_parameters(
    score: Score, put: Put, request: pytest.FixtureRequest, model: str, rows: list[Any], parameters: dict[str, Any]
) -> None:
    folder = request.getfixturevalue(model)
    options = {"PARAMETERS": json.dumps(parameters)} if parameters else {}
    scored = score(folder, [put("a.jsonl", rows), put("a.csv", as_csv(rows))], **options)
    expected = online(folder, rows, **parameters)
    assert scored.answers("a.jsonl") == scored.answers("a.csv") == json.loads(json.dumps(expected))


def test_rows_that_cannot_be_answered_are_listed_and_counted_and_the_run_goes_on(
    score: Score, put: Put, sharp_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [row["text"] for row in FILL]
    text = "".join(json.dumps({"text": row}) + "\n" for row in rows)
    lines = text.splitlines(keepends=True)
    lines[3] = "{broken\n"
    lines[5] = '{"text": 7}\n'
    lines[6] = '{"text": "no gap"}\n'
    lines[7] = '{"text": "half a pair \\ud800 [MASK]"}\n'
    lines[8] = '{"sentence": "another column [MASK]"}\n'
    lines[9] = '["a list"]\n'
    lines[19] = '{"text": ""}\n'
    scored = score(sharp_checkpoint, [put("a.jsonl", "".join(lines))])
    expected = online(sharp_checkpoint, rows)
    codes = {
        4: "invalid_json",
        6: "not_text",
        7: "missing_mask",
        8: "not_text",
        9: "missing_column",
        10: "not_an_object",
        20: "missing_mask",
    }
    assert scored.answers("a.jsonl") == [codes.get(row, answer) for row, answer in enumerate(expected, 1)]
    failed = scored.rows("a.jsonl", "failed")
    assert failed == [row for row in scored.rows("a.jsonl") if "error" in row]
    assert [(row["row"], row["error"]["code"]) for row in failed] == list(codes.items())
    assert failed[2]["error"] == {"code": "missing_mask", "message": "the row has no [MASK] token", "line": 7}
    assert (scored.summaries[0]["rows"], scored.summaries[0]["failed"]) == (20, 7)
    log = capfd.readouterr().err
    assert log.count("a.jsonl, line ") == batch_file.SHOWN
    assert "a.jsonl: done, 20 rows, 7 failed" in log
    assert "no gap" not in log


def test_questions_that_cannot_be_answered_are_left_out(score: Score, put: Put, sharp_reader: Path) -> None:
    rows = [*ASK[:3], {"question": " ", "context": "The cat sat."}, ASK[3], {"question": "Who?", "context": ""}]
    rows += [
        {"question": "Who " * 40, "context": "The cat sat on the mat. " * 9},
        {"question": "Who?", "context": None},
    ]
    scored = score(sharp_reader, [put("a.jsonl", rows)])
    expected = online(sharp_reader, ASK[:4])
    errors = ["question_too_long", "not_text"]
    assert scored.answers("a.jsonl") == [*expected[:3], "empty_question", expected[3], "empty_context", *errors]


def test_a_second_text_may_be_missing_in_some_rows(score: Score, put: Put, sharp_classifier: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": f"The cat sat {n}."} for n in range(150)]
    rows[120]["text_pair"] = "A dog."
    rows[130]["text_pair"] = None
    scored = score(sharp_classifier, [put("a.jsonl", rows)])
    expected = [online(sharp_classifier, [row])[0] for row in rows[119:131]]
    assert scored.answers("a.jsonl")[119:131] == expected
    assert expected[1] != online(sharp_classifier, [rows[120]["text"]])[0]


def test_columns_can_be_named(score: Score, put: Put, sharp_classifier: Path) -> None:
    rows = [{"id": n, "premise": row["text"], "claim": row["text_pair"]} for n, row in enumerate(CLASSIFY)]
    scored = score(sharp_classifier, [put("a.csv", as_csv(rows))], COLUMNS="premise, claim")
    assert scored.answers("a.csv") == online(sharp_classifier, CLASSIFY)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "one,two\n1,2\n", "expected a.csv to have one column, or one called input_string"),
        ("a.jsonl", [{"one": "1", "two": "2"}], "set BATCH_SCORING_COLUMNS, or rename a column"),
        ("a.csv", "text,text\n1,2\n", "expected each column once, found text several times"),
        ("a.parquet", b"PAR1 and no more", "expected a parquet file"),
        ("a.bin", "text", "expected a file that ends in .jsonl, .json, .csv, .tsv, .parquet, .txt, found a.bin"),
    ],
)
def test_a_file_that_cannot_be_read_gets_an_error_and_the_others_are_scored(
    score: Score, put: Put, sharp_checkpoint: Path, name: str, content: list[Any] | str | bytes, said: str
) -> None:
    files = [put(name, content), put("good.txt", "The [MASK] sat.")]
    scored = score(sharp_checkpoint, files)
    assert [found["file"] for found in scored.summaries] == ["good.txt"]
    assert said in scored.summary(name)["error"]
    assert scored.files == [f"{name}.summary.json", "good.txt.answers.jsonl", "good.txt.summary.json"]


def test_columns_that_the_task_does_not_take_are_refused(score: Score, put: Put, sharp_reader: Path) -> None:
    scored = score(sharp_reader, [put("a.csv", as_csv(ASK)), put("a.txt", "Who?")], COLUMNS="question")
    assert scored.summaries == []
    assert "BATCH_SCORING_COLUMNS names question; name 2 columns" in scored.summary("a.csv")["error"]
    assert "an object with question and context" in scored.summary("a.txt")["error"]


def test_a_parquet_file_without_pyarrow_gets_an_error(
    score: Score, put: Put, sharp_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put("a.parquet", as_parquet(FILL))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    scored = score(sharp_checkpoint, [file])
    assert "install pyarrow, or convert the file to JSON lines or CSV" in scored.summary("a.parquet")["error"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", ""), ("a.json", "[]"), ("a.csv", ""), ("a.csv", "text\n"), ("a.txt", ""), ("a.parquet", None)],
)
def test_an_empty_file_has_an_empty_output(
    score: Score, put: Put, sharp_checkpoint: Path, name: str, content: str | None
) -> None:
    empty = as_parquet(FILL)
    if content is None:
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), sink)
        empty = sink.getvalue().to_pybytes()
    scored = score(sharp_checkpoint, [put(name, empty if content is None else content)])
    assert scored.rows(name) == []
    assert [(found["rows"], found["failed"]) for found in scored.summaries] == [(0, 0)]


def test_lines_of_text_are_rows_one_for_one(score: Score, put: Put, sharp_checkpoint: Path) -> None:
    text = b"\xef\xbb\xbfThe [MASK] sat.\r\n\n \xff [MASK]\nIt is [MASK].\n"
    scored = score(sharp_checkpoint, [put("a.txt", text)])
    first, last = online(sharp_checkpoint, ["The [MASK] sat.", "It is [MASK]."])
    assert scored.answers("a.txt") == [first, "missing_mask", "invalid_encoding", last]


def test_files_of_the_same_name_in_two_folders_have_outputs_of_their_own(
    score: Score, put: Put, sharp_checkpoint: Path, tmp_path: Path
) -> None:
    files = [put("one/a.txt", "The [MASK] sat."), put("two/a.txt", "It is [MASK].\nIt is [MASK].")]
    scored = score(sharp_checkpoint, files)
    assert [found["file"] for found in scored.summaries] == ["one/a.txt", "two/a.txt"]
    assert [len(scored.rows(f"{name}/a.txt")) for name in ("one", "two")] == [1, 2]
    elsewhere = score(sharp_checkpoint, files, tmp_path / "other", INPUT_FOLDER="/nowhere")
    assert len({found["file"] for found in elsewhere.summaries}) == 2
    assert all(found["file"].startswith("a.txt-") for found in elsewhere.summaries)


def test_progress_is_logged(
    score: Score,
    put: Put,
    sharp_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(batch_file, "PROGRESS_SECONDS", 0.0)
    score(sharp_checkpoint, [put("a.jsonl", FILL)])
    log = capfd.readouterr().err
    assert [f"a.jsonl: {rows} rows, 0 failed" in log for rows in (7, 14, 20)] == [True] * 3
    assert logging.getLogger("deployment").level == logging.INFO
