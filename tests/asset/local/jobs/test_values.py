"""Values suit an input as Azure takes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset.checks.pipeline.values import typed, value_problem


@given(st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False)))
def test_what_is_written_as_text_is_read_as_it_was(value: object) -> None:
    kind = {bool: "boolean", int: "integer", float: "number"}[type(value)]
    assert typed(str(value), kind) == value


@given(st.text(), st.sampled_from(["integer", "number", "boolean", "string"]))
def test_a_text_is_read_or_refused(text: str, kind: str) -> None:
    read = typed(text, kind)
    assert (value_problem(read, {"type": kind}) is None) == (kind == "string" or not isinstance(read, str))


@given(st.integers(), st.integers(), st.integers())
def test_the_least_and_the_greatest_are_allowed(value: int, low: int, high: int) -> None:
    port = {"type": "integer", "min": low, "max": high}
    assert (value_problem(value, port) is None) == (float(low) <= float(value) <= float(high))


@pytest.mark.parametrize(
    ("value", "port"),
    [
        ("2e-5", {"type": "number"}),
        ("8", {"type": "integer"}),
        ("true", {"type": "boolean"}),
        (17, {"type": "string"}),
        ("true", {"type": "string", "enum": ["true", "false"]}),
        (3, {"type": "number", "min": "0", "max": "9"}),
    ],
)
def test_azure_takes(value: object, port: dict[str, object]) -> None:
    assert value_problem(value, port) is None


@pytest.mark.parametrize(
    ("value", "port", "said"),
    [
        (True, {"type": "integer"}, "expected a whole number, found True; correct it"),
        (1.5, {"type": "integer"}, "expected a whole number, found 1.5; correct it"),
        ("fast", {"type": "number"}, "expected a number, found 'fast'; correct it"),
        (2, {"type": "boolean"}, "expected true or false, found 2; correct it"),
        (["a"], {"type": "string"}, "expected a text, found ['a']; correct it"),
        (True, {"type": "string", "enum": ["true", "false"]}, "expected one of true, false, found True; quote it"),
    ],
)
def test_azure_refuses(value: object, port: dict[str, object], said: str) -> None:
    assert str(value_problem(value, port)) == said
