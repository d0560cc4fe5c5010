"""Spans of tokens by the probabilities of their ends."""

from __future__ import annotations

import numpy as np

from serving.engine.heads import Logits


def probabilities(logits: Logits, context: slice) -> Logits:
    """Return the softmax over [CLS], the first token, and the context's tokens, in that order.

    [CLS] takes its share, as models that know impossible questions give them to it; nothing else outside does.
    """
    allowed = np.concatenate([logits[:1], logits[context]])
    shares = np.exp(allowed - allowed.max())
    result: Logits = shares / shares.sum()
    return result


def best_spans(starts: Logits, ends: Logits, max_length: int, count: int) -> list[tuple[int, int, float]]:
    """Return the `count` best (start, end, score), end included, of at most `max_length` tokens; best first.

    A span's score is starts[start] * ends[end], both [tokens]; of equal ones, the earlier comes first.

    >>> best_spans(np.array([0.5, 0.5], np.float32), np.array([0.25, 0.75], np.float32), 15, 2)
    [(0, 1, 0.375), (1, 1, 0.375)]
    """
    width = min(max_length, len(starts))
    reach = np.concatenate([ends, np.full(width - 1, -1, np.float32)])
    reach = np.lib.stride_tricks.sliding_window_view(reach, width)
    scores = np.where(reach < 0, -1, starts[:, None] * reach).ravel()
    count = min(count, int(np.count_nonzero(scores >= 0)))
    best = np.argpartition(-scores, count - 1)[:count]
    best = best[np.lexsort((best, -scores[best]))]
    return [(int(index // width), int(index // width + index % width), float(scores[index])) for index in best]
