"""Commands get their values as Azure puts them there."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset.checks.pipeline.command import ESCAPED, ends_quotation, references, resolve
from asset.findings import JobError


def test_values_go_in_as_they_are() -> None:
    command = "python -m x --text '${{inputs.text}}' --out ${{ outputs.rows }}"
    assert resolve(command, {"text": "a 'b' $c"}, {"rows": "/o"}) == "python -m x --text 'a 'b' $c' --out /o"


def test_a_group_is_kept_when_every_input_in_it_has_a_value() -> None:
    command = "x $[[--a ${{inputs.a}}]] $[[--b ${{inputs.a}} ${{inputs.b}}]]\n$[[--c]]"
    assert resolve(command, {"a": "1"}, {}) == "x --a 1 \n--c"
    assert resolve(command, {"a": "1", "b": "2"}, {}) == "x --a 1 --b 1 2\n--c"
    assert resolve(command, {}, {}) == "x  \n--c"


def test_a_value_that_looks_like_a_reference_is_not_one() -> None:
    assert resolve("${{inputs.a}} ${{inputs.b}}", {"a": "${{inputs.b}}", "b": "2"}, {}) == "${{inputs.b}} 2"


def test_an_input_without_value_outside_a_group_is_refused() -> None:
    with pytest.raises(
        JobError, match=r"expected a value for \$\{\{inputs\.b\}\} in the command, found none; give it one"
    ):
        resolve("x ${{inputs.b}}", {}, {})


@pytest.mark.parametrize(
    ("value", "broken"), [("it's", True), (r"it'\''s", False), (r"'it'\''s", True), ('"a" `b` $c', False), ("", False)]
)
def test_a_value_that_would_end_its_quotation_is_found(value: str, broken: bool) -> None:
    command = "printf %s $[['${{ inputs.text }}']]"
    assert list(ends_quotation(command, {"text": value})) == ["text"] * broken
    assert list(ends_quotation('printf "${{inputs.text}}"', {"text": value})) == []
    ran = subprocess.run(
        ["bash", "-c", resolve(command, {"text": value}, {})], capture_output=True, text=True, check=False
    )
    assert (ran.stdout != value.replace(ESCAPED, "'")) is broken


@given(st.dictionaries(st.from_regex(r"[a-z]\w{0,8}", fullmatch=True), st.text(max_size=20), max_size=5))
def test_every_input_arrives(values: dict[str, str]) -> None:
    command = "|".join(f"${{{{inputs.{name}}}}}" for name in values)
    assert references(command, "inputs") == set(values)
    assert resolve(command, values, {}) == "|".join(values.values())
