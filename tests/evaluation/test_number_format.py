"""Numbers for people: by hand, and never saying nothing or everything of what is not quite that."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.report.number_format import MINUS, SPACE, UNDEFINED, count, digits, duration, interval, quantity


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (0.241, "share", "24.1 %"),
        (0.0, "share", "0.0 %"),
        (1.0, "share", "100.0 %"),
        (0.0004, "share", "0.04 %"),
        (0.9997, "share", "99.97 %"),
        (0.00001, "share", "<0.01 %"),
        (0.999999, "share", ">99.99 %"),
        (3.4219, "nats", "3.42 nats"),
        (0.015625, "nats", "0.016 nats"),
        (-13.24, "nats", "−13.2 nats"),
        (30.62, "perplexity", "30.6"),
        (1234.5, "perplexity", "1,234"),
        (12345678.9, "perplexity", "1.2 × 10⁷"),
        (0.8123, "number", "0.812"),
        (0.00012, "number", "1.2 × 10⁻⁴"),
        (0, "number", "0.000"),
        (2.5, "seconds", "2.50 seconds"),
        (math.inf, "perplexity", "∞"),
        (-math.inf, "nats", "−∞ nats"),
        (math.nan, "share", UNDEFINED),
        (None, "nats", UNDEFINED),
    ],
)
def test_a_value_is_written_with_its_unit(value: float | None, unit: str, written: str) -> None:
    assert quantity(value, unit).replace(SPACE, " ") == written


@pytest.mark.parametrize(
    ("low", "high", "unit", "written"),
    [
        (0.222, 0.26, "share", "22.2–26.0 %"),
        (3.31, 3.53, "nats", "3.31–3.53 nats"),
        (-14.04, -12.44, "nats", "−14.0 to −12.4 nats"),
        (-0.1, 0.1, "number", "−0.100 to 0.100"),
        (900, 2e7, "perplexity", "900 to 2.0 × 10⁷"),
        (0.00001, 0.02, "share", "<0.01 to 2.0 %"),
        (None, 0.26, "share", ""),
        (0.2, None, "share", ""),
        (math.nan, 0.2, "share", ""),
    ],
)
def test_an_interval_has_its_unit_once(low: float | None, high: float | None, unit: str, written: str) -> None:
    assert interval(low, high, unit).replace(SPACE, " ") == written


def test_counts_and_durations() -> None:
    assert [count(n, "row") for n in (0, 1, 1940)] == ["0\u202frows", "1\u202frow", "1,940\u202frows"]
    found = [duration(seconds).replace(SPACE, " ") for seconds in (0.04, 59.94, 59.96, 754.4, 3599.6, 7265)]
    assert found == ["0.0 s", "59.9 s", "1 min 0 s", "12 min 34 s", "1 h 0 min", "2 h 1 min"]


@given(st.floats(0, 1))
def test_a_share_is_read_back_within_its_last_digit(share: float) -> None:
    written = digits(share, "share")
    if written == "<0.01":
        assert 0 < share < 0.0001
    elif written == ">99.99":
        assert 0.9999 < share < 1
    else:
        decimals = len(written.partition(".")[2])
        assert abs(float(written) - 100 * share) <= 0.5001 * 10**-decimals
        assert (float(written) == 0) == (share == 0) and (float(written) == 100) == (share == 1)


@given(st.floats(-1e12, 1e12), st.sampled_from(["nats", "number", "perplexity"]))
def test_a_number_is_read_back_within_a_twentieth(value: float, unit: str) -> None:
    written = digits(value, unit).replace(MINUS, "-").replace(",", "")
    mantissa, _, power = written.partition(" × 10")
    exponent = int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)
    read = float(f"{mantissa}e{exponent}")
    assert abs(read - value) <= max(0.05 * abs(value), 0.0)
