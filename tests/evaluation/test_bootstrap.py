"""Intervals: those of SciPy's bootstrap, however the rows are cut into blocks; and calibration against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from evaluation.config import EvaluationConfig
from evaluation.metrics import bootstrap, confusion
from evaluation.metrics.bootstrap import Ratio, apart, estimates
from evaluation.metrics.calibration import ExpectedCalibrationError, reliability
from evaluation.metrics.confusion import Confusion

FEW = EvaluationConfig(bootstrap_samples=100)
MANY = EvaluationConfig(bootstrap_samples=10_000)
shares = st.floats(0, 1, allow_subnormal=False)


@pytest.fixture(params=[bootstrap.BLOCK, 30_000])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take all rows in one block, and three in a block."""
    monkeypatch.setattr(bootstrap, "BLOCK", request.param)


def scipy_interval(statistic: object, *samples: np.ndarray) -> tuple[float, float]:
    found = scipy.stats.bootstrap(
        samples, statistic, n_resamples=10_000, paired=True, vectorized=True, method="percentile", rng=5
    )
    return tuple(found.confidence_interval)


@pytest.mark.usefixtures("blocks")
def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(3).exponential(size=50)
    ((value, low, high, rows),) = estimates([Ratio(values)], MANY, apart(50))
    expected = scipy_interval(np.mean, values)
    assert (value, rows) == (pytest.approx(values.mean()), 50)
    assert (low, high) == pytest.approx(expected, abs=0.03 * (expected[1] - expected[0]))


@pytest.mark.usefixtures("blocks")
def test_the_interval_of_a_perplexity_of_texts_of_any_length_is_scipys() -> None:
    draw = np.random.default_rng(4)
    nll, tokens = draw.exponential(20, 40), draw.integers(1, 30, 40)

    def perplexity(nll: np.ndarray, tokens: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.exp(nll.sum(axis) / tokens.sum(axis))

    ((value, low, high, _),) = estimates([Ratio(nll, tokens, np.exp)], MANY, apart(40))
    expected = scipy_interval(perplexity, nll, tokens)
    assert value == pytest.approx(perplexity(nll, tokens))
    assert (low, high) == pytest.approx(expected, abs=0.04 * (expected[1] - expected[0]))


@pytest.mark.usefixtures("blocks")
def test_masks_of_one_text_are_drawn_together() -> None:
    draw = np.random.default_rng(5)
    counts = draw.integers(1, 6, 40)
    found = np.repeat(draw.integers(0, 2, 40), counts)  # all masks of a text are right, or none is
    ((value, low, high, rows),) = estimates([Ratio(found)], MANY, np.concatenate([[0], np.cumsum(counts)]))
    per_text = np.add.reduceat(found, np.cumsum(counts) - counts)
    expected = scipy_interval(lambda right, of, axis=-1: right.sum(axis) / of.sum(axis), per_text, counts)
    alone = estimates([Ratio(found)], MANY, apart(len(found)))[0]
    assert (value, rows) == (found.mean(), counts.sum())
    assert (low, high) == pytest.approx(expected, abs=0.04 * (expected[1] - expected[0]))
    assert high - low > 1.3 * (alone.high - alone.low)


@pytest.mark.usefixtures("blocks")
def test_each_draw_has_as_many_rows_as_there_are_and_each_row_is_as_likely() -> None:
    rows = np.eye(20)
    _, drawn = bootstrap._sums([Ratio(row) for row in rows], MANY, apart(20))
    times, ones = drawn[:, ::2], drawn[:, 1::2]
    assert (ones == 20).all()
    assert (times.sum(axis=1) == 20).all()
    # Each is binomial, of 20 draws with a chance of 1 in 20: its mean over 10,000 is within 5 standard errors.
    assert times.mean(axis=0) == pytest.approx(np.ones(20), abs=5 * np.sqrt(0.95 / 10_000))
    assert times.var(axis=0) == pytest.approx(np.full(20, 0.95), abs=0.08)
    assert np.corrcoef(times[:, 0], times[:, 19])[0, 1] == pytest.approx(-1 / 19, abs=0.05)


@given(st.lists(st.tuples(shares, st.booleans()), min_size=2, max_size=60), st.integers(0, 9))
def test_an_interval_holds_its_value_and_is_the_same_again(rows: list[tuple[float, bool]], seed: int) -> None:
    confidence, correct = (np.array(column, float) for column in zip(*rows, strict=True))
    config = EvaluationConfig(bootstrap_samples=100, seed=seed)
    statistics = [Ratio(confidence), Ratio(correct), ExpectedCalibrationError(confidence, correct, 10)]
    found = estimates(statistics, config, apart(len(rows)))
    assert found == estimates(statistics, config, apart(len(rows)))
    for value, low, high, count in found:
        assert 0 <= low <= value <= high <= 1 + 1e-12
        assert count == len(rows)
    if len(set(correct)) == 1:
        assert found[1][:3] == (correct[0], correct[0], correct[0])


def test_no_interval_where_it_makes_no_sense() -> None:
    assert estimates([Ratio(np.array([1.0]))], FEW, apart(1)) == [(1.0, None, None, 1)]
    assert estimates([], FEW, apart(0)) == []


def test_a_slice_of_one_row_has_no_interval_among_many_rows() -> None:
    values, one, two = np.arange(9.0), np.arange(9) == 4, np.arange(9) < 2
    alone, pair = estimates([Ratio(values, one), Ratio(values, two)], MANY, apart(9))
    assert alone == (4.0, None, None, 1)
    assert (pair.low, pair.high) == (0, 1)


def test_a_label_of_one_text_has_no_interval_among_many_texts() -> None:
    found = Confusion.from_pairs({("a", "a"): 20, ("a", "b"): 20, ("b", "b"): 1}, "ab").recalls(FEW)
    assert found["b"] == (1.0, None, None, 1)
    assert found["a"].low < 0.5 < found["a"].high


def test_values_without_a_weight_do_not_count_whatever_they_are() -> None:
    values, weights = np.array([1.0, np.nan, 0.0, np.inf]), np.array([True, False, True, False])
    ((value, low, high, rows),) = estimates([Ratio(values, weights)], FEW, apart(4))
    assert (value, rows) == (0.5, 2)
    assert 0 <= low <= 0.5 <= high <= 1


@given(st.lists(st.tuples(shares, st.booleans()), min_size=1), st.integers(2, 15))
def test_the_calibration_error_is_that_of_a_plain_loop(rows: list[tuple[float, bool]], bins: int) -> None:
    edges = np.linspace(0, 1, bins + 1)
    expected = 0.0
    told = []
    for n in range(bins):
        inside = [row for row in rows if edges[n] < row[0] <= edges[n + 1] or (n == 0 and row[0] == 0)]
        if inside:
            sure = sum(row[0] for row in inside) / len(inside)
            right = sum(row[1] for row in inside) / len(inside)
            expected += abs(right - sure) * len(inside) / len(rows)
            told.append((edges[n], edges[n + 1], len(inside), sure, right))
    confidence, correct = (np.array(column, float) for column in zip(*rows, strict=True))
    statistic = ExpectedCalibrationError(confidence, correct, bins)
    assert statistic.value(statistic.columns(slice(None)).sum(axis=0)) == pytest.approx(expected, abs=1e-12)
    assert [pytest.approx(tuple(found.values())) for found in reliability(confidence, correct, bins)] == told


labels = st.sampled_from("abcd")
pairs = st.dictionaries(st.tuples(labels, labels), st.integers(0, 50), min_size=1).filter(lambda d: sum(d.values()))


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(st.lists(pairs, min_size=1, max_size=5))
def test_figures_of_drawn_counts_are_scikit_learns(draws: list[dict[tuple[str, str], int]]) -> None:
    cells = sorted({cell for draw in draws for cell in draw})
    whole = Confusion.from_pairs(dict.fromkeys(cells, 1), "abcd")
    counts = np.array([[draw.get(cell, 0) for cell in cells] for draw in draws], float)
    margins = whole._margins(counts)
    for n, weights in enumerate(counts):
        there = weights > 0
        true, predicted, weights = whole.true[there], whole.predicted[there], weights[there]
        f1 = f1_score(true, predicted, sample_weight=weights, average="macro")
        assert confusion._macro_f1(*margins)[n] == pytest.approx(f1)
        mcc = matthews_corrcoef(true, predicted, sample_weight=weights)
        assert confusion._mcc(*margins)[n] == pytest.approx(mcc, abs=1e-9)


@settings(max_examples=20)
@given(pairs)
def test_draws_of_counts_are_the_same_in_parts(counts: dict[tuple[str, str], int]) -> None:
    counts = {pair: count for pair, count in counts.items() if count}
    whole = Confusion.from_pairs(counts, "abcd")
    found = whole.macro_f1(FEW), whole.mcc(FEW), whole.recalls(FEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confusion, "BLOCK", 40)
        assert (whole.macro_f1(FEW), whole.mcc(FEW), whole.recalls(FEW)) == found
    for value, low, high, rows in (*found[:2], *found[2].values()):
        assert rows <= whole.rows
        assert low is None or low <= value <= high


def test_the_interval_of_macro_f1_is_scipys() -> None:
    draw = np.random.default_rng(6)
    true = draw.integers(0, 3, 60)
    predicted = np.where(draw.random(60) < 0.6, true, draw.integers(0, 3, 60))
    counts: dict[tuple[str, str], int] = {}
    for pair in zip(true, predicted, strict=True):
        name = str(pair[0]), str(pair[1])
        counts[name] = counts.get(name, 0) + 1
    value, low, high, rows = Confusion.from_pairs(counts, "012").macro_f1(MANY)
    expected = scipy.stats.bootstrap(
        (true, predicted),
        lambda t, p: f1_score(t, p, average="macro"),
        n_resamples=800,
        paired=True,
        vectorized=False,
        method="percentile",
        rng=7,
    ).confidence_interval
    assert (value, rows) == (f1_score(true, predicted, average="macro"), 60)
    assert (low, high) == pytest.approx(tuple(expected), abs=0.12 * (expected.high - expected.low))
