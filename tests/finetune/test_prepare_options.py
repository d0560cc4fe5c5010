from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.ai.ml import load_component

from asset.checks.pipeline.components import check_component
from asset.checks.pipeline.source import ComponentSource
from asset.checks.pipeline.values import typed
from asset.yaml_file import YamlFile
from finetune.errors import FinetuneError
from finetune.options import about, expected_of
from finetune.prepare.options import BaseInputs, DeepSpeedInputs, MachineSettings, parser, read_options
from finetune.settings import FeatureSettings, TrainingSettings
from finetune.tasks.task import tuning_task
from serving.tasks import Task

ROOT = Path(__file__).resolve().parents[2]
FILES: dict[Task, Path] = {
    "text-classification": ROOT / "finetune/components/text_classification_prepare.yml",
    "question-answering": ROOT / "finetune/components/question_answering_prepare.yml",
}
ASKED = tuning_task("question-answering")
KEYS: dict[Task, list[str]] = {task: [column.key for column in tuning_task(task).columns] for task in FILES}
GROUPS = (FeatureSettings, TrainingSettings, MachineSettings)
LABELED = ["--task", "text-classification", "--prepared", "p", "--sentence1_key", "text", "--label_key", "label"]


def described(task: Task) -> dict[str, Any]:
    return yaml.safe_load(FILES[task].read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", "fast", "learning_rate: expected a number of 0 or more, found 'fast'"),
        ("learning_rate", "1e999", "learning_rate: expected a number of 0 or more, found '1e999'"),
        ("lora_dropout", "nan", "lora_dropout: expected a number of 0 or more and below 1, found 'nan'"),
        ("num_train_epochs", "1.5", "num_train_epochs: expected an integer of 1 or more, found '1.5'"),
        ("max_steps", "-2", "max_steps: expected a count of 1 or more, or -1, found '-2'"),
        ("apply_lora", "yes", "apply_lora: expected true or false, found 'yes'"),
        ("apply_lora", "1", "apply_lora: expected true or false, found '1'"),
        ("precision", "8", "precision: expected 32 or 16, found '8'"),
        ("precision", "fp16", "precision: expected 32 or 16, found 'fp16'"),
        ("deepspeed_stage", "1", "deepspeed_stage: expected 2 or 3, found '1'"),
        ("optim", "sgd", "optim: expected adamw_torch or adafactor, found 'sgd'"),
        ("seed", "4294967296", "seed: expected an integer from 0 to 4294967295, found '4294967296'"),
        ("evaluation_steps_interval", "2", "evaluation_steps_interval: expected a number from 0 to 1, found '2'"),
        ("task_name", "NLI", "task_name: expected SingleLabelClassification for text-classification, found 'NLI'"),
        ("doc_stride", "9", "doc_stride: is for question-answering alone; leave it out of text-classification"),
        ("answers_key", "a", "answers_key: is for question-answering alone"),
    ],
)
def test_a_value_that_is_wrong_is_told_with_what_was_expected(name: str, value: str, message: str) -> None:
    with pytest.raises(FinetuneError) as raised:
        read_options([*LABELED, f"--{name}", value])
    assert message in str(raised.value)


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(FinetuneError) as raised:
        read_options(["--task", "question-answering", "--prepared", "p", "--seed", "x", "--doc_stride", "0"])
    told = str(raised.value)
    assert [
        name
        for name in ("seed:", "doc_stride:", *(f"{key}:" for key in KEYS["question-answering"]))
        if name not in told
    ] == []


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("false", False), ("False", False)])
def test_booleans_are_taken_as_yaml_and_as_python_write_them(text: str, value: bool) -> None:
    assert read_options([*LABELED, "--apply_lora", text]).training.apply_lora is value


def test_what_is_not_given_or_empty_has_the_default_of_the_settings() -> None:
    options = read_options([*LABELED, "--learning_rate", "", "--huggingface_id", ""])
    assert options.training == TrainingSettings()
    assert options.features == FeatureSettings()
    assert options.base == {}


def test_what_is_given_is_what_the_settings_say() -> None:
    given = {"precision": "16", "deepspeed_stage": "3", "learning_rate": "2e-05", "lora_r": "4", "max_steps": "-1"}
    training = read_options(
        [*LABELED, *(text for name, value in given.items() for text in (f"--{name}", value))]
    ).training
    assert (training.precision, training.deepspeed_stage, training.learning_rate) == (16, 3, 2e-5)
    assert (training.lora_r, training.max_steps) == (4, -1)


def test_every_setting_says_what_it_may_be() -> None:
    for model in GROUPS:
        for name, field in model.model_fields.items():
            assert name == "metric_for_best_model" or expected_of(field) != "a text", name


def test_help_names_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        read_options(["--help"])
    text = capsys.readouterr().out
    for model in GROUPS:
        assert [name for name in model.model_fields if f"--{name} VALUE" not in text] == []
    assert "python -m finetune.prepare --task text-classification" in text
    assert "(2e-05)" in text


@pytest.mark.parametrize("task", FILES)
def test_components_have_the_options_as_inputs(task: Task) -> None:
    options = {action.dest for action in parser()._actions} - {"help", "task", "prepared"}
    other = KEYS["question-answering" if task == "text-classification" else "text-classification"]
    only = set(ASKED.own_settings) if task == "text-classification" else set()
    assert set(described(task)["inputs"]) == options - set(other) - only


@pytest.mark.parametrize("task", FILES)
def test_components_have_the_defaults_and_choices_of_the_settings(task: Task) -> None:
    inputs = described(task)["inputs"]
    for model in GROUPS:
        for name, field in model.model_fields.items():
            if name not in inputs:
                continue
            port = inputs[name]
            text = str(port["default"]).lower() if port.get("enum") == ["true", "false"] else str(port["default"])
            given = read_model(model, name, text)
            assert given == field.default, name
            for choice in port.get("enum", []):
                assert name == "metric_for_best_model" or read_model(model, name, choice) is not None
    assert inputs["metric_for_best_model"]["enum"] == list(tuning_task(task).metrics)


def read_model(model: type, name: str, text: str) -> object:
    read = read_options(
        [*LABELED, f"--{name}", text]
        if name not in ASKED.own_settings
        else [
            "--task",
            "question-answering",
            "--prepared",
            "p",
            *(t for key in KEYS["question-answering"] for t in (f"--{key}", key)),
            f"--{name}",
            text,
        ]
    )
    part = {FeatureSettings: read.features, TrainingSettings: read.training, MachineSettings: read.machine}[model]
    return getattr(part, name)


@pytest.mark.parametrize("task", FILES)
def test_components_say_of_an_input_what_help_says(task: Task) -> None:
    fields = {
        name: field for model in (*GROUPS, BaseInputs, DeepSpeedInputs) for name, field in model.model_fields.items()
    }
    texts = {name: about(name, field) for name, field in fields.items() if field.description}
    texts |= {column.key: column.about for column in tuning_task(task).columns}
    inputs = described(task)["inputs"]
    assert {name: inputs[name]["description"].rstrip(".").lower() for name in texts if name in inputs} == {
        name: text.lower() for name, text in texts.items() if name in inputs
    }


@pytest.mark.parametrize("task", FILES)
def test_components_are_taken_by_azure_and_by_our_checks(task: Task) -> None:
    result = load_component(FILES[task])._validate()
    assert result.passed, result.error_messages
    assert list(check_component(ComponentSource(YamlFile(FILES[task])))) == []


@pytest.mark.parametrize("task", FILES)
def test_the_command_of_a_component_gives_each_input_and_is_understood(task: Task) -> None:
    component = described(task)
    command = component["command"]
    for name, port in component["inputs"].items():
        given = f"--{name} '${{{{inputs.{name}}}}}'"
        assert (f"$[[{given}]]" if port.get("optional") else given) in command
    values = {name: str(port["default"]) for name, port in component["inputs"].items() if "default" in port}
    values |= {name: name for name in component["inputs"] if name not in values and name.endswith("_key")}
    argv = [text for name, value in values.items() for text in (f"--{name}", value)]
    options = read_options(["--task", task, "--prepared", "p", *argv])
    assert (options.training, options.features) == (TrainingSettings(), FeatureSettings())
    assert typed("2.0e-5", "number") == options.training.learning_rate
