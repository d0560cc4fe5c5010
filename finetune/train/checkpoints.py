"""The checkpoints of a run: which are complete after a kill, which is the best, and which are kept.

The Trainer writes and deletes a checkpoint file by file; with DeepSpeed, several processes do. So the sizes of the files are
written last, once all files are on the disk. A checkpoint is complete if the sizes match.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import distributed, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from finetune.errors import FinetuneError
from tables.disk import write_whole

MANIFEST = "manifest.json"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the errors of safetensors, torch and the disk into a FinetuneError while weights are written."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as exc:
        found = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise FinetuneError(
            f"{folder}: expected a disk with room for weights, found: {found}; make room, and resume the run"
        ) from exc


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step of a checkpoint folder: checkpoint-250 → 250."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, whole or not, by step."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdecimal() and path.is_dir()]
    return sorted(found, key=step_of)


def seal(checkpoint: Path) -> None:
    """Bring a checkpoint's files to the disk, and write their sizes beside them; all processes must have written."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MANIFEST)
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
    write_whole(checkpoint / MANIFEST, json.dumps({"files": sizes}, indent=2) + "\n")


def is_whole(checkpoint: Path) -> bool:
    """True if all files of a checkpoint have the sizes that were recorded when it was sealed."""
    try:
        sizes = json.loads((checkpoint / MANIFEST).read_bytes())["files"]
        return bool(sizes) and all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that is whole."""
    return next((path for path in reversed(checkpoints_in(folder)) if is_whole(path)), None)


def remove_half_written(folder: Path) -> list[Path]:
    """Delete the checkpoints that are incomplete; return them."""
    halves = [path for path in checkpoints_in(folder) if not is_whole(path)]
    for path in halves:
        shutil.rmtree(path)
    return halves


def state_of(checkpoint: Path) -> dict[str, Any]:
    """Read trainer_state.json of a complete checkpoint."""
    return json.loads((checkpoint / "trainer_state.json").read_bytes())


def best_checkpoint(checkpoint: Path) -> Path:
    """Return the checkpoint that was the best at the time `checkpoint` was written."""
    best = checkpoint.with_name(f"checkpoint-{state_of(checkpoint).get('best_global_step')}")
    return best if is_whole(best) else checkpoint


class CheckpointingTrainer(Trainer):
    """A Trainer that seals each checkpoint, and deletes old checkpoints only after the new one is complete.

    `keep` is the number of checkpoints to keep; the best and the last are always kept; None keeps all. The Trainer's own
    save_total_limit must be unset: it would delete old checkpoints before the new one is sealed.
    """

    keep: int | None = None

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        with writing(Path(self.args.output_dir)):
            super()._save_checkpoint(model, trial)
        if distributed.is_initialized():
            distributed.barrier()
        if self.args.should_save:
            seal(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")
            best = self.state.best_model_checkpoint
            rotate_checkpoints(self.args.output_dir, save_total_limit=self.keep, best_model_checkpoint=best)


class BestInThisFolder(TrainerCallback):
    """Finds the best checkpoint in this folder, even if the folder was moved since the Trainer recorded its path."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Point the state at this output folder's copy."""
        best = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
        if best.is_dir():
            state.best_model_checkpoint = str(best)
