"""Predict masked words: the best words of each row, and the probability and rank of the word that was there."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.config import EvaluationConfig
from evaluation.predict.likelihood import LabelHead, MaskScore, Pll, pseudo_log_likelihoods
from evaluation.predict.predictor import Columns, Predicted, Prediction, is_unicode, short, unusable_text
from serving.engine.engine import Engine, OpenFolder, open_engine
from serving.model.tokenizer import EncodedText, MaskTokenizer, Passage
from serving.settings import Settings
from tables.rows import PRINTED_MESSAGE, Reject, Row, is_printed, is_texts, read_cell

WORDS_KEPT = 1 << 16
"""Words whose pieces and normalized form are kept, since the same words come again and again."""


@dataclass(frozen=True)
class _Query:
    """A row that can be scored: its encoded text, and for each mask its label and the label's token ids."""

    row: Row
    text: str
    encoded: EncodedText
    labels: list[str]
    pieces: list[list[int]]


class FillMaskPredictor:
    """A masked-language model that predicts the word at each mask of a row.

    Texts longer than the model are read in windows around their masks, as serving reads them (serving.model.tokenizer).
    """

    long_name = "windowed_rows"

    def __init__(
        self, tokenizer: MaskTokenizer, engine: Engine[list[MaskScore]], columns: Columns, likelihood_rows: int = 0
    ) -> None:
        """Put the parts together; the first `likelihood_rows` rows also get the likelihood of their text."""
        self.long_rows = 0
        self.likelihood_seconds = 0.0
        self._tokenizer = tokenizer
        self._engine = engine
        self._text, self._label = columns.inputs[0], columns.label
        self._likelihood_rows = likelihood_rows
        self._pieces = functools.lru_cache(WORDS_KEPT)(tokenizer.pieces)
        self._normalized = functools.lru_cache(WORDS_KEPT)(tokenizer.normalize)
        self._token = functools.cache(tokenizer.token)

    def predict(self, rows: Sequence[Row]) -> list[Predicted | Reject]:
        """Return the prediction of each row, in order; a row that cannot be used becomes a Reject."""
        unusable = [unusable_text(row, [self._text]) for row in rows]
        usable = [row for row, reject in zip(rows, unusable, strict=True) if reject is None]
        encoded = iter(self._tokenizer.encode([row.values[self._text] for row in usable]))
        checked = [reject or self._query(row, next(encoded)) for row, reject in zip(rows, unusable, strict=True)]
        queries = [row for row in checked if isinstance(row, _Query)]
        self.long_rows += sum(len(query.encoded.ids) > self._tokenizer.window for query in queries)
        predicted = iter(self._predicted(queries))
        return [next(predicted) if isinstance(row, _Query) else row for row in checked]

    def _query(self, row: Row, encoded: EncodedText) -> _Query | Reject:
        masks = len(encoded.masks)
        if not masks:
            message = f"expected {self._tokenizer.mask_token} in {self._text}, found none; put it in the word's place"
            return row.reject("missing_mask", message)
        label = read_cell(row.values[self._label], is_texts)
        labels = None if is_printed(label) else _labels(label)
        if labels is None:
            expected = f"expected {self._label} to be {'a word' if masks == 1 else f'a list of {masks} words'}"
            problem = PRINTED_MESSAGE if is_printed(label) else "found something else"
            return row.reject("invalid_label", f"{expected}, {problem}")
        if len(labels) != masks:
            message = f"expected as many words in {self._label} as masks, found {len(labels)} for {masks}"
            return row.reject("wrong_number_of_labels", message)
        pieces = [self._pieces(label) for label in labels]
        spelled = [ids for ids in pieces if ids is not None]
        if len(spelled) < masks:
            message = f"expected {self._label} in the characters of the model's vocabulary, found others"
            return row.reject("unknown_label", message)
        return _Query(row, row.values[self._text], encoded, labels, spelled)

    def _predicted(self, queries: Sequence[_Query]) -> Iterator[Predicted]:
        passages = [self._passages(query) for query in queries]
        scores = iter(self._engine.run(list(itertools.chain.from_iterable(passages))))
        likelihoods = self._next_likelihoods(queries)
        for query, query_passages in zip(queries, passages, strict=True):
            masks = list(itertools.chain.from_iterable(itertools.islice(scores, len(query_passages))))
            yield self._record(query, masks, next(likelihoods, None))

    def _passages(self, row: _Query) -> list[Passage]:
        """Return the text's windows, with the label of each mask, then a passage for each piece of a longer label."""
        labels = iter([pieces[0] if len(pieces) == 1 else 0 for pieces in row.pieces])
        windows = self._tokenizer.passages(row.encoded.ids, row.encoded.masks)
        whole = [replace(window, targets=list(itertools.islice(labels, len(window.masks)))) for window in windows]
        return whole + [
            self._tokenizer.spelled(row.encoded.ids, mask, pieces, piece)
            for mask, pieces in zip(row.encoded.masks, row.pieces, strict=True)
            if len(pieces) > 1
            for piece in range(len(pieces))
        ]

    def _record(self, row: _Query, scores: list[MaskScore], likelihood: Pll | None) -> Predicted:
        count = len(row.labels)
        pieces = iter(scores[count:])
        tops, rights, masks = [], [], []
        for label, ids, span, score in zip(row.labels, row.pieces, row.encoded.spans, scores[:count], strict=True):
            whole = len(ids) == 1
            logarithm = score.log_probability if whole else sum(next(pieces).log_probability for _ in ids)
            words = [self._token(token) for token in score.tokens]
            top = [[word, short(share)] for word, share in zip(words, score.probabilities, strict=True)]
            right = [self._normalized(word) == self._normalized(label) for word in words]
            about_label = _about_label(logarithm, score.rank if whole else None, len(ids))
            about_best = {"best_probability": top[0][1], "found": right[0], "exact": label == words[0]}
            masks.append({**about_label, **about_best, **_place(row.text, span[0])})
            tops.append(top)
            rights.append(right)
        best = [top[0][0] for top in tops]
        alone = count == 1
        listed = {"top": tops[0], "right": rights[0]} if alone else {"top": tops, "right": rights}
        return Predicted(
            {self._label: row.labels[0] if alone else row.labels},
            {"predictions": best[0] if alone else best, **row.row.place, "input_string": row.text, **listed},
            {**row.row.place, "masks": masks, **_likelihood(likelihood)},
        )

    def _next_likelihoods(self, queries: Sequence[_Query]) -> Iterator[Pll | None]:
        scored = queries[: self._likelihood_rows]
        self._likelihood_rows -= len(scored)
        if not scored:
            return iter(())
        start = time.perf_counter()
        texts = [filled(query.text, query.encoded.spans, query.labels) for query in scored]
        likelihoods = pseudo_log_likelihoods(self._tokenizer, self._engine, texts)
        self.likelihood_seconds += time.perf_counter() - start
        return iter(likelihoods)


def filled(text: str, spans: Sequence[tuple[int, int]], words: Sequence[str]) -> str:
    """Put words into a text, each in place of the characters from `start` to `end` of its span.

    >>> filled("[MASK] is [MASK].", [(0, 6), (10, 16)], ["Paris", "big"])
    'Paris is big.'
    """
    for (start, end), word in reversed(list(zip(spans, words, strict=True))):
        text = text[:start] + word + text[end:]
    return text


def _labels(value: Any) -> list[str] | None:  # noqa: ANN401 - a value of the user's
    """Return the words of a label without surrounding blanks; None if it is neither a word nor a list of words."""
    words = value if isinstance(value, list) else [value]
    if not all(isinstance(word, str) and word.strip() and is_unicode(word) for word in words):
        return None
    return [word.strip() for word in words]


def _about_label(logarithm: float, rank: int | None, pieces: int) -> dict[str, float | int | None]:
    """Return the figures of a mask's label.

    The logarithm is kept beside the probability, which is 0 in floating point for a word of many pieces.
    """
    return {
        "label_probability": short(math.exp(logarithm)),
        "label_log_probability": short(logarithm),
        "label_rank": rank,
        "label_pieces": pieces,
    }


def _place(text: str, start: int) -> dict[str, int]:
    """Return the index, from 0, of the word of a mask that starts at a character, and how many words the text has."""
    before = len(text[:start].split())
    joined = start > 0 and not text[start - 1].isspace()
    return {"position": before - joined, "words": len(text.split())}


def _likelihood(pll: Pll | None) -> dict[str, float | None]:
    if pll is None:
        return {"pll": None, "pll_l2r": None, "pll_tokens": None, "pll_words": None}
    return {"pll": pll.pll, "pll_l2r": pll.pll_l2r, "pll_tokens": pll.tokens, "pll_words": pll.words}


def _open(
    folder: Path, opened: OpenFolder, settings: Settings, columns: Columns, config: EvaluationConfig
) -> FillMaskPredictor:
    vocab_size = opened.config.vocab_size
    tokenizer = MaskTokenizer(opened.parts.tokenizer, vocab_size, opened.config.max_positions)
    engine = open_engine(opened, LabelHead(vocab_size, config.top_k), tokenizer.pad_id, None, settings)
    likelihood_rows = config.pseudo_perplexity_rows if config.pseudo_perplexity else 0
    return FillMaskPredictor(tokenizer, engine, columns, likelihood_rows)


PREDICTION = Prediction(Columns(("input_string",), "title"), input_counts=(1,), open=_open)
