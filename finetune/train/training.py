"""One training run: from the prepared folder to the best checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import distributed
from transformers import EarlyStoppingCallback, EvalPrediction, PreTrainedConfig, ProgressCallback, set_seed
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from finetune.errors import FinetuneError
from finetune.prepare.deepspeed import run_config, set_up_deepspeed
from finetune.prepare.prepared import PreparedFolder, Settings
from finetune.settings import Part
from finetune.train.checkpoints import BestInThisFolder, state_of
from finetune.train.features import classification_rows, open_tokenizer
from finetune.train.output_folder import OutputFolder, Start
from finetune.train.processes import Precision, Processes, keep_freed_memory
from finetune.train.question_windows import question_windows
from finetune.train.result import write_model, write_training
from finetune.train.rows import PAD_TO_MULTIPLE, EpochOfOrder, LengthGroups, Padding, TokenRows
from finetune.train.task_model import load, read_config, with_lora
from finetune.train.trainer import (
    FineTuner,
    MeasureAtTheEnd,
    Options,
    TrainingTime,
    answer_metrics,
    classification_metrics,
    training_arguments,
)
from finetune.train.training_log import ConciseProgress, StopAtNoNumber, records_of_run, say

SHOWN = {
    "eval_loss": "validation loss",
    "eval_accuracy": "accuracy",
    "eval_f1_macro": "macro F1",
    "eval_f1": "F1",
    "eval_exact": "exact match",
}


@dataclass(frozen=True)
class Run:
    """A training run: its settings, its folders, its processes and its precision."""

    prepared: PreparedFolder
    settings: Settings
    output: OutputFolder
    precision: Precision
    processes: Processes

    def say(self, line: str) -> None:
        """Print a line, in one process only."""
        if self.processes.first:
            say(line)

    @property
    def halves(self) -> bool:
        """True if checkpoints have 16-bit weights: DeepSpeed's do, autocast keeps fp32."""
        return self.settings.training.apply_deepspeed and self.precision != "fp32"


@dataclass(frozen=True)
class Data:
    """The rows for training and for validation, and the function that measures the validation logits."""

    train: TokenRows
    validation: TokenRows
    padding: Padding
    measure: Callable[[EvalPrediction], dict[str, float]]


def train(run: Run) -> dict[str, Any] | None:
    """Train, and return the content of training.json; None if the output folder already has a finished run.

    Every process calls it. Raises FinetuneError.
    """
    quiet_libraries(run.processes.first)
    training = run.settings.training
    deepspeed = None
    if training.apply_deepspeed:
        deepspeed = run_config(run.prepared.deepspeed, training.deepspeed_stage, training.apply_lora)
        set_up_deepspeed()
    run.processes.set_up(os.environ, training.apply_deepspeed)
    try:
        start = run.processes.agree(lambda: run.output.open(run.settings, deepspeed, run.processes.count))
        for line in start.lines:
            run.say(line)
        if start.finished:
            return None
        if start.over:
            state = state_of(start.checkpoint)
            seconds = state["stateful_callbacks"]["TrainingTime"]["attributes"]["seconds"]
        else:
            state, seconds = fit(run, start, deepspeed)
            # From here on, a model is loaded whole in one process, not divided by ZeRO.
            unset_hf_deepspeed_config()
        return run.processes.agree(lambda: leave(run, state, seconds))
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def fit(run: Run, start: Start, deepspeed: dict[str, Any] | None) -> tuple[dict[str, Any], float]:
    """Train to the end; return the Trainer's state and the seconds it took."""
    training = run.settings.training
    config = read_config(run.prepared, run.settings)
    data = read_data(run, config)
    set_seed(training.seed)  # for the tensors that the base model lacks, such as the head
    loaded = load(run.prepared, run.settings, config)
    for line in loaded.lines():
        run.say(line)
    model = with_lora(loaded.model, run.settings) if training.apply_lora else loaded.model
    _tell_size(run, model, data)
    keep_freed_memory()  # after the text is read: its memory should go back to the system
    options = Options(run.settings.tuning, run.output, run.processes, run.precision, deepspeed, len(data.train))
    try:
        trainer = FineTuner(
            model=model,
            args=training_arguments(training, options),
            data_collator=data.padding,
            train_dataset=data.train,
            eval_dataset=data.validation,
            compute_metrics=data.measure,
        )
    except ValueError as exc:  # a value of the user's own DeepSpeed configuration that contradicts the settings
        raise FinetuneError(f"training cannot be set up: {exc}") from exc
    trainer.order = LengthGroups(data.train.lengths(), 1, training.seed)
    trainer.keep = training.save_total_limit if training.save_total_limit > 0 else None
    progress = ConciseProgress(SHOWN)
    add_callbacks(trainer, run, progress)
    try:
        trainer.train(resume_from_checkpoint=str(start.checkpoint) if start.checkpoint else None)
    finally:
        progress.close()
    clock = next(found for found in trainer.callback_handler.callbacks if isinstance(found, TrainingTime))
    return dataclasses.asdict(trainer.state), clock.seconds


def add_callbacks(trainer: FineTuner, run: Run, progress: ConciseProgress) -> None:
    """Give the Trainer the callbacks that report its steps."""
    training = run.settings.training
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(transformers.PrinterCallback)
    callbacks = [EpochOfOrder(trainer.order), BestInThisFolder(), MeasureAtTheEnd(), TrainingTime(), StopAtNoNumber()]
    if training.apply_early_stopping:
        patience, threshold = training.early_stopping_patience, training.early_stopping_threshold
        callbacks.append(EarlyStoppingCallback(patience, threshold))
    if run.processes.first:
        callbacks += [progress, records_of_run(run.output.logs, training.model_dump())]
    for callback in callbacks:
        trainer.add_callback(callback)


def read_data(run: Run, config: PreTrainedConfig) -> Data:
    """Read and tokenize the rows; raises FinetuneError if no usable row is left."""
    settings, features = run.settings, run.settings.features
    tokenizer = open_tokenizer(run.prepared.model, config, settings)
    half = torch.cuda.is_available() and run.precision != "fp32"
    padding = Padding(
        tokenizer.pad_id,
        config.model_type == "bert",
        tokenizer.max_length if features.pad_to_max_length else None,
        PAD_TO_MULTIPLE if half else 1,
    )
    if settings.tuning.classifies:

        def classified(part: Part) -> TokenRows:
            return classification_rows(run.prepared.rows(part), tokenizer, settings.labels, features.batch_size)

        validation = classified("validation")
        validation = validation.ordered(validation.longest_first())
        return _checked(Data(classified("train"), validation, padding, measure_labels), settings)
    train = question_windows(run.prepared.rows("train"), tokenizer, features, training=True)
    for line in train.left_out.lines():
        run.say(line)
    questions = question_windows(run.prepared.rows("validation"), tokenizer, features, training=False).longest_first()

    def measure_answers(found: EvalPrediction) -> dict[str, float]:
        starts, ends = (np.asarray(logits, np.float32) for logits in found.predictions)
        answers = questions.answers(starts, ends, features)
        return {"loss_of_rows": questions.loss(starts, ends), **answer_metrics(answers, questions.right)}

    return _checked(Data(train.tokens, questions.tokens, padding, measure_answers), settings)


def measure_labels(found: EvalPrediction) -> dict[str, float]:
    """Return the metrics of a classifier's logits."""
    metrics = classification_metrics(np.asarray(found.predictions, np.float32), np.asarray(found.label_ids))
    return {"loss_of_rows": metrics.pop("loss"), **metrics}


def _checked(data: Data, settings: Settings) -> Data:
    for part, rows in (("train", data.train), ("validation", data.validation)):
        if not len(rows):
            raise FinetuneError(
                f"{part}.jsonl: expected rows, found none of the {settings.data[part].rows} usable; give other data, or "
                "a larger max_seq_length"
            )
    return data


def _tell_size(run: Run, model: torch.nn.Module, data: Data) -> None:
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    count = sum(parameter.numel() for parameter in model.parameters())
    run.say(
        f"{len(data.train):,} rows of {data.train.lengths().mean():.0f} tokens on average; "
        f"{trained:,} of {count:,} weights are trained, in {run.precision}, by {run.processes.count} "
        f"process{'es' if run.processes.count > 1 else ''} of {torch.get_num_threads()} "
        f"thread{'s' if torch.get_num_threads() > 1 else ''}"
    )


def leave(run: Run, state: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Write the result of the run, in one process."""
    best = run.output.checkpoints / f"checkpoint-{state['best_global_step']}"
    write_model(run.prepared, run.settings, run.output, best, run.halves)
    found = write_training(run.output, state, seconds, run.precision, run.processes.count)
    run.output.trim(run.settings.training.save_total_limit, best)
    return found


def quiet_libraries(first: bool) -> None:
    """Keep the terminal readable: our lines, the first process's warnings, and errors."""
    if not torch.cuda.is_available():
        # DeepSpeed logs its choice of accelerator, and transformers imports it if it is installed.
        os.environ["DS_ACCELERATOR"] = "cpu"
    # These libraries use each other's deprecated names; the user can do nothing about it.
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module=r"(accelerate|deepspeed|peft|torch|transformers)\b"
    )
    transformers.utils.logging.disable_progress_bar()  # a bar for each of the two seconds that files take
    if not first:
        transformers.logging.set_verbosity_error()
        warnings.simplefilter("ignore")
    for name in ("DeepSpeed", "torch.distributed", "accelerate", "torch.distributed.elastic"):
        logging.getLogger(name).setLevel(logging.ERROR)
