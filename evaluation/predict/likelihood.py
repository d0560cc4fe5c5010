"""What a masked-language model says of words at masks and of whole texts, on the engine that serves it.

A LabelHead scores the label at each mask: its probability, its rank and the best words. The scores of a whole vocabulary
take 120 KB a mask, so they are reduced batch by batch and never kept.

    pseudo_log_likelihoods(tokenizer, engine, ["Paris is big."]) -> [Pll(pll=-9.1, pll_l2r=-9.1, tokens=4, words=4)]

masks each token of a text in turn, scores it from all other tokens, and adds up the natural logarithms.

- pll is the original: J. Salazar, D. Liang, T. Q. Nguyen, K. Kirchhoff (2020), "Masked Language Model Scoring",
  https://aclanthology.org/2020.acl-main.240
- pll_l2r also masks the later pieces of the same word (within-word left-to-right). The original gives away a rare word:
  `bass` is easy to guess in front of `##oon`. C. Kauf, A. Ivanova (2023), "A Better Way to Do Masked Language Model
  Scoring", https://aclanthology.org/2023.acl-short.80

A text of T tokens in W words takes 2 T - W passages through the model: the last piece of a word is scored once for both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.engine.engine import Engine
from serving.engine.heads import Logits, MaskInputs
from serving.model.tokenizer import MaskTokenizer, Passage

BLOCK = 8
"""Masks scored at once: numpy's intermediate arrays, about 1 MB for 30,000 words, stay in the CPU's cache."""

CHUNK = 1024
"""Passages handed to the engine at once: enough to fill its batches, and few enough to hold in memory."""


class MaskScore(NamedTuple):
    """The label's natural-log probability and its rank, from 1; token ids and their probabilities, best first."""

    log_probability: float
    rank: int
    tokens: list[int]
    probabilities: list[float]


class LabelHead(MaskInputs):
    """A head (serving.engine.heads) that returns a MaskScore for each mask; a passage's `targets` are the label ids."""

    outputs = ("logits",)

    def __init__(self, vocab_size: int, best: int) -> None:
        """Take how many of the best tokens to return for each mask."""
        super().__init__(vocab_size)
        self._best = min(best, vocab_size)

    def results(self, rows: Sequence[Passage], outputs: Sequence[npt.NDArray[Any]]) -> list[list[MaskScore]]:
        """Return the scores of each row's masks."""
        labels = [label for row in rows for label in row.targets or [0] * len(row.masks)]
        scores = iter(score(outputs[0], labels, self._best))
        return [list(itertools.islice(scores, len(row.masks))) for row in rows]


def score(logits: Logits, labels: Sequence[int], best: int) -> list[MaskScore]:
    """Score one label for each row of logits [masks, vocabulary], and find the `best` tokens.

    >>> score(np.log(np.array([[0.25, 0.5, 0.25]], np.float32)), [0], 1)
    [MaskScore(log_probability=-1.386294..., rank=2, tokens=[1], probabilities=[0.5])]

    A token with the same score as the label does not lower the label's rank. Among equals any can be the best.
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
    at_tokens = np.take_along_axis(logits, tokens, axis=1)
    order = np.argsort(-at_tokens, axis=1, kind="stable")
    tokens = np.take_along_axis(tokens, order, axis=1)
    probabilities = np.exp(np.take_along_axis(at_tokens, order, axis=1) - normalizers[:, None])
    columns = ((at_label - normalizers).tolist(), ranks.tolist(), tokens.tolist(), probabilities.tolist())
    return [MaskScore(*mask) for mask in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Pll:
    """Natural-log pseudo-log-likelihoods of a text, and how many tokens and words (of the tokenizer) it has."""

    pll: float
    pll_l2r: float
    tokens: int
    words: int


class _Query(NamedTuple):
    """A token to score: the index of its text, its place, and the end (exclusive) of the masked part of its word."""

    text: int
    token: int
    end: int
    original: bool
    within_word: bool


def pseudo_log_likelihoods(
    tokenizer: MaskTokenizer, engine: Engine[list[MaskScore]], texts: Sequence[str]
) -> list[Pll | None]:
    """Return the pseudo-log-likelihoods of each text; None for a text that has none (`is_scorable`).

    The engine needs a LabelHead.
    """
    encoded = [text.ids for text in tokenizer.encode(texts)]
    words = {index: _words(tokenizer, ids) for index, ids in enumerate(encoded) if is_scorable(tokenizer, ids)}
    original, within_word = dict.fromkeys(words, 0.0), dict.fromkeys(words, 0.0)
    queries = _queries(words)
    while chunk := list(itertools.islice(queries, CHUNK)):
        scores = engine.run([_passage(tokenizer, encoded[query.text], query) for query in chunk])
        for query, (mask,) in zip(chunk, scores, strict=True):
            original[query.text] += mask.log_probability * query.original
            within_word[query.text] += mask.log_probability * query.within_word
    return [
        Pll(original[index], within_word[index], len(ids), len(words[index])) if index in words else None
        for index, ids in enumerate(encoded)
    ]


def is_scorable(tokenizer: MaskTokenizer, ids: Sequence[int]) -> bool:
    """Return True if a text has tokens, no mask, and fits the model.

    A longer text would need windows, in which the same token is scored from fewer others.
    """
    return bool(ids) and tokenizer.mask_id not in ids and len(ids) <= tokenizer.window


def _words(tokenizer: MaskTokenizer, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return (start, end) of each word among the ids: a WordPiece token that begins with ## continues a word."""
    continues = [tokenizer.token(token_id).startswith("##") for token_id in ids]
    starts = [index for index in range(len(ids)) if index == 0 or not continues[index]]
    return list(itertools.pairwise([*starts, len(ids)]))


def _queries(words: dict[int, list[tuple[int, int]]]) -> Iterator[_Query]:
    """Yield the tokens to score, the shortest texts first, so that texts of like length are neighbors."""
    for text in sorted(words, key=lambda index: words[index][-1][1]):
        for start, end in words[text]:
            for token in range(start, end):
                last = token + 1 == end
                yield _Query(text, token, token + 1, original=True, within_word=last)
                if not last:
                    yield _Query(text, token, end, original=False, within_word=True)


def _passage(tokenizer: MaskTokenizer, ids: Sequence[int], query: _Query) -> Passage:
    hidden = [tokenizer.mask_id] * (query.end - query.token)
    framed = [tokenizer.cls_id, *ids[: query.token], *hidden, *ids[query.end :], tokenizer.sep_id]
    return Passage(framed, [query.token + 1], [ids[query.token]])
