"""Compiled graphs: kept by content, written whole or not at all, and checked before they are kept."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import load_file, save_file

import serving.engine.backend
import serving.engine.compile
from serving.answering.fill_mask import FillMask
from serving.engine import reference
from serving.engine.backend import Precision, resolve_precision
from serving.engine.compile import compiled, content_hash, main
from serving.errors import ModelFolderError
from serving.model.checkpoint import Checkpoint
from serving.native.weights import quantize_columns

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model", ignore=shutil.ignore_patterns(".compiled")))


def test_a_second_time_takes_the_graph_that_is_there(folder: Path) -> None:
    first = compiled(folder, "fp32")
    assert isinstance(first, Path)
    written = first.stat().st_mtime_ns
    assert first.parent == folder / ".compiled"
    assert compiled(folder, "fp32") == first
    assert first.stat().st_mtime_ns == written
    assert compiled(folder, "int8") != first


def test_other_weights_or_another_config_are_compiled_anew(folder: Path) -> None:
    before = content_hash(folder, "fp32")
    config = folder / "config.json"
    config.write_text(config.read_text() + " ")
    changed = content_hash(folder, "fp32")
    tensors = load_file(folder / "model.safetensors")
    tensors["cls.predictions.bias"] += 1
    save_file(tensors, folder / "model.safetensors")
    assert len({before, changed, content_hash(folder, "fp32"), content_hash(folder, "int8")}) == 4


def test_a_read_only_model_folder_is_compiled_into_the_users_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (folder / ".compiled").write_text("a file where the folder would be: root can write to any folder")
    kept = compiled(folder, "fp32")
    assert isinstance(kept, Path)
    assert kept.parent == tmp_path / "cache" / "bert-serving"


def test_a_graph_that_cannot_be_kept_is_served_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    (folder / ".compiled").write_text("a file where the folder would be")
    assert FillMask.load(folder, "fp32").fill(["The [MASK] sat."])
    assert "each start compiles it; set BERT_SERVING_CACHE_DIR" in caplog.text


def test_weights_that_are_not_numbers_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["cls.predictions.transform.dense.bias"][0] = math.nan
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelFolderError, match="expected weights that are numbers, found NaN or infinity in "):
        compiled(folder, "fp32")
    assert not (folder / ".compiled").exists()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_weights_that_are_far_too_large_are_refused(folder: Path, precision: Precision) -> None:
    # A request would have got NaN in its JSON.
    tensors = load_file(folder / "model.safetensors")
    tensors["cls.predictions.bias"][5] = -3e38
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelFolderError, match="expected logits of an ordinary size, found infinite ones"):
        compiled(folder, precision)
    assert not list((folder / ".compiled").glob("*"))


def test_a_graph_that_differs_from_the_reference_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = serving.engine.compile.reference.head
    monkeypatch.setattr(serving.engine.compile.reference, "head", lambda source, hidden: -right(source, hidden))
    with pytest.raises(
        ModelFolderError, match="the int8 model for onnxruntime is off the reference by 2, .*; serve it in fp32"
    ):
        compiled(folder, "int8")


def test_a_classifier_that_is_unsure_of_one_text_is_served_in_int8(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    made = make_checkpoint(task="text-classification", initializer_range=0.3, hidden_size=256, num_hidden_layers=4)
    folder = Path(shutil.copytree(made, tmp_path / "model"))
    source = Checkpoint.read(folder)
    ids = np.random.default_rng(0).integers(source.config.vocab_size, size=16)  # the first row that is looked at
    feature = reference.features(source, reference.encode(source, ids, [0] * 8 + [1] * 8)[:1])[0]
    tensors = load_file(folder / "model.safetensors")
    # What the logits of other rows have in common with this one's is taken off, and int8's error on it remains.
    tensors["classifier.weight"] = torch.tensor(np.stack([feature, -feature]))
    tensors["classifier.bias"] = torch.tensor(np.array([-feature @ feature, feature @ feature]))
    save_file(tensors, folder / "model.safetensors")
    assert Path(str(compiled(folder, "int8"))).is_file()


def test_a_write_that_fails_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert isinstance(compiled(folder, "fp32", folder / "cache"), bytes)
    assert list((folder / "cache").iterdir()) == []
    assert main([str(folder), "--cache-dir", str(folder / "cache")]) == 1


def test_the_command_prints_where_the_graph_is_and_shows_its_progress(folder: Path) -> None:
    command = [sys.executable, "-m", "serving.engine.compile", str(folder), "--precision", "int8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent == folder / ".compiled"
    for stage in ("to int8 for", "read", "build", "check", "write", "relative error"):
        assert stage in done.stderr


def test_the_command_says_what_is_wrong_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "expected a model folder, found no such folder" in capsys.readouterr().err


def test_auto_takes_int8_where_the_cpu_has_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_them, expected in ((True, "int8"), (False, "fp32")):
        monkeypatch.setattr(serving.engine.backend, "has_int8_products", lambda has_them=has_them: has_them)
        assert resolve_precision("auto") == expected
    assert resolve_precision("fp32") == "fp32"


@given(
    weight=hnp.arrays("float32", hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-100, 100, width=32)),
)
def test_quantized_weights_are_within_half_a_step(weight: object) -> None:
    quantized, scale = quantize_columns(weight)
    assert abs(quantized.astype(int)).max() <= 127
    assert (abs(quantized * scale - weight) <= scale * 0.5001).all()
