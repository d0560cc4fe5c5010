"""Open a model folder for a task, and run passages through the compiled model in batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from serving.engine.backend import Device, choose
from serving.engine.batcher import Batcher, Bounds, Weight
from serving.engine.compile import compiled
from serving.engine.heads import Feeds, Head
from serving.engine.session import Session, open_session, pads_rows
from serving.errors import ModelFolderError
from serving.model.checkpoint import BertConfig, read_config, read_task
from serving.model.model_folder import ModelFolder, find_checkpoint
from serving.model.tokenizer import Passage
from serving.requests.call import current_call
from serving.settings import Settings
from serving.tasks import TASKS, Task

logger = logging.getLogger("serving.engine.engine")

BATCH_MASKS = 512
"""Masks whose words are scored at once: 60 MB of scores for 30,000 words."""

Result = TypeVar("Result")


class Engine(Generic[Result]):
    """A compiled model, ready to run; safe to share between threads and across a fork."""

    def __init__(
        self, content: Path | bytes, head: Head[Result], pad_id: int, settings: Settings, device: Device = "cpu"
    ) -> None:
        """Take a compiled model; each process opens it at its first call, as threads do not survive a fork."""
        self._content = content
        self._head = head
        self._pad_id = pad_id
        self._threads = settings.threads
        self._device = device
        self._sessions: dict[int, Session] = {}
        bounds = Bounds(settings.batch_tokens, settings.batch_rows, BATCH_MASKS, pads_rows(content))
        self._batcher = Batcher(self._run_batch, _weigh, bounds, settings.max_queue)

    def warm_up(self) -> None:
        """Open the model now and run it once, so that the first request does not wait for it."""
        self.run([Passage([self._pad_id] * 3, [1])])

    def admitted(self) -> AbstractContextManager[None]:
        """Hold a place for a request during the block; raises QueueFull if there is none."""
        return self._batcher.admitted()

    def run(self, passages: Sequence[Passage]) -> list[Result]:
        """Return the head's result for each passage; passages share batches with other threads (serving.engine.batcher).

        Raises DeadlineExceeded if the deadline of the thread's call (serving.requests.call) passes.
        """
        call = current_call()
        call.tokens += sum(len(passage.ids) for passage in passages)
        outcome = self._batcher.submit(passages, call.deadline)
        call.queue_seconds += outcome.queue_seconds
        call.compute_seconds += outcome.compute_seconds
        call.batch_rows = max(call.batch_rows, outcome.batch_rows)
        return outcome.results

    def _run_batch(self, rows: Sequence[Passage]) -> list[Result]:
        return self._head.results(rows, self._open().run(self._head.outputs, self._feeds(rows)))

    def _feeds(self, rows: Sequence[Passage]) -> Feeds:
        """Pad passages into the inputs of a graph (serving.engine.graph); a graph may use only some of them."""
        longest = max(len(row.ids) for row in rows)
        ids = np.full((len(rows), longest), self._pad_id, np.int64)
        segments = np.zeros((len(rows), longest), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = row.ids
            segments[index, : len(row.segments)] = row.segments
        lengths = np.array([len(row.ids) for row in rows], np.int32)
        return {"input_ids": ids, "lengths": lengths, "segments": segments, **self._head.feeds(rows, longest)}

    def _open(self) -> Session:
        # The session of the parent process is kept but not used: ONNX Runtime's destructor would wait for threads that
        # do not exist after a fork.
        session = self._sessions.get(os.getpid())
        if session is None:
            session = self._sessions[os.getpid()] = open_session(self._content, self._threads, self._device)
        return session


def _weigh(passage: Passage) -> Weight:
    return Weight(len(passage.ids), len(passage.masks))


@dataclass(frozen=True)
class OpenFolder:
    """A model folder of the right task: its parts, its config.json, and the dimensions from it."""

    parts: ModelFolder
    json: dict[str, Any]
    config: BertConfig


def open_folder(folder: Path, task: Task) -> OpenFolder:
    """Find the checkpoint and read its config; raises ModelFolderError if it cannot be served or is of another task."""
    parts = find_checkpoint(folder)
    content = read_config(parts.checkpoint)
    config = BertConfig.from_json(content)
    own_task = read_task(parts.checkpoint)
    if own_task != task:
        raise ModelFolderError(f"{parts.checkpoint}: expected a {TASKS[task].model}, found a {TASKS[own_task].model}")
    return OpenFolder(parts, content, config)


def open_engine(
    opened: OpenFolder, head: Head[Result], pad_id: int, precision: str | None, settings: Settings
) -> Engine[Result]:
    """Return an engine for the checkpoint, compiling the model if needed; raises ModelFolderError."""
    choice = choose(precision or settings.precision, settings.engine, opened.config, settings.device)
    logger.info("%s runs the model in %s on %s", choice.backend, choice.precision, choice.device)
    content = compiled(opened.parts.checkpoint, choice.precision, settings.cache_dir, choice.backend)
    return Engine(content, head, pad_id, settings, choice.device)
