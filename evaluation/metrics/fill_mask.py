"""Fill-mask: the figures of an evaluation from rows with one or several masks."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.config import EvaluationConfig
from evaluation.errors import Part, RowError
from evaluation.metrics.bootstrap import apart
from evaluation.metrics.calibration import reliability
from evaluation.metrics.figures import NO_PROBABILITIES, Cut, Figures, TaskMetrics, histogram, measure
from evaluation.metrics.masked_words import LEAST, METRICS, PSEUDO_METRICS, Judged, Masks, Texts, accuracy_at_1
from evaluation.metrics.rows import Columns, Examples, Row, are_candidates, number, shown
from evaluation.metrics.slices import (
    MASK_POSITION,
    RARE,
    SENTENCE_LENGTH,
    SENTENCE_WORDS,
    WORD_FREQUENCY,
    frequency_band,
    length_band,
    position_band,
)

PROBABILITIES: Part = "prediction_probabilities"
MANY = 2**31
"""More than any rank, number of words or number of pieces."""


class FillMask:
    """The tally of fill-mask."""

    def __init__(self, config: EvaluationConfig) -> None:
        """Start without rows."""
        self._config = config
        self._starts = array("q", [0])
        self._spelled = Columns(exact=bool, exact_five=bool)
        self._judged = Columns(
            found=bool,
            rank=int,
            pieces=int,
            label_probability=float,
            label_log_probability=float,
            best_probability=float,
            frequency=bool,
            length=bool,
            position=bool,
        )
        self._texts = Columns(pll=float, pll_l2r=float, tokens=float)
        self._best, self._worst = Examples(), Examples()

    def add(self, row: Row) -> None:
        """Add a row; raises RowError."""
        labels, predicted = _words("ground_truth", row.truth), _words("prediction", row.predicted)
        _check_count("prediction", "words", len(predicted), len(labels))
        tops = _tops(row.prediction.get("top"), len(labels))
        rights = _rights(row.prediction.get("right"), tops)
        masks = [] if row.probabilities is None else _masks(row.probabilities)
        if row.probabilities is not None:
            _check_count(PROBABILITIES, "masks", len(masks), len(labels))
            self._add_text(row.probabilities)
        for index, label in enumerate(labels):
            exact = masks[index]["exact"] if masks else label == predicted[index]
            self._spelled.append(exact=exact, exact_five=_among_five(label, tops[index]))
            if masks:
                self._add_mask(masks[index], label)
                example = {"expected": label, "predicted": predicted[index], "top": tops[index]}
                details: dict[str, Any] = {"mask": index + 1} if len(labels) > 1 else {}
                if rights is not None:
                    details["right"] = rights[index]
                text = row.prediction.get("input_string") or ""
                self._offer(masks[index], {**row.place, "input": text, **example, **details})
        self._starts.append(self._starts[-1] + len(labels))

    def _add_mask(self, mask: Mapping[str, Any], label: str) -> None:
        words = int(number(PROBABILITIES, mask, "words", 1, MANY))
        position = int(number(PROBABILITIES, mask, "position", 0, words - 1))
        several = mask.get("label_rank") is None
        self._judged.append(
            found=mask["found"],
            rank=0 if several else int(number(PROBABILITIES, mask, "label_rank", 1, MANY)),
            pieces=int(number(PROBABILITIES, mask, "label_pieces", 1, MANY)),
            label_probability=number(PROBABILITIES, mask, "label_probability"),
            label_log_probability=_log_probability(mask),
            best_probability=number(PROBABILITIES, mask, "best_probability"),
            frequency=frequency_band(label),
            length=length_band(words, SENTENCE_WORDS),
            position=position_band(position, words),
        )

    def _add_text(self, probabilities: Mapping[str, Any]) -> None:
        if probabilities.get("pll") is not None:
            self._texts.append(
                pll=number(PROBABILITIES, probabilities, "pll", -np.inf, 0),
                pll_l2r=number(PROBABILITIES, probabilities, "pll_l2r", -np.inf, 0),
                tokens=number(PROBABILITIES, probabilities, "pll_tokens", 1, MANY),
            )

    def _offer(self, mask: Mapping[str, Any], example: dict[str, Any]) -> None:
        """Keep the best examples, rare words first, and the worst, those first of which the model was surest."""
        if mask["found"]:
            band = frequency_band(example["expected"])
            score = mask["label_probability"]
            self._best.offer((float(band if band <= RARE else 0), score), {**example, "score": score})
        else:
            score = mask["best_probability"]
            self._worst.offer((score,), {**example, "score": score})

    def figures(self) -> Figures:
        """Return the figures of at least one row."""
        figures = Figures(data={"masks": self._starts[-1]})
        judged = Judged(**{name: self._judged[name] for name in self._judged.names}) if len(self._judged) else None
        masks = Masks(self._spelled["exact"], self._spelled["exact_five"], self._config.ece_bins, judged)
        measure(figures, METRICS, self._cuts(judged), masks, self._config, np.array(self._starts))
        texts = Texts(**{name: self._texts[name] for name in self._texts.names})
        measure(figures, PSEUDO_METRICS, [], texts, self._config, apart(len(self._texts)))
        if judged is None:
            for name in ("slices", "plots", "examples"):
                figures.leave_out(name, NO_PROBABILITIES)
            return figures
        several = int(np.count_nonzero(judged.pieces > 1))
        figures.data |= {"one_piece_masks": self._starts[-1] - several, "several_pieces_masks": several}
        figures.plots = {
            "reliability": {"bins": reliability(judged.best_probability, judged.found, self._config.ece_bins)},
            "histogram": histogram("probability of the masked word", judged.label_probability),
        }
        figures.examples = {"best": self._best.rows(), "worst": self._worst.rows()}
        return figures

    def _cuts(self, judged: Judged | None) -> list[Cut]:
        if judged is None:
            return []
        bands = (WORD_FREQUENCY, judged.frequency), (SENTENCE_LENGTH, judged.length), (MASK_POSITION, judged.position)
        return [Cut(kind, index, accuracy_at_1, judged.found) for kind, index in bands]


def _words(part: Part, value: object) -> list[str]:
    """Return a word as a list of one word, and a list of words unchanged; raises RowError for anything else."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise RowError(part, f"expected a word, or a list of words if there are several masks, found {shown(value)}")
    return words


def _tops(value: object, masks: int) -> list[list[Any]]:
    """Return the best words of each mask, [["capital", 0.61], …]; an empty list for each if the line has none."""
    tops = [[]] * masks if value is None else [value] if masks == 1 else value
    if not isinstance(tops, list) or len(tops) != masks or not all(map(are_candidates, tops)):
        raise RowError(
            "prediction", f"expected 'top' to be [[word, probability], …] for each mask, found {shown(value)}"
        )
    return tops


def _rights(value: object, tops: list[list[Any]]) -> list[list[bool]] | None:
    """Return which of the best words of each mask equal the label; None if the line does not say."""
    if value is None:
        return None
    rights = [value] if len(tops) == 1 else value
    if not isinstance(rights, list) or len(rights) != len(tops) or not all(map(_has_a_flag_for_each, rights, tops)):
        expected = "expected 'right' to be true or false for each word of 'top', in a list for each mask"
        raise RowError("prediction", f"{expected}, found {shown(value)}")
    return rights


def _has_a_flag_for_each(flags: object, top: list[Any]) -> bool:
    return isinstance(flags, list) and len(flags) == len(top) and all(isinstance(flag, bool) for flag in flags)


def _among_five(label: str, top: list[Any]) -> int:
    """Return 1 if a word is among the five best, 0 if not, and -1 if fewer than five are known."""
    among = label in (word for word, _ in top[:5])
    return int(among) if among or len(top) >= 5 else -1


def _masks(probabilities: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    masks = probabilities.get("masks")
    if not isinstance(masks, list) or not all(isinstance(mask, dict) for mask in masks):
        raise RowError(PROBABILITIES, f"expected 'masks' to be a list of objects, found {shown(masks)}")
    for mask in masks:
        if not isinstance(mask.get("found"), bool) or not isinstance(mask.get("exact"), bool):
            raise RowError(PROBABILITIES, f"expected 'found' and 'exact' to be true or false, found {shown(mask)}")
    return masks


def _log_probability(mask: Mapping[str, Any]) -> float:
    """Return the natural logarithm of the label's probability from the line, else computed from the probability.

    The probability of a word of many pieces can be too small for a float, and its logarithm is still exact.
    """
    if mask.get("label_log_probability") is not None:
        return number(PROBABILITIES, mask, "label_log_probability", -math.inf, 0)
    return math.log(max(number(PROBABILITIES, mask, "label_probability"), LEAST))


def _check_count(part: Part, noun: str, count: int, expected: int) -> None:
    if count != expected:
        raise RowError(part, f"expected {expected} {noun}, as many as in ground_truth, found {count}")


TASK_METRICS = TaskMetrics(FillMask)
