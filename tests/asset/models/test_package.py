"""A packaged folder is loaded by MLflow, transformers and score.py, and all of them answer alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.models import Model
from safetensors.numpy import load_file, save_file
from transformers import pipeline

from asset.models.errors import ModelError, RequestError
from asset.models.package import Packaged, package, packaged
from asset.models.record import Record, file_sha256
from serving.answering.service import Service

ROOT = Path(__file__).resolve().parents[3]
TASK = "fill-mask"
CLOSE = 1e-4
TOP = 5


@dataclass(frozen=True)
class Made:
    """A packaged folder and texts to ask it."""

    folder: Path
    texts: list[str]
    made: Packaged

    def served(self, patch: pytest.MonkeyPatch, **parameters: object) -> list[Any]:
        """Ask score.py's service, with the folder that Azure names."""
        patch.setenv("AZUREML_MODEL_DIR", str(self.folder))
        patch.setenv("BERT_SERVING_PRECISION", "fp32")
        answer = Service.start(ROOT).answer(json.dumps({"input_data": self.texts, "parameters": parameters}))
        assert answer.status == 200, answer.body
        return answer.body


def google_names(folder: Path) -> None:
    """Give the weights the names that Google's own checkpoints have, and no decoder of their own."""
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("cls.predictions.decoder.weight", None)
    tensors.pop("cls.predictions.decoder.bias", None)
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})


def halves(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.astype("float16") for name, tensor in tensors.items()}, folder / "model.safetensors")


KINDS = ["bert", "distilbert", "cased", "google", "half"]


@pytest.fixture(scope="module")
def models(
    make_checkpoint: Callable[..., Path], lines: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Made]:
    """Package tiny checkpoints whose answers differ by text."""
    found = {}
    words = [line.split() for line in lines[:3]]
    texts = [
        " ".join(["[MASK]" if at == 2 + index else word for at, word in enumerate(row)])
        for index, row in enumerate(words)
    ]
    texts += ["[MASK] sat [MASK] the mat.", "12 ☃ moons, [MASK]!"]
    for kind in KINDS:
        architecture = "distilbert" if kind == "distilbert" else "bert"
        source = make_checkpoint(lowercase=kind != "cased", architecture=architecture, initializer_range=0.5)
        folder = tmp_path_factory.mktemp(kind) / "tiny-model"
        shutil.copytree(source, folder)
        if kind in ("google", "half"):
            {"google": google_names, "half": halves}[kind](folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        made = package(folder)
        assert {name: (folder / name).read_bytes() for name in before} == before
        found[kind] = Made(folder, texts, made)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_mlflow_and_transformers_give_score_pys_candidates(
    models: dict[str, Made], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    model = models[kind]
    expected = model.served(monkeypatch, top_k=TOP)
    loaded = mlflow.transformers.load_model(str(model.folder))
    dtype = {"torch_dtype": "float32"} if kind == "half" else {}
    for found in (loaded, pipeline(TASK, str(model.folder), **dtype)):
        answers = found(model.texts, top_k=TOP)
        for ours, theirs in zip(expected, answers, strict=True):
            several = ours if isinstance(ours[0], list) else [ours]
            for mine, their in zip(several, theirs if isinstance(theirs[0], list) else [theirs], strict=True):
                assert [one["token"] for one in their] == [one["token"] for one in mine]
                assert [one["score"] for one in their] == pytest.approx([one["score"] for one in mine], abs=CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_python_function_gives_score_pys_words(
    models: dict[str, Made], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    model = models[kind]
    frame = pd.DataFrame({"input_string": model.texts})
    assert list(mlflow.pyfunc.load_model(str(model.folder)).predict(frame)) == model.served(monkeypatch)


def test_a_text_longer_than_the_model_is_cut_for_the_python_function(models: dict[str, Made]) -> None:
    model = models["bert"]
    loaded = mlflow.pyfunc.load_model(str(model.folder))
    assert len(loaded.predict(pd.DataFrame({"input_string": ["the [MASK] sat " + "on the mat " * 50]}))) == 1


def test_a_task_of_another_kind_is_packaged_too(
    make_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for task, columns in (("text-classification", ["text"]), ("question-answering", ["question", "context"])):
        folder = tmp_path / task
        shutil.copytree(make_checkpoint(task=task, initializer_range=0.5), folder)
        assert package(folder).task == task
        example = Model.load(str(folder)).load_input_example(str(folder))
        assert list(example.columns) == columns
        assert len(mlflow.pyfunc.load_model(str(folder)).predict(example)) == 1


def test_mlmodel_names_inputs_outputs_files_and_hashes(models: dict[str, Made]) -> None:
    folder = models["bert"].folder
    described = Model.load(str(folder))
    assert described.signature.inputs.input_names() == ["input_string"]
    assert [column.type.name for column in described.signature.outputs.inputs] == ["string"]
    assert set(described.flavors) == {"transformers", "python_function"}
    assert described.flavors["python_function"]["loader_module"] == "mlflow.transformers"  # nothing of ours
    assert described.metadata["model_name"] == "tiny-model"
    hashes = described.metadata["sha256"]
    assert hashes == {name: file_sha256(folder / name) for name in hashes}
    assert set(hashes) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    pins = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [pin.split("==")[0] for pin in pins] == ["mlflow", "torch", "transformers"]
    conda = yaml.safe_load((folder / "conda.yaml").read_text(encoding="utf-8"))
    assert conda["dependencies"][-1] == {"pip": pins}
    python = yaml.safe_load((folder / "python_env.yaml").read_text(encoding="utf-8"))
    assert python["dependencies"] == ["-r requirements.txt"]
    assert described.load_input_example(str(folder)).to_dict("list") == {
        "input_string": ["Paris is the [MASK] of France."]
    }


def test_no_weights_are_copied(models: dict[str, Made]) -> None:
    assert [str(path.relative_to(models["bert"].folder)) for path in models["bert"].folder.rglob("*.safetensors")] == [
        "model.safetensors"
    ]


def record_of(folder: Path, note: str | None = None) -> Record:
    hashes = {path.name: file_sha256(path) or "" for path in folder.iterdir() if path.is_file()}
    return Record("some/tiny", "c" * 40, "some/tiny", "a" * 40, note, hashes, {})


def test_mlmodel_says_which_commit_it_is_of_and_why(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    record_of(folder, "the first has pickles alone").write(folder)
    made = package(folder, "our-name")
    metadata = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["metadata"]
    assert metadata == {"model_name": "our-name", **made.metadata}  # what config.json has no other name for
    assert (metadata["huggingface_model_id"], metadata["commit"]) == ("some/tiny", "c" * 40)
    assert (metadata["pinned_commit"], metadata["commit_note"]) == ("a" * 40, "the first has pickles alone")
    assert made.tags["commit"] == "c" * 40
    assert made.tags["sha256"] == file_sha256(folder / "model.safetensors")
    assert all(isinstance(value, str) for value in made.tags.values())


def test_a_model_keeps_the_name_that_it_calls_itself_by(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "model_name": "its-own"}))
    assert package(folder, "our-name").name == "its-own"


def test_a_folder_tells_whether_it_is_packaged_as_it_is(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    assert packaged(folder) is None
    shutil.copy(ROOT / "model" / "bert-base-cased" / "MLmodel", folder)
    assert packaged(folder) is None
    made = package(folder)
    assert packaged(folder) == made
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "model_name": "renamed"}))
    assert packaged(folder) is None


def test_files_that_are_no_longer_those_that_were_pulled_are_told(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    record_of(folder).write(folder)
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "model_name": "renamed"}))
    with pytest.raises(
        RequestError, match=r"expected config\.json as pulled from some/tiny at c+, found another; pull"
    ):
        package(folder)
    assert not (folder / "MLmodel").exists()


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        ("model.safetensors", "expected config.json and model.safetensors in it or below it"),
        ("tokenizer.json", "expected tokenizer.json beside config.json"),
        ("config.json", "expected config.json and model.safetensors in it or below it"),
        (".", "expected a model folder, found no such folder"),
    ],
)
def test_a_folder_with_a_part_missing_is_told(checkpoint: Path, tmp_path: Path, absent: str, message: str) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    shutil.rmtree(folder) if absent == "." else (folder / absent).unlink()
    with pytest.raises(RequestError, match=message):
        package(folder)


def test_an_encoder_without_a_head_is_told(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: one for name, one in tensors.items() if "cls." not in name}, folder / "model.safetensors")
    with pytest.raises(RequestError, match=r"choose a model that score\.py serves, or pull one .* --no-package"):
        package(folder)


def test_a_checkpoint_below_the_folder_is_told(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "outer" / "model")
    with pytest.raises(RequestError, match="expected config.json and model.safetensors in it, found them in"):
        package(tmp_path / "outer")


def test_what_a_package_that_was_killed_left_goes(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    (folder / ".package-x1").mkdir()
    package(folder)
    assert not list(folder.glob(".package-*"))


def test_a_package_that_fails_leaves_the_folder_as_it_was(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    before = sorted(path.name for path in folder.iterdir())

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "a file")

    monkeypatch.setattr("finetune.package.mlflow_files._write_environment", full)
    with pytest.raises(ModelError, match="a file: expected room for all of the model, found: No space left"):
        package(folder)
    assert sorted(path.name for path in folder.iterdir()) == before
