from __future__ import annotations

import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from finetune.prepare.__main__ import main as prepare
from tests.loopback_hub import LoopbackHub, Repository

ROOT = Path(__file__).resolve().parents[2]


def parquet(columns: dict[str, list[Any]]) -> bytes:
    written = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), written)
    return written.getvalue()


def sentences(count: int, column: str, labels: int) -> bytes:
    texts = [f"the cat sat on mat {n}" for n in range(count)]
    return parquet({"idx": list(range(count)), column: texts, "label": [n % labels for n in range(count)]})


def questions(count: int) -> bytes:
    answers = [{"text": ["mat"], "answer_start": [15]} for _ in range(count)]
    texts = {"context": ["the cat sat on mat"] * count, "question": [f"where {n}?" for n in range(count)]}
    return parquet({"id": [f"q{n}" for n in range(count)], "title": ["cats"] * count, **texts, "answers": answers})


SST2 = {f"data/{part}-00000-of-00001.parquet": sentences(40, "sentence", 2) for part in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    news = {f"data/train-0000{n}-of-00002.parquet": sentences(40, "text", 4) for n in range(2)}
    squad = {f"plain_text/{part}-00000-of-00001.parquet": questions(9) for part in ("train", "validation")}
    files = {
        "stanfordnlp/sst2": SST2,
        "fancyzhx/ag_news": {**news, "data/test-00000-of-00001.parquet": sentences(8, "text", 4)},
        "rajpurkar/squad": squad,
    }
    with LoopbackHub({name: Repository(found, kind="datasets") for name, found in files.items()}) as found:
        yield found


def fetch(
    hub: LoopbackHub, name: str, folder: Path, *more: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "finetune.prepare.fetch_data", name, "--output", str(folder / "out"), *more]
    environ = hub.environment(folder / "home", **environment)
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_sst2_has_readable_labels_and_is_what_a_job_prepares(
    hub: LoopbackHub, tmp_path: Path, checkpoint: Path
) -> None:
    result = fetch(hub, "sst2", tmp_path)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "out"
    assert result.stdout == f"{out / 'train'}.jsonl: 40 rows\n{out / 'validation'}.jsonl: 40 rows\n"
    assert sorted(path.name for path in out.iterdir()) == ["train.jsonl", "validation.jsonl"]
    assert rows(out / "train.jsonl")[:2] == [
        {"text": "the cat sat on mat 0", "label": "NEGATIVE"},
        {"text": "the cat sat on mat 1", "label": "POSITIVE"},
    ]
    given = f"--task text-classification --prepared {tmp_path / 'prepared'} --pytorch_model_path {checkpoint}"
    data = f"--train_file_path {out / 'train.jsonl'} --sentence1_key text --label_key label"
    assert prepare([*given.split(), *data.split()]) == 0


def test_ag_news_gets_a_validation_part_and_loses_no_row(hub: LoopbackHub, tmp_path: Path) -> None:
    result = fetch(hub, "ag_news", tmp_path)
    assert result.returncode == 0, result.stderr
    train, aside, test = (rows(tmp_path / "out" / f"{part}.jsonl") for part in ("train", "validation", "test"))
    assert (len(train), len(aside), len(test)) == (72, 8, 8)
    assert Counter(row["tag"] for row in aside) == dict.fromkeys(["World", "Sports", "Business", "Sci/Tech"], 2)
    assert Counter(row["text"] for row in train + aside) == dict.fromkeys(
        [f"the cat sat on mat {n}" for n in range(40)], 2
    )


def test_squad_keeps_its_columns(hub: LoopbackHub, tmp_path: Path) -> None:
    assert fetch(hub, "squad", tmp_path).returncode == 0
    assert rows(tmp_path / "out" / "validation.jsonl")[8] == {
        "id": "q8",
        "title": "cats",
        "context": "the cat sat on mat",
        "question": "where 8?",
        "answers": {"text": ["mat"], "answer_start": [15]},
    }


@pytest.mark.parametrize(
    ("more", "environment", "message"),
    [
        (["--revision", "none"], {}, "found no revision 'none' of it; name another"),
        ([], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "expected a hub at http://127.0.0.1:9, found no way to it"),
        ([], {"HF_HUB_OFFLINE": "1"}, "in the hub's cache at"),
    ],
)
def test_what_cannot_be_fetched_is_told_in_one_line(
    hub: LoopbackHub, tmp_path: Path, more: list[str], environment: dict[str, str], message: str
) -> None:
    result = fetch(hub, "sst2", tmp_path, *more, **environment)
    assert result.returncode == 1
    assert result.stderr.startswith("fetch_data: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"README.md": b"moved"}, "expected data/train-*.parquet, found README.md; give --revision of another state"),
        ({**SST2, "data/train-00000-of-00001.parquet": b"no parquet"}, "expected a parquet file"),
        (
            {**SST2, "data/train-00000-of-00001.parquet": sentences(9, "text", 2)},
            "expected columns ['sentence', 'label']",
        ),
        (
            {**SST2, "data/validation-00000-of-00001.parquet": sentences(9, "sentence", 3)},
            "validation-00000-of-00001.parquet, row 3: expected a label from 0 to 1, found 2",
        ),
    ],
)
def test_a_data_set_of_another_form_is_told_and_nothing_is_written(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    with LoopbackHub({"stanfordnlp/sst2": Repository(files, kind="datasets")}) as hub:
        result = fetch(hub, "sst2", tmp_path)
    assert result.returncode == 1
    assert message in result.stderr.splitlines()[-1]
    assert list((tmp_path / "out").iterdir()) == []
