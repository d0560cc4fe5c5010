"""What each task adds to a batch's inputs, and how its outputs are shared out among the passages of the batch.

Passages of several requests may share a batch: each gets what it alone asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from serving.model.tokenizer import Passage

Feeds = dict[str, npt.NDArray[Any]]
Logits = npt.NDArray[np.float32]

Result = TypeVar("Result")


class Head(Protocol[Result]):
    """A task's end of the graph (serving.engine.graph): `outputs` names what is computed."""

    @property
    def outputs(self) -> Sequence[str]:
        """The graph's outputs that `results` takes, in its order."""

    def feeds(self, rows: Sequence[Passage], longest: int) -> Feeds:
        """Return the inputs beside the tokens, for rows that are padded to the longest."""

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[Result]:
        """Return the result of each row."""


@dataclass(frozen=True)
class Scores:
    """What the model says of one mask: the best tokens with their probabilities, and those of the targets."""

    tokens: list[int]
    scores: list[float]
    target_scores: list[float]


class MaskInputs:
    """Tells the graph where a batch's masks are."""

    def __init__(self, vocab_size: int) -> None:
        """Take the most candidates that there are."""
        self._vocab_size = vocab_size

    def feeds(self, rows: Sequence[Passage], longest: int) -> Feeds:
        """Pad masks and targets to those of the row with the most, and the candidates to the most that a row asks for."""
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
    """Fill-mask: a passage's result is the scores of each of its masks."""

    outputs = ("tokens", "scores", "target_scores")

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[list[Scores]]:
        """Share the masks out among the rows, each with its own number of candidates and targets."""
        results = []
        end = 0
        for row in rows:
            start, end = end, end + len(row.masks)
            # Cut first: a neighbor may have asked for a thousand candidates, and making lists of them takes a while.
            wanted = zip(outputs, (row.top_k, row.top_k, len(row.targets)), strict=True)
            found = (output[start:end, :count].tolist() for output, count in wanted)
            results.append([Scores(*mask) for mask in zip(*found, strict=True)])
        return results


class MaskLogits(MaskInputs):
    """Fill-mask, for evaluation: a passage's result is its raw vocabulary scores, float32 [masks, vocabulary]."""

    outputs = ("logits",)

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[Logits]:
        """Share the masks out among the rows."""
        return np.split(outputs[0], np.cumsum([len(row.masks) for row in rows])[:-1])


class ClassificationHead:
    """Text classification: a passage's result is its logits, float32 [labels]."""

    outputs = ("logits",)

    def feeds(self, rows: Sequence[Passage], longest: int) -> Feeds:
        """Nothing: the graph looks at each row's first token."""
        return {}

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[Logits]:
        """Give each row its own."""
        return list(outputs[0])


class SpanHead:
    """Question answering: a passage's result is its start and its end logits, float32 [tokens] each."""

    outputs = ("start_logits", "end_logits")

    def feeds(self, rows: Sequence[Passage], longest: int) -> Feeds:
        """Nothing: the graph scores every token."""
        return {}

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[tuple[Logits, Logits]]:
        """Cut each row's padding off."""
        starts, ends = outputs
        return [(starts[index, : len(row.ids)], ends[index, : len(row.ids)]) for index, row in enumerate(rows)]
