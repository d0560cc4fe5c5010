"""What training refuses, and what its command says then: one line with the fix."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.prepare.prepared import PreparedFolder
from tests.finetune.train_runs import changed, last_error, run, weights

ROOT = Path(__file__).parents[2]
Make = Callable[..., PreparedFolder]
Rows = list[dict[str, Any]]
pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_loss_that_is_no_number_ends_the_run(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared(checkpoint, labelled[:64], labelled[64:80], learning_rate=1e30, logging_steps=1)
    assert run(prepared, tmp_path / "out") == 1
    assert "expected a finite loss, found nan: training has diverged" in last_error(capsys)
    assert not (tmp_path / "out" / "training.json").exists()


def test_16_bits_without_hardware_are_refused_before_anything_is_loaded(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path
) -> None:
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48], precision=16)
    code = (
        "import sys, torch; torch.cpu.get_capabilities = dict; torch.cuda.is_available = lambda: False\n"
        "from finetune.train.__main__ import main\n"
        f"status = main(['--prepared', {str(prepared.path)!r}, '--pytorch-model-folder', 'out'])\n"
        "print(status, 'transformers' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "1 False\n"
    fix = "precision 16: expected a GPU or a CPU with bf16, found neither; set precision to 32"
    assert found.stderr == f"train: {fix}\n"


def test_a_head_of_another_shape_begins_anew_or_is_refused(
    make_prepared: Make,
    sharp_classifier: Path,
    labelled: Rows,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    two = [row for row in labelled if row["label"] != "red"]
    prepared = make_prepared(
        sharp_classifier, two[:32], two[32:48], labels=["warm", "cold"], ignore_mismatched_sizes=False
    )
    assert run(prepared, tmp_path / "refused") == 1
    message = "expected classifier.bias of shape [2], found [3]; set ignore_mismatched_sizes to true to begin it anew"
    assert message in last_error(capsys)
    changed(prepared, ignore_mismatched_sizes=True)
    assert run(prepared, tmp_path / "out") == 0
    assert "of another shape in the base model, begun anew: classifier" in capsys.readouterr().err
    assert weights(tmp_path / "out")["classifier.weight"].shape == (2, 32)


@pytest.mark.parametrize(
    ("features", "training", "message"),
    [
        (
            {"max_seq_length": 33},
            {},
            "max_seq_length: expected at most the model's 32 positions, found 33; give 32, or",
        ),
        ({"max_seq_length": 3}, {}, "max_seq_length: expected 4 or more"),
    ],
)
def test_settings_that_the_model_cannot_follow_are_refused(
    make_prepared: Make,
    checkpoint: Path,
    labelled: Rows,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    features: dict[str, Any],
    training: dict[str, Any],
    message: str,
) -> None:
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48], features=features, **training)
    assert run(prepared, tmp_path / "out") == 1
    assert message in last_error(capsys)


def test_what_is_no_prepared_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(PreparedFolder(tmp_path), tmp_path / "out") == 1
    assert "expected what `python -m finetune.prepare` writes" in last_error(capsys)


def test_an_environment_that_is_told_half_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    assert run(PreparedFolder(tmp_path), tmp_path / "out") == 1
    assert "environment: expected numbers in RANK, LOCAL_RANK, WORLD_SIZE" in last_error(capsys)


def test_damaged_weights_are_refused(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48])
    file = prepared.model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert run(prepared, tmp_path / "out") == 1
    assert "expected the weights that config.json describes" in last_error(capsys)


def test_a_disk_that_is_full_is_told(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48], resume_from_checkpoint=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))  # no file grows beyond 64 KiB, which the weights do
    try:
        assert run(prepared, output := tmp_path / "out") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = last_error(capsys)
    assert re.fullmatch(
        r"train: .*checkpoints: expected a disk with room for weights, found: .*; make room, and .*", told
    )
    assert run(prepared, output) == 0
