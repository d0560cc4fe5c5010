"""Questions to spans of the user's own text, as the pipeline of transformers 4 found them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from serving.answering.question_answering import Options, QuestionAnswering, best_spans
from serving.errors import BadRequest, TooLarge
from serving.settings import Settings

WHO = "Who sat?"
CONTEXT = "The cat sat on the warm mat and looked at moon number 1234."
LONG = "The bird looked at the dog, the red mouse and moon number 5678. The cat sat on the garden chair! " * 4

Answer = tuple[str, int, int]


@pytest.fixture(scope="module")
def model(sharp_reader: Path) -> QuestionAnswering:
    return QuestionAnswering.load(sharp_reader, "fp32")


class Pipeline:
    """The question-answering pipeline of transformers 4, its steps one after the other as it published them."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()

    def __call__(self, question: str, context: str, **options: Any) -> dict[Answer, float]:  # noqa: ANN401
        asked = Options(**options)
        length = asked.max_seq_len or 32
        encoded = self.tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=length,
            stride=min(length // 2, 128) if asked.doc_stride is None else asked.doc_stride,
            return_overflowing_tokens=True,
        )
        answers: list[dict[str, Any]] = []
        null = 1e6
        for encoding in encoded.encodings:
            start, end, empty = self.ends(encoding)
            null = min(null, empty)
            scores = np.tril(np.triu(np.outer(start, end)), asked.max_answer_length - 1)
            count = 2 * asked.top_k + 10 if asked.align_to_words else asked.top_k
            for place in np.argsort(-scores.ravel(), kind="stable")[:count]:
                first, last = (int(index) for index in np.unravel_index(place, scores.shape))
                if scores[first, last] > 0:
                    self.add(answers, encoding, context, first, last, float(scores[first, last]), asked.align_to_words)
        if asked.handle_impossible_answer:
            answers.append({"answer": "", "start": 0, "end": 0, "score": null})
        best = sorted(answers, key=lambda answer: -answer["score"])[: asked.top_k]
        return {(answer["answer"], answer["start"], answer["end"]): answer["score"] for answer in best}

    def ends(self, encoding: Any) -> tuple[np.ndarray, np.ndarray, float]:  # noqa: ANN401
        """Return the probabilities of starts and ends, nothing for [CLS], and that of no answer."""
        inputs = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask}
        if "token_type_ids" in self.tokenizer.model_input_names:
            inputs["token_type_ids"] = encoding.type_ids
        with torch.no_grad():
            output = self.model(**{name: torch.tensor([values]) for name, values in inputs.items()})
        undesired = np.array([sequence != 1 for sequence in encoding.sequence_ids])
        undesired[0] = False  # the pipeline keeps [CLS]
        both = []
        for logits in (output.start_logits[0].numpy(), output.end_logits[0].numpy()):
            masked = np.where(undesired, -10000.0, logits)
            chances = np.exp(masked - masked.max())
            both.append(chances / chances.sum())
        empty = float(both[0][0] * both[1][0])
        for chances in both:
            chances[0] = 0
        return both[0], both[1], empty

    @staticmethod
    def add(
        answers: list[dict[str, Any]],
        encoding: Any,  # noqa: ANN401
        context: str,
        first: int,
        last: int,
        score: float,
        align: bool,
    ) -> None:
        start, end = encoding.offsets[first][0], encoding.offsets[last][1]
        if align:
            start = encoding.word_to_chars(encoding.token_to_word(first), 1)[0]
            end = encoding.word_to_chars(encoding.token_to_word(last), 1)[1]
        text = context[start:end]
        same = next((answer for answer in answers if answer["answer"].lower() == text.lower()), None)
        if same:
            same["score"] += score
        else:
            answers.append({"answer": text, "start": start, "end": end, "score": score})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 7},
        {"top_k": 3, "max_answer_length": 1},
        {"top_k": 5, "max_answer_length": 4, "doc_stride": 3},
        {"top_k": 5, "doc_stride": 0, "max_seq_len": 20},
        {"top_k": 5, "align_to_words": False},
        {"top_k": 40, "handle_impossible_answer": True},
    ],
    ids=lambda options: "-".join(options) or "default",
)
@pytest.mark.parametrize(("architecture", "lowercase"), [("bert", True), ("bert", False), ("distilbert", True)])
def test_answers_equal_those_of_transformers_4s_pipeline(
    make_checkpoint: Callable[..., Path], architecture: str, lowercase: bool, options: dict[str, Any]
) -> None:
    task = "question-answering"
    folder = make_checkpoint(architecture=architecture, task=task, lowercase=lowercase, initializer_range=0.3)
    ours, theirs = QuestionAnswering.load(folder, "fp32"), Pipeline(folder)
    questions = [(WHO, CONTEXT), (WHO, LONG), ("What number?", LONG), ("Which?", "roof"), (WHO, "Été 12 ☃ moons, 34!")]
    for question, spans in zip(questions, ours.answer(questions, Options(**options)), strict=True):
        expected = theirs(*question, **options)
        np.testing.assert_allclose([span.score for span in spans], list(expected.values()), atol=1e-4)
        for span in spans:
            score = expected.get((span.answer, span.start, span.end))
            # Where two scores are as good as equal, either may be the last of the best.
            assert score is None or abs(score - span.score) < 1e-4
            assert score is not None or abs(span.score - spans[-1].score) < 1e-4


def test_questions_share_batches_and_keep_their_order(model: QuestionAnswering) -> None:
    questions = [(WHO, LONG), (WHO, CONTEXT), ("Where?", "a mat"), (WHO, LONG[5:]), (WHO, CONTEXT)]
    together = model.answer(questions, Options(top_k=3))
    assert together.windowed == 2
    for question, spans in zip(questions, together, strict=True):
        (alone,) = model.answer([question], Options(top_k=3))
        assert [span.answer for span in spans] == [span.answer for span in alone]
        np.testing.assert_allclose([span.score for span in spans], [span.score for span in alone], atol=1e-5)


def test_every_part_of_a_long_context_can_be_the_answer(model: QuestionAnswering) -> None:
    words = [f"moon{n}" for n in range(60)]
    (spans,) = model.answer([("?", " ".join(words))], Options(top_k=1000, max_answer_length=8))
    assert {span.answer for span in spans} >= set(words)


WORDS = st.sampled_from(
    ["cat", "Moon", "été", "e\u0301te\u0301", "\U0001f33b", "\U0001f469\u200d\U0001f680", "月", "ß", "İ", "\u00a0"]
)
CONTEXTS = st.lists(WORDS | st.text(max_size=8), min_size=1, max_size=30).map(" ".join)


@given(context=CONTEXTS, top_k=st.integers(1, 5), align=st.booleans())
def test_offsets_give_back_the_answer_from_the_users_text(
    model: QuestionAnswering, context: str, top_k: int, align: bool
) -> None:
    try:
        (spans,) = model.answer([("Who?", context)], Options(top_k=top_k, align_to_words=align))
    except BadRequest as exc:
        assert exc.code == "empty_context"
        return
    assert 1 <= len(spans) <= top_k
    for span in spans:
        assert 0 <= span.start < span.end <= len(context)
        assert context[span.start : span.end] == span.answer
        assert not span.answer.isspace()


@given(
    starts=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12),
    max_length=st.integers(1, 15),
    count=st.integers(1, 200),
    data=st.data(),
)
def test_the_best_spans_are_those_of_all_pairs(
    starts: list[float], max_length: int, count: int, data: st.DataObject
) -> None:
    size = len(starts)
    ends = data.draw(st.lists(st.floats(0, 1, width=32), min_size=size, max_size=size))
    first, last = np.array(starts, np.float32), np.array(ends, np.float32)
    every = [(s, e) for s in range(size) for e in range(s, min(size, s + max_length))]
    expected = sorted((float(first[s] * last[e]) for s, e in every), reverse=True)[:count]
    found = best_spans(first, last, max_length, count)
    assert [score for _, _, score in found] == expected
    assert len({(s, e) for s, e, _ in found}) == len(found)
    assert all((s, e) in every and score == float(first[s] * last[e]) for s, e, score in found)


@pytest.mark.parametrize(
    ("question", "options", "code", "message"),
    [
        (("", CONTEXT), {}, "empty_question", "row 1 has no word in its question"),
        ((WHO, " \n"), {}, "empty_context", "row 1 has no word in its context"),
        (("cat " * 40, CONTEXT), {}, "question_too_long", "has 40 tokens, which leaves 0 of 32 for the context"),
        (("cat " * 20, CONTEXT), {}, "question_too_long", "leaves 9 .* more than the 16 of doc_stride"),
        ((WHO, LONG), {"doc_stride": 30}, "question_too_long", "more than the 30 of doc_stride"),
        ((WHO, CONTEXT), {"max_seq_len": 33}, "invalid_parameter", "max_seq_len to be at most 32, found 33"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_by_name(
    model: QuestionAnswering, question: tuple[str, str], options: dict[str, int], code: str, message: str
) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        model.answer([(WHO, "a cat"), question], Options(**options))
    assert caught.value.code == code
    assert caught.value.index == (None if code == "invalid_parameter" else 1)


def test_a_long_question_is_answered_where_the_context_fits_beside_it(model: QuestionAnswering) -> None:
    assert model.answer([("cat " * 25, "the warm mat")])[0][0].answer


@pytest.mark.parametrize(
    ("limits", "context", "top_k", "code"),
    [
        ({"max_passages": 5}, LONG, 1, "too_much_work"),
        ({"max_answer_bytes": 600}, CONTEXT, 10, "answer_too_large"),
        ({"max_answer_bytes": 1000}, "x" * 900, 1, "answer_too_large"),
    ],
)
def test_a_request_over_a_limit_is_refused_by_name(
    sharp_reader: Path, limits: dict[str, int], context: str, top_k: int, code: str
) -> None:
    model = QuestionAnswering.load(sharp_reader, "fp32", Settings(**limits))
    with pytest.raises(TooLarge) as caught:
        model.answer([(WHO, context)] * 2, Options(top_k=top_k))
    assert caught.value.code == code


def test_int8_finds_answers_as_good_as_fp32s(sharp_reader: Path, lines: list[str]) -> None:
    questions = [("Who sat?", line) for line in lines]
    two = Options(top_k=2)
    fp32, int8 = (QuestionAnswering.load(sharp_reader, name).answer(questions, two) for name in ("fp32", "int8"))
    clear = [(a[0].answer, b[0].answer) for a, b in zip(fp32, int8, strict=True) if a[0].score > 2 * a[1].score]
    assert len(clear) > 50
    assert np.mean([a == b for a, b in clear]) >= 0.97


def test_nothing_asked_is_nothing_answered(model: QuestionAnswering) -> None:
    assert model.answer([]) == []


def test_refusals_are_what_answer_raises_for_each_row_alone(model: QuestionAnswering) -> None:
    rows = [(WHO, CONTEXT), ("", CONTEXT), (WHO, ""), ("who " * 40, CONTEXT), (WHO, LONG)]
    refused = model.refusals(rows, row_name="input {}".format)
    for index, row in enumerate(rows):
        if index in refused:
            with pytest.raises(BadRequest) as raised:
                model.answer([row], row_name=lambda _, index=index: f"input {index}")
            found = refused[index]
            assert (found.code, str(found), found.index) == (raised.value.code, str(raised.value), index)
        else:
            assert model.answer([row])[0]
    assert {index: error.code for index, error in refused.items()} == {
        1: "empty_question",
        2: "empty_context",
        3: "question_too_long",
    }
    with pytest.raises(BadRequest, match="expected max_seq_len to be at most 32"):
        model.refusals(rows, Options(max_seq_len=64))
