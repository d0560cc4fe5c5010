"""Predict masked words: each row's best words, and what the model says of the word that was there."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from evaluation.predict.likelihood import LabelHead, MaskScore, Pll, likelihoods_of_scorable
from evaluation.predict.predictor import Columns, Predicted, is_unicode, short, unusable_text
from serving.engine.engine import Engine, OpenFolder, open_engine
from serving.model.tokenizer import EncodedText, MaskTokenizer, Passage
from serving.settings import Settings
from tables.rows import PRINTED_MESSAGE, Reject, Row, is_printed, is_texts, read_cell

WORDS_KEPT = 1 << 16
"""Words whose word pieces and normalized form are kept: the same ones come again and again."""


@dataclass(frozen=True)
class _Asked:
    """A row that can be scored: its text encoded, and for each mask its label and the label's token ids."""

    row: Row
    text: str
    encoded: EncodedText
    labels: list[str]
    pieces: list[list[int]]


class FillMaskPredictor:
    """A masked-language model that says of each row's masks what stands in them.

    Texts longer than the model are read in windows around their masks, as serving reads them (serving.model.tokenizer).
    """

    long_name = "windowed_rows"

    def __init__(
        self, tokenizer: MaskTokenizer, engine: Engine[list[MaskScore]], columns: Columns, likelihood_rows: int = 0
    ) -> None:
        """Put the parts together; the first `likelihood_rows` rows get their text's likelihood too."""
        self.long_rows = 0
        self.likelihood_seconds = 0.0
        self._tokenizer = tokenizer
        self._engine = engine
        self._text, self._label = columns.inputs[0], columns.label
        self._likelihood_rows = likelihood_rows
        self._pieces = functools.lru_cache(WORDS_KEPT)(tokenizer.pieces)
        self._normalized = functools.lru_cache(WORDS_KEPT)(tokenizer.normalize)
        self._token = functools.cache(tokenizer.token)

    @classmethod
    def open(
        cls, opened: OpenFolder, settings: Settings, columns: Columns, best: int, likelihood_rows: int = 0
    ) -> Self:
        """Open a model folder with so many `best` words a mask; raises ModelFolderError."""
        vocab_size = opened.config.vocab_size
        tokenizer = MaskTokenizer(opened.parts.tokenizer, vocab_size, opened.config.max_positions)
        engine = open_engine(opened, LabelHead(vocab_size, best), tokenizer.pad_id, None, settings)
        return cls(tokenizer, engine, columns, likelihood_rows)

    def predict(self, rows: Sequence[Row]) -> list[Predicted | Reject]:
        """Return what is said of each row, in their order; a row that cannot be scored is a Reject."""
        unusable = [unusable_text(row, [self._text]) for row in rows]
        usable = [row for row, reject in zip(rows, unusable, strict=True) if reject is None]
        encoded = iter(self._tokenizer.encode([row.values[self._text] for row in usable]))
        checked = [reject or self._asked(row, next(encoded)) for row, reject in zip(rows, unusable, strict=True)]
        asked = [row for row in checked if isinstance(row, _Asked)]
        self.long_rows += sum(len(row.encoded.ids) > self._tokenizer.window for row in asked)
        predicted = iter(self._predicted(asked))
        return [next(predicted) if isinstance(row, _Asked) else row for row in checked]

    def _asked(self, row: Row, encoded: EncodedText) -> _Asked | Reject:
        found = len(encoded.masks)
        if not found:
            message = f"expected {self._tokenizer.mask_token} in {self._text}, found none; put it in the word's place"
            return row.reject("missing_mask", message)
        label = read_cell(row.values[self._label], is_texts)
        labels = None if is_printed(label) else _labels(label)
        if labels is None:
            expected = f"expected {self._label} to be {'a word' if found == 1 else f'a list of {found} words'}"
            what = PRINTED_MESSAGE if is_printed(label) else "found something else"
            return row.reject("invalid_label", f"{expected}, {what}")
        if len(labels) != found:
            message = f"expected as many words in {self._label} as masks, found {len(labels)} for {found}"
            return row.reject("wrong_number_of_labels", message)
        pieces = [self._pieces(label) for label in labels]
        spelled = [ids for ids in pieces if ids is not None]
        if len(spelled) < found:
            message = f"expected {self._label} in the characters of the model's vocabulary, found others"
            return row.reject("unknown_label", message)
        return _Asked(row, row.values[self._text], encoded, labels, spelled)

    def _predicted(self, asked: Sequence[_Asked]) -> Iterator[Predicted]:
        passages = [self._passages(row) for row in asked]
        flat = [passage for of_row in passages for passage in of_row]
        scores = iter(self._engine.run(flat))
        likelihoods = self._next_likelihoods(asked)
        for row, of_row in zip(asked, passages, strict=True):
            masks = list(itertools.chain.from_iterable(itertools.islice(scores, len(of_row))))
            yield self._record(row, masks, next(likelihoods, None))

    def _passages(self, row: _Asked) -> list[Passage]:
        """Return the text's windows, with each mask's label, then a passage for each piece of a label of several."""
        labels = iter([pieces[0] if len(pieces) == 1 else 0 for pieces in row.pieces])
        windows = self._tokenizer.passages(row.encoded.ids, row.encoded.masks)
        whole = [replace(window, targets=list(itertools.islice(labels, len(window.masks)))) for window in windows]
        return whole + [
            self._tokenizer.spelled(row.encoded.ids, mask, pieces, piece)
            for mask, pieces in zip(row.encoded.masks, row.pieces, strict=True)
            if len(pieces) > 1
            for piece in range(len(pieces))
        ]

    def _record(self, row: _Asked, scores: list[MaskScore], likelihood: Pll | None) -> Predicted:
        count = len(row.labels)
        pieces = iter(scores[count:])
        tops, rights, masks = [], [], []
        for label, ids, span, mask in zip(row.labels, row.pieces, row.encoded.spans, scores[:count], strict=True):
            whole = len(ids) == 1
            # Of a long word it is less than the smallest number that its probability can be.
            logarithm = mask.log_probability if whole else sum(next(pieces).log_probability for _ in ids)
            words = [self._token(token) for token in mask.tokens]
            tops.append([[word, short(share)] for word, share in zip(words, mask.probabilities, strict=True)])
            rights.append([self._normalized(word) == self._normalized(label) for word in words])
            masks.append(
                {
                    "label_probability": short(math.exp(logarithm)),
                    "label_log_probability": short(logarithm),
                    "label_rank": mask.rank if whole else None,
                    "label_pieces": len(ids),
                    "best_probability": tops[-1][0][1],
                    "found": rights[-1][0],
                    "exact": label == words[0],
                    **_place(row.text, span[0]),
                }
            )
        best = [top[0][0] for top in tops]
        alone = count == 1
        listed = {"top": tops[0], "right": rights[0]} if alone else {"top": tops, "right": rights}
        return Predicted(
            {self._label: row.labels[0] if alone else row.labels},
            {"predictions": best[0] if alone else best, **row.row.place, "input_string": row.text, **listed},
            {**row.row.place, "masks": masks, **_likelihood(likelihood)},
        )

    def _next_likelihoods(self, asked: Sequence[_Asked]) -> Iterator[Pll | None]:
        wanted = asked[: self._likelihood_rows]
        self._likelihood_rows -= len(wanted)
        if not wanted:
            return iter(())
        start = time.perf_counter()
        texts = [filled(row.text, row.encoded.spans, row.labels) for row in wanted]
        found = likelihoods_of_scorable(self._tokenizer, self._engine, texts)
        self.likelihood_seconds += time.perf_counter() - start
        return iter(found)


def filled(text: str, spans: Sequence[tuple[int, int]], words: Sequence[str]) -> str:
    """Put words into a text, each in the place of the characters from `start` to `end` of its span.

    >>> filled("[MASK] is [MASK].", [(0, 6), (10, 16)], ["Paris", "big"])
    'Paris is big.'
    """
    for (start, end), word in reversed(list(zip(spans, words, strict=True))):
        text = text[:start] + word + text[end:]
    return text


def _labels(value: Any) -> list[str] | None:  # noqa: ANN401 - a value of the user's
    """Return the words of a label, as they are compared; None where it is neither a word nor a list of them."""
    words = value if isinstance(value, list) else [value]
    if not all(isinstance(word, str) and word.strip() and is_unicode(word) for word in words):
        return None
    return [word.strip() for word in words]


def _place(text: str, start: int) -> dict[str, int]:
    """Return which word of a text the mask at a character is, from 0, and of how many; blanks are between words."""
    before = len(text[:start].split())
    joined = start > 0 and not text[start - 1].isspace()
    return {"position": before - joined, "words": len(text.split())}


def _likelihood(found: Pll | None) -> dict[str, float | None]:
    if found is None:
        return {"pll": None, "pll_l2r": None, "pll_tokens": None, "pll_words": None}
    return {"pll": found.pll, "pll_l2r": found.pll_l2r, "pll_tokens": found.tokens, "pll_words": found.words}
