"""Questions and contexts to windows of tokens, and the model's logits back to answers.

A long context becomes several windows that overlap by `doc_stride` tokens, as in `score.py`; the question is never cut. The label
of a window is the first and last token of the answer if the window has the whole answer, else [CLS].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from finetune.settings import FeatureSettings
from finetune.train.features import batches
from finetune.train.rows import TokenRows
from finetune.train.trainer import cross_entropy
from serving.answering.question_answering import best_spans, probabilities
from serving.model.tokenizer import PairTokenizer, Tokens

Logits = npt.NDArray[np.float32]
NAMED = 3
"""Rows named in a line about many."""


class Window(NamedTuple):
    """A row of tokens: the index of its question, the position of the context in it, and the characters of its tokens [tokens, 2]."""

    row: int
    place: int
    spans: npt.NDArray[np.int32]


@dataclass
class LeftOut:
    """Rows that cannot be trained on, by the reason, as their ids."""

    rows: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, row: str) -> None:
        """Count a row."""
        self.rows.setdefault(reason, []).append(row)

    def lines(self) -> Iterator[str]:
        """Yield a line for people each reason."""
        for reason, ids in self.rows.items():
            more = ", …" if len(ids) > NAMED else ""
            yield f"left out {len(ids)} of the training questions: {reason} (id {', '.join(ids[:NAMED])}{more})"


@dataclass
class Questions:
    """Questions, their windows, and the tokens of the windows in the same order."""

    contexts: list[str]
    right: list[list[str]]
    windows: list[Window]
    tokens: TokenRows
    left_out: LeftOut

    def longest_first(self) -> Questions:
        """Return the same with the longest windows first."""
        order = self.tokens.longest_first()
        windows = [self.windows[index] for index in order]
        return Questions(self.contexts, self.right, windows, self.tokens.ordered(order), self.left_out)

    def loss(self, starts: Logits, ends: Logits) -> float:
        """Return the windows' mean negative log likelihood of the labelled ends, in nats; logits [windows, tokens]."""
        absent = np.arange(starts.shape[1]) >= self.tokens.lengths()[:, None]
        rows = [self.tokens[index] for index in range(len(self.tokens))]
        both = []
        for logits, name in ((starts, "start_positions"), (ends, "end_positions")):
            targets = np.array([row[name] for row in rows])
            both.append(cross_entropy(np.where(absent, -np.inf, logits), targets))
        return float(np.mean(both))

    def answers(self, starts: Logits, ends: Logits, features: FeatureSettings) -> list[str]:
        """Return each question's best answer, a part of its context; "" if no window has an answer.

        logits: [windows, tokens]. The `n_best_size` most probable spans of each window count; spans with the same text are
        one answer with the sum of their probabilities.
        """
        scores: list[dict[str, float]] = [{} for _ in self.contexts]
        for window, start, end in zip(self.windows, starts, ends, strict=True):
            context = slice(window.place, window.place + len(window.spans))
            shares = [probabilities(logits, context)[1:] for logits in (start, end)]
            for first, last, score in best_spans(*shares, features.max_answer_length_in_tokens, features.n_best_size):
                text = self.contexts[window.row][window.spans[first, 0] : window.spans[last, 1]]
                scores[window.row][text] = scores[window.row].get(text, 0.0) + score
        return [max(found, key=found.__getitem__, default="") for found in scores]


def question_windows(
    rows: Iterable[dict[str, Any]], tokenizer: PairTokenizer, features: FeatureSettings, training: bool
) -> Questions:
    """Return the rows' windows. For training, rows whose answer fits in no window are left out, and counted."""
    found = Questions([], [], [], TokenRows(["start_positions", "end_positions"]), LeftOut())
    for batch in batches(rows, features.batch_size):
        asked = tokenizer.encode([row["question"] for row in batch])
        contexts = tokenizer.encode([row["context"] for row in batch])
        for row, question, context in zip(batch, asked, contexts, strict=True):
            _add(found, row, question, context, tokenizer, features.doc_stride, training)
    return found


def _add(
    found: Questions,
    row: dict[str, Any],
    question: Tokens,
    context: Tokens,
    tokenizer: PairTokenizer,
    doc_stride: int,
    training: bool,
) -> None:
    """Add a row's windows."""
    number = len(found.contexts)
    found.contexts.append(row["context"])
    found.right.append(row["answers"]["text"])
    room = tokenizer.max_length - len(question.ids) - 3
    if room < 1 or not context.ids:
        reason = f"the question alone fills the {tokenizer.max_length} tokens of max_seq_length"
        found.left_out.add(reason if room < 1 else "the context has no word", row["id"])
        return
    answer = answer_tokens(row["answers"], context)
    firsts = window_starts(len(context.ids), room, doc_stride)
    inside = [answer is not None and first <= answer[0] and answer[1] < first + room for first in firsts]
    if training and row["answers"]["text"] and not any(inside):
        fix = "set a larger doc_stride or max_seq_length" if answer else "its answer_start is not in the context"
        found.left_out.add(f"no window has its whole answer; {fix}", row["id"])
        return
    spans = np.array(context.spans, np.int32)
    place = len(question.ids) + 2
    for first, has in zip(firsts, inside, strict=True):
        part = slice(first, first + room)
        ends = [place + token - first for token in answer] if has and answer else [0, 0]
        found.tokens.add(tokenizer.frame(question.ids, context.ids[part]), *ends)
        found.windows.append(Window(number, place, spans[part]))


def window_starts(tokens: int, room: int, doc_stride: int) -> list[int]:
    """Return the starts of a context's windows of `room` tokens; neighbors overlap by `doc_stride` if there is room.

    >>> window_starts(10, 6, 2)
    [0, 4]
    """
    step = room - min(doc_stride, room // 2)
    firsts = [0]
    while firsts[-1] + room < tokens:
        firsts.append(firsts[-1] + step)
    return firsts


def answer_tokens(answers: dict[str, Sequence[Any]], context: Tokens) -> tuple[int, int] | None:
    """Return the first and last token of the first answer, both included; None if the context has no answer."""
    if not answers["text"]:
        return None
    start = answers["answer_start"][0]
    end = start + len(answers["text"][0])
    touched = [index for index, (first, last) in enumerate(context.spans) if first < end and last > start]
    return (touched[0], touched[-1]) if touched else None
