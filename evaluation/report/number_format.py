"""Numbers for people: 24.1 %, 3.42 nats, 1,940 rows, and intervals.

The space before a unit is a narrow no-break space and a negative number has a real minus sign, so that a line never
breaks inside a number and the sign does not look like a hyphen.
"""

from __future__ import annotations

import math

SPACE = "\u202f"
MINUS = "\u2212"
UNDEFINED = "not defined"

SIGNS = {"share": "%", "perplexity": "", "number": ""}
"""The sign after a number; other units are written with their names: nats, seconds."""

DECIMALS = {"nats": 2, "perplexity": 2, "number": 3}


def quantity(value: float | None, unit: str) -> str:
    r"""Write a value with its unit.

    >>> quantity(0.241, "share"), quantity(3.4219, "nats"), quantity(None, "number")
    ('24.1\u202f%', '3.42\u202fnats', 'not defined')
    """
    return _with_sign(digits(value, unit), unit)


def interval(low: float | None, high: float | None, unit: str) -> str:
    r"""Write an interval with its unit; an empty text if there is no interval.

    >>> interval(0.222, 0.26, "share"), interval(-13.2, -12.1, "nats"), interval(None, None, "share")
    ('22.2–26.0\u202f%', '\u221213.2 to \u221212.1\u202fnats', '')
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    ends = digits(low, unit), digits(high, unit)
    plain = all(end[0].isdigit() and "×" not in end for end in ends)
    return _with_sign(("–" if plain else " to ").join(ends), unit)


def sign(unit: str) -> str:
    """Return the sign after a number of this unit: "%" for a share, nothing for a plain number."""
    return SIGNS.get(unit, unit)


def digits(value: float | None, unit: str) -> str:
    """Write a value without its unit; a share becomes a percentage. None and NaN are "not defined".

    >>> digits(0.241, "share"), digits(1234.5, "perplexity"), digits(0.99999, "share")
    ('24.1', '1,234', '>99.99')
    """
    if value is None or math.isnan(value):
        return UNDEFINED
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    written = _percentage(100 * value) if unit == "share" else _decimal(value, DECIMALS.get(unit, 2))
    return written.replace("-", MINUS)


def count(number: int, noun: str) -> str:
    r"""Write a count with its noun.

    >>> count(1, "row"), count(1940, "row")
    ('1\u202frow', '1,940\u202frows')
    """
    return f"{number:,}{SPACE}{noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    r"""Write a time.

    >>> duration(1.9), duration(754.2), duration(7260)
    ('1.9\u202fs', '12\u202fmin 34\u202fs', '2\u202fh 1\u202fmin')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60}{SPACE}min"


def _with_sign(written: str, unit: str) -> str:
    unit_sign = sign(unit)
    return written if written == UNDEFINED or not unit_sign else f"{written}{SPACE}{unit_sign}"


def _percentage(percent: float) -> str:
    """Write one decimal, or two if one decimal would round to 0 or 100."""
    for decimals in (1, 2):
        written = f"{percent:.{decimals}f}"
        if float(written) not in (0, 100) or float(written) == percent:
            return written
    return "<0.01" if 0 < percent < 50 else ">99.99" if 50 < percent < 100 else f"{percent:.1e}"


def _decimal(value: float, decimals: int) -> str:
    """Write about three significant digits, whatever the size of the number."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    if 0 < size < 10 ** (1 - decimals):
        return f"{value:.2g}"  # fixed decimals would leave only one digit
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.{decimals}f}"
