"""The Trainer, set up from the settings of a run: its options, the order of its rows, and its metrics.

The metrics on validation data are those of finetune.tasks, between 0 and 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_score, recall_score
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import EvalLoopOutput

from evaluation.metrics import squad
from finetune.settings import TrainingSettings
from finetune.tasks.task import TuningTask
from finetune.train.checkpoints import CheckpointingTrainer
from finetune.train.output_folder import OutputFolder
from finetune.train.processes import Precision, Processes, backend
from finetune.train.rows import LengthGroups


@dataclass(frozen=True)
class Options:
    """The facts that the Trainer's options need beside the training settings."""

    task: TuningTask
    output: OutputFolder
    processes: Processes
    precision: Precision
    deepspeed: dict[str, Any] | None
    rows: int


def training_arguments(training: TrainingSettings, options: Options) -> TrainingArguments:
    """Translate the settings to the Trainer's."""
    on_cpu = not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(options.output.checkpoints),
        use_cpu=on_cpu,
        bf16=options.precision == "bf16",
        fp16=options.precision == "fp16",
        deepspeed=options.deepspeed,
        ddp_backend=backend() if options.processes.count > 1 else None,
        ddp_find_unused_parameters=False,
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps or -1,
        per_device_train_batch_size=training.per_device_train_batch_size,
        per_device_eval_batch_size=training.per_device_eval_batch_size,
        auto_find_batch_size=training.auto_find_batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        eval_accumulation_steps=None if training.eval_accumulation_steps < 1 else training.eval_accumulation_steps,
        # It makes the same steps as adamw_torch, in one pass over the weights.
        optim="adamw_torch_fused" if training.optim == "adamw_torch" else training.optim,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler_type,
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        adam_beta1=training.adam_beta1,
        adam_beta2=training.adam_beta2,
        adam_epsilon=training.adam_epsilon,
        max_grad_norm=training.max_grad_norm,
        seed=training.seed,
        full_determinism=training.enable_full_determinism,
        dataloader_num_workers=training.dataloader_num_workers,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        label_names=list(options.task.targets),
        include_num_input_tokens_seen="non_padding",
        # With this filter, a NaN loss would be replaced by an earlier, finite loss; we stop the run instead.
        logging_nan_inf_filter=False,
        logging_strategy=training.logging_strategy,
        logging_steps=training.logging_steps,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{training.metric_for_best_model}",
        greater_is_better=training.metric_for_best_model != "loss",
        restore_callback_states_from_checkpoint=True,
        report_to="none",
        disable_tqdm=not options.processes.first,
        log_level="warning" if options.processes.first else "error",
        log_level_replica="error",
        **_when_to_evaluate(training, options),
    )


def _when_to_evaluate(training: TrainingSettings, options: Options) -> dict[str, Any]:
    """Return when to measure and to save: together, each epoch or each so many steps."""
    by_share = training.evaluation_steps_interval > 0
    if training.evaluation_strategy == "epoch" and not by_share:
        return {"eval_strategy": "epoch", "save_strategy": "epoch"}
    steps = training.eval_steps
    if by_share:
        steps = max(1, round(training.evaluation_steps_interval * steps_per_epoch(training, options)))
    return {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": steps, "save_steps": steps}


def steps_per_epoch(training: TrainingSettings, options: Options) -> int:
    """Return the optimizer's steps that take each row once."""
    batches = -(-options.rows // (training.per_device_train_batch_size * options.processes.count))
    return -(-batches // training.gradient_accumulation_steps)


class FineTuner(CheckpointingTrainer):
    """The Trainer with rows of about the same length in a batch."""

    order: LengthGroups

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        # The batch size that auto_find_batch_size found, if it had to reduce it.
        self.order.batch_size = (
            self._train_batch_size * self.args.gradient_accumulation_steps * max(1, self.args.world_size)
        )
        return self.order

    def _load_best_model(self) -> None:
        """Load nothing at the end: the result is made from the best checkpoint's files."""

    def evaluation_loop(self, dataloader: DataLoader[Any], *args: object, **kwargs: object) -> EvalLoopOutput:
        """Take the loss from the logits of all rows: the Trainer's own counts a last batch that is not full as full."""
        found = super().evaluation_loop(dataloader, *args, **kwargs)
        if "eval_loss_of_rows" in found.metrics:
            found.metrics["eval_loss"] = found.metrics.pop("eval_loss_of_rows")
        return found


class MeasureAtTheEnd(TrainerCallback):
    """Measures the last step too if evaluation runs every N steps: it may be the best step, or the only one."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> TrainerControl:
        """Ask for it."""
        if state.global_step >= state.max_steps and args.eval_strategy == "steps":
            control.should_evaluate = control.should_save = True
        return control


class TrainingTime(TrainerCallback, ExportableState):
    """Counts the seconds of training without evaluation and saving; a resumed run continues the count."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start at zero."""
        self.seconds = 0.0
        self._clock = clock
        self._since: float | None = None

    def state(self) -> dict[str, Any]:
        """Return the count for the checkpoint."""
        return {"args": {}, "attributes": {"seconds": self.seconds}}

    def _begin(self, *args: object, **kwargs: object) -> None:
        self._since = self._clock()

    on_epoch_begin = on_evaluate = on_save = _begin

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        """Count the step, with the reading of its rows."""
        now = self._clock()
        if self._since is not None:
            self.seconds += now - self._since
        self._since = now


def cross_entropy(logits: npt.NDArray[np.floating], targets: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Return each row's negative log likelihood in nats: logits [rows, labels], targets [rows] -> [rows].

    >>> cross_entropy(np.array([[0.0, 0.0]]), np.array([1])).round(3).tolist()
    [0.693]
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]


def classification_metrics(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> dict[str, float]:
    """Return the metrics of a classifier from logits [rows, labels] and labels [rows].

    Macro averages include the labels that occur as a true or a predicted label, as in scikit-learn.
    """
    best = logits.argmax(axis=1)
    macro = {"average": "macro", "zero_division": 0}
    found = {
        "loss": cross_entropy(logits, labels).mean(),
        "f1_macro": f1_score(labels, best, **macro),
        "mcc": matthews_corrcoef(labels, best),
        "accuracy": accuracy_score(labels, best),
        "precision_macro": precision_score(labels, best, **macro),
        "recall_macro": recall_score(labels, best, **macro),
    }
    return {name: float(value) for name, value in found.items()}


def answer_metrics(answers: Iterable[str], right: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return SQuAD v1.1's mean F1 and exact match of answers, each with all that are right; shares, not percent."""
    pairs = list(zip(answers, right, strict=True))
    return {
        "f1": float(np.mean([squad.f1(answer, wanted) for answer, wanted in pairs])),
        "exact": float(np.mean([squad.exact_match(answer, wanted) for answer, wanted in pairs])),
    }
