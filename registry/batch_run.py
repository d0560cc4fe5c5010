"""Score files with a batch deployment on this machine, as Azure ML's batch endpoint does.

    settings = BatchSettings.of(load_model_batch_deployment("deployment/batch-deployment.yml"))
    run_batch(settings, Path("reviews"), Path("answers"))
    -> BatchResult(status="Completed", files=12, succeeded=12, …)

The files are cut into mini-batches, processes of the deployment's own environment score them, a mini-batch that fails or
takes too long is tried again by a fresh process, and the run is given up where more files failed than may.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from registry.batch_process import BatchProcess, TryFailed
from registry.batch_settings import APPEND_ROW, BatchError, BatchSettings, require

if TYPE_CHECKING:
    from azure.ai.ml.entities import BatchDeployment

COMPLETED, FAILED = "Completed", "Failed"
LINES_SHOWN = 20


@dataclass(frozen=True)
class FailedBatch:
    """A mini-batch that was given up, and why its last try failed."""

    files: tuple[str, ...]
    reason: str


@dataclass
class BatchResult:
    """What came of a run. `failed` counts files; those of a mini-batch that run() left out of its result are among them."""

    output: Path
    log: Path
    status: str = COMPLETED
    files: int = 0
    mini_batches: int = 0
    succeeded: int = 0
    failed: int = 0
    retries: int = 0
    given_up: list[FailedBatch] = field(default_factory=list)


def run_batch(
    deployment: BatchSettings | BatchDeployment,
    inputs: Path,
    output: Path,
    *,
    log: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> BatchResult:
    """Score a file, or all files of a folder and those below it, and write to the folder `output`.

    Args:
        deployment: its settings, or the Azure SDK's entity, whose settings are then read.
        inputs: the file or folder.
        output: the folder of outputs; a run that was ended goes on from what is there, where the script does.
        log: where what the script prints is added; by default beside the output, with .log after its name.
        tell: is called with lines on how far it is.

    Raises:
        BatchError: there is nothing to score, or the script's init() failed.
    """
    settings = deployment if isinstance(deployment, BatchSettings) else BatchSettings.of(deployment)
    require(settings.environment)
    files = files_of(inputs, output)
    if settings.warning:
        tell(settings.warning)
    output.mkdir(parents=True, exist_ok=True)
    result = BatchResult(output.resolve(), (log or output.with_name(f"{output.name}.log")).resolve(), files=len(files))
    folder = inputs if inputs.is_dir() else inputs.parent
    with open(result.log, "ab") as log_file:
        _Run(settings, folder.resolve(), result, log_file, tell).run(files)
    return result


def files_of(inputs: Path, output: Path | None = None) -> list[str]:
    """Return the files of a folder and those below it by name, without hidden ones and what is in `output`; or the one file.

    Raises:
        BatchError: there is none.
    """
    inputs = inputs.resolve()
    if inputs.is_file():
        return [str(inputs)]
    found = [path for path in sorted(inputs.rglob("*")) if path.is_file()]
    if output is not None and output.resolve() != inputs:
        found = [path for path in found if not path.is_relative_to(output.resolve())]
    shown = [str(path) for path in found if not any(part.startswith(".") for part in path.relative_to(inputs).parts)]
    if not shown:
        raise BatchError(f"expected files to score in {inputs}, found none; name a file, or a folder with files")
    return shown


class _Run:
    """The mini-batches of one run, and the threads that take them, each with a process of its own."""

    def __init__(
        self, settings: BatchSettings, folder: Path, result: BatchResult, log: BinaryIO, tell: Callable[[str], None]
    ) -> None:
        self._settings, self._result, self._log, self._tell = settings, result, log, tell
        self._variables = settings.environment.variables(os.environ) | {
            "AZUREML_MODEL_DIR": str(settings.model),
            "AZUREML_BI_OUTPUT_PATH": str(result.output),
            "BATCH_SCORING_INPUT_FOLDER": str(folder),
            "PYTHONUNBUFFERED": "1",
            **settings.variables,
        }
        self._waiting: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._processes: dict[int, BatchProcess] = {}
        self._problem: BaseException | None = None

    def run(self, files: Sequence[str]) -> None:
        """Score all files; raises BatchError where a process cannot be started."""
        size = self._settings.mini_batch_size
        batches = [tuple(files[start : start + size]) for start in range(0, len(files), size)]
        self._result.mini_batches = len(batches)
        for batch in batches:
            self._waiting.put(batch)
        if self._settings.output_action == APPEND_ROW:
            (self._result.output / self._settings.output_file_name).write_bytes(b"")
        count = max(1, min(self._settings.processes, len(batches)))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            self._stop()
            raise
        if self._problem is not None:
            raise self._problem

    def _work(self) -> None:
        process: BatchProcess | None = None
        try:
            while not self._ended.is_set():
                try:
                    batch = self._waiting.get_nowait()
                except queue.Empty:
                    break
                process = self._score(batch, process)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the thread that waits has to know
            self._problem = self._problem or exc
            self._stop()
        finally:
            if process is not None:
                process.end()

    def _score(self, batch: tuple[str, ...], process: BatchProcess | None) -> BatchProcess | None:
        """Score a mini-batch, trying again as often as may be; returns the process where it can go on."""
        for number in range(1, max(1, self._settings.tries) + 1):
            if process is None or not process.running:
                process = self._start()
            try:
                rows = process.score(batch, self._settings.timeout)
            except TryFailed as exc:
                if self._ended.is_set():
                    return None
                last = number == max(1, self._settings.tries)
                self._tell(f"{batch[0]} and {len(batch) - 1} more: {exc}; {'given up' if last else 'trying again'}")
                with self._lock:
                    self._result.retries += not last
                reason = str(exc)
            else:
                self._add(batch, rows)
                return process
        self._add(batch, [], reason)
        return process

    def _start(self) -> BatchProcess:
        process = BatchProcess(self._settings, self._variables, self._log)
        with self._lock:
            self._processes[threading.get_ident()] = process
        return process

    def _add(self, batch: tuple[str, ...], rows: list[str], given_up: str | None = None) -> None:
        """Count a mini-batch, and keep its rows; the run is given up where too many files failed."""
        result, settings = self._result, self._settings
        with self._lock:
            failed = max(0, len(batch) - len(rows))
            result.succeeded += len(batch) - failed
            result.failed += failed
            if given_up is not None:
                result.given_up.append(FailedBatch(batch, given_up))
            if rows and settings.output_action == APPEND_ROW:
                with open(result.output / settings.output_file_name, "a", encoding="utf-8") as file:
                    file.writelines(f"{row}\n" for row in rows)
            done = result.succeeded + result.failed
            self._tell(f"{done} of {result.files} files, {result.failed} failed")
            if 0 <= settings.error_threshold < result.failed:
                result.status = FAILED
                self._ended.set()

    def _stop(self) -> None:
        self._ended.set()
        with self._lock:
            for process in self._processes.values():
                process.kill()
