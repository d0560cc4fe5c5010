"""Heads: the inputs that a task adds to a batch, and how its outputs are shared out among the passages of the batch.

Passages of several requests may share a batch; each gets only its own results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from serving.model.tokenizer import Passage
from serving.tasks import TASKS, Task

Feeds = dict[str, npt.NDArray[Any]]
Logits = npt.NDArray[np.float32]

Result = TypeVar("Result")


class Head(Protocol[Result]):
    """The inputs and outputs of a task's part of the graph (serving.engine.graph)."""

    @property
    def outputs(self) -> Sequence[str]:
        """The graph's outputs that `results` takes, in this order."""

    def feeds(self, rows: Sequence[Passage], longest: int) -> Feeds:
        """Return the inputs beside the tokens, for rows padded to the longest."""

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[Result]:
        """Return the result of each row."""


@dataclass(frozen=True)
class Scores:
    """The results for one mask: the best tokens with their probabilities, and the probabilities of the targets."""

    tokens: list[int]
    scores: list[float]
    target_scores: list[float]


class MaskInputs:
    """The inputs of fill-mask: the places of a batch's masks, the candidates a mask, and the targets."""

    def __init__(self, vocab_size: int) -> None:
        """Take the size of the vocabulary, which bounds the candidates."""
        self._vocab_size = vocab_size

    def feeds(self, rows: Sequence[Passage], longest: int) -> Feeds:
        """Pad the masks and targets of all rows to the same number, and ask for the most candidates of any row."""
        most_masks = max(len(row.masks) for row in rows)
        most_targets = max(len(row.targets) for row in rows)
        positions = np.zeros((len(rows), most_masks), np.int64)
        real = np.zeros((len(rows), most_masks), bool)
        targets = np.zeros((len(rows), most_targets), np.int64)
        for index, row in enumerate(rows):
            positions[index, : len(row.masks)] = np.add(row.masks, index * longest)
            real[index, : len(row.masks)] = True
            targets[index, : len(row.targets)] = row.targets
        return {
            "positions": positions,
            "selected": np.flatnonzero(real),
            "k": np.array([min(self._vocab_size, max(row.top_k for row in rows))]),
            "targets": np.repeat(targets, [len(row.masks) for row in rows], axis=0),
        }


class MaskHead(MaskInputs):
    """Fill-mask: the result of a passage is the scores of each of its masks."""

    outputs = ("tokens", "scores", "target_scores")

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[list[Scores]]:
        """Return each row's masks, with the row's own number of candidates and targets."""
        results = []
        end = 0
        for row in rows:
            start, end = end, end + len(row.masks)
            # Cut before making lists: another row may have asked for a thousand candidates.
            counts = zip(outputs, (row.top_k, row.top_k, len(row.targets)), strict=True)
            columns = (output[start:end, :count].tolist() for output, count in counts)
            results.append([Scores(*mask) for mask in zip(*columns, strict=True)])
        return results


class MaskLogits(MaskInputs):
    """Fill-mask for evaluation: the result of a passage is its logits, float32 [masks, vocabulary]."""

    outputs = ("logits",)

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[Logits]:
        """Return the logits of each row's masks."""
        return np.split(outputs[0], np.cumsum([len(row.masks) for row in rows])[:-1])


class ClassificationHead:
    """Text classification: the result of a passage is its logits, float32 [labels]."""

    outputs = ("logits",)

    def feeds(self, rows: Sequence[Passage], longest: int) -> Feeds:
        """Return no more inputs: the graph reads the first token of each row."""
        return {}

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[Logits]:
        """Return each row's logits."""
        return list(outputs[0])


class SpanHead:
    """Question answering: the result of a passage is its start and end logits, float32 [tokens] each."""

    outputs = ("start_logits", "end_logits")

    def feeds(self, rows: Sequence[Passage], longest: int) -> Feeds:
        """Return no more inputs: the graph scores every token."""
        return {}

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[tuple[Logits, Logits]]:
        """Return each row's logits without its padding."""
        starts, ends = outputs
        return [(starts[index, : len(row.ids)], ends[index, : len(row.ids)]) for index, row in enumerate(rows)]


def logits_head(task: Task, vocab_size: int) -> Head[Any]:
    """Return the head whose results are a task's raw logits."""
    heads: dict[str, Head[Any]] = {"masks": MaskLogits(vocab_size), "first": ClassificationHead(), "all": SpanHead()}
    return heads[TASKS[task].head.tokens]
