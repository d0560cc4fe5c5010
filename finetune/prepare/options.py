"""The options of `python -m finetune.prepare.__main__`: the inputs of the public pipeline components, by their names.

What a value may be, and its default, is said by finetune.settings alone; here are the words for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import Field, TypeAdapter, ValidationError

from finetune.prepare.prepared import FinetuneError, Part
from finetune.settings import Count, FeatureSettings, Frozen, Task, TrainingSettings

TASK_NAMES: dict[Task, str] = {
    "text-classification": "SingleLabelClassification",
    "question-answering": "QuestionAnswering",
}
"""What the public input task_name calls a task."""

COLUMNS: dict[Task, dict[str, bool]] = {
    "text-classification": {"sentence1_key": True, "sentence2_key": False, "label_key": True},
    "question-answering": {
        "question_key": True,
        "context_key": True,
        "answers_key": True,
        "answer_start_key": True,
        "answer_text_key": True,
    },
}
"""The inputs that name columns, and whether they are needed."""

ANSWERS_ONLY = ("doc_stride", "n_best_size", "max_answer_length_in_tokens")
"""Features that only question answering has."""

BASES = ("huggingface_id", "pytorch_model_path", "mlflow_model_path")
PARTS: tuple[Part, ...] = get_args(Part)

HELP = {
    "huggingface_id": "a model on the Hugging Face hub, as google-bert/bert-base-cased (HF_ENDPOINT, HF_TOKEN count)",
    "pytorch_model_path": "a folder with config.json, model.safetensors and tokenizer.json",
    "mlflow_model_path": "an MLflow model folder",
    "sentence1_key": "the column of the text",
    "sentence2_key": "the column of the second text, where rows are pairs",
    "label_key": "the column of the label: texts, integers, or true and false",
    "question_key": "the column of the question",
    "context_key": "the column of the text that the answer is in",
    "answers_key": 'the column of the answers, as {"text": ["Paris"], "answer_start": [17]}',
    "answer_start_key": "what the answers call their start: characters of the context before it",
    "answer_text_key": "what the answers call their text",
    "batch_size": "rows that become tokens at once; not the batch of training",
    "pad_to_max_length": "give every row the greatest length; else a batch is as long as its longest",
    "max_seq_length": "tokens a row; -1: all positions of the model",
    "doc_stride": "tokens that two windows of a long context share",
    "n_best_size": "candidates an answer is chosen from",
    "max_answer_length_in_tokens": "longer answers are not considered",
    "apply_lora": "train small matrices beside the weights (LoRA)",
    "merge_lora_weights": "add them to the weights at the end",
    "max_steps": "optimizer steps, over num_train_epochs; -1: as the epochs take",
    "auto_find_batch_size": "lower the batch until it fits the memory",
    "eval_accumulation_steps": "batches before an evaluation's results leave the GPU; -1: all of them",
    "precision": "bits of a number: 32, or 16 for mixed precision where the machine has it",
    "ignore_mismatched_sizes": "start a head of another size anew",
    "evaluation_strategy": "evaluate, and save, after each epoch or every eval_steps",
    "evaluation_steps_interval": "a share of an epoch, in place of eval_steps; 0: eval_steps",
    "metric_for_best_model": "what tells the best checkpoint",
    "resume_from_checkpoint": "go on from the last checkpoint in the output",
    "save_total_limit": "checkpoints that are kept beside the best; -1: all",
    "early_stopping_patience": "evaluations without a gain before training stops",
    "apply_deepspeed": "train with DeepSpeed",
    "deepspeed": "a DeepSpeed config of your own, JSON",
    "deepspeed_stage": "ZeRO's stage, where the config is not your own",
    "apply_ort": "compile the tuned model for serving, and fail the run where its validation figures drop",
}


class MachineSettings(Frozen):
    """What is asked of the machine that trains; here it only counts the rows of a step."""

    number_of_gpu_to_use_finetuning: Count = Field(1, description="processes on one machine")


@dataclass(frozen=True)
class Options:
    """What the command line says, each value checked by itself; `base` and `data` are paths or names as they were given."""

    task: Task
    prepared: Path
    columns: dict[str, str]
    features: FeatureSettings
    training: TrainingSettings
    machine: MachineSettings
    base: dict[str, str]
    data: dict[str, str]
    deepspeed: Path | None = None


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser; it takes any text, so that all that is wrong can be told at once."""
    formatter = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser(
        "python -m finetune.prepare.__main__",
        usage="python -m finetune.prepare.__main__ --task TASK --prepared DIR --train_file_path PATH … (--help for all)",
        description="Check the settings and the data of a fine-tuning run, fetch its base model, and write what\n"
        "`python -m finetune.train.__main__` starts from.\n\n"
        "  python -m finetune.prepare.__main__ --task text-classification --prepared prepared \\\n"
        "    --mlflow_model_path model/embedded --train_file_path train.jsonl \\\n"
        "    --sentence1_key text --label_key label",
        formatter_class=formatter,
        allow_abbrev=False,
    )
    found.add_argument("--task", required=True, choices=get_args(Task))
    found.add_argument("--prepared", required=True, type=Path, metavar="DIR", help="the folder that is written")
    _add(found.add_argument_group("the base model, one of"), BASES)
    for task, columns in COLUMNS.items():
        group = found.add_argument_group(f"columns of {task}")
        for name, needed in columns.items():
            group.add_argument(f"--{name}", metavar="NAME", help=HELP[name] + ("" if needed else " (optional)"))
    data = found.add_argument_group("data: .jsonl, .json, .csv, .tsv or .parquet; train is needed")
    for part in PARTS:
        data.add_argument(f"--{part}_file_path", metavar="PATH", help="a file, or a folder of files of one kind")
        data.add_argument(f"--{part}_mltable_path", metavar="PATH", help="an MLTable folder")
    found.add_argument("--task_name", help=argparse.SUPPRESS)
    _add_settings(found.add_argument_group("rows as tokens"), FeatureSettings)
    training = found.add_argument_group("training")
    _add_settings(training, TrainingSettings)
    training.add_argument("--deepspeed", metavar="FILE", help=HELP["deepspeed"])
    _add_settings(found.add_argument_group("the machine"), MachineSettings)
    return found


def _add(group: Any, names: tuple[str, ...]) -> None:  # noqa: ANN401 - argparse keeps the class to itself
    for name in names:
        group.add_argument(f"--{name}", metavar="PATH" if name.endswith("path") else "NAME", help=HELP[name])


def _add_settings(group: Any, model: type[Frozen]) -> None:  # noqa: ANN401
    for name, field in model.model_fields.items():
        about = HELP.get(name) or field.description or name.replace("_", " ")
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        only = "; question answering" if name in ANSWERS_ONLY else ""
        expected = f"; {expected_of(model, name)}"
        text = f"{about}{expected}{only} ({default})".replace("%", "%%")
        group.add_argument(f"--{name}", metavar="VALUE", help=text)


def read_options(argv: list[str] | None) -> Options:
    """Return the command line's options; raises FinetuneError that names each value that is wrong by itself.

    An option that is an empty text counts as not given, as Azure leaves such out.
    """
    given = {name: value for name, value in vars(parser().parse_args(argv)).items() if value not in (None, "")}
    task: Task = given.pop("task")
    wrong: list[str] = []
    name = given.pop("task_name", TASK_NAMES[task])
    if name != TASK_NAMES[task]:
        wrong.append(f"task_name: expected {TASK_NAMES[task]} for {task}, found {name!r}")
    settings = {model: _read(model, given, wrong) for model in (FeatureSettings, TrainingSettings, MachineSettings)}
    wrong += _foreign(task, given)
    columns = {key: given[key] for key in COLUMNS[task] if key in given}
    wrong += [
        f"{key}: expected {HELP[key]}, found none"
        for key, needed in COLUMNS[task].items()
        if needed and key not in given
    ]
    if wrong:
        raise FinetuneError("; ".join(wrong))
    return Options(
        task=task,
        prepared=given["prepared"],
        columns=columns,
        features=settings[FeatureSettings],
        training=settings[TrainingSettings],
        machine=settings[MachineSettings],
        base={key: given[key] for key in BASES if key in given},
        data={
            key: given[key] for part in PARTS for key in (f"{part}_file_path", f"{part}_mltable_path") if key in given
        },
        deepspeed=Path(given["deepspeed"]) if "deepspeed" in given else None,
    )


def _foreign(task: Task, given: Mapping[str, Any]) -> list[str]:
    """Tell of options of the other task's."""
    other: Task = "question-answering" if task == "text-classification" else "text-classification"
    names = (*COLUMNS[other], *(ANSWERS_ONLY if other == "question-answering" else ()))
    return [f"{name}: is for {other} alone; leave it out of {task}" for name in names if name in given]


def _read(model: type[Frozen], given: Mapping[str, Any], wrong: list[str]) -> Any:  # noqa: ANN401 - one of the three
    """Make a part of the settings of texts; what is wrong is added in our words."""
    texts = {name: given[name] for name in model.model_fields if name in given}
    values = {name: _typed(model, name, text) for name, text in texts.items()}
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        names = dict.fromkeys(str(error["loc"][0]) for error in exc.errors())
        wrong += [f"{name}: expected {expected_of(model, name)}, found {texts[name]!r}" for name in names]
        return None


def _typed(model: type[Frozen], name: str, text: str) -> object:
    """Read a text as its field's type where it is no number: "true" and "True" -> True, "2" of Literal[2, 3] -> 2."""
    schema = _schema(model, name)
    if schema.get("type") == "boolean":
        return {"true": True, "false": False}.get(text.lower(), "neither")
    if all(isinstance(choice, int) for choice in schema.get("enum", ["none"])):
        return int(text) if text.isdecimal() else text
    return text


def expected_of(model: type[Frozen], name: str) -> str:
    """Say what a setting may be.

    >>> expected_of(TrainingSettings, "learning_rate"), expected_of(TrainingSettings, "apply_lora")
    ('a number of 0 or more', 'true or false')
    """
    schema = _schema(model, name)
    kind, low, high = schema.get("type"), schema.get("minimum"), schema.get("maximum")
    if kind == "boolean":
        return "true or false"
    if "enum" in schema:
        return " or ".join([", ".join(map(str, schema["enum"][:-1])), str(schema["enum"][-1])])
    if kind not in ("integer", "number"):
        return "a text"
    if low == -1:
        return "a count of 1 or more, or -1"
    below = schema.get("exclusiveMaximum")
    if kind == "integer" and below is not None:
        return f"an integer from {low} to {below - 1}"
    article = "an integer" if kind == "integer" else "a number"
    if high is not None:
        return f"{article} from {low:g} to {high:g}"
    return f"{article} of {low:g} or more" + (f" and below {below:g}" if below is not None else "")


def _schema(model: type[Frozen], name: str) -> dict[str, Any]:
    field = model.model_fields[name]
    return TypeAdapter(field.rebuild_annotation()).json_schema()
