"""Answer questions from a context: spans of the user's own text.

QuestionAnswering.load(folder).answer([("Who sat?", "The cat sat on the mat.")])
-> [[Span(answer="The cat", score=0.91, start=0, end=7)]]     (a question, its answers)

A context longer than the model is read in windows that overlap. Windows and scores are those of the
question-answering pipeline of transformers 4 (version 5 has none): src/transformers/pipelines/question_answering.py there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from serving.answering.spans import best_spans, probabilities
from serving.engine.engine import Engine, open_engine, open_folder
from serving.engine.heads import Logits, SpanHead
from serving.errors import BadRequest
from serving.model.tokenizer import PairTokenizer, Passage, Tokens
from serving.requests.call import check_answer, check_passages
from serving.settings import Settings
from serving.tasks import Task

MAX_SEQ_LEN = 384
DOC_STRIDE = 128
SPAN_BYTES = 64
"""What an answer's span takes, its text aside."""


class Question(NamedTuple):
    """A question and the text that may answer it."""

    question: str
    context: str


@dataclass(frozen=True)
class Options:
    """How to look for answers.

    top_k: answers a question. max_answer_length: tokens of the longest. doc_stride: tokens that two windows share; None
    for 128, or half a window that is shorter than twice that. max_seq_len: tokens of a window with its question; None
    for 384, or all that a smaller model reads. align_to_words: answers begin and end where words do.
    handle_impossible_answer: the empty answer, at 0 to 0, is one too, with the score of [CLS].
    """

    top_k: int = 1
    max_answer_length: int = 15
    doc_stride: int | None = None
    max_seq_len: int | None = None
    align_to_words: bool = True
    handle_impossible_answer: bool = False


@dataclass(frozen=True)
class Span:
    """An answer: the user's context from its character `start` to `end`."""

    answer: str
    score: float
    start: int
    end: int


class Answers(list[list[Span]]):
    """The answers to each question, best first. `windowed` counts contexts that were read in several windows."""

    windowed: int = 0


class Window(NamedTuple):
    """A passage, where the context's tokens begin in it, and which of them (`first` to `last`) it has."""

    passage: Passage
    place: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class QuestionAnswering:
    """A model that finds answers in a text, ready to do so; `load` makes it from a folder."""

    task: ClassVar[Task] = "question-answering"
    tokenizer: PairTokenizer
    engine: Engine[tuple[Logits, Logits]]
    settings: Settings
    name: str

    @classmethod
    def load(cls, folder: Path, precision: str | None = None, settings: Settings | None = None) -> Self:
        """Load a model folder, compiling it where that was not done yet; raises ModelFolderError."""
        settings = settings or Settings()
        opened = open_folder(folder, cls.task)
        tokenizer = PairTokenizer(opened.parts.tokenizer, opened.config.vocab_size, opened.config.max_positions)
        engine = open_engine(opened, SpanHead(), tokenizer.pad_id, precision, settings)
        return cls(tokenizer, engine, settings, opened.parts.name)

    def answer(
        self,
        questions: Sequence[tuple[str, str]],
        options: Options = Options(),  # noqa: B008 - frozen
        row_name: Callable[[int], str] = "row {}".format,
    ) -> Answers:
        """Return the best answers to each (question, context).

        A span's score is the probability that the answer starts at its first token times that it ends at its last, each
        among its window's context tokens and [CLS]. Spans of the same text, in one window or several, are one answer
        with the sum of their scores, where the best of the first window stands.

        Raises BadRequest for a question or context without a word, a question too long, or a window longer than the
        model; TooLarge where it takes more windows than the limit. `row_name` names a row by its index in messages.
        """
        rows = [Question(*question) for question in questions]
        check_answer(len(rows) * options.top_k * SPAN_BYTES, self.settings)
        asked = self.tokenizer.encode([row.question for row in rows])
        contexts = self.tokenizer.encode([row.context for row in rows])
        windows = self._windows(asked, contexts, options, row_name)
        logits = iter(self.engine.run([window.passage for row in windows for window in row]))
        answers = Answers(
            self._answers(row.context, tokens, [(window, next(logits)) for window in of_row], options)
            for row, tokens, of_row in zip(rows, contexts, windows, strict=True)
        )
        check_answer(sum(SPAN_BYTES + len(span.answer) for spans in answers for span in spans), self.settings)
        answers.windowed = sum(len(of_row) > 1 for of_row in windows)
        return answers

    def refusals(
        self,
        questions: Sequence[tuple[str, str]],
        options: Options = Options(),  # noqa: B008 - frozen
        row_name: Callable[[int], str] = "row {}".format,
    ) -> dict[int, BadRequest]:
        """Return why `answer` would refuse each row by itself, by its index; the rows that are not in it, it answers.

        Where it raises, this tells a caller with many rows which to leave out. Raises what does not depend on the rows.
        """
        length, stride = self._window_size(options)
        asked = self.tokenizer.encode([question for question, _ in questions])
        contexts = self.tokenizer.encode([context for _, context in questions])
        refused = {}
        for index, (question, context) in enumerate(zip(asked, contexts, strict=True)):
            try:
                _starts(question, context, length, stride, row_name(index), index)
            except BadRequest as exc:
                refused[index] = exc
        return refused

    def _window_size(self, options: Options) -> tuple[int, int]:
        """Return the tokens of a window, and how many of them two share."""
        longest = self.tokenizer.max_length
        length = options.max_seq_len or min(MAX_SEQ_LEN, longest)
        if length > longest:
            raise BadRequest("invalid_parameter", f"expected max_seq_len to be at most {longest}, found {length}")
        return length, min(DOC_STRIDE, length // 2) if options.doc_stride is None else options.doc_stride

    def _windows(
        self, questions: list[Tokens], contexts: list[Tokens], options: Options, row_name: Callable[[int], str]
    ) -> list[list[Window]]:
        length, stride = self._window_size(options)
        starts = [
            _starts(question, context, length, stride, row_name(index), index)
            for index, (question, context) in enumerate(zip(questions, contexts, strict=True))
        ]
        check_passages(sum(map(len, starts)), self.settings)
        return [
            [self._window(question, context, first, length) for first in firsts]
            for question, context, firsts in zip(questions, contexts, starts, strict=True)
        ]

    def _window(self, question: Tokens, context: Tokens, first: int, length: int) -> Window:
        last = min(len(context.ids), first + length - len(question.ids) - 3)
        return Window(self.tokenizer.frame(question.ids, context.ids[first:last]), len(question.ids) + 2, first, last)

    def _answers(
        self, text: str, tokens: Tokens, found: Sequence[tuple[Window, tuple[Logits, Logits]]], options: Options
    ) -> list[Span]:
        scores: dict[str, float] = {}
        places: dict[str, tuple[int, int]] = {}
        size, null = 0, 1.0
        for window, (start_logits, end_logits) in found:
            context = slice(window.place, window.place + window.last - window.first)
            starts, ends = (probabilities(logits, context) for logits in (start_logits, end_logits))
            null = min(null, float(starts[0] * ends[0]))
            # Several spans may be the same words.
            wanted = 2 * options.top_k + 10 if options.align_to_words else options.top_k
            for start, end, score in best_spans(starts[1:], ends[1:], options.max_answer_length, wanted):
                place = _characters(tokens, window, start, end, options.align_to_words)
                same = text[slice(*place)].lower()
                if same not in scores:
                    size += len(same)
                    check_answer(size, self.settings)
                places.setdefault(same, place)
                scores[same] = scores.get(same, 0.0) + score
        spans = [Span(text[slice(*places[same])], score, *places[same]) for same, score in scores.items()]
        if options.handle_impossible_answer:
            spans.append(Span("", null, 0, 0))
        return sorted(spans, key=lambda span: -span.score)[: options.top_k]


def _starts(question: Tokens, context: Tokens, length: int, stride: int, name: str, index: int) -> range:
    """Return where the windows of a context start: 0 alone where it all fits beside the question."""
    if not question.ids:
        raise BadRequest("empty_question", f"{name} has no word in its question", index)
    if not context.ids:
        raise BadRequest("empty_context", f"{name} has no word in its context", index)
    room = length - len(question.ids) - 3
    if room >= len(context.ids):
        return range(1)
    if room <= stride:
        raise BadRequest(
            "question_too_long",
            f"the question of {name} has {len(question.ids)} tokens, which leaves {max(0, room)} of {length} for the "
            f"context, expected more than the {stride} of doc_stride; shorten the question",
            index,
        )
    count = 1 + math.ceil((len(context.ids) - room) / (room - stride))
    return range(0, count * (room - stride), room - stride)


def _characters(tokens: Tokens, window: Window, start: int, end: int, align_to_words: bool) -> tuple[int, int]:
    """Return where a span of a window's tokens is in the text, with the rest of its first and last word in the window."""
    first, last = window.first + start, window.first + end
    words = tokens.words[first], tokens.words[last]
    if align_to_words and None not in words:
        first -= _run(words[0], (tokens.words[index] for index in range(first - 1, window.first - 1, -1)))
        last += _run(words[1], (tokens.words[index] for index in range(last + 1, window.last)))
    return tokens.spans[first][0], tokens.spans[last][1]


def _run(word: int | None, others: Iterator[int | None]) -> int:
    """Return how many others there are before the first that is of another word."""
    count = 0
    for other in others:
        if other != word:
            break
        count += 1
    return count
