"""Plain values and the declarations of inputs: type, choices, minimum and maximum."""

from __future__ import annotations

import math
from typing import Any

from asset.findings import Finding, one_of, problem

PLAIN = {"string", "integer", "number", "boolean"}
"""The types of inputs that are not data."""


DATA = {"uri_file", "uri_folder", "mltable", "custom_model", "mlflow_model", "triton_model", "path"}
"""The types of inputs that are data."""


def is_data(port: dict[str, Any]) -> bool:
    """Decide if an input or output is declared as data (a file, a folder, a model)."""
    return str(port.get("type", "string")).lower() not in PLAIN


def is_plain(value: Any) -> bool:  # noqa: ANN401  what YAML holds
    """Decide if a value is a text, a number or a boolean."""
    return isinstance(value, (str, int, float))


def is_absent(value: Any) -> bool:  # noqa: ANN401
    """Decide if a value counts as missing: the SDK drops empty texts before it sends a job."""
    return value is None or value in ("", {})


def value_problem(value: Any, port: dict[str, Any]) -> Finding | None:  # noqa: ANN401
    """Say why a plain value does not suit an input: "expected at most 9, found 12" for {type: integer, max: 9}; else None.

    As on Azure, a number may be written as a text ('2e-5' is a text in YAML because it has no dot).
    """
    kind = str(port.get("type", "string")).lower()
    if not is_plain(value) or not _fits(value, kind):
        return problem(f"expected {_article(kind)}, found {value!r}", "correct it")
    choices = port.get("enum")
    choices = list(map(str, choices)) if isinstance(choices, list) else []
    if choices and str(value) not in choices:
        fix = "quote it" if str(value).lower() in choices else "choose one of those"
        return problem(f"expected one of {', '.join(choices)}, found {value!r}", fix)
    if kind in ("integer", "number"):
        low, high = _number(port.get("min")), _number(port.get("max"))
        if low is not None and float(value) < low:
            return problem(f"expected at least {port['min']}, found {value!r}", "correct it")
        if high is not None and float(value) > high:
            return problem(f"expected at most {port['max']}, found {value!r}", "correct it")
    return None


def type_problem(port: dict[str, Any]) -> Finding | None:
    """Say that an input or output has an unknown type; None if the type is known."""
    found, known = port.get("type"), sorted({*DATA, *PLAIN})
    if isinstance(found, str) and found.lower() in known:
        return None
    if found is None:
        return problem(f"expected one of {', '.join(known)}, found none", "write `type: …`")
    names = one_of(found, known, write="write")
    return problem(f"{names.message}, found {found!r}", names.fix)


def bounds_problem(port: dict[str, Any]) -> tuple[str, Finding] | None:
    """Return the key of a wrong bound in an input's declaration, and why: a min or max that is no number, an enum that is no list."""
    for key in ("min", "max"):
        if port.get(key) is not None and _number(port[key]) is None:
            return key, problem(f"expected a number, found {port[key]!r}", "correct it")
    if port.get("enum") is not None and (not isinstance(port["enum"], list) or not port["enum"]):
        return "enum", problem(f"expected a list of choices, found {port['enum']!r}", "write `enum: [A, B]`")
    low, high = _number(port.get("min")), _number(port.get("max"))
    if low is not None and high is not None and low > high:
        return "min", problem(
            f"expected at most the max, {port['max']!r}, found {port['min']!r}", "correct one of the two"
        )
    return None


def typed(text: str, kind: str) -> str | int | float | bool:
    """Read the text of an option as a type: "12", "integer" -> 12. A text that does not fit the type is returned unchanged."""
    if not _fits(text, kind):
        return text
    if kind == "boolean":
        return text.lower() == "true"
    if kind == "integer":
        return int(text)
    return float(text) if kind == "number" else text


def _fits(value: str | float, kind: str) -> bool:
    if kind == "boolean":
        return isinstance(value, bool) or str(value).lower() in ("true", "false")
    if kind not in ("integer", "number"):
        return True
    number = None if isinstance(value, bool) else _number(value)
    return number is not None and (
        kind == "number" or isinstance(value, int) or str(value).strip().lstrip("+-").isdigit()
    )


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _article(kind: str) -> str:
    return {"integer": "a whole number", "number": "a number", "boolean": "true or false"}.get(kind, "a text")
