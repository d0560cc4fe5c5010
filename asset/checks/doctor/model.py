"""The model folder, the folder of compiled models, and the memory and disk that a first start takes."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asset.checks.doctor.check import Machine, note, ok, wrong
from asset.checks.doctor.processor import served_by
from asset.findings import Finding, shown
from asset.models.record import Record
from serving.engine.compile import cache_places, user_cache_dir
from serving.errors import ModelFolderError, SignatureError
from serving.model.checkpoint import BertConfig, check, expected_shapes
from serving.model.model_folder import chosen_folder, find_checkpoint
from serving.model.tokenizer import open_tokenizer
from serving.model.trust import check_folder
from serving.tasks import TASKS, Task

MB = 1_000_000

BASE_MB = 160
TIMES_THE_WEIGHTS = {"int8": 1.8, "fp32": 2.7}
"""Peak memory of a first start (`python -m serving.engine.compile`): BASE_MB plus this many times the weights in fp32. Measured with ONNX Runtime 1.31 on BERT-base (438 MB: 0.93 GB in int8, 1.27 GB in fp32) and on the embedded model
(91 MB: 0.31 and 0.36 GB). A later start takes a third."""

BYTES_TO_TUNE = 16
"""Bytes for each parameter in a full fine-tuning in fp32: the parameter, its gradient and the optimizer's two values."""

BERT_BASE = BertConfig(28996, 768, 12, 12, 3072, 512, 2, 1e-12, "none", "tanh")
"""The dimensions of bert-base-cased, for plans before its weights are pulled."""


@dataclass(frozen=True)
class Size:
    """The size of a model: its number of parameters."""

    parameters: int

    @classmethod
    def of(cls, config: BertConfig, task: Task = "fill-mask") -> Size:
        """Count the parameters; a decoder that shares the word embeddings counts once."""
        shapes = expected_shapes(config, task)
        tied = config.vocab_size * config.hidden_size if TASKS[task].head.size == "vocabulary" else 0
        return cls(sum(map(math.prod, shapes.values())) - tied)

    @property
    def weights_mb(self) -> float:
        """Return the MB of the weights in fp32."""
        return self.parameters * 4 / MB

    def start_mb(self, precision: str) -> int:
        """Return the memory that a first start takes, in MB."""
        return round(BASE_MB + TIMES_THE_WEIGHTS[precision] * self.weights_mb)

    @property
    def tuning_mb(self) -> int:
        """Return the memory that full fine-tuning takes beside its batches, in MB."""
        return round(self.parameters * BYTES_TO_TUNE / MB)


def folder_of(machine: Machine) -> Path:
    """Return the model folder that score.py would choose, without its warning."""
    with _quiet("serving.model.model_folder"):
        return chosen_folder(machine.root, machine.environ)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def opened(folder: Path) -> tuple[BertConfig, Task, Path]:
    """Open a model folder as serving does, without reading the weights; return its dimensions, task and checkpoint.

    Raises:
        ModelFolderError: the folder cannot be served.
    """
    parts = find_checkpoint(folder)
    config, task = check(parts.checkpoint)
    open_tokenizer(parts.tokenizer, config.vocab_size)
    return config, task, parts.checkpoint


def size_here(machine: Machine) -> Size:
    """Return the size of the model that is served here; the size of BERT-base if the model cannot be opened."""
    try:
        config, task, _ = opened(folder_of(machine))
    except ModelFolderError:
        return Size.of(BERT_BASE)
    return Size.of(config, task)


def size_planned(machine: Machine) -> Size:
    """Return the size of the model that would be deployed: of the folder here, or of BERT-base for the embedded model."""
    return Size.of(BERT_BASE) if _stands_in(machine) else size_here(machine)


def _stands_in(machine: Machine) -> bool:
    """Decide if the embedded model is served because there is no other model."""
    return folder_of(machine) == machine.root / "model/embedded" and not machine.environ.get("AZUREML_MODEL_DIR")


def model(machine: Machine) -> Finding:
    """Check the signature of the model folder, if it has or needs one, and open the folder.

    The hashes that a hub lists are not compared; `asset pull` does that.
    """
    name, expected = "model", "a folder that serving can open: config.json, model.safetensors and tokenizer.json"
    folder = folder_of(machine)
    try:
        with _quiet("serving.model.trust"):
            check_folder(folder, machine.settings)
        config, task, _ = opened(folder)
    except SignatureError as exc:
        fix = "get the folder anew from where it was signed, or correct BERT_SERVING_SIGNATURE_KEY"
        return wrong(name, expected, str(exc), fix)
    except ModelFolderError as exc:
        if machine.environ.get("AZUREML_MODEL_DIR"):
            fix = "correct AZUREML_MODEL_DIR, or unset it"
        elif folder == machine.root / "model/embedded":
            fix = "`git checkout model/embedded`"
        else:
            fix = f"`asset pull` repairs files that differ from the hub's; or `rm -r {shown(folder)}` and pull the model again"
        return wrong(name, expected, str(exc), fix)
    found = f"{shown(folder)}: {task}, {Size.of(config, task).parameters / 1e6:.0f} million parameters, whole"
    record = Record.read(folder)
    gone = [each for each in record.files if not (folder / each).is_file()] if record else []
    if gone:
        return wrong(name, expected, f"{shown(folder)} without {', '.join(gone)}, which came with it", "`asset pull`")
    if _stands_in(machine):
        fix = "`asset pull` gets bert-base-cased; or name a folder in AZUREML_MODEL_DIR"
        return note(name, f"{found}; the small embedded model stands in, whose answers are weaker", fix)
    return ok(name, found)


def cache(machine: Machine) -> Finding:
    """Check that the compiled model can be kept."""
    name, expected = "compiled models", "a folder that can be written to"
    places = _places(machine)
    place = next((place for place in places if _writable(place)), None)
    if place is None:
        found = (
            f"none of {', '.join(map(shown, places)) or 'the places that are safe'}: each start would compile the model"
        )
        return wrong(name, expected, found, "set BERT_SERVING_CACHE_DIR to a folder that can be written to")
    return ok(name, shown(place))


def _places(machine: Machine) -> list[Path]:
    given = machine.settings.cache_dir
    try:
        with _quiet("serving.engine.compile"):
            return cache_places(find_checkpoint(folder_of(machine)).checkpoint, given)
    except ModelFolderError:
        return [given] if given else user_cache_dir()


def _writable(folder: Path) -> bool:
    """Try to write into a folder, or into the closest existing folder above it; nothing is left behind."""
    try:
        with tempfile.TemporaryDirectory(dir=_existing(folder), prefix=".asset-doctor-"):
            return True
    except OSError:
        return False


def _existing(folder: Path) -> Path:
    """Return the closest part of a path that exists, even if it is a file."""
    return next((part for part in (folder, *folder.parents) if part.exists()), Path("/"))


def disk(machine: Machine, missing: dict[str, int]) -> Finding:
    """Compare the free disk with the compiled model, the `missing` environments (MB by name) and the models to pull."""
    size, large = size_here(machine), Size.of(BERT_BASE)
    place = next((place for place in _places(machine) if _writable(place)), machine.root)
    precision, _ = served_by(machine)
    # A model compiled to int8 keeps its embeddings in fp32: half of BERT-base, four fifths of a small model.
    compiled = math.ceil(size.weights_mb)
    free = shutil.disk_usage(_existing(place)).free // MB
    name, expected = "disk", f"{compiled:,} MB for the compiled model ({precision}) in {shown(place)}"
    if free < compiled:
        return wrong(name, expected, f"{free:,} MB free", "make room, or set BERT_SERVING_CACHE_DIR to another disk")
    plans = {f".venv/{each}": mb for each, mb in missing.items()}
    if _stands_in(machine):
        plans["asset pull"] = round(large.weights_mb * 2)
    room = shutil.disk_usage(machine.root).free // MB
    planned = ", ".join(f"{what} about {mb:,}" for what, mb in plans.items())
    found = f"{room:,} MB free in the checkout" + (f"; still to be set up, in MB: {planned}" if plans else "")
    if room < sum(plans.values()):
        return note(name, f"{found}; together {sum(plans.values()):,} MB", "make room before you set these up")
    return ok(name, found)


def memory(machine: Machine) -> Finding:
    """Compare the available memory with what a first start and a full fine-tuning take."""
    size = size_here(machine)
    precision, _ = served_by(machine)
    need = size.start_mb(precision)
    name = "memory"
    expected = f"{need:,} MB for a first start, which compiles the model in {precision} (measured)"
    free = available_mb(machine)
    if free is None:
        return note(name, "Linux does not tell how much memory is free", f"check that there are {need:,} MB")
    found = f"{free:,} MB to be had"
    if free < need:
        fix = "end other programs, or raise the container's limit; BERT_SERVING_PRECISION=int8 takes less than fp32"
        return wrong(name, expected, found, fix)
    large = Size.of(BERT_BASE).tuning_mb
    if free < large:
        fix = "this is enough to serve; fine-tune with LoRA (apply_lora), or on a machine with more memory"
        return note(name, f"{found}; fine-tuning all of BERT-base takes {large:,} MB and the batches", fix)
    return ok(name, found)


def available_mb(machine: Machine) -> int | None:
    """Return the memory that programs can still get, within the container's limit; None if it is unknown."""
    try:
        text = (machine.proc / "meminfo").read_text()
        free = int(text.partition("MemAvailable:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return None
    v2 = ("memory.max", "memory.current", "memory.stat", "inactive_file ")
    v1 = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file ")
    for limit, used, stat, reclaimable in (v2, v1):
        try:
            most, now = int((machine.cgroup / limit).read_text()), int((machine.cgroup / used).read_text())
            # Recently read files count as used memory, but Linux gives this memory back when a program needs it.
            lines = (machine.cgroup / stat).read_text().splitlines()
            kept = next((int(line.split()[1]) for line in lines if line.startswith(reclaimable)), 0)
        except (OSError, ValueError):  # no such file, or "max"
            continue
        return min(free, max(0, most - now + kept)) // MB
    return free // MB
