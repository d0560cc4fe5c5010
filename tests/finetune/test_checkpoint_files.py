from __future__ import annotations

import hashlib
import json
from pathlib import Path

import ml_dtypes  # noqa: F401 - teaches numpy bfloat16
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.checkpoint_files import INDEX, tensor_files, write_weights
from serving.errors import ModelFolderError

TENSORS = {
    "a.weight": np.arange(6, dtype=np.float16).reshape(2, 3),
    "b": np.arange(5, dtype="bfloat16"),
    "c.bias": np.arange(7, dtype=np.float32),
    "d": np.zeros((0, 3), dtype=np.float32),
}


def sharded(folder: Path) -> Path:
    names = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(TENSORS)}
    for file in set(names.values()):
        save_file({name: TENSORS[name] for name in names if names[name] == file}, folder / file, {"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return folder


def test_shards_become_one_file_with_every_tensor_as_it_was(tmp_path: Path) -> None:
    sha256 = write_weights(tensor_files(sharded(tmp_path)), tmp_path / "whole")
    found = load_file(tmp_path / "whole")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert found[name].tobytes() == tensor.tobytes()
    assert sha256 == hashlib.sha256((tmp_path / "whole").read_bytes()).hexdigest()


def test_a_single_file_is_copied_byte_for_byte(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors", {"format": "pt", "by": "someone"})
    sha256 = write_weights(tensor_files(tmp_path), tmp_path / "whole")
    data = (tmp_path / "model.safetensors").read_bytes()
    assert (tmp_path / "whole").read_bytes() == data
    assert sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, left: int) -> None:
    save_file(TENSORS, tmp_path / "whole.safetensors")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:left])
    with pytest.raises(ModelFolderError, match="fetch it again"):
        tensor_files(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"a": 1}',
        b'{"a": {"data_offsets": [0]}}',
        b'{"a": {"data_offsets": [0, 0]}}',
        b'{"a": {"data_offsets": [0, 0], "shape": "x"}}',
        b"\xff",
        b"{" * 100_000,
    ],
)
def test_a_file_with_another_header_is_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelFolderError, match="expected a safetensors file, found"):
        tensor_files(tmp_path)


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    (sharded(tmp_path) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        ModelFolderError, match=r"expected model-00002-of-00002.safetensors, as .* says, found no such file"
    ):
        tensor_files(tmp_path)


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": []}', "{}"])
def test_an_index_of_another_form_is_refused(tmp_path: Path, index: str) -> None:
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(ModelFolderError, match="expected JSON with a weight_map"):
        tensor_files(tmp_path)


def test_an_index_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / INDEX).write_text('{"weight_map": {"b": "../x.safetensors"}}')
    with pytest.raises(ModelFolderError, match="found no such file"):
        tensor_files(tmp_path / "in")


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for name in ("model-1.safetensors", "model-2.safetensors"):
        save_file(TENSORS, tmp_path / name)
    (tmp_path / INDEX).write_text('{"weight_map": {"b": "model-1.safetensors", "a.weight": "model-2.safetensors"}}')
    with pytest.raises(ModelFolderError, match=r"expected each tensor in one file, found .* in two"):
        write_weights(tensor_files(tmp_path), tmp_path / "whole")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("pytorch_model.bin", "found only pytorch_model.bin, a pickle, which can run code; convert it to safetensors"),
        ("adapter_model.safetensors", "found a LoRA adapter; merge it into its base"),
        ("README.md", "found README.md; give the folder of a saved checkpoint"),
    ],
)
def test_a_folder_without_safetensors_is_told_what_to_do(tmp_path: Path, file: str, message: str) -> None:
    (tmp_path / file).touch()
    with pytest.raises(ModelFolderError) as raised:
        tensor_files(tmp_path)
    assert message in str(raised.value)
