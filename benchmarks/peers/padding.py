"""Rows of token ids as the arrays that exported models take."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.inputs import Batch

PAD = 0


def feeds(batch: Batch) -> dict[str, npt.NDArray[np.int64]]:
    """Return `input_ids` and `attention_mask` [rows, longest], and `positions` [rows], of the masks in all tokens.

    >>> feeds(Batch(["", ""], [[7, 8, 9], [7, 9]], [1, 0]))["positions"]
    array([1, 3])
    """
    ids = np.full((len(batch.ids), batch.longest), PAD, np.int64)
    real = np.zeros_like(ids)
    for index, row in enumerate(batch.ids):
        ids[index, : len(row)] = row
        real[index, : len(row)] = 1
    positions = np.arange(len(batch.ids)) * batch.longest + np.array(batch.masks)
    return {"input_ids": ids, "attention_mask": real, "positions": positions}


def best_of_logits(logits: npt.NDArray[np.float32], positions: npt.NDArray[np.int64]) -> tuple[list[int], list[float]]:
    """Return the best token at each position and its probability, from the scores [rows, tokens, vocabulary]."""
    scores = logits.reshape(-1, logits.shape[-1])[positions].astype(np.float32)
    tokens = scores.argmax(axis=-1)
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return tokens.tolist(), (1 / shifted.sum(axis=-1)).tolist()
