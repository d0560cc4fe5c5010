"""Training through its command line: a real tiny checkpoint trained, killed, resumed, and used again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import mlflow
import pytest
import torch
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoTokenizer, BertForMaskedLM, Trainer

from finetune.pretrain import __main__ as pretrain
from finetune.pretrain.options import save_for_serving
from finetune.train.checkpoints import BestInThisFolder, best_checkpoint, last_whole_checkpoint, seal, step_of

ROOT = Path(__file__).parents[2]
SMALL = ["--max-length", "32", "--batch-size", "16", "--held-out-one-in", "10", "--learning-rate", "0.01"]


def command(checkpoint: Path, text: Path, output: Path, *more: str) -> list[str]:
    return ["--model", str(checkpoint), "--text", str(text), "--output-dir", str(output), *SMALL, *more]


def start(options: list[str], cwd: Path) -> subprocess.Popen[str]:
    """Start the command as a user does; one thread, as a tiny model has no work for more."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", "finetune.pretrain", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture(scope="module")
def trained(checkpoint: Path, text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Train 30 steps; return the output folder, standard output and standard error."""
    cwd = tmp_path_factory.mktemp("trained")
    process = start(command(checkpoint, text_file, Path("out"), "--max-steps", "30", "--eval-steps", "15"), cwd)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return cwd / "out", out, err


# A run from start to end


def test_training_lowers_the_held_out_loss_and_tells_it(trained: tuple[Path, str, str]) -> None:
    folder, out, err = trained
    before = float(re.search(r"step 0: held-out loss ([\d.]+), masked-token accuracy 0\.\d+", err)[1])
    after = float(re.fullmatch(r"held-out loss ([\d.]+), masked-token accuracy 0\.\d+: out/model\n", out)[1])
    assert after < before - 0.5
    assert re.search(r"step 15: loss [\d.]+, rate \d\.\de-\d\d", err)
    assert "Warning" not in err
    assert "missing keys" not in err
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "logs", "model", "options.json"]


def test_what_comes_out_is_a_plain_half_precision_checkpoint(trained: tuple[Path, str, str], checkpoint: Path) -> None:
    folder = trained[0] / "model"
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118
    model, report = BertForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "The cat sat on the [MASK] mat."
    assert tokenizer(text).input_ids == AutoTokenizer.from_pretrained(checkpoint)(text).input_ids
    encoded = tokenizer(text, return_tensors="pt")
    logits = model(**encoded).logits[encoded.input_ids == tokenizer.mask_token_id]
    assert tokenizer.decode(logits.argmax(-1)).strip() in tokenizer.get_vocab()
    assert json.loads((folder / "config.json").read_bytes())["architectures"] == ["BertForMaskedLM"]


def test_the_best_checkpoint_is_the_one_that_is_saved(trained: tuple[Path, str, str]) -> None:
    best = best_checkpoint(last_whole_checkpoint(trained[0] / "checkpoints"))
    expected = BertForMaskedLM.from_pretrained(best, dtype=torch.float16).state_dict()
    found = BertForMaskedLM.from_pretrained(trained[0] / "model", dtype=torch.float16).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_tensorboard_gets_every_figure_in_the_output_folder(trained: tuple[Path, str, str]) -> None:
    events = EventAccumulator(str(trained[0] / "logs"))
    events.Reload()
    assert [event.step for event in events.Scalars("eval/loss")] == [0, 15, 30]
    assert [event.step for event in events.Scalars("train/loss")] == [15, 30]
    assert not (trained[0].parent / "runs").exists()  # where TensorBoard's writer puts what is told no folder


def test_mlflow_gets_every_figure_in_one_run(
    checkpoint: Path, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes ten seconds to set up
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.chdir(tmp_path)
    options = command(
        checkpoint, text_file, tmp_path / "out", "--max-steps", "4", "--eval-steps", "2", "--log-to", "mlflow"
    )
    assert pretrain.main(options) == 0
    client = mlflow.MlflowClient((tmp_path / "mlruns").as_uri())
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "eval_loss")] == [0, 2, 4]


def test_a_trained_model_does_not_keep_the_name_of_its_source(checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "named"
    shutil.copytree(checkpoint, source)
    config = json.loads((source / "config.json").read_bytes())
    (source / "config.json").write_text(json.dumps({**config, "model_name": "the-source"}), encoding="utf-8")
    save_for_serving(pretrain.load_model(source, 0.0), source, tmp_path / "model")
    assert "model_name" not in json.loads((tmp_path / "model" / "config.json").read_bytes())


def test_the_model_that_comes_out_can_be_trained_on(
    trained: tuple[Path, str, str], text_file: Path, tmp_path: Path
) -> None:
    options = command(trained[0] / "model", text_file, tmp_path / "out", "--max-steps", "2", "--whole-words")
    assert pretrain.main(options) == 0
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()


# Stopped and resumed


def test_a_killed_run_goes_on_from_its_last_whole_checkpoint(
    checkpoint: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    options = command(checkpoint, text_file, output, "--eval-steps", "4")
    process = start([*options, "--max-steps", "2000"], tmp_path)
    while not (last := last_whole_checkpoint(output / "checkpoints")) or step_of(last) < 8:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    last = last_whole_checkpoint(output / "checkpoints")
    half_written = output / "checkpoints" / "checkpoint-1500"
    half_written.mkdir()
    shutil.copyfile(last / "model.safetensors", half_written / "model.safetensors")

    assert pretrain.main([*options, "--max-steps", str(step_of(last) + 3), "--resume"]) == 0
    err = capsys.readouterr().err
    assert f"going on from {last}" in err
    assert "step 0:" not in err
    end = last_whole_checkpoint(output / "checkpoints")
    assert step_of(end) == step_of(last) + 3
    history = json.loads((end / "trainer_state.json").read_bytes())["log_history"]
    assert [entry["step"] for entry in history if "eval_loss" in entry][:2] == [4, 8]
    BertForMaskedLM.from_pretrained(output / "model")


def test_a_finished_run_resumed_trains_no_further(
    trained: tuple[Path, str, str],
    checkpoint: Path,
    text_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(trained[0], moved)
    before = (moved / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(moved / "model")
    options = command(checkpoint, text_file, moved, "--max-steps", "30", "--eval-steps", "15", "--resume")
    assert pretrain.main(options) == 0
    assert "checkpoint-30: no step is left of --max-steps 30" in capsys.readouterr().err
    assert (moved / "model" / "model.safetensors").read_bytes() == before
    assert step_of(last_whole_checkpoint(moved / "checkpoints")) == 30


def test_the_best_checkpoint_is_found_again_in_a_moved_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-15").mkdir()
    state = Namespace(best_global_step=15, best_model_checkpoint="where/it/was/checkpoint-15")
    BestInThisFolder().on_train_begin(Namespace(output_dir=str(tmp_path)), state, None)
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-15")


def test_resume_with_nothing_to_resume_starts_and_says_so(
    checkpoint: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = command(checkpoint, text_file, tmp_path / "out", "--max-steps", "1", "--resume", "--log-to", "none")
    assert pretrain.main(options) == 0
    assert f"nothing to resume in {tmp_path / 'out'}: starting" in capsys.readouterr().err
    assert not (tmp_path / "out" / "logs").exists()


@pytest.mark.parametrize("missing", ["trainer_state.json", "optimizer.pt", "model.safetensors", "manifest.json", "cut"])
def test_a_half_written_checkpoint_is_not_picked(tmp_path: Path, missing: str) -> None:
    for step in (9, 10, 100):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in ("model.safetensors", "optimizer.pt", "scheduler.pt"):
            (folder / name).touch()
        (folder / "trainer_state.json").write_text('{"best_global_step": 9}', encoding="utf-8")
        seal(folder)
    newest = tmp_path / "checkpoint-100"
    assert last_whole_checkpoint(tmp_path) == newest
    if missing == "cut":
        (newest / "trainer_state.json").write_text('{"best_glob', encoding="utf-8")
    else:
        (newest / missing).unlink()
    (tmp_path / "checkpoint-best").mkdir()
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert best_checkpoint(tmp_path / "checkpoint-10") == tmp_path / "checkpoint-9"


def test_another_runs_work_is_not_overwritten(
    trained: tuple[Path, str, str],
    checkpoint: Path,
    text_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = trained[0]
    assert pretrain.main(command(checkpoint, text_file, folder)) == 1
    assert re.search("expected a folder without checkpoints, found checkpoint-30; give --resume", last_error(capsys))
    assert pretrain.main(command(folder / "model", text_file, folder, "--resume")) == 1
    assert "expected a folder other than --model's" in last_error(capsys)
    shutil.copytree(folder / "model", tmp_path / "model")
    for more in ([], ["--resume"]):
        assert pretrain.main(command(checkpoint, text_file, tmp_path, *more)) == 1
        assert "expected a folder without a model" in last_error(capsys)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--held-out-one-in", "20"], "expected --held-out-one-in 10 as the run was begun with, found 20"),
        (["--learning-rate", "0.02"], "expected --learning-rate 0.01 as the run was begun with, found 0.02"),
    ],
)
def test_a_resumed_run_keeps_its_options(
    trained: tuple[Path, str, str],
    checkpoint: Path,
    text_file: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    assert pretrain.main(command(checkpoint, text_file, trained[0], "--eval-steps", "15", "--resume", *more)) == 1
    assert message in last_error(capsys)


# Ended early


def test_a_loss_that_is_no_number_stops_training(
    checkpoint: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = command(checkpoint, text_file, tmp_path / "out", "--learning-rate", "1e30", "--warmup-steps", "0")
    assert pretrain.main([*options, "--max-steps", "50", "--log-to", "none"]) == 1
    assert re.search("expected a finite loss, found (nan|inf): training has diverged", last_error(capsys))
    assert not (tmp_path / "out" / "model").exists()


def test_ctrl_c_ends_with_one_line_that_says_how_to_go_on(
    checkpoint: Path,
    text_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(self: Trainer, model: object, inputs: object, items: object = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "training_step", interrupted)
    assert pretrain.main(command(checkpoint, text_file, tmp_path / "out", "--log-to", "none")) == 130
    assert last_error(capsys) == "pretrain: stopped; the same command with --resume goes on from the last checkpoint"
