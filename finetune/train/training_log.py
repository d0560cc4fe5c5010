"""The output of a training run: a progress bar, short lines beside it, and records for TensorBoard or MLflow.

`say` and `progress_bar` serve every long step; the bar does not fill a log file.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import MLflowCallback, TensorBoardCallback

from finetune.errors import FinetuneError

LOG_RECEIVERS = ("tensorboard", "mlflow", "none")


class ConciseProgress(TrainerCallback):
    """One progress bar for training and evaluation, and one short line for each log entry."""

    def __init__(self, shown: Mapping[str, str]) -> None:
        """Take the names of the metrics to show, such as {"eval_loss": "held-out loss"}."""
        self.shown = shown
        self.bar: tqdm[Any] | None = None
        self.measuring: tqdm[Any] | None = None
        self.batches = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Start the bar; the bar of a resumed run starts at the step where the run continues."""
        if state.is_world_process_zero:
            self.bar = progress_bar(state.max_steps, "training", "step", state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Count the step."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Sized = (),
        **kwargs: object,
    ) -> None:
        """Count the batch: beside the steps, or in a bar of its own before and after training."""
        if not state.is_world_process_zero:
            return
        self.batches += 1
        if self.bar is not None:
            self.bar.set_postfix_str(f"measuring {self.batches}/{len(eval_dataloader)}", refresh=False)
            self.bar.update(0)
        else:
            if self.measuring is None:
                self.measuring = progress_bar(len(eval_dataloader), "measuring", "batch")
            self.measuring.update()

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """End the bar of an evaluation."""
        self.batches = 0
        if self.bar is not None:
            self.bar.set_postfix_str("", refresh=False)
        if self.measuring is not None:
            self.measuring.close()
            self.measuring = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Write "step 250: loss 3.61, rate 4.0e-04" or "step 250: held-out loss 3.52, masked-token accuracy 0.412"."""
        found = logs or {}
        if "loss" in found:
            line = f"loss {found['loss']:.3f}, rate {found['learning_rate']:.1e}"
        else:
            line = ", ".join(f"{words} {found[name]:.3f}" for name, words in self.shown.items() if name in found)
        if line and state.is_world_process_zero:
            say(f"step {state.global_step}: {line}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """End the bar."""
        self.close()

    def close(self) -> None:
        """Close the bars that an error or Ctrl-C left open, so that its message is the last line."""
        for bar in (self.measuring, self.bar):
            if bar is not None:
                bar.close()
        self.measuring = self.bar = None


class StopAtNoNumber(TrainerCallback):
    """Ends a run whose loss is NaN; the earlier checkpoints are complete."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Raise FinetuneError."""
        for name in ("loss", "eval_loss"):
            value = (logs or {}).get(name, 0.0)
            if not math.isfinite(value):
                raise FinetuneError(
                    f"step {state.global_step}: expected a finite loss, found {value}: training has diverged; begin anew "
                    "in another folder with a lower learning_rate or more warmup_steps"
                )


class Guarded(TrainerCallback):
    """Wraps the receivers of records: if one fails, it says so once and stops receiving; training continues."""

    def __init__(self, receivers: Mapping[str, Sequence[TrainerCallback]]) -> None:
        """Take the receivers by name, such as {"MLflow": [MLflowCallback()]}."""
        self.receivers = dict(receivers)

    def _call(self, event: str, *args: object, **kwargs: object) -> None:
        for name, callbacks in list(self.receivers.items()):
            try:
                for callback in callbacks:
                    getattr(callback, event)(*args, **kwargs)
            except Exception as exc:  # MLflow also raises the errors of its store and of its HTTP library
                say(f"{name} takes no more records: {' '.join(str(exc).split())[:300]}")
                del self.receivers[name]

    def on_train_begin(self, *args: object, **kwargs: object) -> None:
        """Begin the records."""
        self._call("on_train_begin", *args, **kwargs)

    def on_log(self, *args: object, **kwargs: object) -> None:
        """Record the figures of a step."""
        self._call("on_log", *args, **kwargs)

    def on_train_end(self, *args: object, **kwargs: object) -> None:
        """End the records."""
        self._call("on_train_end", *args, **kwargs)


def check_logging(log_to: str) -> None:
    """Raise FinetuneError if the package that receives the logs is missing, or if MLflow's store does not answer."""
    if log_to != "none" and importlib.util.find_spec(log_to) is None:
        raise FinetuneError(
            f"--log-to {log_to}: expected the package {log_to}, found none; pip install {log_to}, or give --log-to none"
        )
    if log_to == "mlflow":
        import mlflow  # a second of work that other runs are spared

        try:
            mlflow.MlflowClient().search_experiments(max_results=1)
        except mlflow.exceptions.MlflowException as exc:
            uri = mlflow.get_tracking_uri()
            raise FinetuneError(
                f"--log-to mlflow: expected a tracking store that answers at {uri}, found: {exc}; "
                "set MLFLOW_TRACKING_URI"
            ) from exc


def log_receivers(log_to: str, folder: Path) -> list[TrainerCallback]:
    """Return the Trainer's callbacks for --log-to; TensorBoard's files go to `folder`."""
    if log_to == "mlflow":
        return [MLflowCallback()]
    if log_to == "tensorboard":
        receiver = TensorBoardCallback()
        # Its own default is only set when training begins, and the loss measured before would go to ./runs.
        receiver.logging_dir = str(folder)
        return [receiver]
    return []


def records_of_run(folder: Path, settings: Mapping[str, Any]) -> Guarded:
    """Return the receivers of a fine-tuning run: TensorBoard, and MLflow if MLFLOW_TRACKING_URI is set.

    MLFLOW_RUN_ID names the run to use. Only settings that the run does not have yet are logged: MLflow refuses another value for
    a parameter, and the callback's own hundreds of parameters would collide with the job's.
    """
    receivers = {"TensorBoard": log_receivers("tensorboard", folder)}
    if os.environ.get("MLFLOW_TRACKING_URI"):
        os.environ.setdefault("MLFLOW_MAX_LOG_PARAMS", "0")
        receivers["MLflow"] = [*log_receivers("mlflow", folder), Parameters(settings)]
    # One callback, because the Trainer warns of two of the same class.
    return Guarded(receivers)


class Parameters(TrainerCallback):
    """Logs the settings that MLflow's run does not have yet."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Take the settings."""
        self.settings = settings

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Log them to the run that MLflow's callback, which comes before, has opened."""
        import mlflow

        run = mlflow.active_run()
        if run is None or not state.is_world_process_zero:
            return
        known = mlflow.MlflowClient().get_run(run.info.run_id).data.params
        mlflow.log_params({name: value for name, value in self.settings.items() if name not in known})


TERMINAL_SECONDS = 0.5
LOG_SECONDS = 10.0
"""Seconds between two states of a bar if the output is not a terminal: a log keeps every state."""


def say(line: str) -> None:
    """Write a line above the progress bar, on standard error: standard output gets the result alone."""
    tqdm.write(line, file=sys.stderr)


def progress_bar(total: int, what: str, unit: str, done: int = 0) -> tqdm[Any]:
    """Return a bar on standard error, which begins at `done` of `total`; no two at once, as that moves the cursor."""
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        initial=done,
        mininterval=TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS,
        miniters=0,  # else tqdm guesses after how many steps to look at the clock
        dynamic_ncols=True,
        file=sys.stderr,
    )
