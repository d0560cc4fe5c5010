"""Pseudo-log-likelihoods: how likely a masked-language model finds whole texts, on the engine that serves it.

pseudo_log_likelihoods(tokenizer, engine, ["Paris is big."]) -> [Pll(pll=-9.1, pll_l2r=-9.1, tokens=4, words=4)]

Each token is masked in turn and scored from all the others; the natural logarithms are summed.

- pll is the original: J. Salazar, D. Liang, T. Q. Nguyen, K. Kirchhoff (2020), "Masked Language Model Scoring",
  https://aclanthology.org/2020.acl-main.240
- pll_l2r masks the later pieces of the same word too, within-word left-to-right. The original gives away a rare word:
  once `##oon` is seen, `bass` is easy. C. Kauf, A. Ivanova (2023), "A Better Way to Do Masked Language Model Scoring",
  https://aclanthology.org/2023.acl-short.80

A text of T tokens in W words takes 2 T - W passages through the model: the last piece of a word is scored once for both.

What a masked-language model says of a label at a mask: its probability, its rank, and the words it likes best.

The scores of a whole vocabulary are 120 KB a mask, so they are reduced batch by batch and never kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.engine.engine import Engine
from serving.engine.heads import Logits, MaskInputs
from serving.model.tokenizer import MaskTokenizer, Passage

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


CHUNK = 1024
"""Passages handed to the engine at once: enough to fill its batches, and few enough to hold in memory."""


@dataclass(frozen=True)
class Pll:
    """Natural-log pseudo-log-likelihoods of a text, and how many tokens and words (of the tokenizer) it has."""

    pll: float
    pll_l2r: float
    tokens: int
    words: int


class UnscorableText(ValueError):
    """A text has no pseudo-log-likelihood; `index` is its place among the texts."""

    def __init__(self, message: str, index: int) -> None:
        """Keep the index beside the message."""
        super().__init__(message)
        self.index = index


class _Query(NamedTuple):
    """A token to score: of which text, at which place, and up to where (exclusive) its word is masked."""

    text: int
    token: int
    end: int
    original: bool
    within_word: bool


def pseudo_log_likelihoods(
    tokenizer: MaskTokenizer,
    engine: Engine[list[MaskScore]],
    texts: Sequence[str],
    row_name: Callable[[int], str] = "row {}".format,
) -> list[Pll]:
    """Return the pseudo-log-likelihoods of each text; the engine is one with a LabelHead (evaluation.predict.likelihood).

    Raises UnscorableText for the first text for which `why_unscorable` has a reason; `row_name` names it in the message.
    """
    encoded = [text.ids for text in tokenizer.encode(texts)]
    for index, ids in enumerate(encoded):
        reason = _why_unscorable(tokenizer, ids)
        if reason:
            raise UnscorableText(f"{row_name(index)}: {reason}", index)
    words = [_words(tokenizer, ids) for ids in encoded]
    original, within_word = [0.0] * len(texts), [0.0] * len(texts)
    queries = _queries(words)
    while chunk := list(itertools.islice(queries, CHUNK)):
        scores = engine.run([_passage(tokenizer, encoded[query.text], query) for query in chunk])
        for query, (mask,) in zip(chunk, scores, strict=True):
            original[query.text] += mask.log_probability * query.original
            within_word[query.text] += mask.log_probability * query.within_word
    return list(map(Pll, original, within_word, map(len, encoded), map(len, words)))


def likelihoods_of_scorable(
    tokenizer: MaskTokenizer, engine: Engine[list[MaskScore]], texts: Sequence[str]
) -> list[Pll | None]:
    """Return the pseudo-log-likelihoods of each text, None for one for which `why_unscorable` has a reason."""
    scorable = [reason is None for reason in why_unscorable(tokenizer, texts)]
    found = iter(pseudo_log_likelihoods(tokenizer, engine, list(itertools.compress(texts, scorable))))
    return [next(found) if can_be else None for can_be in scorable]


def why_unscorable(tokenizer: MaskTokenizer, texts: Sequence[str]) -> list[str | None]:
    """Return for each text why it has no pseudo-log-likelihood, None where it has one.

    A text without a token or with a mask has none; one longer than the model would need windows, in which the same
    token is scored from less.
    """
    return [_why_unscorable(tokenizer, text.ids) for text in tokenizer.encode(texts)]


def _why_unscorable(tokenizer: MaskTokenizer, ids: Sequence[int]) -> str | None:
    if not ids:
        return "expected a text with a word, found no token in it; leave it out"
    if tokenizer.mask_id in ids:
        return f"expected a whole text, found {tokenizer.mask_token} in it; fill it in"
    if len(ids) > tokenizer.window:
        return f"expected at most {tokenizer.window} tokens, found {len(ids)}; cut the text into sentences"
    return None


def _words(tokenizer: MaskTokenizer, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return (start, end) of each word among the ids: in a WordPiece vocabulary ## starts what goes on a word."""
    goes_on = [tokenizer.token(token_id).startswith("##") for token_id in ids]
    starts = [index for index in range(len(ids)) if index == 0 or not goes_on[index]]
    return list(itertools.pairwise([*starts, len(ids)]))


def _queries(words: Sequence[Sequence[tuple[int, int]]]) -> Iterator[_Query]:
    """Yield what is to be scored, the shortest texts first, so that those of like length are neighbors."""
    for text in sorted(range(len(words)), key=lambda index: words[index][-1][1]):
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
