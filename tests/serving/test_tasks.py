"""The task comes from the model folder, and so do the labels."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from serving.answering.models import load_model
from serving.errors import ModelFolderError
from serving.model.checkpoint import Checkpoint, canonical_name, read_task
from serving.settings import Settings
from serving.tasks import Labels, find_task

TASKS = ("fill-mask", "text-classification", "question-answering")
NONE: dict[str, Any] = {}


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_a_folder_is_served_for_the_task_that_its_architecture_names(
    make_checkpoint: Callable[..., Path], architecture: str, task: str
) -> None:
    folder = make_checkpoint(architecture=architecture, task=task)
    assert load_model(folder, Settings(precision="fp32")).task == task
    change_config(folder, architectures=None)  # then its tensors say it
    assert read_task(folder) == task


@pytest.mark.parametrize(
    ("config", "mlmodel", "tensors", "task"),
    [
        ({"architectures": ["BertForPreTraining"]}, "", [], "fill-mask"),
        ({"architectures": ["BertForQuestionAnswering"]}, "  task: fill-mask", ["classifier.weight"], TASKS[2]),
        ({"architectures": ["BertModel"]}, "    task: text-classification", ["qa_outputs.weight"], TASKS[1]),
        ({}, "    task_type: 'multiclass'", [], TASKS[1]),
        ({}, "    model_type: bert", ["qa_outputs.weight"], TASKS[2]),
        ({}, "", ["pooler.dense.weight", "classifier.weight"], TASKS[1]),
    ],
)
def test_config_comes_before_mlmodel_and_that_before_the_tensors(
    tmp_path: Path, config: dict[str, Any], mlmodel: str, tensors: list[str], task: str
) -> None:
    (tmp_path / "model").mkdir()
    if mlmodel:
        (tmp_path / "MLmodel").write_text(f"flavors:\n  transformers:\n{mlmodel}\n")
    assert find_task(tmp_path / "model", config, tensors) == task


@pytest.mark.skipif(not os.access("/proc/kmsg", os.R_OK), reason="only root can open the file that waits")
def test_an_mlmodel_that_is_a_file_of_the_kernels_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").symlink_to("/proc/kmsg")
    assert find_task(tmp_path, {}, ["classifier.weight"]) == "text-classification"


@pytest.mark.parametrize(
    ("config", "mlmodel", "message"),
    [
        ({"architectures": ["BertForTokenClassification"]}, "", "name one of .*, found BertForTokenClassification"),
        ({"architectures": [7]}, "", "found 7"),
        ({}, "    task: token-classification", "MLmodel: expected the task to be one of .*found token-classification"),
        ({"architectures": ["BertModel"]}, "", "nor the tensors of such a head"),
    ],
)
def test_another_task_is_refused_by_name(tmp_path: Path, config: dict[str, Any], mlmodel: str, message: str) -> None:
    if mlmodel:
        (tmp_path / "MLmodel").write_text(f"flavors:\n  transformers:\n{mlmodel}\n")
    with pytest.raises(ModelFolderError, match=message):
        find_task(tmp_path, config, ["pooler.dense.weight"])


@pytest.mark.parametrize(
    ("config", "names", "function"),
    [
        (NONE, ("LABEL_0", "LABEL_1"), "softmax"),
        ({"num_labels": 1}, ("LABEL_0",), "sigmoid"),
        ({"id2label": {"1": "b", "0": "a", "2": "c"}}, ("a", "b", "c"), "softmax"),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "multi_label_classification"}, ("a", "b"), "sigmoid"),
        ({"id2label": {"0": "a"}, "problem_type": "regression"}, ("a",), "none"),
        ({"id2label": {str(n): f"l{n}" for n in range(12)}}, tuple(f"l{n}" for n in range(12)), "softmax"),
    ],
)
def test_labels_and_their_function_are_those_of_the_config(
    config: dict[str, Any], names: tuple[str, ...], function: str
) -> None:
    assert Labels.from_json(config) == Labels(names, function)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id2label": {"0": "a", "2": "c"}}, "to name every label from 0 on"),
        ({"id2label": {}}, "to name every label from 0 on"),
        ({"id2label": 3}, "to name every label from 0 on"),
        ({"problem_type": "ranking"}, "expected problem_type .*, found 'ranking'"),
    ],
)
def test_labels_that_make_no_sense_are_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFolderError, match=message):
        Labels.from_json(config)


def test_more_labels_than_the_classifier_has_are_named(sharp_classifier: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sharp_classifier, tmp_path / "model", ignore=shutil.ignore_patterns(".compiled"))
    change_config(folder, id2label={"0": "a", "1": "b"})
    with pytest.raises(ModelFolderError, match=r"expected classifier.weight of shape \(2, 32\), .* found \(3, 32\)"):
        Checkpoint.read(folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: t for name, t in tensors.items() if "classifier" not in name}, folder / "model.safetensors")
    with pytest.raises(ModelFolderError, match=r"no tensor classifier.weight .* expected a text classifier"):
        Checkpoint.read(folder)


def test_distilberts_config_is_named_by_its_own_keys(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint(architecture="distilbert")
    change_config(folder, n_heads=5)
    with pytest.raises(ModelFolderError, match="dim 32 is not a multiple of n_heads 5"):
        Checkpoint.read(folder)
    change_config(folder, n_heads=4, activation="relu")
    with pytest.raises(ModelFolderError, match="expected activation in .*, found 'relu'"):
        Checkpoint.read(folder)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("distilbert.transformer.layer.11.attention.q_lin.weight", "encoder.layer.11.attention.self.query.weight"),
        ("distilbert.transformer.layer.0.sa_layer_norm.bias", "encoder.layer.0.attention.output.LayerNorm.bias"),
        ("distilbert.transformer.layer.0.ffn.lin1.weight", "encoder.layer.0.intermediate.dense.weight"),
        ("transformer.layer.0.output_layer_norm.weight", "encoder.layer.0.output.LayerNorm.weight"),
        ("distilbert.embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight"),
        ("vocab_projector.bias", "cls.predictions.bias"),
        ("pre_classifier.weight", "pooler.dense.weight"),
        ("bert.pooler.dense.weight", "pooler.dense.weight"),
    ],
)
def test_names_of_every_architecture_are_translated(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical
