"""A training run that was killed, and what its folder takes: whole checkpoints alone, and the run that began there."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer

from finetune.prepare.prepared import PreparedFolder
from finetune.train import __main__ as train
from finetune.train.checkpoints import (
    checkpoints_in,
    is_whole,
    last_whole_checkpoint,
    remove_half_written,
    seal,
    step_of,
)
from finetune.train.output_folder import OutputFolder

ROOT = Path(__file__).parents[2]
Make = Callable[..., PreparedFolder]
Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model has no work for more."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("RANK", "WORLD_SIZE", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def run(prepared: PreparedFolder, output: Path) -> int:
    return train.main(["--prepared", str(prepared.path), "--pytorch-model-folder", str(output)])


def start(prepared: PreparedFolder, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "finetune.train"]
    command += ["--prepared", str(prepared.path), "--pytorch-model-folder", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=output.parent, env=environment, stdout=pipe, stderr=pipe, text=True)


def changed(prepared: PreparedFolder, **training: object) -> None:
    """Change settings of the training."""
    settings = prepared.settings()
    new = settings.training.model_copy(update=training)
    prepared.write_settings(settings.model_copy(update={"training": new}))


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


LONG = {
    "num_train_epochs": 6,
    "evaluation_strategy": "steps",
    "eval_steps": 4,
    "save_total_limit": 2,
    "resume_from_checkpoint": True,
    "lora_dropout": 0.1,
}
"""72 steps with dropout, a checkpoint each 4 of the 12 in an epoch, most of them within one."""


def losses(output: Path) -> dict[int, float]:
    history = json.loads((output / "training.json").read_bytes())["history"]
    return {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}


@pytest.mark.parametrize("lora", [False, True])
def test_a_run_killed_at_any_moment_ends_as_if_it_was_not(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, lora: bool
) -> None:
    prepared = make_prepared(checkpoint, labelled[:96], labelled[96:128], apply_lora=lora, **LONG)
    assert run(prepared, whole := tmp_path / "whole") == 0
    killed, moments, kills = tmp_path / "killed", random.Random(5), 0
    while kills < 3:
        process = start(prepared, killed)
        before = last_whole_checkpoint(killed / "checkpoints")
        # From the first steps of this process on, at a moment that falls anywhere within a step, a save or a deletion.
        while process.poll() is None and last_whole_checkpoint(killed / "checkpoints") == before:
            time.sleep(0.01)
        time.sleep(moments.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        assert not (killed / "training.json").exists(), "expected a kill before the end"
        assert last_whole_checkpoint(killed / "checkpoints") is not None
    assert run(prepared, killed) == 0
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert losses(killed) == losses(whole)
    assert all(is_whole(path) for path in checkpoints_in(killed / "checkpoints"))
    assert len(checkpoints_in(killed / "checkpoints")) == 2


def test_a_run_killed_before_its_result_was_written_leaves_the_same(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = {"max_steps": 6, "resume_from_checkpoint": True}
    prepared = make_prepared(checkpoint, labelled[:96], labelled[96:128], **training)
    assert run(prepared, output := tmp_path / "out") == 0
    before = (output / "model.safetensors").read_bytes()
    report = json.loads((output / "training.json").read_bytes())
    (output / "training.json").unlink()
    (output / "model.safetensors").write_bytes(before[:100])
    assert run(prepared, output) == 0
    assert (output / "model.safetensors").read_bytes() == before
    again = json.loads((output / "training.json").read_bytes())
    assert (again["best"], again["tokens_per_second"]) == (report["best"], report["tokens_per_second"])
    assert "going on from checkpoint-6" in capsys.readouterr().err


def test_half_written_checkpoints_are_removed_and_said(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48], resume_from_checkpoint=True)
    output = tmp_path / "out"
    half = output / "checkpoints" / "checkpoint-2"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    assert run(prepared, output) == 0
    found = capsys.readouterr().err
    assert "removed checkpoint-2, which was half written\n" in found
    assert f"nothing to resume in {output}: starting\n" in found
    assert [step_of(path) for path in checkpoints_in(output / "checkpoints")] == [4]


def test_a_finished_run_is_left_as_it_is(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48])
    assert run(prepared, output := tmp_path / "out") == 0
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    assert run(prepared, output) == 1
    assert "expected a folder without a run, found checkpoints/checkpoint-4; set resume_from_checkpoint to true" in (
        last_error(capsys)
    )
    changed(prepared, resume_from_checkpoint=True)
    assert run(prepared, output) == 0
    assert capsys.readouterr().err == f"{output} has a finished run; nothing to do\n"
    assert times == {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


def test_a_run_goes_on_with_its_own_settings_and_data_alone(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48], max_steps=4, resume_from_checkpoint=True)
    assert run(prepared, output := tmp_path / "out") == 0
    (output / "training.json").unlink()
    changed(prepared, learning_rate=1e-4)
    assert run(prepared, output) == 1
    assert (
        "resume_from_checkpoint: expected settings.training.learning_rate 0.003 as the run was begun with, found 0.0001"
    ) in last_error(capsys)
    other = make_prepared(checkpoint, labelled[1:33], labelled[32:48], max_steps=4, resume_from_checkpoint=True)
    assert run(other, output) == 1
    assert "expected settings.data.train.sha256" in last_error(capsys)
    free = {"save_total_limit": 3, "per_device_eval_batch_size": 4}
    same = make_prepared(checkpoint, labelled[:32], labelled[32:48], max_steps=4, resume_from_checkpoint=True, **free)
    settings = same.settings()
    moved = settings.base.model_copy(update={"source": "mounted/elsewhere"})
    same.write_settings(settings.model_copy(update={"base": moved}))
    assert run(same, output) == 0


def test_ctrl_c_ends_with_one_line_that_says_how_to_go_on(
    make_prepared: Make,
    checkpoint: Path,
    labelled: Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "training_step", interrupted)
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48])
    assert run(prepared, tmp_path / "out") == 130
    fix = "the same with resume_from_checkpoint true goes on from the last checkpoint"
    assert last_error(capsys) == f"train: stopped; {fix}"


def test_a_folder_that_cannot_be_written_is_refused(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48])
    (tmp_path / "file").touch()
    assert run(prepared, tmp_path / "file" / "out") == 1
    assert "expected a folder that can be written to, found" in last_error(capsys)


@pytest.mark.parametrize("damage", ["manifest.json", "a.bin", "global_step8/b.bin", "longer", "manifest cut", "other"])
def test_a_checkpoint_is_whole_only_with_all_that_it_was_sealed_with(tmp_path: Path, damage: str) -> None:
    for step in (4, 8):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / f"global_step{step}").mkdir(parents=True)
        (folder / "a.bin").write_bytes(b"abc")
        (folder / f"global_step{step}" / "b.bin").write_bytes(b"defg")
        seal(folder)
    newest = tmp_path / "checkpoint-8"
    (tmp_path / "checkpoint-8.partial").mkdir()
    assert last_whole_checkpoint(tmp_path) == newest
    if damage == "longer":
        (newest / "a.bin").write_bytes(b"abcd")
    elif damage == "manifest cut":
        (newest / "manifest.json").write_text('{"files": {"a.b', encoding="utf-8")
    elif damage == "other":
        (newest / "manifest.json").write_text("[]", encoding="utf-8")
    else:
        (newest / damage).unlink()
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert remove_half_written(tmp_path) == [newest]
    assert not newest.exists()


def test_a_deletion_cut_short_at_any_file_leaves_no_whole_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-4"
    folder.mkdir()
    names = ("a", "b", "c", "manifest.json")
    for name in names:
        for other in names[:3]:
            (folder / other).write_bytes(other.encode())
        seal(folder)
        assert is_whole(folder)
        (folder / name).unlink()
        assert not is_whole(folder)


def test_json_of_another_run_is_not_read_as_one(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48], max_steps=2, resume_from_checkpoint=True)
    assert run(prepared, output := tmp_path / "out") == 0
    OutputFolder(output).begun_with.write_text("{", encoding="utf-8")
    assert run(prepared, output) == 1
    assert "begun_with.json: expected JSON, found" in last_error(capsys)
    shutil.rmtree(output)
