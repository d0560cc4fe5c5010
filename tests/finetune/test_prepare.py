from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import FinetuneError
from finetune.prepare.__main__ import _emptied
from finetune.prepare.prepared import PreparedFolder
from tests.finetune.prepare_samples import LABELED, QUESTIONS, argv, asked, labeled, rows, write

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"


def test_what_is_written_is_whole_and_says_where_it_came_from(
    run: Callable[..., Any], tmp_path: Path, checkpoint: Path
) -> None:
    files = {name: write(tmp_path / f"{name}.jsonl", labeled(20, at)) for name, at in (("a", 0), ("b", 20), ("c", 40))}
    parts = {"train_file_path": files["a"], "validation_file_path": files["b"], "test_file_path": files["c"]}
    settings, out, err = run(LABELED, **parts, learning_rate="1e-4", apply_lora="false")
    folder = PreparedFolder(tmp_path / "out")
    assert {path.name for path in folder.path.iterdir()} == {
        "settings.json",
        "train.jsonl",
        "validation.jsonl",
        "test.jsonl",
        "dropped.jsonl",
        "model",
    }
    assert list(folder.rows("train")) == labeled(20)
    assert list(folder.rows("test")) == labeled(20, 40)
    assert settings.labels == ["bad", "good"]
    assert (settings.training.learning_rate, settings.training.apply_lora) == (1e-4, False)
    assert {part: (data.source, data.rows) for part, data in settings.data.items()} == {
        "train": (str(files["a"]), 20),
        "validation": (str(files["b"]), 20),
        "test": (str(files["c"]), 20),
    }
    for part, data in settings.data.items():
        assert data.sha256 == hashlib.sha256(folder.file(part).read_bytes()).hexdigest()
    weights = (checkpoint / "model.safetensors").read_bytes()
    assert (folder.model / "model.safetensors").read_bytes() == weights
    assert settings.base.sha256 == hashlib.sha256(weights).hexdigest()
    assert (settings.base.name, settings.base.source) == ("tiny-bert", str(checkpoint))
    assert err == ""
    assert "train       20    0         " in out
    assert "good   10     10          10" in out


def test_the_same_inputs_give_the_same_files(run: Callable[..., Any], tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", labeled(40))
    for name in ("one", "two"):
        run(LABELED, train_file_path=train, prepared=tmp_path / name)
    for name in ("settings.json", "train.jsonl", "validation.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_validation_is_set_aside_where_none_is_given_and_that_is_said(run: Callable[..., Any], tmp_path: Path) -> None:
    settings, _, err = run(LABELED, train_file_path=write(tmp_path / "a.jsonl", labeled(40)))
    train, aside = rows(tmp_path / "out", "train"), rows(tmp_path / "out", "validation")
    assert sorted(row["text"] for row in train + aside) == sorted(row["text"] for row in labeled(40))
    assert sorted(row["label"] for row in aside) == ["bad", "bad", "good", "good"]
    assert settings.data["validation"].source == f"10% of {tmp_path / 'a.jsonl'}, seed 42"
    assert "no validation data was given: 4 rows of train are set aside, 10 % of each label, by the seed" in err


def test_a_context_is_on_one_side_alone(run: Callable[..., Any], tmp_path: Path) -> None:
    settings, _, err = run(QUESTIONS, train_file_path=write(tmp_path / "a.jsonl", asked(40)))
    train, aside = rows(tmp_path / "out", "train"), rows(tmp_path / "out", "validation")
    assert (len(train), len(aside)) == (36, 4)
    assert {row["context"] for row in train}.isdisjoint(row["context"] for row in aside)
    assert settings.labels == []
    assert "10 % of the contexts, with all their questions" in err
    assert train[0].keys() == {"id", "question", "context", "answers"}


@pytest.mark.parametrize("form", ["array", "object", "pretty"])
def test_a_file_that_is_one_json_text_is_read(run: Callable[..., Any], tmp_path: Path, form: str) -> None:
    found: Any = labeled(20) if form == "array" else {"data": labeled(20)}
    (tmp_path / "a.json").write_text(json.dumps(found, indent=2 if form == "pretty" else None), encoding="utf-8")
    settings, _, _ = run(LABELED, train_file_path=tmp_path / "a.json")
    assert settings.data["train"].rows == 18


def test_a_folder_and_an_mltable_are_read(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "a.jsonl", labeled(10))
    write(tmp_path / "data" / "b.jsonl", labeled(10, 10))
    assert run(LABELED, train_file_path=tmp_path / "data")[0].data["train"].rows == 18
    (tmp_path / "MLTable").write_text("paths: [{file: data/b.jsonl}]\ntransformations: [read_json_lines]")
    assert run(LABELED, train_mltable_path=tmp_path)[0].data["train"].rows == 8


@pytest.mark.parametrize(
    ("given", "data", "message"),
    [
        (
            LABELED,
            [{"sentence": "a", "label": 1}],
            "a.jsonl: expected columns ['text', 'label'], found ['sentence', 'label']; set sentence1_key",
        ),
        (LABELED, [{"a": "a", "b": 1}], "set sentence1_key and label_key"),
        (QUESTIONS, [{"title": "a", "paragraphs": []}], "write SQuAD's nested paragraphs as a row a question"),
        (QUESTIONS, [{"data": [], "version": "1.1"}], "write SQuAD's nested paragraphs as a row a question"),
        (LABELED, [], "train: expected rows in"),
        (QUESTIONS, asked(2), "train: expected two contexts or more, to set some aside for validation"),
        (LABELED, [*labeled(2)], "train: expected two rows of one label, to set some aside for validation"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(
    refused: Callable[..., str], tmp_path: Path, given: dict[str, str], data: list[Any], message: str
) -> None:
    assert message in refused(given, train_file_path=write(tmp_path / "a.jsonl", data))


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ";"), ("csv", "\t"), ("tsv", ",")])
def test_fields_between_other_marks_are_told(
    run: Callable[..., Any], refused: Callable[..., str], tmp_path: Path, suffix: str, mark: str
) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_text(
        "".join(f"{first}{mark}{second}\n" for first, second in [("text", "label"), *zip("abcd", "xyxy", strict=True)])
    )
    fix = f"the fields stand between {mark!r}: name it as the delimiter of read_delimited in an MLTable"
    assert refused(LABELED, train_file_path=file).endswith(fix)
    reader = {"read_delimited": {"delimiter": mark}}
    described = json.dumps({"paths": [{"file": f"./{file.name}"}], "transformations": [reader]})
    (tmp_path / "MLTable").write_text(described)
    assert run(LABELED, train_mltable_path=tmp_path)[0].labels == ["x", "y"]


def test_data_that_is_not_there_is_told_by_its_option(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "train_file_path: expected a file or a folder of files, found nothing at none.csv" in refused(
        LABELED, train_file_path="none.csv"
    )
    (tmp_path / "a.txt").touch()
    assert "train_file_path: " in refused(LABELED, train_file_path=tmp_path / "a.txt")


def test_rows_longer_than_the_model_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", labeled(20))
    told = refused(LABELED, train_file_path=train, max_seq_length="64")
    assert "max_seq_length: expected at most the model's 32 positions, found 64; give -1 for all" in told
    told = refused({**QUESTIONS, "doc_stride": "128"}, train_file_path=write(tmp_path / "b.jsonl", asked(20)))
    assert "doc_stride: expected less than 28, what a window of 32 tokens leaves" in told


def test_a_run_too_short_to_be_evaluated_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    told = refused(LABELED, train_file_path=write(tmp_path / "a.jsonl", labeled(20)), evaluation_strategy="steps")
    assert "eval_steps: expected at most the run's 18 steps (18 rows, 1 a step), found 500" in told


def test_a_head_of_another_size_needs_leave_to_start_anew(
    run: Callable[..., Any], refused: Callable[..., str], tmp_path: Path, sharp_classifier: Path
) -> None:
    train = write(tmp_path / "a.jsonl", labeled(20))
    given = {**LABELED, "train_file_path": train, "pytorch_model_path": sharp_classifier}
    told = refused(given, ignore_mismatched_sizes="false")
    assert "expected a base model of 2 labels, or 'true', found one of 3 and 'false'" in told
    assert run(given)[0].labels == ["bad", "good"]


def test_the_users_deepspeed_config_goes_along(run: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"zero_optimization": {"stage": 1}}')
    run(LABELED, train_file_path=write(tmp_path / "a.jsonl", labeled(20)), deepspeed=file)
    found = PreparedFolder(tmp_path / "out").deepspeed
    assert found is not None
    assert json.loads(found.read_text()) == {
        "zero_optimization": {"stage": 1},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }
    run(LABELED, train_file_path=tmp_path / "a.jsonl", deepspeed=file, apply_deepspeed="false")
    assert PreparedFolder(tmp_path / "out").deepspeed is None


def test_a_folder_of_something_else_is_not_emptied(refused: Callable[..., str], tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", labeled(20))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "train.jsonl").write_text("precious")
    assert "expected an empty folder, or the folder of an earlier run, found train.jsonl" in refused(
        LABELED, train_file_path=train, prepared=mine
    )
    assert "found train_file_path in it; name another" in refused(LABELED, train_file_path=train, prepared=tmp_path)
    assert (mine / "train.jsonl").read_text() == "precious"


def test_a_run_that_failed_or_was_killed_can_be_run_again(
    run: Callable[..., Any], refused: Callable[..., str], tmp_path: Path
) -> None:
    train = write(tmp_path / "a.jsonl", labeled(20))
    run(LABELED, train_file_path=train, test_file_path=train)
    refused(LABELED, train_file_path=write(tmp_path / "b.jsonl", [{"text": "a", "label": 1}] * 4))
    run(LABELED, train_file_path=train)
    assert not (tmp_path / "out" / "test.jsonl").exists()


def test_a_place_that_cannot_be_written_is_told(refused: Callable[..., str], tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", labeled(20))
    assert "expected a folder that can be written to" in refused(
        LABELED, train_file_path=train, prepared=Path("/proc/none/out")
    )


def test_a_file_that_is_a_link_to_itself_is_told(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").symlink_to("train.jsonl")
    told = refused(LABELED, train_file_path=tmp_path / "train.jsonl", prepared=tmp_path / "out")
    assert "train_file_path" in told
    assert told.endswith("found links that lead in a circle")


def test_a_file_elsewhere_that_cannot_be_read_is_not_told_as_one_to_write(tmp_path: Path) -> None:
    with pytest.raises(FinetuneError) as raised, _emptied(PreparedFolder(tmp_path / "out")):
        (tmp_path / "gone").read_bytes()
    assert (
        str(raised.value) == f"{tmp_path / 'gone'}: expected a file that can be read, found: No such file or directory"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learning_rate": "fast"}, "prepare: learning_rate: expected a number of 0 or more, found 'fast'"),
        ({"deepspeed_stage": "3"}, "prepare: deepspeed_stage: expected 2 with apply_lora, found 3"),
        ({"sentence1_key": "sentence"}, "expected columns ['sentence', 'label'], found ['text', 'label']"),
    ],
)
def test_a_refusal_takes_no_heavy_imports(
    tmp_path: Path, checkpoint: Path, given: dict[str, str], message: str
) -> None:
    train = write(tmp_path / "a.jsonl", labeled(20))
    values = {
        **LABELED,
        "prepared": tmp_path / "out",
        "train_file_path": train,
        "pytorch_model_path": checkpoint,
        **given,
    }
    code = (
        "import sys\nfrom finetune.prepare.__main__ import main\nstatus = main(sys.argv[1:])\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'huggingface_hub') if name in sys.modules])\n"
        "sys.exit(status)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *argv(values)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (1, "[]"), result.stderr
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_ctrl_c_is_said_in_one_line_and_leaves_nothing_that_looks_whole(tmp_path: Path, checkpoint: Path) -> None:
    train = write(tmp_path / "a.jsonl", labeled(300_000))  # seconds to read
    values = {**LABELED, "prepared": tmp_path / "out", "pytorch_model_path": checkpoint, "train_file_path": train}
    command = [sys.executable, "-m", "finetune.prepare", *argv(values)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not is_open(train, process.pid):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == "prepare: stopped; the folder is not complete, run the command again\n"
    assert process.returncode == 130
    assert not (tmp_path / "out" / "settings.json").exists()


def is_open(path: Path, process: int) -> bool:
    found = []
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(descriptor.readlink())
    return path in found


@pytest.mark.parametrize(
    ("given", "name", "count"),
    [(LABELED, "sst2", 6920), (LABELED, "agnews", 4800), ({**QUESTIONS, "doc_stride": "128"}, "xquad_en", 675)],
)
def test_public_data_is_prepared_without_a_row_left_out(
    run: Callable[..., Any], given: dict[str, str], name: str, count: int
) -> None:
    if not SHARED.is_dir():
        pytest.skip("the public data is not beside this checkout (../shared/data)")
    parts = {f"{part}_file_path": SHARED / f"{name}_{part}.jsonl" for part in ("train", "validation")}
    settings, _, err = run(given, **parts, pytorch_model_path=ROOT / "model/embedded")
    assert settings.data["train"].rows == count
    assert [data.dropped for data in settings.data.values()] == [{}, {}]
    assert "repaired" not in err
