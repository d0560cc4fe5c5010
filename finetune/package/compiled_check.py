"""The check behind apply_ort: the engine must answer as well as transformers; and how fast it is.

The model is compiled in fp32, and in int8 if the CPU multiplies in int8. Its figures on all validation rows are compared with
those of transformers in fp32. A figure may fall by the points in POINTS, or by as much as one row can move it.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.errors import RowError
from finetune.errors import FinetuneError
from finetune.package.validation_figures import Figure, figures, one_row
from finetune.package.validation_models import (
    CompiledClassifier,
    CompiledReader,
    Model,
    TransformersClassifier,
    TransformersReader,
)
from finetune.prepare.prepared import PreparedFolder, Settings, read_rows
from finetune.tasks.task import TuningTask
from finetune.train.training_log import progress_bar
from serving.engine.machine import has_int8_products, usable_cpus
from serving.errors import ModelFolderError

POINTS = {"fp32": 0.001, "int8": 0.02}
"""How far a figure, from 0 to 1, may fall in each precision."""

CHUNK_ROWS = 512
TIMED_ROWS = 100
PROBED_ROWS = 5
ROUNDS = 5
TIMED_SECONDS = 10
"""The time that timing may take: the number of timed rows follows from it; at least one row is timed."""

WAYS_OUT = {
    "fp32": "train again, or set apply_ort to 'false' and serve it with transformers",
    "int8": "serve it with BERT_SERVING_PRECISION=fp32 and set apply_ort to 'false', or train again",
}


@dataclass
class Checked:
    """The result of one precision: the predictions, the figures, and the median milliseconds of a row.

    The milliseconds are 0 if the check failed, because then nothing is timed.
    """

    predictions: list[str] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    milliseconds: float = 0.0


@dataclass
class CompiledCheck:
    """The results and their number of rows; `failures` names the figures that fell too far, `notes` the checks that were left out, and why."""

    rows: int
    timed_rows: int
    threads: int
    transformers: Checked
    compiled: dict[str, Checked]
    failures: list[str]
    notes: list[str]

    def speedup(self, precision: str) -> float:
        """Return how many times as fast as transformers the compiled model is."""
        return self.transformers.milliseconds / self.compiled[precision].milliseconds


def check(
    folder: Path, prepared: PreparedFolder, settings: Settings, cache: Path, int8: bool | None = None
) -> CompiledCheck:
    """Compile a model folder into `cache` and compare it with transformers on the validation rows.

    `int8` says if the model is compiled in int8 too; None means if this CPU is made for it. Raises FinetuneError if there
    is no row, or if the model cannot be compiled in fp32.
    """
    found = CompiledCheck(0, 0, usable_cpus(), Checked(), {}, [], [])
    models = _open(folder, settings, cache, found, has_int8_products() if int8 is None else int8)
    truths = _predict(models, prepared, settings, found)
    found.rows = len(truths)
    for checked in _all(found).values():
        try:
            checked.figures = figures(settings.tuning, truths, checked.predictions)
        except RowError as exc:
            raise FinetuneError(f"apply_ort: the validation rows cannot be scored: {exc}") from exc
    for precision in found.compiled:
        found.failures += falls(settings.tuning, precision, truths, found)
    if found.failures:
        return found  # a model that failed is not delivered, so its times are not needed
    sample = list(_sample(prepared, settings, found.rows))
    found.timed_rows, milliseconds_of = times(models, sample, TIMED_SECONDS)
    for name, milliseconds in milliseconds_of.items():
        _all(found)[name].milliseconds = milliseconds
    return found


def _all(found: CompiledCheck) -> dict[str, Checked]:
    return {"transformers": found.transformers, **found.compiled}


def _open(folder: Path, settings: Settings, cache: Path, found: CompiledCheck, int8: bool) -> dict[str, Model]:
    """Return the models, transformers' first. A failed int8 compilation is a failure; int8 on an unsuitable CPU is a note."""
    compiled: dict[str, Any] = {}
    for precision in POINTS:
        if precision == "int8" and not int8:
            found.notes.append("int8 was not checked: this CPU has neither VNNI nor AMX, so that fp32 is served here")
            continue
        try:
            compiled[precision] = (
                CompiledClassifier(folder, precision, cache)
                if settings.tuning.classifies
                else CompiledReader(folder, precision, cache, settings)
            )
        except ModelFolderError as exc:
            if precision == "fp32":
                raise FinetuneError(f"apply_ort: the model cannot be compiled: {exc}; {WAYS_OUT['fp32']}") from exc
            found.failures.append(f"{precision} cannot be compiled: {exc}")
        else:
            found.compiled[precision] = Checked()
    _share_threads(found.threads)
    if settings.tuning.classifies:
        return {"transformers": TransformersClassifier(folder), **compiled}
    return {"transformers": TransformersReader(folder, settings), **compiled}


def _share_threads(threads: int) -> None:
    """Give torch as many threads as the engine takes."""
    import torch

    torch.set_num_threads(threads)


def _predict(
    models: Mapping[str, Model], prepared: PreparedFolder, settings: Settings, found: CompiledCheck
) -> list[Any]:
    """Predict all validation rows with each model, a chunk in memory at a time; return the predictions."""
    truths: list[Any] = []
    rows = read_rows(prepared, settings, "validation")
    with progress_bar(settings.data["validation"].rows, "validation rows", "row") as bar:
        while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
            truths += [settings.tuning.truth(row) for row in chunk]
            for name, model in models.items():
                _all(found)[name].predictions += model.predict(chunk)
            bar.update(len(chunk))
    if not truths:
        raise FinetuneError(f"{prepared.file('validation')}: no validation rows; prepare the data again")
    return truths


def falls(task: TuningTask, precision: str, truths: Sequence[Any], found: CompiledCheck) -> Iterator[str]:
    """Yield a message for each figure that fell too far in a precision."""
    before, after = found.transformers, found.compiled[precision]
    for name, expected in before.figures.items():
        single = one_row(task, name, truths, before.predictions, after.predictions)
        allowed = max(POINTS[precision], single)
        least = expected.value - allowed
        if after.figures[name].value < least - 1e-9:
            why = f"{100 * POINTS[precision]:g} points" if allowed > single else f"what one of {len(truths)} rows moves"
            yield (
                f"{precision} {name} {after.figures[name].value:.4f}, expected at least {least:.4f} "
                f"({expected.value:.4f} of transformers in fp32, less {why})"
            )


def failed(found: CompiledCheck) -> str:
    """Return the message of a failed check, with the ways to mend it."""
    worst = "fp32" if any(failure.startswith("fp32") for failure in found.failures) else "int8"
    return f"apply_ort: {'; '.join(found.failures)}; {WAYS_OUT[worst]}"


def _sample(prepared: PreparedFolder, settings: Settings, rows: int) -> Iterator[dict[str, Any]]:
    """Yield at most TIMED_ROWS rows from all over the validation rows."""
    step = -(-rows // TIMED_ROWS)
    yield from itertools.islice(read_rows(prepared, settings, "validation"), 0, None, step)


def times(
    models: Mapping[str, Model], rows: Sequence[Mapping[str, Any]], seconds: float
) -> tuple[int, dict[str, float]]:
    """Return the number of timed rows, and each model's milliseconds for a row.

    The milliseconds are the median over rounds of the median over rows. Rows go one at a time and the models take turns, so
    that other load on the machine affects all models. The first row of a turn is not counted: the other library's threads
    may still spin and take the CPU.
    """
    chosen = rows[:: -(-len(rows) // _affordable(models, rows, seconds / ROUNDS))]
    rounds: dict[str, list[float]] = {name: [] for name in models}
    with progress_bar(ROUNDS, "timing", "round") as bar:
        for _ in range(ROUNDS):
            for name, model in models.items():
                model.predict(chosen[:1])
                rounds[name].append(statistics.median(_seconds(model, row) for row in chosen))
            bar.update()
    return len(chosen), {name: 1000 * statistics.median(found) for name, found in rounds.items()}


def _affordable(models: Mapping[str, Model], rows: Sequence[Mapping[str, Any]], seconds: float) -> int:
    """Return how many rows all models can predict in the given seconds, at least 1; estimated from a few rows spread over the data."""
    some = rows[:: -(-len(rows) // PROBED_ROWS)]
    for model in models.values():
        model.predict(rows[:1])
    needed = sum(_seconds(model, row) for model in models.values() for row in some) / len(some)
    return max(1, int(seconds / needed) - 1)


def _seconds(model: Model, row: Mapping[str, Any]) -> float:
    begun = time.perf_counter()
    model.predict([row])
    return time.perf_counter() - begun
