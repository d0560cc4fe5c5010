from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.errors import FinetuneError
from finetune.prepare.options import read_options
from finetune.prepare.setting_checks import check_settings, check_steps, evaluations
from finetune.settings import TrainingSettings
from finetune.tasks.task import tuning_task

LABELED = {
    "task": "text-classification",
    "prepared": "p",
    "sentence1_key": "text",
    "label_key": "label",
    "mlflow_model_path": "model",
    "train_file_path": "train.jsonl",
}
QUESTIONS = {
    **{name: value for name, value in LABELED.items() if not name.endswith("_key")},
    "task": "question-answering",
    **{column.key: column.key for column in tuning_task("question-answering").columns},
}


def checked(given: dict[str, str], **changes: str | None) -> list[str]:
    values = {name: value for name, value in {**given, **changes}.items() if value is not None}
    return check_settings(read_options([text for name, value in values.items() for text in (f"--{name}", value)]))


def refused(given: dict[str, str], **changes: str | None) -> str:
    with pytest.raises(FinetuneError) as raised:
        checked(given, **changes)
    return str(raised.value)


@pytest.mark.parametrize("given", [LABELED, QUESTIONS])
def test_the_defaults_are_a_run_that_makes_sense(given: dict[str, str]) -> None:
    assert checked(given) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deepspeed_stage": "3"}, "deepspeed_stage: expected 2 with apply_lora, found 3"),
        (
            {"mlflow_model_path": None},
            "expected exactly one of huggingface_id, pytorch_model_path, mlflow_model_path, found none",
        ),
        ({"huggingface_id": "a/b"}, "found huggingface_id and mlflow_model_path"),
        ({"train_file_path": None}, "expected train_file_path or train_mltable_path, found neither"),
        ({"train_mltable_path": "t"}, "expected one of train_file_path and train_mltable_path, found both"),
        ({"test_file_path": "t", "test_mltable_path": "t"}, "expected one of test_file_path and test_mltable_path"),
        ({"label_key": "text"}, "label_key: expected another column than that of sentence1_key, found 'text' for both"),
        ({"sentence2_key": "text"}, "sentence2_key: expected another column"),
        ({"metric_for_best_model": "f1"}, "for text-classification, found 'f1'; did you mean f1_macro?"),
        ({"metric_for_best_model": "eval_acuracy"}, "did you mean accuracy?"),
        ({"max_steps": "0"}, "max_steps: expected a count of 1 or more, or -1, found 0; give -1 to train for"),
        ({"max_seq_length": "0"}, "max_seq_length: expected a count of 1 or more, or -1, found 0"),
        ({"eval_accumulation_steps": "0"}, "eval_accumulation_steps: expected"),
        ({"save_total_limit": "0"}, "save_total_limit: expected a count of 1 or more, or -1, found 0; give -1 to keep"),
        ({"max_seq_length": "2"}, "max_seq_length: expected 3 or more"),
        ({"max_seq_length": "4", "sentence2_key": "b"}, "max_seq_length: expected 5 or more"),
        ({"adam_epsilon": "0"}, "adam_epsilon: expected a number above 0, found 0"),
        ({"max_steps": "100", "warmup_steps": "100"}, "warmup_steps: expected less than max_steps, 100, found 100"),
        ({"auto_find_batch_size": "true"}, "auto_find_batch_size: expected 'false' with apply_deepspeed"),
        (
            {"auto_find_batch_size": "true", "apply_deepspeed": "false", "number_of_gpu_to_use_finetuning": "2"},
            "auto_find_batch_size: expected 'false' with 2 processes",
        ),
        ({"apply_early_stopping": "true"}, "expected 3 evaluations or more with early_stopping_patience 1, found 1"),
        (
            {"apply_early_stopping": "true", "num_train_epochs": "5", "early_stopping_patience": "4"},
            "expected 6 evaluations or more with early_stopping_patience 4, found 5",
        ),
        (
            {"apply_early_stopping": "true", "evaluation_strategy": "steps", "max_steps": "1000"},
            "expected 3 evaluations or more with early_stopping_patience 1, found 2",
        ),
        (
            {
                "apply_early_stopping": "true",
                "num_train_epochs": "9",
                "metric_for_best_model": "accuracy",
                "early_stopping_threshold": "1",
            },
            "early_stopping_threshold: expected less than 1, as accuracy is at most 1, found 1",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, str | None], message: str) -> None:
    assert message in refused(LABELED, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"metric_for_best_model": "accuracy"},
            "expected one of loss, f1, exact for question-answering, found 'accuracy'",
        ),
        ({"metric_for_best_model": "exact_match"}, "did you mean exact?"),
        ({"max_seq_length": "128"}, "doc_stride: expected less than 124, what a window of 128 tokens leaves"),
        ({"max_seq_length": "4"}, "max_seq_length: expected 5 or more"),
        ({"context_key": "question_key"}, "context_key: expected another column than that of question_key"),
        (
            {"answer_text_key": "answer_start_key"},
            "answer_text_key: expected another column than that of answer_start_key",
        ),
    ],
)
def test_settings_of_question_answering_that_contradict_are_refused(
    changes: dict[str, str | None], message: str
) -> None:
    assert message in refused(QUESTIONS, **changes)


def test_all_contradictions_are_told_at_once() -> None:
    told = refused(
        LABELED, deepspeed_stage="3", save_total_limit="0", metric_for_best_model="bleu", train_file_path=None
    )
    assert [
        name for name in ("deepspeed_stage", "save_total_limit", "metric_for", "train_file") if name not in told
    ] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"deepspeed_stage": "3", "apply_lora": "false"},
        {"deepspeed_stage": "3", "apply_deepspeed": "false"},
        {"auto_find_batch_size": "true", "apply_deepspeed": "false"},
        {"apply_early_stopping": "true", "num_train_epochs": "3"},
        {"optim": "adafactor"},
        {"save_total_limit": "1"},
        {"train_file_path": None, "train_mltable_path": "t"},
        {"apply_early_stopping": "true", "evaluation_strategy": "steps", "evaluation_steps_interval": "0.25"},
        {"optim": "adafactor", "adam_epsilon": "1e-8"},
    ],
)
def test_settings_that_go_together_are_taken(changes: dict[str, str | None]) -> None:
    assert checked(LABELED, **changes) == []


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"optim": "adafactor", "adam_beta1": "0.8"}, "adam_beta1: not used by optim adafactor"),
        ({"evaluation_steps_interval": "0.5"}, "evaluation_steps_interval is not used"),
        ({"lr_scheduler_type": "constant", "warmup_steps": "5"}, "warmup_steps is not used"),
        ({"learning_rate": "0"}, "nothing will be learned"),
        ({"deepspeed": "none.json", "apply_deepspeed": "false"}, "deepspeed is not read"),
    ],
)
def test_what_may_surprise_is_noted(changes: dict[str, str | None], note: str) -> None:
    assert [found for found in checked(LABELED, **changes) if note in found]


@pytest.mark.parametrize(
    ("settings", "steps_per_epoch", "count"),
    [
        ({"num_train_epochs": 4}, None, 4),
        ({"num_train_epochs": 4}, 10, 4),
        ({"max_steps": 25}, None, None),
        ({"max_steps": 25}, 10, 3),
        ({"evaluation_strategy": "steps", "eval_steps": 3, "max_steps": 10}, None, 3),
        ({"evaluation_strategy": "steps", "eval_steps": 3}, None, None),
        ({"evaluation_strategy": "steps", "eval_steps": 3}, 10, 3),
        ({"evaluation_strategy": "steps", "evaluation_steps_interval": 0.2, "num_train_epochs": 2}, None, 10),
        ({"evaluation_strategy": "steps", "evaluation_steps_interval": 0.2, "num_train_epochs": 2}, 100, 10),
    ],
)
def test_evaluations_are_counted(settings: dict[str, object], steps_per_epoch: int | None, count: int | None) -> None:
    assert evaluations(TrainingSettings.model_validate(settings), steps_per_epoch) == count


def test_a_run_too_short_to_be_evaluated_is_refused_once_its_rows_are_known() -> None:
    given = {**LABELED, "evaluation_strategy": "steps", "eval_steps": "26", "per_device_train_batch_size": "4"}
    options = read_options([text for name, value in given.items() for text in (f"--{name}", value)])
    assert check_steps(options, 104) == ([], [])
    wrong, _ = check_steps(options, 100)
    assert "eval_steps: expected at most the run's 25 steps (100 rows, 4 a step), found 26" in wrong[0]


def test_a_warm_up_longer_than_the_run_is_noted_once_its_rows_are_known() -> None:
    options = read_options(
        [text for name, value in {**LABELED, "warmup_steps": "50"}.items() for text in (f"--{name}", value)]
    )
    assert check_steps(options, 50)[1] == ["warmup_steps is 50 of 50 steps: learning_rate will not be reached"]
    assert check_steps(options, 51) == ([], [])


AUTO = {
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}},
    "fp16": {"enabled": "auto"},
    "zero_optimization": {"stage": 2},
}


def deepspeed(folder: Path, config: object) -> dict[str, str]:
    file = folder / "deepspeed.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return {**LABELED, "deepspeed": str(file)}


@pytest.mark.parametrize(
    "config",
    [
        AUTO,
        {},
        {"optimizer": {"params": {"lr": 2e-5, "betas": [0.9, 0.999]}}, "gradient_clipping": 1.0},
        {"zero_optimization": {"stage": 1, "offload_optimizer": None}, "fp16": {"enabled": False}},
        {**AUTO, "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}},
    ],
)
def test_a_deepspeed_config_that_agrees_is_taken(tmp_path: Path, config: object) -> None:
    assert checked(deepspeed(tmp_path, config)) == []


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ("{stage: 2}", {}, "deepspeed.json: expected a file of JSON, found: Expecting property name"),
        ([], {}, "expected a JSON object, found list"),
        ({"zero_optimization": "2"}, {}, "expected an object as zero_optimization, found '2'; write its keys"),
        ({"optimizer": "AdamW"}, {}, "expected an object as optimizer, found 'AdamW'"),
        ({"fp16": True}, {}, "expected an object as fp16, found True"),
        ({"zero_optimization": {"offload_optimizer": "cpu"}}, {}, "zero_optimization.offload_optimizer, found 'cpu'"),
        (
            {"train_micro_batch_size_per_gpu": 8},
            {},
            '"auto" or 1, as per_device_train_batch_size says, found 8; write "auto"',
        ),
        ({"gradient_accumulation_steps": 2}, {}, 'gradient_accumulation_steps "auto" or 1'),
        ({"gradient_clipping": 0.5}, {}, 'gradient_clipping "auto" or 1.0, as max_grad_norm says, found 0.5'),
        ({"train_batch_size": 8}, {}, "as it depends on the number of processes, found 8"),
        ({"optimizer": {"params": {"lr": 1e-3}}}, {}, 'optimizer.params.lr "auto" or 2e-05, as learning_rate says'),
        ({"optimizer": {"params": {"betas": [0.8, 0.9]}}}, {}, "optimizer.params.betas"),
        ({"scheduler": {"params": {"total_num_steps": 9}}}, {}, "as it depends on the number of rows"),
        ({"fp16": {"enabled": True}}, {}, 'expected fp16.enabled "auto", as precision is 32, found True'),
        ({"fp16": {"enabled": True}}, {"precision": "16"}, "the machine that trains decides between fp16 and bf16"),
        ({"bf16": {"enabled": False}}, {"precision": "16"}, "decides between fp16 and bf16, found False"),
        ({"amp": {"enabled": True}}, {}, "expected no amp"),
        ({"zero_optimization": {"stage": "auto"}}, {}, "zero_optimization.stage 0, 1, 2 or 3, found 'auto'"),
        ({"zero_optimization": {"stage": 3}}, {}, "the file that deepspeed names: expected 2 with apply_lora, found 3"),
        (
            {"zero_optimization": {"stage": 3}},
            {"apply_lora": "false"},
            "stage3_gather_16bit_weights_on_model_save true",
        ),
        ({"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}, {}, "expected an optimizer, as zero_opt"),
        (AUTO, {"optim": "adafactor"}, "expected no optimizer, as optim is adafactor, found 'AdamW'"),
    ],
)
def test_a_deepspeed_config_that_contradicts_is_refused(
    tmp_path: Path, config: object, changes: dict[str, str], message: str
) -> None:
    assert message in refused(deepspeed(tmp_path, config), **changes)


def test_a_deepspeed_config_that_is_not_there_is_told() -> None:
    assert "none.json: expected a file of JSON, found: No such file" in refused(LABELED, deepspeed="none.json")


def test_the_scheduler_of_a_deepspeed_config_is_noted(tmp_path: Path) -> None:
    notes = checked(deepspeed(tmp_path, {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": "auto"}}}))
    assert notes == ["the scheduler of the DeepSpeed config is used in place of lr_scheduler_type"]
