"""The options of `python -m finetune.prepare`: the inputs of the public pipeline components, by their names."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import Field

from finetune.errors import FinetuneError
from finetune.options import add_options, read_settings
from finetune.settings import Count, FeatureSettings, Frozen, Part, TrainingSettings
from finetune.tasks.task import TUNED, TuningTask, tuning_task

PARTS: tuple[Part, ...] = get_args(Part)
FILE = "a file, or a folder of files of one kind"
MLTABLE = "an MLTable folder"


class BaseInputs(Frozen):
    """The base model; exactly one of them is given."""

    huggingface_id: str | None = Field(
        None,
        description="a model on the Hugging Face hub, such as google-bert/bert-base-cased (HF_ENDPOINT, HF_TOKEN count)",
    )
    pytorch_model_path: str | None = Field(
        None, description="a folder with config.json, model.safetensors and tokenizer.json"
    )
    mlflow_model_path: str | None = Field(None, description="an MLflow model folder")


class DataInputs(Frozen):
    """The data: train is needed, by one of its two inputs."""

    train_file_path: str | None = Field(None, description=FILE)
    train_mltable_path: str | None = Field(None, description=MLTABLE)
    validation_file_path: str | None = Field(None, description=FILE)
    validation_mltable_path: str | None = Field(None, description=MLTABLE)
    test_file_path: str | None = Field(None, description=FILE)
    test_mltable_path: str | None = Field(None, description=MLTABLE)


class DeepSpeedInputs(Frozen):
    """The user's own DeepSpeed config."""

    deepspeed: str | None = Field(None, description="a DeepSpeed config of your own, JSON")


class MachineSettings(Frozen):
    """The machine that trains; the preparation only counts the rows of a step with it."""

    number_of_gpu_to_use_finetuning: Count = Field(1, description="processes on one machine, for the rows of a step")


@dataclass(frozen=True)
class Options:
    """The command line, each value checked by itself; `base` and `data` are the inputs that were given."""

    task: TuningTask
    prepared: Path
    columns: dict[str, str]
    features: FeatureSettings
    training: TrainingSettings
    machine: MachineSettings
    base: dict[str, str]
    data: dict[str, str]
    deepspeed: Path | None = None


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser; it takes any text, so that all wrong values can be told at once."""
    made = argparse.ArgumentParser(
        "python -m finetune.prepare",
        usage="python -m finetune.prepare --task TASK --prepared DIR --train_file_path PATH … (--help for all)",
        description="Check the settings and the data of a fine-tuning run, fetch its base model, and write what\n"
        "`python -m finetune.train` starts from.\n\n"
        "  python -m finetune.prepare --task text-classification --prepared prepared \\\n"
        "    --mlflow_model_path model/embedded --train_file_path train.jsonl \\\n"
        "    --sentence1_key text --label_key label",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--task", required=True, choices=TUNED)
    made.add_argument("--prepared", required=True, type=Path, metavar="DIR", help="the folder that is written")
    add_options(made.add_argument_group("the base model, one of"), BaseInputs)
    for task in map(tuning_task, TUNED):
        group = made.add_argument_group(f"columns of {task.name}")
        for column in task.columns:
            group.add_argument(
                f"--{column.key}", metavar="NAME", help=column.about + ("" if column.needed else " (optional)")
            )
    add_options(made.add_argument_group("data: .jsonl, .json, .csv, .tsv or .parquet; train is needed"), DataInputs)
    made.add_argument("--task_name", help=argparse.SUPPRESS)
    add_options(made.add_argument_group("rows as tokens"), FeatureSettings, _notes())
    training = made.add_argument_group("training")
    add_options(training, TrainingSettings)
    add_options(training, DeepSpeedInputs)
    add_options(made.add_argument_group("the machine"), MachineSettings)
    return made


def _notes() -> dict[str, str]:
    """Return which settings are for one task alone."""
    return {name: task.name.replace("-", " ") for task in map(tuning_task, TUNED) for name in task.own_settings}


def read_options(argv: list[str] | None) -> Options:
    """Return the command line's options; raises FinetuneError that names each value that is wrong by itself.

    An empty text counts as not given, because Azure gives one for an input that is left out.
    """
    given = {name: value for name, value in vars(parser().parse_args(argv)).items() if value not in (None, "")}
    task = tuning_task(given.pop("task"))
    wrong: list[str] = []
    name = given.pop("task_name", task.public_name)
    if name != task.public_name:
        wrong.append(f"task_name: expected {task.public_name} for {task.name}, found {name!r}")
    features = read_settings(FeatureSettings, given, wrong)
    training = read_settings(TrainingSettings, given, wrong)
    machine = read_settings(MachineSettings, given, wrong)
    wrong += _foreign(task, given)
    wrong += [
        f"{column.key}: expected {column.about}, found none"
        for column in task.columns
        if column.needed and column.key not in given
    ]
    if wrong:
        raise FinetuneError("; ".join(wrong))
    return Options(
        task=task,
        prepared=given["prepared"],
        columns={column.key: given[column.key] for column in task.columns if column.key in given},
        features=features,
        training=training,
        machine=machine,
        base={name: given[name] for name in BaseInputs.model_fields if name in given},
        data={name: given[name] for name in DataInputs.model_fields if name in given},
        deepspeed=Path(given["deepspeed"]) if "deepspeed" in given else None,
    )


def _foreign(task: TuningTask, given: Mapping[str, Any]) -> list[str]:
    """Name the options that are for another task."""
    ours = {*task.own_settings, *(column.key for column in task.columns)}
    return [
        f"{name}: is for {other.name} alone; leave it out of {task.name}"
        for other in map(tuning_task, TUNED)
        for name in (*(column.key for column in other.columns), *other.own_settings)
        if name in given and name not in ours
    ]
