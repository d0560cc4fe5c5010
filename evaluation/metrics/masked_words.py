"""The metrics of fill-mask, computed from what is known of each mask.

The model predicts one piece at a mask, so it never predicts a word of several pieces: such a word counts as not found,
and there are separate figures for words of one piece. The probability of a word of several pieces is the product of the
probabilities of its pieces, from left to right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.errors import LeftOut
from evaluation.metrics.bootstrap import Floats, Ratio
from evaluation.metrics.calibration import ExpectedCalibrationError
from evaluation.metrics.figures import NO_PROBABILITIES, metric

Numbers = npt.NDArray[Any]

LEAST = float(np.finfo(np.float32).smallest_subnormal)
"""A probability of zero without its logarithm was too small for 32 bits, so it counts as this, e^-103."""


@dataclass(frozen=True)
class Judged:
    """What prediction_probabilities has for each mask; `rank` is 0 for a word of several pieces."""

    found: Numbers
    rank: Numbers
    pieces: Numbers
    label_probability: Numbers
    label_log_probability: Floats
    best_probability: Numbers
    frequency: Numbers
    length: Numbers
    position: Numbers

    @property
    def nll(self) -> Floats:
        """The negative natural logarithm of the masked word's probability."""
        return -self.label_log_probability

    @property
    def reciprocal_rank(self) -> Floats:
        """One divided by the rank of the masked word; 0 without a rank."""
        return np.divide(1.0, self.rank, out=np.zeros(len(self.rank)), where=self.rank > 0)

    @property
    def among_five(self) -> Numbers:
        """Whether the masked word is among the five best, or equals the best word apart from its spelling."""
        return (self.rank > 0) & (self.rank <= 5) | (self.found == 1)


@dataclass(frozen=True)
class Masks:
    """What is known of the masks; `exact_five` is -1 if fewer than five best words of a mask are known."""

    exact: Numbers
    exact_five: Numbers
    bins: int
    judged_or_none: Judged | None

    @property
    def judged(self) -> Judged:
        """What prediction_probabilities has; raises LeftOut if that file was not given."""
        if self.judged_or_none is None:
            raise LeftOut(NO_PROBABILITIES)
        return self.judged_or_none

    def of_pieces(self, several: bool) -> Numbers:
        """Return which masks have a word of one piece, or of several pieces; raises LeftOut if no mask has."""
        inside: Numbers = (self.judged.pieces > 1) == several
        if not inside.any():
            raise LeftOut(f"no masked word is {'of several pieces' if several else 'of one piece'}")
        return inside


@dataclass(frozen=True)
class Texts:
    """The pseudo-log-likelihoods of whole texts, in nats, and their tokens."""

    pll: Floats
    pll_l2r: Floats
    tokens: Floats

    def perplexity(self, likelihood: Floats) -> Ratio:
        """Return exp(-sum of likelihoods / sum of tokens); raises LeftOut if no text was scored."""
        if not len(likelihood):
            raise LeftOut("no text was scored as a whole; set pseudo_perplexity to true in evaluation_config")
        return Ratio(-likelihood, self.tokens, np.exp)


@metric("accuracy@1", "share", "higher", headline=True)
def accuracy_at_1(masks: Masks) -> Ratio:
    """Share of masks whose word is the model's best word, after the model's normalization (such as lower case).

    Source: precision at one (P@1) of F. Petroni et al. (2019), "Language Models as Knowledge Bases?",
    https://aclanthology.org/D19-1250.
    """
    return Ratio(masks.judged.found)


@metric("accuracy@5", "share", "higher", headline=True)
def accuracy_at_5(masks: Masks) -> Ratio:
    """Share of masks whose word is among the model's five best words, after the model's normalization.

    Source: precision at k (P@k) of F. Petroni et al. (2019), "Language Models as Knowledge Bases?",
    https://aclanthology.org/D19-1250.
    """
    return Ratio(masks.judged.among_five)


@metric("mean_reciprocal_rank", "number", "higher", headline=True)
def mean_reciprocal_rank(masks: Masks) -> Ratio:
    """Mean of one divided by the masked word's rank in the whole vocabulary; a word of several pieces counts as zero.

    Source: E. M. Voorhees (1999), "The TREC-8 Question Answering Track Report".
    """
    return Ratio(masks.judged.reciprocal_rank)


@metric("mean_nll", "nats", "lower")
def mean_nll(masks: Masks) -> Ratio:
    """Mean negative natural logarithm of the masked word's probability, the product of its pieces' probabilities.

    Source: the loss of J. Devlin et al. (2019), "BERT", https://aclanthology.org/N19-1423.
    """
    return Ratio(masks.judged.nll)


@metric("perplexity", "perplexity", "lower", headline=True)
def perplexity(masks: Masks) -> Ratio:
    """Perplexity of the masked words: e to the power of their mean negative log-likelihood.

    Source: F. Jelinek et al. (1977), "Perplexity - a measure of the difficulty of speech recognition tasks".
    """
    return Ratio(masks.judged.nll, finish=np.exp)


@metric("expected_calibration_error", "share", "lower", headline=True)
def expected_calibration_error(masks: Masks) -> ExpectedCalibrationError:
    """Mean gap between the best word's probability and how often it is right, over bins of equal width.

    Source: M. P. Naeini et al. (2015), "Obtaining Well Calibrated Probabilities Using Bayesian Binning"; C. Guo et al.
    (2017), "On Calibration of Modern Neural Networks", https://proceedings.mlr.press/v70/guo17a.html.
    """
    return ExpectedCalibrationError(masks.judged.best_probability, masks.judged.found, masks.bins)


@metric("exact_accuracy@1", "share", "higher")
def exact_accuracy_at_1(masks: Masks) -> Ratio:
    """Share of masks whose word is the model's best word, spelled exactly as in the data.

    Source: accuracy@1, without the model's normalization.
    """
    return Ratio(masks.exact)


@metric("exact_accuracy@5", "share", "higher")
def exact_accuracy_at_5(masks: Masks) -> Ratio:
    """Share of masks whose word is among the model's five best words, spelled exactly as in the data.

    Source: accuracy@5, without the model's normalization.
    """
    if (masks.exact_five < 0).any():
        raise LeftOut("takes the five best words of each mask in 'top' of the predictions; set top_k to 5 or more")
    return Ratio(masks.exact_five)


@metric("one_piece_accuracy@1", "share", "higher")
def one_piece_accuracy_at_1(masks: Masks) -> Ratio:
    """Share of masks whose word is the model's best word, of the words that are one piece of the vocabulary.

    Source: accuracy@1.
    """
    return Ratio(masks.judged.found, masks.of_pieces(several=False))


@metric("one_piece_accuracy@5", "share", "higher")
def one_piece_accuracy_at_5(masks: Masks) -> Ratio:
    """Share of masks whose word is among the five best words, of the words that are one piece of the vocabulary.

    Source: accuracy@5.
    """
    return Ratio(masks.judged.among_five, masks.of_pieces(several=False))


@metric("one_piece_mean_reciprocal_rank", "number", "higher")
def one_piece_mean_reciprocal_rank(masks: Masks) -> Ratio:
    """Mean of one divided by the masked word's rank, of the words that are one piece of the vocabulary.

    Source: mean_reciprocal_rank.
    """
    return Ratio(masks.judged.reciprocal_rank, masks.of_pieces(several=False))


@metric("one_piece_mean_nll", "nats", "lower")
def one_piece_mean_nll(masks: Masks) -> Ratio:
    """Mean negative log-likelihood of the masked words that are one piece of the vocabulary.

    Source: mean_nll.
    """
    return Ratio(masks.judged.nll, masks.of_pieces(several=False))


@metric("several_pieces_mean_nll", "nats", "lower")
def several_pieces_mean_nll(masks: Masks) -> Ratio:
    """Mean negative log-likelihood of the masked words of several pieces: minus the sum of their pieces' logarithms.

    Source: mean_nll; the pieces left to right, with as many masks as there are pieces left.
    """
    return Ratio(masks.judged.nll, masks.of_pieces(several=True))


@metric("pseudo_perplexity", "perplexity", "lower", headline=True)
def pseudo_perplexity(texts: Texts) -> Ratio:
    """Perplexity of whole texts, each token scored from all others: e to the mean negative log-likelihood of a token.

    Source: J. Salazar et al. (2020), "Masked Language Model Scoring", https://aclanthology.org/2020.acl-main.240.
    """
    return texts.perplexity(texts.pll)


@metric("pseudo_perplexity_l2r", "perplexity", "lower", headline=True)
def pseudo_perplexity_l2r(texts: Texts) -> Ratio:
    """Pseudo-perplexity with the later pieces of the same word masked too, so that they do not give the word away.

    Source: C. Kauf, A. Ivanova (2023), "A Better Way to Do Masked Language Model Scoring",
    https://aclanthology.org/2023.acl-short.80.
    """
    return texts.perplexity(texts.pll_l2r)


METRICS = (
    accuracy_at_1,
    accuracy_at_5,
    mean_reciprocal_rank,
    mean_nll,
    perplexity,
    expected_calibration_error,
    exact_accuracy_at_1,
    exact_accuracy_at_5,
    one_piece_accuracy_at_1,
    one_piece_accuracy_at_5,
    one_piece_mean_reciprocal_rank,
    one_piece_mean_nll,
    several_pieces_mean_nll,
)
PSEUDO_METRICS = (pseudo_perplexity, pseudo_perplexity_l2r)
