"""What a training run tells: short lines beside its progress bar, and TensorBoard's or MLflow's records."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from tqdm import tqdm
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import MLflowCallback, TensorBoardCallback

from finetune.masked_text import PretrainError

LOG_RECEIVERS = ("tensorboard", "mlflow", "none")


def say(line: str) -> None:
    """Write a line above the progress bars, on standard error: standard output gets the result alone."""
    tqdm.write(line, file=sys.stderr)


class ConciseProgress(ProgressCallback):
    """The Trainer's progress bar, with one short line a log entry in place of its dictionary."""

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
        elif "eval_loss" in found:
            line = f"held-out loss {found['eval_loss']:.3f}, masked-token accuracy {found['eval_masked_accuracy']:.3f}"
        else:
            return
        if state.is_world_process_zero:
            say(f"step {state.global_step}: {line}")

    def close(self) -> None:
        """Close the bars that an error or Ctrl-C left open, so that its message is the last line."""
        for bar in (self.prediction_bar, self.training_bar):
            if bar is not None:
                bar.close()


def check_logging(log_to: str) -> None:
    """Raise PretrainError where what is to receive the logs is not installed, or MLflow's store does not answer."""
    if log_to != "none" and importlib.util.find_spec(log_to) is None:
        raise PretrainError(
            f"--log-to {log_to}: expected the package {log_to}, found none; pip install {log_to}, or give --log-to none"
        )
    if log_to == "mlflow":
        import mlflow  # a second of work that other runs are spared

        try:
            mlflow.MlflowClient().search_experiments(max_results=1)
        except mlflow.exceptions.MlflowException as exc:
            uri = mlflow.get_tracking_uri()
            raise PretrainError(
                f"--log-to mlflow: expected a tracking store that answers at {uri}, found: {exc}; "
                "set MLFLOW_TRACKING_URI"
            ) from exc


def log_receivers(log_to: str, folder: Path) -> list[TrainerCallback]:
    """Return the Trainer's callbacks that --log-to asks for; TensorBoard's files go to `folder`."""
    if log_to == "mlflow":
        return [MLflowCallback()]
    if log_to == "tensorboard":
        receiver = TensorBoardCallback()
        # Its own default is only set when training begins, and the loss measured before would go to ./runs.
        receiver.logging_dir = str(folder)
        return [receiver]
    return []
