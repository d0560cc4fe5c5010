"""Run passages through a compiled graph, in batches of like length."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import onnxruntime as ort

from serving.heads import Feeds, Head
from serving.session import open_session
from serving.tokenizer import Passage

BATCH_MASKS = 512
"""Masks that go through the vocabulary's layer at once: 60 MB of scores for 30,000 words."""

Result = TypeVar("Result")


class Engine(Generic[Result]):
    """A compiled graph, ready to run; safe to share between threads and across a fork."""

    def __init__(self, graph: Path | bytes, head: Head[Result], pad_id: int, threads: int, batch_tokens: int) -> None:
        """Take the graph; it is opened in each process by the first call, as ONNX Runtime's threads die in a fork."""
        self._graph = graph
        self._head = head
        self._pad_id = pad_id
        self._threads = threads
        self._batch_tokens = batch_tokens
        self._lock = threading.Lock()
        self._sessions: dict[int, ort.InferenceSession] = {}

    def warm_up(self) -> None:
        """Open the graph now and run it once, so that the first request does not wait for it."""
        self.run([Passage([self._pad_id] * 3, [1])])

    def run(self, passages: Sequence[Passage]) -> list[Result]:
        """Return the head's result for each passage.

        Passages of like length share a batch; a batch has at most `batch_tokens` padded tokens, or one row.
        """
        results: dict[int, Result] = {}
        for batch in self._batches(passages):
            rows = [passages[index] for index in batch]
            feeds = self._feeds(rows)
            with self._lock:  # one at a time: each run uses all threads
                session = self._open()
                taken = {graph_input.name: feeds[graph_input.name] for graph_input in session.get_inputs()}
                outputs = session.run(self._head.outputs, taken)
            results |= zip(batch, self._head.results(rows, outputs), strict=True)
        return [results[index] for index in range(len(passages))]

    def _batches(self, passages: Sequence[Passage]) -> Iterator[list[int]]:
        batch: list[int] = []
        masks = 0
        for index in sorted(range(len(passages)), key=lambda index: len(passages[index].ids)):
            passage = passages[index]
            too_long = len(passage.ids) * (len(batch) + 1) > self._batch_tokens
            if batch and (too_long or masks + len(passage.masks) > BATCH_MASKS):
                yield batch
                batch, masks = [], 0
            batch.append(index)
            masks += len(passage.masks)
        if batch:
            yield batch

    def _feeds(self, rows: Sequence[Passage]) -> Feeds:
        """Pad passages into the graph's inputs (serving.graph), and those that a graph may do without."""
        longest = max(len(row.ids) for row in rows)
        ids = np.full((len(rows), longest), self._pad_id, np.int64)
        segments = np.zeros((len(rows), longest), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = row.ids
            segments[index, : len(row.segments)] = row.segments
        lengths = np.array([len(row.ids) for row in rows], np.int32)
        return {"input_ids": ids, "lengths": lengths, "segments": segments, **self._head.feeds(rows, longest)}

    def _open(self) -> ort.InferenceSession:
        # A session of the process that this one was forked from is never used, nor given up: its destructor would
        # wait for threads that do not exist here.
        session = self._sessions.get(os.getpid())
        if session is None:
            session = self._sessions[os.getpid()] = open_session(self._graph, self._threads)
        return session
