"""Question answering: questions about a context, whose answers stand in it word by word."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune.errors import RowError
from finetune.prepare.examples import Example, check_characters, digest_of, text_of
from finetune.settings import FeatureSettings
from finetune.tasks.task import SHARE, Column, TuningTask
from tables.rows import PRINTED_MESSAGE, Row, is_printed, kind_of, read_cell

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NO_ANSWER = "no_answer"
"""The code of a question without an answer in its context, such as SQuAD 2 has."""

DECIMAL = re.compile(r"\d{1,18}")
"""A start that is written as text. No context is longer, and Python reads no number of thousands of digits."""


class QuestionAnswering(TuningTask):
    """Rows of {"id", "question", "context", "answers": {"text": [...], "answer_start": [...]}}."""

    name = "question-answering"
    public_name = "QuestionAnswering"
    columns = (
        Column("question_key", "the column of the question"),
        Column("context_key", "the column of the text that the answer is in"),
        Column("answers_key", 'the column of the answers, such as {"text": ["Paris"], "answer_start": [17]}'),
        Column(
            "answer_start_key",
            "the key of the start in the answers: the number of characters of the context before the answer",
            inside=True,
        ),
        Column("answer_text_key", "the key of the text in the answers", inside=True),
    )
    own_settings = ("doc_stride", "n_best_size", "max_answer_length_in_tokens")
    texts = ("question", "context")
    classifies = False
    one_example_a_row = False
    special_tokens = 3
    split_unit = "of the contexts, with all their questions"
    split_needs = "two contexts or more"
    metrics = ("loss", "f1", "exact")
    figures = {"f1": "f1", "exact": "exact_match"}
    model_class = "AutoModelForQuestionAnswering"
    targets = ("start_positions", "end_positions")
    adapter_type = "QUESTION_ANS"
    heads = {"bert": ("qa_outputs",), "distilbert": ("qa_outputs",)}
    default_length = 384  # SQuAD's models are trained and served with windows of this length

    def example(self, row: Row, columns: Mapping[str, str]) -> Example:
        """Return a row as an example, whose group is a digest of its context; raises RowError."""
        question, context = text_of(row, columns["question_key"]), text_of(row, columns["context_key"])
        texts, starts = _answers(row.values[columns["answers_key"]], columns)
        places = [_place(context, text, start) for text, start in zip(texts, starts, strict=True)]
        record = {
            "id": f"{row.file}:{row.line}",
            "question": question,
            "context": context,
            "answers": {"text": texts, "answer_start": places},
        }
        return Example(record, digest_of(context).hex(), digest_of(question, context), places != starts)

    def is_prepared(self, row: Mapping[str, Any]) -> bool:
        """Return whether the answers are SQuAD's."""
        answers = row.get("answers")
        texts = answers.get("text") if isinstance(answers, dict) else None
        return isinstance(texts, list) and all(isinstance(text, str) for text in texts)

    def truth(self, row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - SQuAD's answers
        """Return the answers of a prepared row."""
        return row["answers"]

    def split(self, groups: Sequence[str], seed: int) -> set[int]:
        """Set a tenth of the rows aside, by whole contexts."""
        return split_by_group(groups, seed)

    def least_length(self, columns: Mapping[str, str]) -> int:
        """Return the special tokens, a token of the question and one of the context."""
        return self.special_tokens + 2

    def check_length(self, features: FeatureSettings, length: int) -> Iterator[str]:
        """Yield a message if two windows cannot share doc_stride tokens beside a question and the special tokens."""
        room = length - self.special_tokens - 1
        if features.doc_stride >= room:
            yield (
                f"doc_stride: expected less than {room}, what a window of {length} tokens leaves for the context beside a "
                f"question of one token, found {features.doc_stride}; lower doc_stride (a quarter of the length is usual) "
                "or raise max_seq_length"
            )

    def fit_test(self, features: FeatureSettings, length: int, tokenizer: Tokenizer) -> Callable[[Example], None]:
        """Return a test that raises RowError for a question that leaves no new context for a window."""
        room = length - self.special_tokens - features.doc_stride

        def check(example: Example) -> None:
            if len(tokenizer.encode(example.record["question"], add_special_tokens=False).ids) >= room:
                raise RowError(
                    "question_too_long",
                    "expected a question that leaves more than doc_stride tokens of max_seq_length for the context, "
                    "found a longer",
                )

        return check

    def fix_columns(self, found: Sequence[str]) -> str | None:
        """Recognize SQuAD's own files, which are nested."""
        nested = {"data", "paragraphs"} & set(found)
        return "write SQuAD's nested paragraphs as a row a question" if nested else None


TASK = QuestionAnswering()


def _answers(value: Any, columns: Mapping[str, str]) -> tuple[list[str], list[int]]:  # noqa: ANN401 - a value of the user's
    """Return the texts and the starts of a row's answers, one or more of each."""
    text_key, start_key = columns["answer_text_key"], columns["answer_start_key"]
    texts, starts = (
        cell if isinstance(cell, list) else [cell] for cell in _columns_of_answers(value, text_key, start_key)
    )
    if len(texts) != len(starts):
        raise RowError("invalid_answers", f"expected as many texts as starts, found {len(texts)} and {len(starts)}")
    if not texts or all(text in (None, "") for text in texts):
        raise RowError(NO_ANSWER, "expected an answer, found none")
    return [_answer(text) for text in texts], [_start(start) for start in starts]


def _columns_of_answers(value: Any, text_key: str, start_key: str) -> tuple[Any, Any]:  # noqa: ANN401
    """Return the values under the two keys, of one answer or lists of several, in any of the forms that files have."""
    value = read_cell(value, lambda cell: isinstance(cell, (dict, list)))
    expected = f'expected answers as {{"{text_key}": […], "{start_key}": […]}}'
    if is_printed(value):
        raise RowError("invalid_answers", f"{expected}, {PRINTED_MESSAGE}")
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
        raise RowError(NO_ANSWER, "expected an answer, found none")
    if isinstance(value, list) and all(isinstance(answer, dict) for answer in value):
        value = {key: [answer.get(key) for answer in value] for key in (text_key, start_key) if key in value[0]}
    if not isinstance(value, dict):
        raise RowError("invalid_answers", f"{expected}, found {kind_of(value)}")
    missing = [f"{name} {key!r}" for name, key in (("text", text_key), ("start", start_key)) if key not in value]
    if missing:
        problem = f"{expected}, found no {' and no '.join(missing)}; set answer_text_key and answer_start_key"
        raise RowError("invalid_answers", problem)
    return value[text_key], value[start_key]


def _answer(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        kind = "an empty text" if isinstance(text, str) else kind_of(text)
        raise RowError("invalid_answers", f"expected a text as each answer, found {kind}")
    check_characters(text, "answers")
    return text


def _start(start: object) -> int:
    if isinstance(start, float) and start.is_integer():
        start = int(start)
    if isinstance(start, str) and DECIMAL.fullmatch(start.strip()):
        start = int(start)
    if isinstance(start, bool) or not isinstance(start, int):
        raise RowError("invalid_answers", f"expected an integer as each answer's start, found {kind_of(start)}")
    return start


def _place(context: str, text: str, start: int) -> int:
    """Return the place of an answer in its context: its start, or the only place that has its text.

    A start counts characters, that is Unicode code points, as in SQuAD; a start that counts bytes or UTF-16 is wrong.
    """
    if start >= 0 and context.startswith(text, start):
        return start
    place = context.find(text)
    if place < 0:
        raise RowError("answer_not_in_context", "expected the answer's text in its context, found it nowhere")
    if context.find(text, place + 1) >= 0:
        problem = f"expected the answer at character {start}, found it in several other places"
        raise RowError("answer_not_at_start", f"{problem}; count in Unicode code points from 0")
    return place


def split_by_group(groups: Sequence[str], seed: int, share: float = SHARE) -> set[int]:
    """Return the indices of the rows that are set aside: whole groups, chosen by the seed, up to a share of the rows.

    If every group is larger than that, the smallest group is set aside. A single group stays.
    """
    rows: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        rows.setdefault(group, []).append(index)
    if len(rows) < 2:
        return set()
    shuffled = list(rows.values())
    random.Random(seed).shuffle(shuffled)
    chosen: set[int] = set()
    for group in shuffled:
        if len(chosen) + len(group) <= len(groups) * share:
            chosen.update(group)
    return chosen or set(min(shuffled, key=len))
