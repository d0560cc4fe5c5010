"""What a masked-language model says of a label at a mask: its probability, its rank, and the words it likes best.

The scores of a whole vocabulary are 120 KB a mask, so they are reduced batch by batch and never kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.engine.heads import Logits, MaskInputs
from serving.model.tokenizer import Passage

BLOCK = 8
"""Masks that are worked on at once: what numpy makes on the way, some 1 MB for 30,000 words, stays in the CPU's cache."""


class MaskScore(NamedTuple):
    """The label's natural-log probability and its rank, from 1; token ids and their probabilities, best first."""

    log_probability: float
    rank: int
    tokens: list[int]
    probabilities: list[float]


class LabelHead(MaskInputs):
    """A head (serving.engine.heads) for passages whose `targets` are one token id a mask: a MaskScore for each mask."""

    outputs = ("logits",)

    def __init__(self, vocab_size: int, best: int) -> None:
        """Take how many of the best tokens a mask gets."""
        super().__init__(vocab_size)
        self._best = min(best, vocab_size)

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[list[MaskScore]]:
        """Share the masks out among the rows."""
        labels = [label for row in rows for label in row.targets or [0] * len(row.masks)]
        scores = iter(score(outputs[0], labels, self._best))
        return [list(itertools.islice(scores, len(row.masks))) for row in rows]


def score(logits: Logits, labels: Sequence[int], best: int) -> list[MaskScore]:
    """Score one label a row of logits [masks, vocabulary], and find the `best` tokens.

    >>> score(np.log(np.array([[0.25, 0.5, 0.25]], np.float32)), [0], 1)
    [MaskScore(log_probability=-1.386294..., rank=2, tokens=[1], probabilities=[0.5])]

    Tokens that the model likes as much as the label do not push it down. Among equals the best is any of them.
    """
    scores: list[MaskScore] = []
    for start in range(0, len(labels), BLOCK):
        scores += _score(logits[start : start + BLOCK], np.asarray(labels[start : start + BLOCK]), best)
    return scores


def _score(logits: Logits, labels: npt.NDArray[np.int64], best: int) -> list[MaskScore]:
    row = np.arange(len(labels))
    at_label = logits[row, labels]
    ranks = 1 + np.count_nonzero(logits > at_label[:, None], axis=1)
    largest = logits.max(axis=1)
    normalizers = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    tokens = np.argpartition(logits, -best, axis=1)[:, -best:]
    found = np.take_along_axis(logits, tokens, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    tokens = np.take_along_axis(tokens, order, axis=1)
    probabilities = np.exp(np.take_along_axis(found, order, axis=1) - normalizers[:, None])
    columns = ((at_label - normalizers).tolist(), ranks.tolist(), tokens.tolist(), probabilities.tolist())
    return [MaskScore(*mask) for mask in zip(*columns, strict=True)]
