"""A folder that cannot be served says what is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from serving.answering.fill_mask import FillMask
from serving.answering.service import Service
from serving.errors import ModelFolderError
from serving.model.checkpoint import Checkpoint, canonical_name, check
from serving.model.model_folder import chosen_folder, find_checkpoint
from serving.settings import Settings


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model", ignore=shutil.ignore_patterns(".compiled")))


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "roberta"}, "expected model_type 'bert' or 'distilbert', found 'roberta'"),
        ({"is_decoder": True}, "expected is_decoder False, found True"),
        ({"position_embedding_type": "relative_key"}, "expected position_embedding_type 'absolute'"),
        ({"hidden_act": "relu6"}, "expected hidden_act in .*, found 'relu6'"),
        ({"hidden_act": ["gelu"]}, "expected hidden_act in"),
        ({"num_hidden_layers": 0}, "expected a whole number from 1 to 1024 as num_hidden_layers, found 0"),
        ({"num_hidden_layers": 10**7}, "expected a whole number from 1 to 1024 as num_hidden_layers, found 10000000"),
        (
            {"max_position_embeddings": 2},
            "expected a whole number from 8 to 16777216 as max_position_embeddings, found 2",
        ),
        ({"vocab_size": 10**12}, "expected a whole number from 1 to 16777216 as vocab_size"),
        ({"hidden_size": "32"}, "expected a whole number .* as hidden_size, found '32'"),
        ({"num_attention_heads": 5}, "hidden_size 32 is not a multiple of num_attention_heads 5"),
        ({"layer_norm_eps": "small"}, "expected a small number as layer_norm_eps, found 'small'"),
        ({"layer_norm_eps": float("nan")}, "expected a small number as layer_norm_eps, found nan"),
        (
            {"architectures": [["BertForMaskedLM"]]},
            "expected architectures to name one of .*, found .'BertForMaskedLM'.",
        ),
        ({"hidden_size": 64}, r"expected .* of shape \(.*64.*\), as config.json says, found \(.*32"),
        ({"num_hidden_layers": 3}, "no tensor encoder.layer.2"),
    ],
)
def test_a_config_that_does_not_fit_is_named(folder: Path, values: dict[str, Any], message: str) -> None:
    change_config(folder, **values)
    with pytest.raises(ModelFolderError, match=message):
        Checkpoint.read(folder)
    with pytest.raises(ModelFolderError, match=message):
        check(folder)  # which reads no numbers


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def only_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: t for name, t in tensors.items() if "transform" not in name}, folder / "model.safetensors")


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "model.safetensors: cannot be read"),
        (only_a_pickle, "pytorch_model.bin is a pickle, which can run code: convert it to safetensors"),
        (no_head, "no tensor cls.predictions.transform.*; expected a masked-language model"),
        (no_json, "expected a config.json, found none that can be read"),
    ],
)
def test_a_damaged_folder_is_named(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(ModelFolderError, match=message):
        Checkpoint.read(folder)
    with pytest.raises(ModelFolderError, match=message):
        check(folder)
    with pytest.raises(ModelFolderError, match=message):
        FillMask.load(folder)  # as a user meets it


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
@pytest.mark.parametrize("task", ["fill-mask", "text-classification", "question-answering"])
def test_a_look_at_a_checkpoint_finds_what_reading_it_does(
    make_checkpoint: Callable[..., Path], architecture: str, task: str
) -> None:
    folder = make_checkpoint(architecture=architecture, task=task)
    read = Checkpoint.read(folder)
    assert check(folder) == (read.config, read.task)
    assert read.task == task


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("bert.embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"),
        ("bert.encoder.layer.0.output.LayerNorm.beta", "encoder.layer.0.output.LayerNorm.bias"),
        ("encoder.layer.0.output.dense.bias", "encoder.layer.0.output.dense.bias"),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ],
)
def test_names_are_translated(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical


def test_a_model_is_found_where_azure_and_mlflow_put_it(folder: Path, tmp_path: Path) -> None:
    version = tmp_path / "azureml-models" / "my-bert" / "3"
    components = version / "data" / "components" / "tokenizer"
    components.mkdir(parents=True)
    (folder / "tokenizer.json").rename(components / "tokenizer.json")
    shutil.copytree(folder, version / "data" / "model")
    found = find_checkpoint(version)
    assert found.checkpoint == version / "data" / "model"
    assert found.tokenizer == components / "tokenizer.json"
    assert found.name == "my-bert"


def test_a_model_says_its_name_in_its_config(folder: Path) -> None:
    assert find_checkpoint(folder).name == "model"
    change_config(folder, model_name="my own")
    assert find_checkpoint(folder).name == "my own"
    change_config(folder, model_name="a\r\nx-injected: header")
    assert find_checkpoint(folder).name == "model"


def test_a_folder_without_one_model_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="found no such folder"):
        find_checkpoint(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFolderError, match="in it or below it, found nothing"):
        find_checkpoint(tmp_path / "empty")
    shutil.copytree(folder, tmp_path / "second")
    with pytest.raises(ModelFolderError, match="expected one checkpoint, found .*model.*second"):
        find_checkpoint(tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFolderError, match="expected tokenizer.json .*save_pretrained"):
        find_checkpoint(folder)


def test_azures_folder_comes_first_then_what_was_pulled_then_the_embedded_model(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "root"
    pulled = root / "model" / "bert-base-cased"
    pulled.mkdir(parents=True)
    assert chosen_folder(root, {}) == root / "model" / "embedded"
    assert "serving the small embedded model instead" in caplog.text
    shutil.copytree(folder, pulled, dirs_exist_ok=True)
    assert chosen_folder(root, {}) == pulled
    assert chosen_folder(root, {"AZUREML_MODEL_DIR": "elsewhere"}) == Path("elsewhere")


def test_weights_are_fp32_whatever_they_were(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: t.to(torch.float16) for name, t in tensors.items()}, folder / "model.safetensors")
    assert {str(array.dtype) for array in Checkpoint.read(folder).weights.values()} == {"float32"}


def test_what_a_folder_has_in_a_numbers_place_is_not_repeated_at_length(folder: Path) -> None:
    change_config(folder, vocab_size="x" * 1_000_000)
    with pytest.raises(ModelFolderError, match="expected a whole number .* as vocab_size") as caught:
        Checkpoint.read(folder)
    assert len(str(caught.value)) == 2000 - 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_none_is_refused_wherever_it_stands(folder: Path, value: float) -> None:
    # A comparison on random rows sees an embedding that is asked for, and a request would have got NaN in its JSON.
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][77, 3] = value
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelFolderError, match="found NaN or infinity in embeddings.word_embeddings.weight"):
        Checkpoint.read(folder)


def test_whole_numbers_are_no_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: array.to(torch.int32) for name, array in weights.items()}, folder / "model.safetensors")
    with pytest.raises(ModelFolderError, match="in floating point, found int32"):
        Checkpoint.read(folder)


def test_a_file_with_holes_of_terabytes_is_refused_before_it_is_read(folder: Path) -> None:
    path, size = folder / "model.safetensors", 1 << 42
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8:end]), content[end:]
    header["unneeded"] = {"dtype": "U8", "shape": [size], "data_offsets": [len(data), len(data) + size]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    os.truncate(path, path.stat().st_size + size)
    with pytest.raises(ModelFolderError, match=r"4.4e\+\d+ GB of memory are needed, and this process may have at most"):
        FillMask.load(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_files_of_gigabytes_are_not_read(folder: Path, name: str) -> None:
    os.truncate(folder / name, 1 << 36)
    with pytest.raises(ModelFolderError, match="it has more than the [0-9,]+ bytes that such a file may have"):
        FillMask.load(folder)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("modèle", "mod%C3%A8le"),
        ("a\nb", "a%0Ab"),
        ("100%", "100%25"),
        ("my model (2)", "my model (2)"),
    ],
)
def test_a_folders_name_is_written_in_what_a_header_may_have(folder: Path, name: str, shown: str) -> None:
    service = Service(FillMask.load(folder.rename(folder.with_name(name)), "fp32"), Settings())
    assert service.answer("{}").headers["x-model-name"] == shown


def test_a_name_of_thousands_of_letters_is_the_folders_instead(folder: Path) -> None:
    change_config(folder, model_name="x" * 5000)
    assert find_checkpoint(folder).name == "model"
