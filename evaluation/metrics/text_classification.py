"""Text classification: how often the best label is right, and how reliable its probability is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.config import EvaluationConfig
from evaluation.errors import LeftOut, Part, RowError
from evaluation.metrics.bootstrap import Estimate, Ratio, apart
from evaluation.metrics.calibration import ExpectedCalibrationError, reliability
from evaluation.metrics.confusion import Confusion
from evaluation.metrics.figures import NO_PROBABILITIES, Cut, Figures, TaskMetrics, measure, metric
from evaluation.metrics.rows import Columns, Examples, Row, number, shown
from evaluation.metrics.slices import TEXT_LENGTH, TEXT_WORDS, length_band

PROBABILITIES: Part = "prediction_probabilities"

MOST_LABELS = 1000
"""With more different labels, the column probably holds texts and not labels."""

SHOWN = 5
"""Labels listed in a message or an example."""


@dataclass(frozen=True)
class Texts:
    """What is known of the texts; `loss` and `confidence` are None without prediction_probabilities."""

    correct: npt.NDArray[Any]
    confusion: Confusion
    loss: npt.NDArray[Any] | None
    confidence: npt.NDArray[Any] | None
    config: EvaluationConfig


@metric("accuracy", "share", "higher", headline=True)
def accuracy(texts: Texts) -> Ratio:
    """Share of texts whose best label is the true one.

    Source: scikit-learn, accuracy_score.
    """
    return Ratio(texts.correct)


@metric("macro_f1", "share", "higher", headline=True)
def macro_f1(texts: Texts) -> Estimate:
    """Unweighted mean over the labels of the harmonic mean of precision and recall.

    A label counts if it is true or predicted for a text. Source: scikit-learn, f1_score with average="macro".
    """
    return texts.confusion.macro_f1(texts.config)


@metric("mcc", "number", "higher", headline=True)
def mcc(texts: Texts) -> Estimate:
    """Matthews' correlation of true and predicted labels: 1 for always right, 0 for no better than chance.

    Source: scikit-learn, matthews_corrcoef; J. Gorodkin (2004), "Comparing two K-category assignments by a K-category
    correlation coefficient", https://doi.org/10.1016/j.compbiolchem.2004.09.006.
    """
    return texts.confusion.mcc(texts.config)


@metric("log_loss", "nats", "lower", headline=True)
def log_loss(texts: Texts) -> Ratio:
    """Mean negative natural logarithm of the true label's probability; a probability of zero counts as 2.2e-16.

    Source: scikit-learn, log_loss.
    """
    if texts.loss is None:
        raise LeftOut(NO_PROBABILITIES)
    return Ratio(texts.loss)


@metric("expected_calibration_error", "share", "lower", headline=True)
def expected_calibration_error(texts: Texts) -> ExpectedCalibrationError:
    """Mean gap between the best label's probability and how often it is right, over bins of equal width.

    Source: M. P. Naeini et al. (2015), "Obtaining Well Calibrated Probabilities Using Bayesian Binning"; C. Guo et al.
    (2017), "On Calibration of Modern Neural Networks", https://proceedings.mlr.press/v70/guo17a.html.
    """
    if texts.confidence is None:
        raise LeftOut(NO_PROBABILITIES)
    return ExpectedCalibrationError(texts.confidence, texts.correct, texts.config.ece_bins)


METRICS = (accuracy, macro_f1, mcc, log_loss, expected_calibration_error)


class TextClassification:
    """The tally of text classification."""

    def __init__(self, config: EvaluationConfig) -> None:
        """Start without rows."""
        self._config = config
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._labels: dict[str, None] = {}
        self._texts = Columns(correct=bool, length=bool)
        self._likely = Columns(loss=float, confidence=float)
        self._without_text = False
        self._best, self._worst = Examples(), Examples()

    def add(self, row: Row) -> None:
        """Add a row; raises RowError."""
        true, predicted = _label("ground_truth", row.truth), _label("prediction", row.predicted)
        self._pairs[true, predicted] += 1
        text = row.prediction.get("text")
        self._without_text |= not isinstance(text, str)
        words = len(text.split()) if isinstance(text, str) else 0
        self._texts.append(correct=true == predicted, length=length_band(words, TEXT_WORDS))
        if row.probabilities is not None:
            self._add_probabilities(row, true, predicted)

    def _add_probabilities(self, row: Row, true: str, predicted: str) -> None:
        probabilities = _probabilities(row.probabilities or {})
        if predicted not in probabilities:
            known = list(probabilities)[:SHOWN]
            raise RowError(
                "prediction", f"expected a label that has a probability, of {known}, found {shown(predicted)}"
            )
        self._labels |= dict.fromkeys(probabilities)
        confidence = probabilities[predicted]
        likelihood = max(probabilities.get(true, 0.0), float(np.finfo(np.float64).eps))
        self._likely.append(loss=-np.log(likelihood), confidence=confidence)
        best = sorted(probabilities.items(), key=lambda item: -item[1])[:SHOWN]
        examples = self._best if true == predicted else self._worst
        examples.offer(
            (confidence,),
            {
                **row.place,
                "input": _input(row.prediction),
                "expected": true,
                "predicted": predicted,
                "top": [list(item) for item in best],
                "score": confidence,
            },
        )

    def figures(self) -> Figures:
        """Return the figures of at least one row; raises RowError if the labels cannot be compared."""
        labels = self._all_labels()
        confusion = Confusion.from_pairs(self._pairs, labels)
        likely = bool(len(self._likely))
        loss, confidence = (self._likely[name] if likely else None for name in ("loss", "confidence"))
        texts = Texts(self._texts["correct"], confusion, loss, confidence, self._config)
        figures = Figures()
        cuts = [] if self._without_text else [Cut(TEXT_LENGTH, self._texts["length"], accuracy, texts.correct)]
        measure(figures, METRICS, cuts, texts, self._config, apart(len(self._texts)))
        for label, recall in confusion.recalls(self._config).items():
            figures.add_slice("true label", label, accuracy.name, recall)
        figures.plots["confusion"] = {"labels": labels, "counts": confusion.matrix()}
        figures.examples = {"best": self._best.rows(), "worst": self._worst.rows()}
        if self._without_text:
            figures.leave_out(f"slices by {TEXT_LENGTH.by}", "takes the column 'text' in the predictions")
        if confidence is None:
            for name in ("reliability", "examples"):
                figures.leave_out(name, NO_PROBABILITIES)
        else:
            figures.plots["reliability"] = {"bins": reliability(confidence, texts.correct, self._config.ece_bins)}
        return figures

    def _all_labels(self) -> list[str]:
        """Return the labels of the model in its order, then other labels of the data."""
        true = {label for label, _ in self._pairs}
        if self._labels and not true & set(self._labels):
            some, known = sorted(true)[:SHOWN], list(self._labels)[:SHOWN]
            message = f"expected labels of the model, such as {known}, found only others, such as {some}; rename them"
            raise RowError("ground_truth", message)
        others = sorted((true | {label for _, label in self._pairs}) - set(self._labels))
        labels = [*self._labels, *others]
        if len(labels) > MOST_LABELS:
            message = f"expected at most {MOST_LABELS} different labels, found {len(labels)}; name the label's column"
            raise RowError("ground_truth", message)
        return labels


def _label(part: Part, value: object) -> str:
    """Return a label, a text or a number, as text."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(part, f"expected a label, a text or a whole number, found {shown(value)}")
    return str(value)


def _probabilities(line: Mapping[str, Any]) -> dict[str, float]:
    probabilities = line.get("probabilities")
    if not isinstance(probabilities, dict) or not probabilities:
        raise RowError(
            PROBABILITIES, f"expected 'probabilities' to be an object of labels, found {shown(probabilities)}"
        )
    return {label: number(PROBABILITIES, probabilities, label) for label in probabilities}


def _input(prediction: Mapping[str, Any]) -> str:
    texts = (prediction.get("text"), prediction.get("text_pair"))
    return "\n".join(text for text in texts if isinstance(text, str))


TASK_METRICS = TaskMetrics(TextClassification)
