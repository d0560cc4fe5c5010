"""Score files with a batch deployment on this machine, as Azure ML's batch endpoints do.

    run_batch(Path("reviews"), Path("answers"), settings)     ->   BatchResult(files=12, succeeded=12, …)

The files are cut into mini-batches, which processes of the deployment's own environment score (see `worker`). A mini-batch
that fails or takes too long is tried again; if its process ended or was too slow, a fresh process does that. The run is
given up once more files failed than error_threshold allows.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from asset.local.batch.settings import BatchError, BatchFailed, BatchResult, BatchSettings, FailedBatch
from asset.local.processes import kill, start

WORKER = Path(__file__).with_name("worker.py")
START_SECONDS = 600.0
"""For init(), which loads the model and may compile it first."""

END_SECONDS = 10.0


class TryFailed(Exception):  # noqa: N818 - the run goes on: the mini-batch is tried again
    """A mini-batch was not scored; the message says why."""


def run_batch(
    input: Path,
    output: Path,
    settings: BatchSettings,
    *,
    log: Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> BatchResult:
    """Score a file, or all files of a folder and of those below it, and write to the folder `output`.

    Args:
        input: the file or folder.
        output: the folder of outputs. If the script supports that, a run goes on with what an earlier one left there.
        settings: how the files are scored.
        log: the file that gets what the script prints; default: standard output and error of this process.
        tell: is called with each line about the progress; default: standard error.

    Raises:
        BatchError: there is nothing to score, or the script's init() failed.
        BatchFailed: more files failed than error_threshold allows.
    """
    settings.require()
    tell = tell or (lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201 - what a command shows
    files = files_of(input, output)
    output.mkdir(parents=True, exist_ok=True)
    result = BatchResult(output.resolve(), files=len(files))
    folder = (input if input.is_dir() else input.parent).resolve()
    with open(log, "ab") if log else contextlib.nullcontext() as log_file:
        _Run(settings, folder, result, log_file, tell).run(files)
    if 0 <= settings.error_threshold < result.failed:
        raise BatchFailed(result, settings.error_threshold)
    return result


def files_of(input: Path, output: Path | None = None) -> list[str]:
    """Return a file, or the files of a folder and of those below it by name, without hidden ones and those in `output`.

    Raises:
        BatchError: there is none.
    """
    inputs = input.resolve()
    if inputs.is_file():
        return [str(inputs)]
    files = [path for path in sorted(inputs.rglob("*")) if path.is_file()]
    if output is not None and output.resolve() != inputs:
        files = [path for path in files if not path.is_relative_to(output.resolve())]
    visible = [str(path) for path in files if not any(part.startswith(".") for part in path.relative_to(inputs).parts)]
    if not visible:
        raise BatchError(f"there is no file to score in {inputs}; name a file, or a folder with files")
    return visible


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
        """Score all files; raises BatchError if a process cannot be started."""
        size = self._settings.mini_batch_size
        batches = [tuple(files[first : first + size]) for first in range(0, len(files), size)]
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
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the thread that waits raises it
            if not self._ended.is_set():  # else the end of the run killed the process, and this is the consequence
                self._problem = exc
            self._stop()
        finally:
            if process is not None:
                process.end()

    def _score(self, batch: tuple[str, ...], process: BatchProcess | None) -> BatchProcess | None:
        """Score a mini-batch, in several tries if need be; return the process, which may have ended."""
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
        # Before init(), which may take minutes: if the run ends meanwhile, the process ends too.
        with self._lock:
            self._processes[threading.get_ident()] = process
        if self._ended.is_set():
            process.kill()
            raise TryFailed("the run has ended")
        process.until_ready()
        return process

    def _add(self, batch: tuple[str, ...], rows: list[str], given_up: str | None = None) -> None:
        """Count a mini-batch and keep its rows; end the run if too many files failed."""
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


class BatchProcess:
    """A process that runs `worker` in the deployment's environment: it is started, scores mini-batches, and is ended."""

    def __init__(self, settings: BatchSettings, variables: dict[str, str], log: BinaryIO | None) -> None:
        """Start the process, which calls init(); see `until_ready`. Without a `log` it writes where this process does."""
        self._killed = False
        self._script = settings.script
        answers, written = os.pipe()
        # -P keeps the worker's own folder off the path.
        command = [str(settings.python), "-P", str(WORKER), str(written), str(settings.code), settings.script]
        try:
            self._process = start(command, variables=variables, stdin=subprocess.PIPE, output=log, pass_fds=[written])
        finally:
            os.close(written)
        self._answers = os.fdopen(answers, "rb")

    def until_ready(self) -> None:
        """Wait until init() is done; raises BatchError if it failed or took too long."""
        try:
            self._answer(START_SECONDS)
        except BaseException as exc:
            self.kill()
            if isinstance(exc, TryFailed):
                raise BatchError(f"init() of {self._script} failed: {exc}") from exc
            raise

    def score(self, files: Sequence[str], seconds: float) -> list[str]:
        """Return what run() returns for the files, a text for each element.

        Raises:
            TryFailed: run() raised, ended, or took longer; unless it raised, the process is killed.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(list(files)).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._answer(seconds)
        except (TryFailed, BrokenPipeError) as exc:
            self.kill()
            raise exc if isinstance(exc, TryFailed) else TryFailed("the process has ended") from exc
        if "error" in answer:
            raise TryFailed(str(answer["error"]))
        return [str(row) for row in answer["rows"]]

    @property
    def running(self) -> bool:
        """Return whether the process can score a mini-batch."""
        return self._process.poll() is None

    def end(self) -> None:
        """Let the process end in order, as there are no more mini-batches."""
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill the process, with all that it started."""
        if self._killed:
            return  # its number may be another process's by now
        self._killed = True
        kill(self._process)
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        self._answers.close()

    def _answer(self, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not select.select([self._answers], [], [], max(0.0, min(1.0, deadline - time.monotonic())))[0]:
            if time.monotonic() >= deadline:
                raise TryFailed(f"it took longer than {seconds:g} s")
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            # The pipe closes with the process. If the process runs on without its pipe, the caller kills it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(END_SECONDS)
                raise TryFailed(f"the process ended with status {status if status >= 0 else 128 - status}")
            raise TryFailed("the process gives no more answers")
        return dict(json.loads(line))
