"""A process that scores mini-batches, seen from the run: started, asked, given up when it takes too long."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from asset.local.batch.settings import BatchError, BatchSettings
from asset.local.processes import kill, start

WORKER = Path(__file__).with_name("worker.py")
START_SECONDS = 600.0
"""For init(), which loads the model and may compile it before."""

END_SECONDS = 10.0


class TryFailed(Exception):  # noqa: N818 - the run goes on: it is tried again
    """A mini-batch was not scored; the message says why."""


class BatchProcess:
    """asset/local/batch/worker.py in the deployment's environment; it leads a group of its own, which is ended with it."""

    def __init__(self, settings: BatchSettings, variables: dict[str, str], log: BinaryIO | None) -> None:
        """Start the process, which calls init(); see `until_ready`. Without a `log` it writes where this process does."""
        self._killed = False
        answers, written = os.pipe()
        # -P leaves the worker's own folder off the path.
        self._script = settings.script.absolute().relative_to(settings.root).as_posix()
        command = [str(settings.python), "-P", str(WORKER), str(written), str(settings.root), self._script]
        try:
            self._process = start(command, variables=variables, stdin=subprocess.PIPE, output=log, pass_fds=[written])
        finally:
            os.close(written)
        self._answers = os.fdopen(answers, "rb")

    def until_ready(self) -> None:
        """Wait until init() is done; raises BatchError where it failed, or took too long."""
        try:
            self._answer(START_SECONDS)
        except BaseException as exc:
            self.kill()
            if isinstance(exc, TryFailed):
                raise BatchError(f"init() of {self._script} failed: {exc}") from exc
            raise

    def score(self, files: Sequence[str], seconds: float) -> list[str]:
        """Return what run() says of the files, a text an element.

        Raises:
            TryFailed: it raised, ended, or took longer; the process is ended but where it raised.
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
        """Return whether it can be asked."""
        return self._process.poll() is None

    def end(self) -> None:
        """Let it end by itself, as there is no more to do."""
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it, with what it started."""
        if self._killed:
            return  # its number may be another's by now
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
            # It closes its end when it ends; one that does so and runs on is killed by who gets this.
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(END_SECONDS)
                raise TryFailed(f"the process ended with status {status if status >= 0 else 128 - status}")
            raise TryFailed("the process gives no more answers")
        return dict(json.loads(line))
