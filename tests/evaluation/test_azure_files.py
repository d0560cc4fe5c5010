"""The Azure ML files of prediction and preparation: their public names, and what the SDK and our own eyes say of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.ai.ml import load_component, load_job

from evaluation import model_prediction, prepare
from evaluation.config import read_config
from evaluation.predict.predictor import columns_of
from tables.table import open_table

ROOT = Path(__file__).parents[2]
EVALUATION = ROOT / "evaluation"
TASKS = ["fill-mask", "text-classification", "question-answering"]

# name: (type, optional, default, choices)
PREDICTION = {
    "task": ("string", False, None, TASKS),
    "test_data": ("uri_folder", False, None, None),
    "mlflow_model": ("mlflow_model", False, None, None),
    "input_column_names": ("string", True, None, None),
    "label_column_name": ("string", True, None, None),
    "evaluation_config": ("uri_file", True, None, None),
    "evaluation_config_params": ("string", True, None, None),
    "device": ("string", False, "auto", ["auto", "cpu", "gpu"]),
    "batch_size": ("integer", True, None, None),
    "precision": ("string", False, "auto", ["auto", "fp32", "int8", "fp16"]),
}
PREDICTED = ["predictions", "prediction_probabilities", "ground_truth", "performance_metadata", "rejects"]
PREPARATION = {
    "raw_data": ("uri_folder", False, None, None),
    "form": ("string", True, None, ["text", "masks"]),
    "seed": ("integer", False, 17, None),
    "rows": ("integer", True, None, None),
}


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("model_prediction", PREDICTION, dict.fromkeys(PREDICTED, "uri_file")),
        ("prepare", PREPARATION, {"test_data": "uri_folder"}),
    ],
)
def test_a_components_ports_are_the_public_ones(name: str, inputs: dict[str, Any], outputs: dict[str, str]) -> None:
    component = load_component(EVALUATION / f"components/{name}.yml")
    checked = component._validate()
    assert checked.passed, checked.error_messages
    found = {
        key: (port.type, bool(port.optional), port.default, port.enum and list(port.enum))
        for key, port in component.inputs.items()
    }
    assert found == inputs
    assert {key: port.type for key, port in component.outputs.items()} == outputs
    assert component.version == "1"


@pytest.mark.parametrize(("name", "module"), [("model_prediction", model_prediction), ("prepare", prepare)])
def test_a_components_command_has_every_port_and_option(name: str, module: Any) -> None:  # noqa: ANN401
    component = yaml.safe_load((EVALUATION / f"components/{name}.yml").read_text(encoding="utf-8"))
    command = component["command"]
    assert command.startswith(f"python -m evaluation.{name} ")
    named = [option for action in module.parser()._actions for option in action.option_strings]
    assert set(re.findall(r"(?<!\S)(?:\$\[\[)?(--[a-z-]+)", command)) == set(named) - {"-h", "--help"}
    for side in ("inputs", "outputs"):
        assert sorted(re.findall(rf"\${{{{{side}\.(\w+)}}}}", command)) == sorted(component[side])
    if module is model_prediction:
        assert set(component["outputs"]) == set(model_prediction.OUTPUTS)
    optional = {key for key, port in component["inputs"].items() if port.get("optional")}
    assert set(re.findall(r"\$\[\[--[a-z-]+ '\${{inputs\.(\w+)}}'\]\]", command)) == optional
    assert command.count("'${{") == command.count("${{")
    known = {"$schema", "type", "name", "display_name", "version", "description"}
    assert set(component) == known | {"inputs", "outputs", "code", "environment", "command"}
    assert (EVALUATION / "components" / component["code"]).resolve() == ROOT
    assert (EVALUATION / "components" / component["environment"].removeprefix("file:")).is_file()


@pytest.mark.parametrize("task", TASKS)
def test_a_job_joins_the_components_and_passes_the_sdk(task: str) -> None:
    path = EVALUATION / f"evaluate-model-{task}.yml"
    job = load_job(path)
    checked = job._validate()
    assert checked.passed, checked.error_messages
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    inputs = found["inputs"]
    assert set(inputs) == set(PREDICTION) - {"evaluation_config_params", "batch_size"}
    assert inputs["task"] == task
    assert inputs["mlflow_model"]["type"] == "mlflow_model"
    assert list(found["outputs"]) == ["evaluation_result"]
    known = {*inputs, *found["outputs"], *PREDICTED}
    for step in found["jobs"].values():
        component = yaml.safe_load((EVALUATION / step["component"]).read_text(encoding="utf-8"))
        assert set(step["inputs"]) <= set(component["inputs"])
        needed = {
            key for key, port in component["inputs"].items() if not port.get("optional") and "default" not in port
        }
        assert needed <= set(step["inputs"])
        bound = " ".join([*step["inputs"].values(), *step.get("outputs", {}).values()])
        assert {name.split(".")[-1] for name in re.findall(r"\${{parent\.([\w.]+)}}", bound)} <= known
    assert read_config(EVALUATION / inputs["evaluation_config"]["path"])


def test_the_fill_mask_job_evaluates_bert_base_cased() -> None:
    inputs = yaml.safe_load((EVALUATION / "evaluate-model-fill-mask.yml").read_text(encoding="utf-8"))["inputs"]
    assert inputs["mlflow_model"] == {"type": "mlflow_model", "path": "azureml:bert-base-cased:17"}
    assert (inputs["input_column_names"], inputs["label_column_name"]) == ("input_string", "title")


@pytest.mark.parametrize("task", TASKS[1:])
def test_a_jobs_sample_data_has_its_columns(task: str) -> None:
    inputs = yaml.safe_load((EVALUATION / f"evaluate-model-{task}.yml").read_text(encoding="utf-8"))["inputs"]
    columns = columns_of(inputs["task"], inputs["input_column_names"], inputs["label_column_name"])
    rows = list(open_table(EVALUATION / inputs["test_data"]["path"]).rows(columns.all))
    assert len(rows) >= 8
    if task == "question-answering":
        for row in rows:
            context, answers = row.values["context"], row.values["answers"]
            for text, start in zip(answers["text"], answers["answer_start"], strict=True):
                assert context[start:].startswith(text)
    else:
        assert {row.values["label"] for row in rows} == {"POSITIVE", "NEGATIVE"}


def test_the_default_configuration_says_what_it_sets() -> None:
    text = (EVALUATION / "evaluation-config.json").read_text(encoding="utf-8")
    config = read_config(None, text)
    assert config.pseudo_perplexity is True
    assert {key: getattr(config, key) for key in json.loads(text)} == json.loads(text)
