"""Score files with a batch deployment on this machine, as Azure ML's batch endpoint does.

    settings = BatchSettings.of(load_model_batch_deployment("deployment/batch-deployment.yml"))
    run_batch(Path("reviews"), Path("answers"), settings)
    -> BatchResult(files=12, succeeded=12, …)

The files are cut into mini-batches, processes of the deployment's own environment score them, a mini-batch that fails or
takes too long is tried again, by a fresh process where that is needed, and the run is given up where more files failed
than may.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from asset.local.batch.process import BatchProcess, TryFailed
from asset.local.batch.settings import BatchError, BatchFailed, BatchResult, BatchSettings, FailedBatch


def run_batch(
    input: Path,
    output: Path,
    settings: BatchSettings | None = None,
    *,
    log: Path | None = None,
    tell: Callable[[str], None] | None = None,
    **given: Any,  # noqa: ANN401 - the fields of BatchSettings
) -> BatchResult:
    """Score a file, or all files of a folder and those below it, and write to the folder `output`.

    Args:
        input: the file or folder.
        output: the folder of outputs; a run that was ended goes on from what is there, where the script does.
        settings: how it is done.
        log: where what the script prints is added; without it, it goes where this process writes.
        tell: is called with lines on how far it is; without it, they go to standard error.
        **given: the fields of `settings` by their names, where that is left out.

    Raises:
        BatchError: there is nothing to score, or the script's init() failed.
        BatchFailed: more files failed than may.
    """
    settings = settings or BatchSettings(**given)
    settings.require()
    tell = tell or (lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201 - what a command shows
    files = files_of(input, output)
    if settings.warning:
        tell(settings.warning)
    output.mkdir(parents=True, exist_ok=True)
    result = BatchResult(output.resolve(), files=len(files))
    folder = (input if input.is_dir() else input.parent).resolve()
    with open(log, "ab") if log else contextlib.nullcontext() as log_file:
        _Run(settings, folder, result, log_file, tell).run(files)
    if 0 <= settings.error_threshold < result.failed:
        raise BatchFailed(result, settings.error_threshold)
    return result


def files_of(input: Path, output: Path | None = None) -> list[str]:
    """Return the files of a folder and those below it by name, without hidden ones and what is in `output`; or the one file.

    Raises:
        BatchError: there is none.
    """
    inputs = input.resolve()
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
        self,
        settings: BatchSettings,
        folder: Path,
        result: BatchResult,
        log: BinaryIO | None,
        tell: Callable[[str], None],
    ) -> None:
        self._settings, self._result, self._log, self._tell = settings, result, log, tell
        self._variables = settings.environment.variables(os.environ) | {
            **({"AZUREML_MODEL_DIR": str(settings.model)} if settings.model else {}),
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
        if self._settings.appends:
            (self._result.output / self._settings.output_file_name).write_bytes(b"")
        count = max(1, min(self._settings.max_concurrency, len(batches)))
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
            if not self._ended.is_set():  # else it is what comes of a process that the end of the run has ended
                self._problem = exc
            self._stop()
        finally:
            if process is not None:
                process.end()

    def _score(self, batch: tuple[str, ...], process: BatchProcess | None) -> BatchProcess | None:
        """Score a mini-batch, trying again as often as may be; returns the process where it can go on."""
        tries = max(1, self._settings.max_retries)
        for number in range(1, tries + 1):
            try:
                if process is None or not process.running:
                    process = self._start()
                rows = process.score(batch, self._settings.timeout)
            except TryFailed as exc:
                if self._ended.is_set():
                    return process
                last = number == tries
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
        # Known before init(), which may take minutes: an end of the run is its end, too.
        with self._lock:
            self._processes[threading.get_ident()] = process
        if self._ended.is_set():
            process.kill()
            raise TryFailed("the run has ended")
        process.until_ready()
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
            if rows and settings.appends:
                with open(result.output / settings.output_file_name, "a", encoding="utf-8") as file:
                    file.writelines(f"{row}\n" for row in rows)
            done = result.succeeded + result.failed
            if settings.logging_level.lower() in ("info", "debug"):
                self._tell(f"{done} of {result.files} files, {result.failed} failed")
            if 0 <= settings.error_threshold < result.failed:
                self._ended.set()

    def _stop(self) -> None:
        self._ended.set()
        with self._lock:
            for process in self._processes.values():
                process.kill()
