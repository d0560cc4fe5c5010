"""Training by several processes, with DeepSpeed and without, as torchrun, Azure ML and the runner start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from finetune.errors import FinetuneError
from finetune.prepare import deepspeed
from finetune.prepare.prepared import PreparedFolder
from finetune.train import __main__ as train
from finetune.train.checkpoints import checkpoints_in, is_whole, last_whole_checkpoint
from finetune.train.processes import Processes, free_port

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv/finetune/bin/python"
Make = Callable[..., PreparedFolder]
Rows = list[dict[str, Any]]

with_deepspeed = pytest.mark.skipif(not PYTHON.exists(), reason="expected .venv/finetune, found none; see the Makefile")
"""DeepSpeed is in the environment of the image alone."""


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    return {**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def command(prepared: PreparedFolder, output: Path) -> list[str]:
    return ["-m", "finetune.train", "--prepared", str(prepared.path), "--pytorch-model-folder", str(output)]


def start(python: Path | str, prepared: PreparedFolder, output: Path, count: int) -> list[subprocess.Popen[str]]:
    """Start processes as Azure ML does, which leaves LOCAL_WORLD_SIZE out."""
    port, pipe = free_port(), subprocess.PIPE
    found = []
    for rank in range(count):
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        env = environment(**{name: str(value) for name, value in told.items()})
        arguments = [str(python), *command(prepared, output)]
        found.append(subprocess.Popen(arguments, cwd=output.parent, env=env, stdout=pipe, stderr=pipe, text=True))
    return found


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    texts = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def losses(output: Path) -> list[float]:
    history = json.loads((output / "training.json").read_bytes())["history"]
    return [entry["loss"] for entry in history if "loss" in entry]


SMALL = {"logging_steps": 1, "learning_rate": 1e-3, "per_device_eval_batch_size": 8}


def test_two_processes_learn_as_one_with_twice_the_batch(
    make_prepared: Make, make_checkpoint: Callable[..., Path], labelled: Rows, tmp_path: Path
) -> None:
    base = make_checkpoint(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    found = []
    for count in (1, 2):
        # 87 rows: the last step has seven of its eight, and the two processes four each, one of them twice.
        prepared = make_prepared(
            base,
            labelled[:87],
            labelled[87:106],
            num_train_epochs=2,
            per_device_train_batch_size=8 // count,
            name=f"for-{count}",
            **SMALL,
        )
        results = finish(start(sys.executable, prepared, tmp_path / f"by-{count}", count))
        assert [status for status, _, _ in results] == [0] * count, results
        assert [out for _, out, _ in results[1:]] == [""] * (count - 1)
        assert [err for _, _, err in results[1:]] == [""] * (count - 1)
        found.append(losses(tmp_path / f"by-{count}"))
    assert len(found[0]) == len(found[1]) == 22
    # Whole batches: the same numbers in fp32, added in another order.
    assert found[1][:10] == pytest.approx(found[0][:10], rel=1e-4)
    # From the row that counts twice on, one step of eleven has another gradient.
    assert found[1] == pytest.approx(found[0], rel=0.02)


@with_deepspeed
def test_two_processes_with_deepspeed_and_lora_killed_end_as_if_they_were_not(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path
) -> None:
    training = {
        **SMALL,
        "apply_deepspeed": True,
        "apply_lora": True,
        "lora_dropout": 0.1,
        "num_train_epochs": 12,
        "evaluation_strategy": "steps",
        "eval_steps": 4,
        "save_total_limit": 2,
        "resume_from_checkpoint": True,
    }
    prepared = make_prepared(checkpoint, labelled[:96], labelled[96:112], **training)
    results = finish(start(PYTHON, prepared, whole := tmp_path / "whole", 2))
    assert [status for status, _, _ in results] == [0, 0], results
    assert results[0][1].startswith("best at step ") and results[0][1].count("\n") == 1
    assert results[1][1:] == ("", "")
    assert "Warning" not in results[0][2] and "DeepSpeed" not in results[0][2]
    report = json.loads((whole / "training.json").read_bytes())
    assert (report["processes"], report["precision"]) == (2, "fp32")

    killed = tmp_path / "killed"
    processes = start(PYTHON, prepared, killed, 2)
    while not last_whole_checkpoint(killed / "checkpoints"):
        assert processes[0].poll() is None, processes[0].communicate()
        time.sleep(0.01)
    time.sleep(0.1)
    for process in processes:
        process.send_signal(signal.SIGKILL)
    finish(processes)
    assert not (killed / "training.json").exists()
    results = finish(start(PYTHON, prepared, killed, 2))
    assert [status for status, _, _ in results] == [0, 0], results
    assert "going on from checkpoint-" in results[0][2]
    assert all(is_whole(path) for path in checkpoints_in(killed / "checkpoints"))
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@with_deepspeed
def test_zero_3_under_torchrun_leaves_whole_weights(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path
) -> None:
    prepared = make_prepared(
        checkpoint, labelled[:64], labelled[64:80], apply_deepspeed=True, deepspeed_stage=3, **SMALL
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [str(PYTHON), *torchrun, *command(prepared, output := tmp_path / "out")]
    found = subprocess.run(arguments, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    weights, base = load_file(output / "model.safetensors"), load_file(checkpoint / "model.safetensors")
    shared = set(weights) & set(base)
    assert len(shared) > 30
    assert {name: weights[name].shape for name in shared} == {name: base[name].shape for name in shared}
    _, loaded = AutoModelForSequenceClassification.from_pretrained(output, output_loading_info=True)
    assert not any(loaded[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@with_deepspeed
def test_one_process_with_deepspeed_in_16_bits_leaves_32(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path
) -> None:
    prepared = make_prepared(checkpoint, labelled[:64], labelled[64:80], apply_deepspeed=True, precision=16, **SMALL)
    if not Path("/proc/cpuinfo").read_text(encoding="utf-8").count("bf16"):
        pytest.skip("expected a CPU with bf16, found none")
    arguments = [str(PYTHON), *command(prepared, output := tmp_path / "out")]
    found = subprocess.run(arguments, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    weights = load_file(output / "model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float32"}
    # The optimizer's own, not those that were computed with.
    assert any((tensor != tensor.bfloat16().float()).any() for tensor in weights.values())


# What is asked of DeepSpeed


def test_zero_3_with_lora_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(
        FinetuneError, match="deepspeed_stage 3: expected apply_lora false, found true: .* set deepspeed"
    ):
        deepspeed.run_config(None, 3, lora=True)
    assert deepspeed.run_config(None, 3, lora=False)["zero_optimization"]["stage"] == 3


@pytest.mark.parametrize("text", ["{", "[1]", '{"zero_optimization": 2}'])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    (tmp_path / "deepspeed.json").write_text(text, encoding="utf-8")
    with pytest.raises(FinetuneError, match="expected a JSON object of DeepSpeed's settings, found"):
        deepspeed.run_config(tmp_path / "deepspeed.json", 2, lora=True)


def test_an_environment_without_deepspeed_is_refused(
    make_prepared: Make,
    checkpoint: Path,
    labelled: Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48], apply_deepspeed=True)
    assert train.main(["--prepared", str(prepared.path), "--pytorch-model-folder", str(tmp_path / "out")]) == 1
    assert "apply_deepspeed: expected the package deepspeed, found none" in capsys.readouterr().err


# Which process this is


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, Processes()),
        (
            {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "1"},
            Processes(3, 1, 4, 2),
        ),
        (
            {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "AZUREML_NODE_COUNT": "2", "MASTER_PORT": "1"},
            Processes(3, 1, 4, 2),
        ),
        ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, Processes(1, 1, 2, 2)),
    ],
)
def test_a_process_is_found_in_its_environment(told: dict[str, str], expected: Processes) -> None:
    assert Processes.from_env({"MASTER_ADDR": "host", **told}) == expected


@pytest.mark.parametrize(
    "told",
    [
        {"RANK": "0"},
        {"WORLD_SIZE": "2"},
        {"RANK": "x", "LOCAL_RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
        {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a"},
        {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "AZUREML_NODE_COUNT": "0"},
    ],
)
def test_a_process_that_is_told_nonsense_is_refused(told: dict[str, str]) -> None:
    with pytest.raises(FinetuneError, match="environment: expected"):
        Processes.from_env(told)
