"""The output folder of a training run, pytorch_model_folder: whether a run may write it, and where the run continues.

begun_with.json           the settings at the start of the run; written first
checkpoints/, logs/       written by the Trainer
config.json, …, adapter/  the best checkpoint
training.json             the result; written last
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.prepare.prepared import Settings
from finetune.train.checkpoints import (
    checkpoints_in,
    is_whole,
    last_whole_checkpoint,
    remove_half_written,
    state_of,
    step_of,
)
from tables.disk import write_whole

FREE_TO_CHANGE = frozenset(
    f"settings.training.{name}"
    for name in (
        "resume_from_checkpoint",
        "save_total_limit",
        "dataloader_num_workers",
        "per_device_eval_batch_size",
        "eval_accumulation_steps",
    )
)
"""Settings that may change when a run resumes: the trained weights do not depend on them."""


@dataclass(frozen=True)
class Start:
    """The point at which a run starts: a checkpoint, or None for the base model.

    `finished`: the result is complete. `over`: training has ended, and only the result is missing. `lines` are messages for people.
    """

    checkpoint: Path | None = None
    finished: bool = False
    over: bool = False
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class OutputFolder:
    """The folder."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the Trainer's checkpoints."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """Return the folder of TensorBoard's records."""
        return self.path / "logs"

    @property
    def begun_with(self) -> Path:
        """The file with the settings at the start of the run."""
        return self.path / "begun_with.json"

    @property
    def training(self) -> Path:
        """The file with the result of the run."""
        return self.path / "training.json"

    def open(self, settings: Settings, deepspeed: dict[str, Any] | None, processes: int) -> Start:
        """Return where a run starts; raises FinetuneError if it would overwrite other files, or if its settings differ from the first start's."""
        begun = next(iter(checkpoints_in(self.checkpoints)), None) or (
            self.training if self.training.exists() else None
        )
        resume = settings.training.resume_from_checkpoint
        if begun and not resume:
            raise FinetuneError(
                f"{self.path}: expected a folder without a run, found {begun.relative_to(self.path)}; set "
                "resume_from_checkpoint to true to go on with it, or give another folder"
            )
        # Through JSON and back, because the recorded settings have been through a file too.
        with_what = json.loads(
            json.dumps({"settings": settings.model_dump(), "deepspeed": deepspeed, "processes": processes})
        )
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            if begun and self.begun_with.is_file():
                self._check_same(with_what)
            else:
                write_whole(self.begun_with, json.dumps(with_what, indent=2) + "\n")
        except OSError as exc:
            raise FinetuneError(f"{self.path}: expected a folder that can be written to, found: {exc}") from exc
        if self.training.exists():
            return Start(finished=True, lines=[f"{self.path} has a finished run; nothing to do"])
        return self._start(resume)

    def _start(self, resume: bool) -> Start:
        lines = [f"removed {path.name}, which was half written" for path in remove_half_written(self.checkpoints)]
        checkpoint = last_whole_checkpoint(self.checkpoints)
        if checkpoint:
            lines.append(f"going on from {checkpoint.name}")
        else:
            # Records of steps that will be done again.
            shutil.rmtree(self.logs, ignore_errors=True)
            if resume:
                lines.append(f"nothing to resume in {self.path}: starting")
        return Start(checkpoint, over=checkpoint is not None and is_over(checkpoint), lines=lines)

    def _check_same(self, with_what: dict[str, Any]) -> None:
        try:
            before = json.loads(self.begun_with.read_bytes())
        except ValueError as exc:
            raise FinetuneError(f"{self.begun_with}: expected JSON, found: {exc}; give another folder") from exc
        for name, was, now in differences(before, with_what):
            # The same data may be mounted at another path in each job.
            if name not in FREE_TO_CHANGE and not name.endswith(".source"):
                raise FinetuneError(
                    f"resume_from_checkpoint: expected {name} {was!r} as the run was begun with, found {now!r}; give the "
                    "same, or another folder to begin anew"
                )

    def trim(self, keep: int, best: Path) -> None:
        """Delete the last checkpoint if only one is to be kept and another one is the best; call it after the run has ended."""
        for path in checkpoints_in(self.checkpoints) if keep == 1 and is_whole(best) else []:
            if step_of(path) != step_of(best):
                shutil.rmtree(path)


def is_over(checkpoint: Path) -> bool:
    """True if a run's last checkpoint says that training has ended: all steps are done, or it stopped early."""
    control = state_of(checkpoint).get("stateful_callbacks", {}).get("TrainerControl", {})
    return bool(control.get("args", {}).get("should_training_stop"))


def differences(before: object, now: object, name: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield (name, before, now) of each difference between two JSON values; names look like a.b.c.

    >>> list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}))
    [('a.c', 2, 3)]
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield name, before, now
