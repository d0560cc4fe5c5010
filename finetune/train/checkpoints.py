"""The checkpoints of a run: which of them are whole however the run ended, which is the best, which are kept.

The Trainer writes a checkpoint file by file, with DeepSpeed from several processes, and deletes one file by file. So the
sizes of a checkpoint's files are written last, once all are on the disk; a checkpoint is whole where they agree.
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
from tables.whole_file import write_whole

MANIFEST = "manifest.json"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise FinetuneError where weights cannot be written; safetensors and torch have errors of their own for it."""
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
    """Tell whether a checkpoint has all that it was sealed with."""
    try:
        sizes = json.loads((checkpoint / MANIFEST).read_bytes())["files"]
        return bool(sizes) and all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that is whole."""
    return next((path for path in reversed(checkpoints_in(folder)) if is_whole(path)), None)


def remove_half_written(folder: Path) -> list[Path]:
    """Delete the checkpoints whose writing or deletion was cut short; return them."""
    halves = [path for path in checkpoints_in(folder) if not is_whole(path)]
    for path in halves:
        shutil.rmtree(path)
    return halves


def state_of(checkpoint: Path) -> dict[str, Any]:
    """Return what trainer_state.json of a whole checkpoint says."""
    return json.loads((checkpoint / "trainer_state.json").read_bytes())


def best_checkpoint(checkpoint: Path) -> Path:
    """Return the checkpoint that was the best at the time `checkpoint` was written."""
    best = checkpoint.with_name(f"checkpoint-{state_of(checkpoint).get('best_global_step')}")
    return best if is_whole(best) else checkpoint


class CheckpointingTrainer(Trainer):
    """The Trainer, sealing each checkpoint, and deleting old ones only once the new one is whole.

    `keep` is how many are kept, the best one and the last one always; None keeps all. The Trainer's own
    save_total_limit has to be unset: it deletes before the new one is sealed.
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
    """Finds the best checkpoint again after its folder was moved: the Trainer recorded where it was written."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Point the state at this output folder's copy."""
        best = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
        if best.is_dir():
            state.best_model_checkpoint = str(best)
