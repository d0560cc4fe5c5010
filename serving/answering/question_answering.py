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
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from serving.answering.models import AnswerForm, Model, RequestAnswer
from serving.engine.engine import Engine, open_engine, open_folder
from serving.engine.heads import Logits, SpanHead
from serving.errors import BadRequest
from serving.model.tokenizer import PairTokenizer, Passage, Tokens
from serving.requests.call import check_answer, check_passages
from serving.requests.parameters import Flag, Parameter, Whole
from serving.requests.rows import Fields, Json
from serving.requests.schema import Request, TaskInput
from serving.settings import Settings
from serving.tasks import Task

MAX_SEQ_LEN = 384
DOC_STRIDE = 128
SPAN_BYTES = 64
"""The size of a span in an answer, without its text."""
WINDOW_LIMIT = 2**16
"""The largest window and stride of a request; the model itself usually reads less, which is checked with its tokenizer."""


class Question(NamedTuple):
    """A question and the text that may answer it."""

    question: str
    context: str


@dataclass(frozen=True)
class Options:
    """How to look for answers.

    top_k: answers a question. max_answer_length: tokens of the longest answer. doc_stride: tokens that two windows share;
    None for 128, or for half a window if the window is shorter than 256. max_seq_len: tokens of a window with its question;
    None for 384, or for all that a smaller model reads. align_to_words: answers begin and end where words do.
    handle_impossible_answer: the empty answer, from 0 to 0, is an answer too, with the score of [CLS].
    """

    top_k: int = 1
    max_answer_length: int = 15
    doc_stride: int | None = None
    max_seq_len: int | None = None
    align_to_words: bool = True
    handle_impossible_answer: bool = False


@dataclass(frozen=True)
class Span:
    """An answer: the part of the user's context from character `start` to `end`."""

    answer: str
    score: float
    start: int
    end: int


class Answers(list[list[Span]]):
    """The answers to each question, best first. `windowed` counts contexts that were read in several windows."""

    windowed: int = 0


class Window(NamedTuple):
    """A passage, the place of the context's tokens in it, and which of these tokens it has (`first` to `last`)."""

    passage: Passage
    place: int
    first: int
    last: int


def spans_answer(request: Request, answers: Answers) -> Json:
    """Answer with the best span of each row; with a list if `top_k` is set, for Hugging Face's clients only above 1."""
    top_k = request.parameters.get("top_k", 0)
    lists = top_k > 1 if request.dialect.full else top_k > 0
    return request.shaped([list(map(_described, row)) if lists else _described(row[0]) for row in answers])


def _described(span: Span) -> dict[str, Any]:
    return {"answer": span.answer, "score": span.score, "start": span.start, "end": span.end}


def _example(request: Request) -> Json:
    return spans_answer(request, Answers([[Span("The cat", 0.91, 0, 7)]]))


def _row_schema(form: AnswerForm, full: bool) -> dict[str, Json]:
    return {"anyOf": [form.one, form.several]}


_LENGTH = Whole(1, "max_answer_length")


@dataclass(frozen=True, eq=False)
class QuestionAnswering:
    """A model that finds answers in a text, ready to answer; `load` makes it from a folder."""

    task: ClassVar[Task] = "question-answering"
    input: ClassVar[TaskInput] = TaskInput(
        Fields("question-answering", ("question",), pair=("context",), needed=True),
        {
            "top_k": Parameter(Whole(1, "max_top_k"), "Answers a question, best first."),
            "max_answer_length": Parameter(_LENGTH, "Tokens of the longest answer; by default 15."),
            "max_answer_len": Parameter(
                _LENGTH, "Hugging Face's name for max_answer_length.", alias_of="max_answer_length"
            ),
            "doc_stride": Parameter(
                Whole(0, WINDOW_LIMIT), "Tokens that two windows of a long context share; by default 128."
            ),
            "max_seq_len": Parameter(
                Whole(8, WINDOW_LIMIT),
                "Tokens of a window with its question, at most what the model reads; by default 384.",
            ),
            "align_to_words": Parameter(Flag(), "Answers begin and end where words do; by default true."),
            "handle_impossible_answer": Parameter(Flag(), "The empty answer is an answer too; by default false."),
        },
        sample={"question": "Who sat?", "context": "The cat sat on the mat."},
        text={"type": "string", "description": "Not empty.", "minLength": 1},
    )
    form: ClassVar[AnswerForm] = AnswerForm(
        "span",
        {
            "answer": {"type": "string", "description": "The context from start to end."},
            "score": {"type": "number", "minimum": 0, "description": "Above 1 if the answer is in several places."},
            "start": {"type": "integer", "minimum": 0, "description": "In characters (Unicode code points)."},
            "end": {"type": "integer", "minimum": 0, "description": "After the last character."},
        },
        _row_schema,
        _example,
        counter="x-windowed-rows",
    )
    tokenizer: PairTokenizer
    engine: Engine[tuple[Logits, Logits]]
    settings: Settings
    name: str

    @classmethod
    def load(cls, folder: Path, precision: str | None = None, settings: Settings | None = None) -> Self:
        """Load a model folder, compiling the model if needed; raises ModelFolderError."""
        settings = settings or Settings()
        opened = open_folder(folder, cls.task)
        tokenizer = PairTokenizer(opened.parts.tokenizer, opened.config.vocab_size, opened.config.max_positions)
        engine = open_engine(opened, SpanHead(), tokenizer.pad_id, precision, settings)
        return cls(tokenizer, engine, settings, opened.parts.name)

    def answer_request(self, request: Request) -> RequestAnswer:
        """Answer all rows of a request; raises a RequestError, with the row at fault if there is one."""
        questions = [Question(*row) for row in request.rows]
        answers = self.answer(questions, Options(**request.parameters), request.row_name)
        return RequestAnswer(spans_answer(request, answers), {self.form.counter: str(answers.windowed)})

    def refused_rows(self, request: Request) -> dict[int, BadRequest]:
        """Return the errors of the rows that cannot be answered, by their index."""
        questions = [Question(*row) for row in request.rows]
        return self.refusals(questions, Options(**request.parameters), request.row_name)

    def answer(
        self,
        questions: Sequence[tuple[str, str]],
        options: Options = Options(),  # noqa: B008 - frozen
        row_name: Callable[[int], str] = "row {}".format,
    ) -> Answers:
        """Return the best answers to each (question, context).

        A span's score is the probability that the answer starts at its first token, times the probability that it ends at
        its last token; both among the context's tokens in the window and [CLS]. Spans of the same text, in one window or
        several, are one answer with the sum of their scores, at the place of the best span of the first window.

        Raises BadRequest for a question or context without a word, a question too long, or a window longer than the
        model; TooLarge if the request takes more windows than the limit. `row_name` names a row by its index in messages.
        """
        rows = [Question(*question) for question in questions]
        check_answer(len(rows) * options.top_k * SPAN_BYTES, self.settings)
        encoded = self.tokenizer.encode([row.question for row in rows])
        contexts = self.tokenizer.encode([row.context for row in rows])
        windows = self._windows(encoded, contexts, options, row_name)
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
        """Return the errors of the rows that `answer` would refuse, by their index; `answer` answers all other rows.

        If `answer` raises, a caller with many rows learns here which rows to leave out. Raises errors that do not depend
        on the rows.
        """
        length, stride = self._window_size(options)
        encoded = self.tokenizer.encode([question for question, _ in questions])
        contexts = self.tokenizer.encode([context for _, context in questions])
        refused = {}
        for index, (question, context) in enumerate(zip(encoded, contexts, strict=True)):
            try:
                _starts(question, context, length, stride, row_name(index), index)
            except BadRequest as exc:
                refused[index] = exc
        return refused

    def _window_size(self, options: Options) -> tuple[int, int]:
        """Return the number of tokens of a window, and of tokens that two windows share."""
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
        self, text: str, tokens: Tokens, results: Sequence[tuple[Window, tuple[Logits, Logits]]], options: Options
    ) -> list[Span]:
        scores: dict[str, float] = {}
        places: dict[str, tuple[int, int]] = {}
        size, null = 0, 1.0
        for window, (start_logits, end_logits) in results:
            context = slice(window.place, window.place + window.last - window.first)
            starts, ends = (probabilities(logits, context) for logits in (start_logits, end_logits))
            null = min(null, float(starts[0] * ends[0]))
            # Several spans may become the same words.
            count = 2 * options.top_k + 10 if options.align_to_words else options.top_k
            for start, end, score in best_spans(starts[1:], ends[1:], options.max_answer_length, count):
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
    """Return the starts of a context's windows; 0 only, if the whole context fits beside the question."""
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
    """Return the characters of a span of tokens, grown to whole words as far as the window has them."""
    first, last = window.first + start, window.first + end
    words = tokens.words[first], tokens.words[last]
    if align_to_words and None not in words:
        first -= _run(words[0], (tokens.words[index] for index in range(first - 1, window.first - 1, -1)))
        last += _run(words[1], (tokens.words[index] for index in range(last + 1, window.last)))
    return tokens.spans[first][0], tokens.spans[last][1]


def _run(word: int | None, others: Iterator[int | None]) -> int:
    """Return how many of the tokens belong to the word, up to the first token of another word."""
    count = 0
    for other in others:
        if other != word:
            break
        count += 1
    return count


def probabilities(logits: Logits, context: slice) -> Logits:
    """Return the softmax over [CLS], the first token, and the context's tokens, in that order.

    Models that know impossible questions give [CLS] a share of the probability; other tokens outside get none.
    """
    allowed = np.concatenate([logits[:1], logits[context]])
    shares = np.exp(allowed - allowed.max())
    result: Logits = shares / shares.sum()
    return result


def best_spans(starts: Logits, ends: Logits, max_length: int, count: int) -> list[tuple[int, int, float]]:
    """Return the `count` best spans of at most `max_length` tokens as (start, end, score), end included; best first.

    A span's score is starts[start] * ends[end]; of spans with equal scores, the earlier comes first.

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


MODEL: type[Model] = QuestionAnswering
