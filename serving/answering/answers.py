"""The answer of each task, in the shape that the request's client reads (serving.requests.schema.DIALECTS)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.answering.fill_mask import CANDIDATE_BYTES, Candidate, Filled
from serving.answering.question_answering import Answers, Options, Span
from serving.answering.text_classification import Classified
from serving.requests.call import check_answer
from serving.requests.rows import Json
from serving.requests.schema import Request
from serving.settings import Settings

CANDIDATES = 5
"""Candidates a mask that Hugging Face's clients expect without asking."""


def candidates_wanted(request: Request) -> int:
    """Return how many candidates a mask the answer needs."""
    asked = request.parameters
    if "top_k" in asked:
        return int(asked["top_k"])
    if "targets" in asked:
        return len(asked["targets"])
    return CANDIDATES if request.dialect.full else 1


def labels_wanted(request: Request) -> int | None:
    """Return how many labels a text the answer needs; None for all."""
    wanted: int | None = request.parameters.get("top_k", None if request.dialect.full else 1)
    return wanted


def filled_answer(request: Request, filled: Filled, settings: Settings) -> Json:
    """Answer with a word a mask, or candidates; raises TooLarge where their texts make it too long."""
    plain = not request.parameters and not request.dialect.full
    if not plain:
        counts = (sum(map(len, masks)) for masks in filled)
        sizes = (len(text) + CANDIDATE_BYTES for text in request.texts)
        check_answer(sum(count * size for count, size in zip(counts, sizes, strict=True)), settings)
    rows = []
    for masks in filled:
        answers: list[Json] = [found[0].token_str if plain else [_candidate(word) for word in found] for found in masks]
        rows.append(answers[0] if len(answers) == 1 else answers)
    return _shaped(request, rows)


def classified_answer(request: Request, classified: Classified) -> Json:
    """Answer with the best label of each text, or a list of labels where `top_k` is given or the client expects all."""
    lists = request.dialect.full or "top_k" in request.parameters
    rows = [[{"label": found.label, "score": found.score} for found in labels] for labels in classified]
    if request.dialect.full:
        return rows  # Hugging Face's client looks for a list of lists even where it sent one text
    return _shaped(request, rows if lists else [labels[0] for labels in rows])


def options(request: Request) -> Options:
    """Return the options of a question-answering request."""
    return Options(**request.parameters)


def found_answer(request: Request, answers: Answers) -> Json:
    """Answer with the best span of each row, or a list where `top_k` is given; to Hugging Face's clients, above 1."""
    asked = request.parameters.get("top_k", 0)
    lists = asked > 1 if request.dialect.full else asked > 0
    return _shaped(request, [[_span(span) for span in row] if lists else _span(row[0]) for row in answers])


def _shaped(request: Request, rows: Sequence[Json]) -> Json:
    answer = rows[0] if request.alone else rows
    return {"predictions": answer} if request.dialect.predictions else answer


def _candidate(word: Candidate) -> dict[str, Any]:
    return {"token_str": word.token_str, "token": word.token, "score": word.score, "sequence": word.sequence}


def _span(span: Span) -> dict[str, Any]:
    return {"answer": span.answer, "score": span.score, "start": span.start, "end": span.end}
