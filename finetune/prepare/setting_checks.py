"""Check settings against each other: a contradiction would stop a training after an hour, or be ignored silently.

Each value by itself is checked by finetune.options; a user's DeepSpeed config by finetune.prepare.deepspeed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator

from finetune.errors import FinetuneError
from finetune.prepare.deepspeed import check_deepspeed
from finetune.prepare.options import PARTS, BaseInputs, Options
from finetune.settings import TrainingSettings

ONLY_ABOVE_ZERO = {
    "max_steps": "give -1 to train for num_train_epochs",
    "max_seq_length": "give -1 for all positions of the model",
    "eval_accumulation_steps": "give -1 to keep an evaluation's results until its end",
    "save_total_limit": "give -1 to keep every checkpoint; the best one is always kept",
}


def check_settings(options: Options) -> list[str]:
    """Check the settings against each other; raises FinetuneError with all contradictions.

    Returns notes on settings that are allowed, and may surprise.
    """
    training = options.training
    wrong = [
        *_base(options),
        *_data(options),
        *_columns(options),
        *_zeros(options),
        *_lengths(options),
        *_metric(options),
        *_optimizer(training),
        *_processes(options),
        *_early_stopping(training, evaluations(training)),
    ]
    stage, notes = training.deepspeed_stage, []
    if options.deepspeed is not None and training.apply_deepspeed:
        config = check_deepspeed(options.deepspeed, training)
        stage, notes = config.stage, [*config.notes]
        wrong += config.wrong
    wrong += _stage(training, stage, from_file=options.deepspeed is not None)
    if wrong:
        raise FinetuneError("; ".join(wrong))
    return [*notes, *_notes(options)]


def _base(options: Options) -> Iterator[str]:
    if len(options.base) != 1:
        found = " and ".join(options.base) or "none"
        yield f"expected exactly one of {', '.join(BaseInputs.model_fields)}, found {found}; name the model to start from once"


def _data(options: Options) -> Iterator[str]:
    for part in PARTS:
        names = [name for name in (f"{part}_file_path", f"{part}_mltable_path") if name in options.data]
        if len(names) > 1:
            yield f"expected one of {' and '.join(names)}, found both; leave one out"
        elif part == "train" and not names:
            yield "expected train_file_path or train_mltable_path, found neither; name the data to train on"


def _columns(options: Options) -> Iterator[str]:
    for inside in (False, True):
        used: dict[str, str] = {}
        for name in (column.key for column in options.task.columns if column.inside == inside):
            column = options.columns.get(name)
            if column is not None and column in used:
                yield f"{name}: expected another column than that of {used[column]}, found {column!r} for both"
            elif column is not None:
                used[column] = name


def _zeros(options: Options) -> Iterator[str]:
    for name, fix in ONLY_ABOVE_ZERO.items():
        settings = options.features if name == "max_seq_length" else options.training
        if getattr(settings, name) == 0:
            yield f"{name}: expected a count of 1 or more, or -1, found 0; {fix}"


def _lengths(options: Options) -> Iterator[str]:
    length = options.features.max_seq_length
    if length <= 0:
        return
    special, least = options.task.special_tokens, options.task.least_length(options.columns)
    if length < least:
        yield f"max_seq_length: expected {least} or more, as a row has {special} or more special tokens, found {length}"
    else:
        yield from options.task.check_length(options.features, length)


def _metric(options: Options) -> Iterator[str]:
    known, metric = options.task.metrics, options.training.metric_for_best_model
    if metric not in known:
        name = metric.removeprefix("eval_").lower()
        close = difflib.get_close_matches(name, known, 1, cutoff=0.4) or [other for other in known if name in other]
        fix = f"; did you mean {close[0]}?" if close else "; name one of them"
        yield f"metric_for_best_model: expected one of {', '.join(known)} for {options.task.name}, found {metric!r}{fix}"


def _optimizer(training: TrainingSettings) -> Iterator[str]:
    if training.optim == "adamw_torch" and training.adam_epsilon == 0:
        yield "adam_epsilon: expected a number above 0, found 0: a weight without a gradient would become 0/0; try 1e-8"
    if 0 < training.max_steps <= training.warmup_steps:
        yield (
            f"warmup_steps: expected less than max_steps, {training.max_steps}, found {training.warmup_steps}; the "
            "learning rate would never be reached"
        )


def _processes(options: Options) -> Iterator[str]:
    training, processes = options.training, options.machine.number_of_gpu_to_use_finetuning
    if not training.auto_find_batch_size:
        return
    if training.apply_deepspeed:
        yield (
            "auto_find_batch_size: expected 'false' with apply_deepspeed: DeepSpeed's engine keeps its first batch "
            "size; set apply_deepspeed 'false', or a smaller per_device_train_batch_size"
        )
    elif processes > 1:
        yield (
            f"auto_find_batch_size: expected 'false' with {processes} processes: a process that lowers its batch makes the "
            "others wait forever; set a smaller per_device_train_batch_size"
        )


def _stage(training: TrainingSettings, stage: int, from_file: bool) -> Iterator[str]:
    if training.apply_deepspeed and stage == 3 and training.apply_lora:
        where = "the stage of the file that deepspeed names" if from_file else "deepspeed_stage"
        yield (
            f"{where}: expected 2 with apply_lora, found 3, which fails for a new head under LoRA: ZeRO-3 shares out its "
            "weights before LoRA copies them; choose stage 2, or apply_lora 'false'"
        )


def evaluations(training: TrainingSettings, steps_per_epoch: int | None = None) -> int | None:
    """Return how often a run evaluates; None if that depends on the steps of an epoch, which are not known yet."""
    steps, every = total_steps(training, steps_per_epoch), evaluate_every(training, steps_per_epoch)
    if steps is not None and every is not None:
        return math.ceil(steps / every) if training.evaluation_strategy == "epoch" else steps // every
    if training.max_steps > 0:
        return None
    if training.evaluation_strategy == "epoch":
        return training.num_train_epochs
    share = training.evaluation_steps_interval
    return round(training.num_train_epochs / share) if share else None


def total_steps(training: TrainingSettings, steps_per_epoch: int | None) -> int | None:
    """Return the optimizer steps of a run, or None if they are not known yet."""
    if training.max_steps > 0:
        return training.max_steps
    return None if steps_per_epoch is None else steps_per_epoch * training.num_train_epochs


def evaluate_every(training: TrainingSettings, steps_per_epoch: int | None) -> int | None:
    """Return the steps between two evaluations, or None if they are not known yet."""
    if training.evaluation_strategy == "epoch":
        return steps_per_epoch
    if not training.evaluation_steps_interval:
        return training.eval_steps
    return None if steps_per_epoch is None else max(1, round(steps_per_epoch * training.evaluation_steps_interval))


def check_steps(options: Options, rows: int) -> tuple[list[str], list[str]]:
    """Return the problems and the notes of a run whose number of rows, one training example each, is known."""
    training = options.training
    if training.auto_find_batch_size:
        return [], []
    batch = rows_a_step(options)
    per_epoch = math.ceil(rows / batch)
    steps, every = total_steps(training, per_epoch) or 0, evaluate_every(training, per_epoch) or 0
    wrong = [*_early_stopping(training, evaluations(training, per_epoch))]
    if training.evaluation_strategy == "steps" and every > steps:
        wrong.append(
            f"eval_steps: expected at most the run's {steps} steps ({rows:,} rows, {batch} a step), found {every}: there "
            "would be no evaluation, and no best model; lower eval_steps, or set evaluation_strategy 'epoch'"
        )
    notes = []
    if training.warmup_steps >= steps > 0:
        notes.append(f"warmup_steps is {training.warmup_steps} of {steps} steps: learning_rate will not be reached")
    return wrong, notes


def rows_a_step(options: Options) -> int:
    """Return the rows of an optimizer step on one machine."""
    training = options.training
    processes = options.machine.number_of_gpu_to_use_finetuning
    return training.per_device_train_batch_size * training.gradient_accumulation_steps * processes


def _early_stopping(training: TrainingSettings, count: int | None) -> Iterator[str]:
    if not training.apply_early_stopping:
        return
    metric, most = training.metric_for_best_model, 2 if training.metric_for_best_model == "mcc" else 1
    if metric != "loss" and training.early_stopping_threshold >= most:
        yield (
            f"early_stopping_threshold: expected less than {most}, as {metric} is at most 1, found "
            f"{training.early_stopping_threshold:g}; write 1 % as 0.01"
        )
    least = training.early_stopping_patience + 2
    if count is not None and count < least:
        yield (
            f"apply_early_stopping: expected {least} evaluations or more with early_stopping_patience "
            f"{training.early_stopping_patience}, found {count}: it could never stop early; evaluate more often "
            "(num_train_epochs, eval_steps), lower the patience, or set apply_early_stopping 'false'"
        )


def _notes(options: Options) -> Iterator[str]:
    training = options.training
    if options.deepspeed is not None and not training.apply_deepspeed:
        yield "deepspeed is not read, as apply_deepspeed is 'false'"
    if training.evaluation_steps_interval and training.evaluation_strategy == "epoch":
        yield "evaluation_steps_interval is not used, as evaluation_strategy is 'epoch'"
    if training.lr_scheduler_type == "constant" and training.warmup_steps:
        yield "warmup_steps is not used by lr_scheduler_type constant; constant_with_warmup does"
    if training.learning_rate == 0:
        yield "learning_rate is 0: nothing will be learned"
    if training.optim == "adafactor":
        fields = TrainingSettings.model_fields
        names = ("adam_beta1", "adam_beta2", "adam_epsilon")
        changed = [name for name in names if getattr(training, name) != fields[name].default]
        if changed:
            yield f"{', '.join(changed)}: not used by optim adafactor"
