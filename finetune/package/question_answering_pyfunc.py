"""A question-answering model as MLflow's python_function.

This file is copied into the model folder, so it imports nothing of this project. MLflow would load the model with a pipeline of
transformers, which version 5 does not have for this task. Windows and scores are those of version 4
(src/transformers/pipelines/question_answering.py there), and of score.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

MAX_SEQ_LEN = 384
DOC_STRIDE = 128
MAX_ANSWER_LENGTH = 15
CANDIDATES = 12
"""Spans that are looked at in each window: several of them may be the same words."""


class Reader:
    """A model that finds the answer to a question in a text."""

    def __init__(self, folder: str | Path) -> None:
        """Load a Hugging Face checkpoint; raises OSError or ValueError if the folder is not one."""
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer a frame of the columns question and context: answer, score, start and end (characters of context)."""
        options = params or {}
        rows = zip(data["question"], data["context"], strict=True)
        answers = [self.answer(question, context, **options) for question, context in rows]
        return pd.DataFrame(answers, columns=["answer", "score", "start", "end"])

    def answer(
        self,
        question: str,
        context: str,
        max_answer_length: int = MAX_ANSWER_LENGTH,
        max_seq_len: int | None = None,
        doc_stride: int | None = None,
    ) -> dict[str, Any]:
        """Return the best answer; lengths are in tokens, and windows are those of serving.answering.question_answering.

        Raises ValueError if the question leaves no room for the context, or if a text has no word.
        """
        length = max_seq_len or min(MAX_SEQ_LEN, self.model.config.max_position_embeddings)
        stride = min(DOC_STRIDE, length // 2) if doc_stride is None else doc_stride
        room = length - len(self.tokenizer(question, add_special_tokens=False)["input_ids"]) - 3
        if not question.strip() or not context.strip() or room <= 0:
            raise ValueError(f"expected a context, and a question of 1 to {length - 4} tokens, found another")
        scores: dict[str, float] = {}
        places: dict[str, tuple[int, int]] = {}
        windows = list(self._windows(question, context, length, min(stride, room - 1)))
        if len(windows) > 1 and room <= stride:
            expected = f"expected a question that leaves more than the {stride} tokens of doc_stride for the context"
            raise ValueError(f"{expected}, found {room} left of {length}; shorten the question")
        for encoding, starts, ends in windows:
            for first, last, score in _best_spans(starts, ends, max_answer_length):
                place = (
                    encoding.word_to_chars(encoding.token_to_word(first), 1)[0],
                    encoding.word_to_chars(encoding.token_to_word(last), 1)[1],
                )
                same = context[slice(*place)].lower()
                places.setdefault(same, place)
                scores[same] = scores.get(same, 0.0) + score
        if not scores:
            raise ValueError("expected a context with a word, found none")
        best = max(scores, key=lambda same: scores[same])
        start, end = places[best]
        return {"answer": context[start:end], "score": scores[best], "start": start, "end": end}

    def _windows(
        self, question: str, context: str, length: int, stride: int
    ) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Yield each window's encoding and, for its tokens, the probabilities that the answer starts and ends there."""
        encoded = self.tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=length,
            stride=stride,
            return_overflowing_tokens=True,
            padding=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = self.model(**{name: encoded[name] for name in self.tokenizer.model_input_names})
        for index, encoding in enumerate(encoded.encodings):
            outside = np.array([sequence != 1 for sequence in encoding.sequence_ids])
            outside[0] = False  # [CLS] takes the probability of "no answer in this window"
            both = []
            for logits in (output.start_logits[index].numpy(), output.end_logits[index].numpy()):
                masked = np.where(outside, -10000.0, logits)
                shares = np.exp(masked - masked.max())
                both.append(shares / shares.sum())
                both[-1][0] = 0
            yield encoding, both[0], both[1]


def _best_spans(starts: np.ndarray, ends: np.ndarray, longest: int) -> Iterator[tuple[int, int, float]]:
    """Yield first token, last token and score of the best spans, best first."""
    scores = np.tril(np.triu(np.outer(starts, ends)), longest - 1)
    for place in np.argsort(-scores.ravel(), kind="stable")[:CANDIDATES]:
        first, last = (int(index) for index in np.unravel_index(place, scores.shape))
        if scores[first, last] > 0:
            yield first, last, float(scores[first, last])


def _load_pyfunc(path: str) -> Reader:
    """Load a model folder; MLflow calls it."""
    return Reader(path)
