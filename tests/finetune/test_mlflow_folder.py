"""A packaged model is loaded by MLflow, transformers, score.py and the evaluation job, and all of them answer alike."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.models import Model

from evaluation.model_prediction import OUTPUTS, main
from finetune.errors import FinetuneError
from finetune.package.mlflow_folder import LAST, publish
from serving.answering.service import Service
from serving.errors import ModelFolderError
from serving.model.model_folder import find_checkpoint

ROOT = Path(__file__).resolve().parents[2]
CLASSIFIER, READER = "text-classification", "question-answering"
CLOSE = 1e-4

# What loads a model folder where nothing of ours is: MLflow, and transformers alone.
LOAD = """
import json, sys
import mlflow, pandas as pd, transformers
result = {}
for name, (folder, task, rows) in json.loads(sys.argv[1]).items():
    frame = mlflow.pyfunc.load_model(folder).predict(pd.DataFrame(rows))
    found = result[name] = {"pyfunc": frame.to_dict("records")}
    if task == "text-classification":
        found["pipeline"] = transformers.pipeline(task, model=folder)(rows, truncation=True)
    else:  # version 5 has no pipeline for it
        model, loading = transformers.AutoModelForQuestionAnswering.from_pretrained(folder, output_loading_info=True)
        assert not loading["missing_keys"] and not loading["unexpected_keys"], loading
    example = mlflow.models.Model.load(folder).load_input_example(folder)
    assert len(mlflow.pyfunc.load_model(folder).predict(example)) == 1
assert not [name for name in sys.modules if name.split(".")[0] in ("serving", "evaluation", "finetune")]
print(json.dumps(result))
"""


@dataclass(frozen=True)
class Packaged:
    """A packaged model and rows to ask it."""

    folder: Path
    task: str
    rows: list[dict[str, str]]

    def served(self, patch: pytest.MonkeyPatch, **parameters: object) -> list[Any]:
        """Ask score.py's service, with the folder that Azure names."""
        patch.setenv("AZUREML_MODEL_DIR", str(self.folder))
        patch.setenv("BERT_SERVING_PRECISION", "fp32")
        columns = list(self.rows[0])
        data = [[row[name] for name in columns] for row in self.rows]
        frame = {"columns": columns, "index": list(range(len(data))), "data": data}
        answer = Service.start(ROOT).answer(json.dumps({"input_data": frame, "parameters": parameters}))
        assert answer.status == 200, answer.body
        return answer.body

    def evaluated(self, folder: Path, label: str, value: str, **options: str) -> tuple[list[Any], list[Any]]:
        """Run the first command of the evaluation job; return the predictions and their probabilities."""
        data = folder / "rows.jsonl"
        data.write_text("".join(json.dumps({**row, label: value}) + "\n" for row in self.rows), encoding="utf-8")
        options |= {name: str(folder / f"{name}.jsonl") for name in OUTPUTS}
        command = ["--task", self.task, "--test-data", str(data), "--model", str(self.folder), "--precision", "fp32"]
        given = [part for name, given in options.items() for part in (f"--{name.replace('_', '-')}", given)]
        assert main([*command, *given]) == 0
        predictions, probabilities = (
            [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
            for name in ("predictions", "prediction_probabilities")
        )
        return predictions, probabilities


@pytest.fixture(scope="module")
def packaged(
    make_checkpoint: Callable[..., Path],
    make_run: Callable[..., Any],
    lines: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Packaged]:
    """Package tiny checkpoints whose answers differ by text."""
    found = {}
    texts = [*lines[:3], "A dog. " * 40, "12 ☃ moons, été!"]
    labels = {"id2label": {0: "bad", 1: "so-so", 2: "good"}}
    for architecture in ("bert", "distilbert"):
        for kind in ("texts", "pairs", "questions"):
            task = READER if kind == "questions" else CLASSIFIER
            config = {} if task == READER else labels
            checkpoint = make_checkpoint(architecture=architecture, task=task, initializer_range=0.5, **config)
            folder = tmp_path_factory.mktemp(f"{architecture}-{kind}")
            run = make_run(checkpoint, pairs=kind == "pairs").change(apply_ort=False)
            assert run.package(folder) == 0
            rows = {
                "texts": [{"text": text} for text in texts],
                "pairs": [{"text": text, "text_pair": text[::-1] * 2} for text in texts],
                "questions": [{"question": "Who sat?", "context": text} for text in texts],
            }
            found[f"{architecture}-{kind}"] = Packaged(folder / "model", task, rows[kind])
    return found


@pytest.fixture(scope="module", params=["dev", "finetune"])
def loaded(request: pytest.FixtureRequest, packaged: dict[str, Packaged], tmp_path_factory: Any) -> dict[str, Any]:  # noqa: ANN401
    """Load all of them in a process of an environment, outside this checkout."""
    asked = {name: (str(model.folder), model.task, model.rows) for name, model in packaged.items()}
    done = subprocess.run(
        [str(ROOT / f".venv/{request.param}/bin/python"), "-W", "error::FutureWarning", "-c", LOAD, json.dumps(asked)],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
@pytest.mark.parametrize("kind", ["texts", "pairs"])
def test_a_classifier_gives_mlflow_and_transformers_what_it_serves(
    packaged: dict[str, Packaged],
    loaded: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    kind: str,
) -> None:
    name = f"{architecture}-{kind}"
    expected = packaged[name].served(monkeypatch)
    assert len({row["score"] for row in expected}) == len(expected)
    for found in (loaded[name]["pyfunc"], loaded[name]["pipeline"]):
        assert [row["label"] for row in found] == [row["label"] for row in expected]
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=CLOSE)


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_a_reader_gives_mlflow_what_it_serves(
    packaged: dict[str, Packaged], loaded: dict[str, Any], monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    expected = packaged[f"{architecture}-questions"].served(monkeypatch)
    found = loaded[f"{architecture}-questions"]["pyfunc"]
    assert [{**row, "score": 0} for row in found] == [{**row, "score": 0} for row in expected]
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=CLOSE)


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
@pytest.mark.parametrize("kind", ["texts", "pairs"])
def test_a_classifier_gives_the_evaluation_what_it_serves(
    packaged: dict[str, Packaged], monkeypatch: pytest.MonkeyPatch, architecture: str, kind: str, tmp_path: Path
) -> None:
    model = packaged[f"{architecture}-{kind}"]
    columns = {"input_column_names": ",".join(model.rows[0])}
    predictions, probabilities = model.evaluated(tmp_path, "label", "good", **columns)
    expected = model.served(monkeypatch)
    assert [row["predictions"] for row in predictions] == [row["label"] for row in expected]
    best = [max(row["probabilities"].values()) for row in probabilities]
    assert best == pytest.approx([row["score"] for row in expected], abs=CLOSE)


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_a_reader_gives_the_evaluation_what_it_serves(
    packaged: dict[str, Packaged], monkeypatch: pytest.MonkeyPatch, architecture: str, tmp_path: Path
) -> None:
    model = packaged[f"{architecture}-questions"]
    predictions, probabilities = model.evaluated(tmp_path, "answers", "dog")
    # What an evaluation asks for.
    expected = [spans[0] for spans in model.served(monkeypatch, top_k=5, max_answer_length=30)]
    assert [row["predictions"] for row in predictions] == [span["answer"] for span in expected]
    assert [row["score"] for row in probabilities] == pytest.approx([span["score"] for span in expected], abs=CLOSE)


def test_mlmodel_names_inputs_outputs_and_files_that_are_there(packaged: dict[str, Packaged]) -> None:
    model = packaged["bert-pairs"]
    described = Model.load(str(model.folder))
    assert described.signature.inputs.input_names() == ["text", "text_pair"]
    assert described.signature.outputs.input_names() == ["label", "score"]
    assert set(described.flavors) == {"transformers", "python_function"}
    pins = (model.folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [pin.split("==")[0] for pin in pins] == ["mlflow", "torch", "transformers"]
    conda = yaml.safe_load((model.folder / "conda.yaml").read_text(encoding="utf-8"))
    assert conda["dependencies"][-1] == {"pip": pins}
    python = yaml.safe_load((model.folder / "python_env.yaml").read_text(encoding="utf-8"))
    assert python["dependencies"] == ["-r requirements.txt"]
    assert not [path for path in model.folder.rglob("*") if path.is_symlink()]


def test_the_model_has_a_name_of_its_own_and_none_of_this_machine(packaged: dict[str, Packaged]) -> None:
    folder = packaged["distilbert-texts"].folder
    assert find_checkpoint(folder).name == "tiny-bert-text-classification"
    told = "".join(
        path.read_text("utf-8") for path in folder.rglob("*") if path.suffix in {".json", "", ".md"} and path.is_file()
    )
    assert "/tmp" not in told and str(ROOT) not in told


def test_a_tokenizer_without_a_length_gets_the_models(
    make_checkpoint: Callable[..., Path], make_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = make_run(make_checkpoint(task=CLASSIFIER)).change(apply_ort=False)
    file = run.tuned / "tokenizer_config.json"
    config = json.loads(file.read_bytes())
    file.write_text(json.dumps({**config, "model_max_length": 10**30, "name_or_path": "/home/me"}), encoding="utf-8")
    assert run.package(tmp_path) == 0
    for place in ("", "components/tokenizer"):
        found = json.loads((tmp_path / "model" / place / "tokenizer_config.json").read_bytes())
        assert found["model_max_length"] == 32
        assert "name_or_path" not in found


@pytest.mark.parametrize("absent", LAST)
def test_what_a_package_that_was_cut_short_leaves_is_no_model(
    packaged: dict[str, Packaged], tmp_path: Path, absent: str
) -> None:
    whole, staged, folder = packaged["bert-texts"].folder, tmp_path / "staged", tmp_path / "model"
    for copy in (staged, folder):
        shutil.copytree(whole, copy)
    (staged / absent).unlink()
    with pytest.raises(FileNotFoundError):
        publish(staged, folder)
    assert not (folder / "MLmodel").exists()
    if absent != "MLmodel":
        with pytest.raises(ModelFolderError):
            find_checkpoint(folder)
    publish(whole, folder)
    assert find_checkpoint(folder).checkpoint == folder
    assert (folder / "MLmodel").read_bytes() == (whole / "MLmodel").read_bytes()


def test_a_folder_with_other_things_is_not_written_over(packaged: dict[str, Packaged], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FinetuneError, match=r"expected an empty folder.*found thesis\.txt"):
        publish(packaged["bert-texts"].folder, tmp_path)
    with pytest.raises(FinetuneError, match="expected a folder, found a file"):
        publish(packaged["bert-texts"].folder, tmp_path / "thesis.txt")
