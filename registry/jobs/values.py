"""Whether a plain value suits an input as a component declares it: its type, its choices, its least and greatest."""

from __future__ import annotations

from typing import Any

PLAIN = {"string", "integer", "number", "boolean"}
"""The types of inputs that are not data."""


def is_data(port: dict[str, Any]) -> bool:
    """Return whether an input or output is data (a file, a folder, a model) by its declaration."""
    return str(port.get("type", "string")).lower() not in PLAIN


def is_plain(value: Any) -> bool:  # noqa: ANN401  what YAML holds
    """Return whether a value is a text, a number or a boolean."""
    return isinstance(value, (str, int, float))


def is_absent(value: Any) -> bool:  # noqa: ANN401
    """Return whether a value is as good as none: the SDK drops empty texts before it sends a job."""
    return value is None or value in ("", {})


def problem(value: Any, port: dict[str, Any]) -> str | None:  # noqa: ANN401
    """Say what is wrong with a plain value, or None: 12 for {type: integer, max: 9} is "expected at most 9, found 12".

    As on Azure, a number may be written as text ('2e-5', which YAML takes for text without its dot).
    """
    kind = str(port.get("type", "string")).lower()
    if not is_plain(value) or not _fits(value, kind):
        return f"expected {_article(kind)}, found {value!r}; correct it"
    choices = port.get("enum")
    if choices and str(value) not in map(str, choices):
        fix = "quote it" if str(value).lower() in map(str, choices) else "choose one of those"
        return f"expected one of {', '.join(map(str, choices))}, found {value!r}; {fix}"
    if kind in ("integer", "number"):
        low, high = _number(port.get("min")), _number(port.get("max"))
        if low is not None and float(value) < low:
            return f"expected at least {port['min']}, found {value!r}; correct it"
        if high is not None and float(value) > high:
            return f"expected at most {port['max']}, found {value!r}; correct it"
    return None


def typed(text: str, kind: str) -> str | int | float | bool:
    """Read the text of an option as a type: "12", "integer" -> 12. A text that does not fit stays one."""
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
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _article(kind: str) -> str:
    return {"integer": "a whole number", "number": "a number", "boolean": "true or false"}.get(kind, "a text")
