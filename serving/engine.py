"""Run passages through a compiled graph, in batches of like length."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from serving.session import open_session
from serving.tokenizer import Passage

BATCH_MASKS = 512
"""Masks that go through the vocabulary's layer at once: 60 MB of scores for 30,000 words."""


@dataclass(frozen=True)
class Scores:
    """What the model says of one mask: the best tokens with their probabilities, and those of the targets."""

    tokens: list[int]
    scores: list[float]
    target_scores: list[float]


class Engine:
    """A compiled graph, ready to run; safe to share between threads and across a fork."""

    def __init__(self, graph: Path | bytes, vocab_size: int, pad_id: int, threads: int, batch_tokens: int) -> None:
        """Take the graph; it is opened in each process by the first call, as ONNX Runtime's threads die in a fork."""
        self._graph = graph
        self._vocab_size = vocab_size
        self._pad_id = pad_id
        self._threads = threads
        self._batch_tokens = batch_tokens
        self._lock = threading.Lock()
        self._sessions: dict[int, ort.InferenceSession] = {}

    def warm_up(self) -> None:
        """Open the graph now and run it once, so that the first request does not wait for it."""
        self.run([Passage([self._pad_id] * 3, [1])], top_k=1)

    def run(self, passages: Sequence[Passage], top_k: int) -> list[list[Scores]]:
        """Return each passage's scores, one for each of its masks in their order.

        Passages of like length share a batch; a batch has at most `batch_tokens` padded tokens, or one row.
        """
        top_k = min(top_k, self._vocab_size)
        results: dict[int, list[Scores]] = {}
        for batch in self._batches(passages):
            rows = [passages[index] for index in batch]
            feeds = self._feeds(rows, top_k)
            with self._lock:  # one at a time: each run uses all threads
                outputs = self._open().run(["tokens", "scores", "target_scores"], feeds)
            of_masks = iter(zip(*(output.tolist() for output in outputs), strict=True))
            for index, row in zip(batch, rows, strict=True):
                results[index] = [
                    Scores(tokens, scores, target_scores[: len(row.targets)])
                    for _, (tokens, scores, target_scores) in zip(row.masks, of_masks, strict=False)
                ]
        return [results[index] for index in range(len(passages))]

    def logits(self, passages: Sequence[Passage]) -> list[npt.NDArray[np.float32]]:
        """Return each passage's raw vocabulary scores, float32 [masks, vocabulary]: for evaluation, in one batch."""
        with self._lock:
            output = self._open().run(["logits"], self._feeds(passages, 1))[0]
        return np.split(output, np.cumsum([len(passage.masks) for passage in passages])[:-1])

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

    def _feeds(self, rows: Sequence[Passage], top_k: int) -> dict[str, npt.NDArray[Any]]:
        """Pad passages into the graph's inputs (serving.graph)."""
        longest = max(len(row.ids) for row in rows)
        most_masks = max(len(row.masks) for row in rows)
        most_targets = max(len(row.targets) for row in rows)
        ids = np.full((len(rows), longest), self._pad_id, np.int64)
        positions = np.zeros((len(rows), most_masks), np.int64)
        real = np.zeros((len(rows), most_masks), bool)
        targets = np.zeros((len(rows), most_targets), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = row.ids
            positions[index, : len(row.masks)] = np.add(row.masks, index * longest)
            real[index, : len(row.masks)] = True
            targets[index, : len(row.targets)] = row.targets
        return {
            "input_ids": ids,
            "lengths": np.array([len(row.ids) for row in rows], np.int32),
            "positions": positions,
            "selected": np.flatnonzero(real),
            "k": np.array([top_k]),
            "targets": np.repeat(targets, [len(row.masks) for row in rows], axis=0),
        }

    def _open(self) -> ort.InferenceSession:
        # A session of the process that this one was forked from is never used, nor given up: its destructor would
        # wait for threads that do not exist here.
        session = self._sessions.get(os.getpid())
        if session is None:
            session = self._sessions[os.getpid()] = open_session(self._graph, self._threads)
        return session
