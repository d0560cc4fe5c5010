"""The pipeline components take what the public ones take, and the jobs that come with them use them rightly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from azure.ai.ml import load_component, load_job
from pydantic.fields import FieldInfo

from finetune.settings import FeatureSettings, TrainingSettings
from finetune.tasks.task import tuning_task

ROOT = Path(__file__).parents[2]
FINETUNE = ROOT / "finetune"
TASKS = ["text-classification", "question-answering"]
JOBS = {
    "sentiment": "text-classification",
    "topics": "text-classification",
    "question-answering": "question-answering",
}
YES_NO = ["true", "false"]

# The inputs of both public components, finetune_acft_hf_nlp's of azureml-assets, as (type, default) and what else is
# said. All are optional but for those of REQUIRED.
COMPUTE = {
    "instance_type_model_import": ("string", "Standard_d12_v2"),
    "instance_type_preprocess": ("string", "Standard_d12_v2"),
    "instance_type_finetune": ("string", "Standard_nc24rs_v3"),
    "instance_type_model_evaluation": ("string", "Standard_nc24rs_v3"),
    "shm_size_finetune": ("string", "5g"),
    "num_nodes_finetune": ("integer", 1, {"min": 1}),
    "number_of_gpu_to_use_finetuning": ("integer", 1, {"min": 1}),
    "compute_model_import": ("string", "serverless"),
    "compute_preprocess": ("string", "serverless"),
    "compute_finetune": ("string", "serverless"),
    "compute_model_evaluation": ("string", "serverless"),
}
DATA = {
    "huggingface_id": ("string", None),
    "pytorch_model_path": ("custom_model", None, {"mode": "rw_mount"}),
    "mlflow_model_path": ("mlflow_model", None, {"mode": "rw_mount"}),
    "train_file_path": ("uri_file", None, {"mode": "rw_mount"}),
    "validation_file_path": ("uri_file", None, {"mode": "rw_mount"}),
    "test_file_path": ("uri_file", None, {"mode": "rw_mount"}),
    "train_mltable_path": ("mltable", None),
    "validation_mltable_path": ("mltable", None),
    "test_mltable_path": ("mltable", None),
    "deepspeed": ("uri_file", None, {"mode": "rw_mount"}),
}
UNUSED = {"evaluation_config": ("uri_file", None), "evaluation_config_params": ("string", None)}
SETTINGS = {
    "batch_size": ("integer", 1000, {"min": 1}),
    "pad_to_max_length": ("string", "false", {"enum": YES_NO}),
    "max_seq_length": ("integer", -1),
    "apply_lora": ("string", "true", {"enum": YES_NO}),
    "merge_lora_weights": ("string", "true", {"enum": YES_NO}),
    "lora_alpha": ("integer", 128),
    "lora_r": ("integer", 8),
    "lora_dropout": ("number", 0.0),
    "num_train_epochs": ("integer", 1, {"min": 1}),
    "max_steps": ("integer", -1),
    "per_device_train_batch_size": ("integer", 1, {"min": 1}),
    "per_device_eval_batch_size": ("integer", 1, {"min": 1}),
    "auto_find_batch_size": ("string", "false", {"enum": YES_NO}),
    "optim": ("string", "adamw_torch", {"enum": ["adamw_torch", "adafactor"]}),
    "learning_rate": ("number", 2e-5),
    "warmup_steps": ("integer", 0),
    "weight_decay": ("number", 0.0),
    "adam_beta1": ("number", 0.9),
    "adam_beta2": ("number", 0.999),
    "adam_epsilon": ("number", 1e-8),
    "gradient_accumulation_steps": ("integer", 1),
    "eval_accumulation_steps": ("integer", -1),
    "lr_scheduler_type": (
        "string",
        "linear",
        {"enum": ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"]},
    ),
    "precision": ("string", "32", {"enum": ["32", "16"]}),
    "seed": ("integer", 42),
    "enable_full_determinism": ("string", "false", {"enum": YES_NO}),
    "dataloader_num_workers": ("integer", 0),
    "ignore_mismatched_sizes": ("string", "true", {"enum": YES_NO}),
    "max_grad_norm": ("number", 1.0),
    "evaluation_strategy": ("string", "epoch", {"enum": ["epoch", "steps"]}),
    "evaluation_steps_interval": ("number", 0.0),
    "eval_steps": ("integer", 500),
    "logging_strategy": ("string", "steps", {"enum": ["epoch", "steps"]}),
    "logging_steps": ("integer", 10),
    "resume_from_checkpoint": ("string", "false", {"enum": YES_NO}),
    "save_total_limit": ("integer", -1),
    "apply_early_stopping": ("string", "false", {"enum": YES_NO}),
    "early_stopping_patience": ("integer", 1),
    "early_stopping_threshold": ("number", 0.0),
    "apply_deepspeed": ("string", "true", {"enum": YES_NO}),
    "deepspeed_stage": ("string", "2", {"enum": ["2", "3"]}),
    "apply_ort": ("string", "true", {"enum": YES_NO}),
}
OWN_DEFAULTS = {"apply_lora", "apply_deepspeed", "apply_ort"}
"""They are 'false' in the public components and 'true' in spec.yaml."""

OF_TASK = {
    "text-classification": {
        "task_name": ("string", "SingleLabelClassification", {"enum": ["SingleLabelClassification"]}),
        "sentence1_key": ("string", None),
        "sentence2_key": ("string", None),
        "label_key": ("string", None),
        "metric_for_best_model": (
            "string",
            "loss",
            {"enum": ["loss", "f1_macro", "mcc", "accuracy", "precision_macro", "recall_macro"]},
        ),
    },
    "question-answering": {
        "task_name": ("string", "QuestionAnswering", {"enum": ["QuestionAnswering"]}),
        "question_key": ("string", None),
        "context_key": ("string", None),
        "answers_key": ("string", None),
        "answer_start_key": ("string", None),
        "answer_text_key": ("string", None),
        "doc_stride": ("integer", 128, {"min": 1}),
        "n_best_size": ("integer", 20, {"min": 1}),
        "max_answer_length_in_tokens": ("integer", 30, {"min": 1}),
        "metric_for_best_model": ("string", "loss", {"enum": ["loss", "f1", "exact"]}),
    },
}
INTEGERS = {"precision", "deepspeed_stage"}
"""Choices that Azure has as text and the settings as numbers."""

REQUIRED = {
    "text-classification": {"task_name", "sentence1_key", "label_key"},
    "question-answering": {
        "task_name",
        "question_key",
        "context_key",
        "answers_key",
        "answer_start_key",
        "answer_text_key",
    },
}


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def component(task: str, kind: str = "pipeline") -> Path:
    return FINETUNE / f"components/{task.replace('-', '_')}_{kind}.yml"


def public(task: str) -> dict[str, dict[str, Any]]:
    """Return the public component's inputs as YAML has them, without descriptions."""
    ports = {}
    for name, (kind, default, *rest) in {**COMPUTE, **DATA, **UNUSED, **SETTINGS, **OF_TASK[task]}.items():
        port: dict[str, Any] = {"type": kind, "optional": name not in REQUIRED[task], **(rest[0] if rest else {})}
        ports[name] = port if default is None else {**port, "default": default}
    return ports


@pytest.mark.parametrize("task", TASKS)
def test_the_inputs_and_outputs_are_those_of_the_public_component(task: str) -> None:
    found = read(component(task))
    assert len(public(task)) == {"text-classification": 70, "question-answering": 75}[task]
    without = {name: {k: v for k, v in port.items() if k != "description"} for name, port in found["inputs"].items()}
    assert without == public(task)
    assert {name: (port["type"], port["mode"]) for name, port in found["outputs"].items()} == {
        "pytorch_model_folder": ("uri_folder", "rw_mount"),
        "mlflow_model_folder": ("mlflow_model", "rw_mount"),
    }
    described = [*found["inputs"].values(), *found["outputs"].values()]
    assert [port for port in described if len(port.get("description", "")) < 20] == []


def test_an_input_of_both_tasks_says_the_same_in_both() -> None:
    ours, theirs = (read(component(task))["inputs"] for task in TASKS)
    shared = set(ours) & set(theirs) - {"task_name", "max_seq_length", "metric_for_best_model"}
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


@pytest.mark.parametrize("task", TASKS)
def test_what_spec_yaml_says_of_fine_tuning_is_the_default(task: str) -> None:
    defaults = read(ROOT / "spec.yaml")["system_metadata"]["modelSpecificDefaults"]
    inputs = read(component(task))["inputs"]
    assert set(defaults) == OWN_DEFAULTS
    assert {name: inputs[name]["default"] for name in defaults} == defaults


@pytest.mark.parametrize("task", TASKS)
def test_the_settings_have_the_components_defaults_and_choices(task: str) -> None:
    inputs = read(component(task))["inputs"]
    fields: dict[str, FieldInfo] = {**FeatureSettings.model_fields, **TrainingSettings.model_fields}
    left = {"doc_stride", "n_best_size", "max_answer_length_in_tokens"} - set(inputs)
    assert set(fields) - left == set(SETTINGS) | set(OF_TASK[task]) & set(fields)
    for name in set(fields) - left:
        model = FeatureSettings if name in FeatureSettings.model_fields else TrainingSettings
        text = inputs[name]["default"]
        assert (
            getattr(model.model_validate({name: int(text) if name in INTEGERS else text}), name) == fields[name].default
        )
        if fields[name].annotation is bool:
            assert inputs[name]["enum"] == YES_NO
        elif "enum" in inputs[name] and name != "metric_for_best_model":
            assert {str(choice) for choice in get_args(fields[name].annotation)} == set(inputs[name]["enum"])
    assert inputs["metric_for_best_model"]["enum"] == list(tuning_task(task).metrics)


@pytest.mark.parametrize("task", TASKS)
def test_all_that_matters_reaches_preparation_under_its_name(task: str) -> None:
    found = read(component(task))
    bound = found["jobs"]["prepare"]["inputs"]
    assert bound == {name: f"${{{{parent.inputs.{name}}}}}" for name in bound}
    assert {**DATA, **SETTINGS, **OF_TASK[task]}.keys() <= bound.keys()
    used = set(re.findall(r"\${{parent\.inputs\.(\w+)}}", yaml.safe_dump(found["jobs"])))
    unused = set(found["inputs"]) - used
    assert unused == {
        *UNUSED,
        "compute_model_import",
        "instance_type_model_import",
        "compute_model_evaluation",
        "instance_type_model_evaluation",
    }
    for name in unused:
        assert found["inputs"][name]["description"].startswith("Accepted and not used"), name


@pytest.mark.parametrize("task", TASKS)
def test_the_steps_give_each_other_what_they_take(task: str) -> None:
    steps = read(component(task))["jobs"]
    assert list(steps) == ["prepare", "train", "package"]
    made: set[str] = set()
    for name, step in steps.items():
        path = FINETUNE / "components" / step["component"]
        assert path.is_file(), path
        ports = read(path)
        assert set(step["inputs"]) == set(ports["inputs"]), name
        assert set(step.get("outputs", {})) <= set(ports["outputs"])
        given = {value for value in step["inputs"].values() if "parent.jobs" in value}
        assert given <= made
        made |= {f"${{{{parent.jobs.{name}.outputs.{output}}}}}" for output in ports["outputs"]}
    assert steps["train"]["distribution"]["type"] == "pytorch"
    outputs = {key: value for step in steps.values() for key, value in step.get("outputs", {}).items()}
    assert outputs == {name: f"${{{{parent.outputs.{name}}}}}" for name in read(component(task))["outputs"]}


@pytest.mark.parametrize("task", TASKS)
def test_preparation_takes_each_input_as_the_pipeline_has_it(task: str) -> None:
    outside, inside = read(component(task))["inputs"], read(component(task, "prepare"))["inputs"]
    for name, port in inside.items():
        for key in ("type", "enum", "min", "default"):
            assert port.get(key) == outside[name].get(key), (name, key)
        assert bool(port.get("optional")) == bool(outside[name].get("optional")), name


@pytest.mark.parametrize("task", TASKS)
def test_a_component_passes_the_sdk(task: str) -> None:
    checked = load_component(component(task))._validate()
    assert checked.passed, checked.error_messages


@pytest.mark.parametrize("name", JOBS)
def test_a_job_passes_the_sdk_and_gives_the_component_what_it_needs(name: str) -> None:
    path = FINETUNE / f"finetune-{name}.yml"
    checked = load_job(path)._validate()
    assert checked.passed, checked.error_messages
    job, task = read(path), JOBS[name]
    assert list(job["jobs"]) == ["finetune"]
    node = job["jobs"]["finetune"]
    assert (node["type"], (FINETUNE / node["component"]).resolve()) == ("pipeline", component(task))
    assert node["inputs"] == {key: f"${{{{parent.inputs.{key}}}}}" for key in job["inputs"]}
    assert REQUIRED[task] - {"task_name"} <= set(job["inputs"]) <= set(public(task))
    assert {key: port["type"] for key, port in job["outputs"].items()} == {
        "pytorch_model_folder": "uri_folder",
        "mlflow_model_folder": "mlflow_model",
    }
    for key, value in job["inputs"].items():
        port = public(task)[key]
        if isinstance(value, dict):
            assert value["type"] == port["type"]
        else:
            kinds = {"string": str, "integer": int, "number": (int, float)}
            assert isinstance(value, kinds[port["type"]]), key
            assert value in port.get("enum", [value]), key


@pytest.mark.parametrize("name", JOBS)
def test_a_job_tunes_bert_base_cased_on_any_machine_and_goes_on_after_a_kill(name: str) -> None:
    inputs = read(FINETUNE / f"finetune-{name}.yml")["inputs"]
    assert inputs["mlflow_model_path"] == {"type": "mlflow_model", "path": "azureml:bert-base-cased:17"}
    assert (inputs["precision"], inputs["number_of_gpu_to_use_finetuning"]) == ("32", 1)
    assert inputs["resume_from_checkpoint"] == "true"
    allowed = read(ROOT / "spec.yaml")["system_metadata"]["supportedComputes"]["finetuneComputes"]
    assert inputs["instance_type_finetune"] in allowed
