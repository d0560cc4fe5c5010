from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import RowError
from finetune.tasks.text_classification import in_order, label_of, problem_of, shown

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(TEXT | st.integers() | st.booleans())
def test_a_label_is_a_label_of_its_own(value: object) -> None:
    label = label_of(value)
    assert label == label_of(label)
    assert label.strip() == label != ""


@given(st.integers(-(2**53), 2**53))
def test_an_integer_is_the_same_label_in_every_kind_of_file(value: int) -> None:
    assert {label_of(value), label_of(str(value)), label_of(float(value)), label_of(Decimal(value))} == {str(value)}


@given(st.floats().filter(lambda value: not value.is_integer()))
def test_other_floats_are_refused(value: float) -> None:
    with pytest.raises(RowError) as raised:
        label_of(value)
    assert raised.value.code == ("missing_label" if math.isnan(value) else "invalid_label")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "missing_label"),
        ("", "missing_label"),
        (" \t", "missing_label"),
        (float("nan"), "missing_label"),
        (Decimal("NaN"), "missing_label"),
        ([], "invalid_label"),
        ({"a": 1}, "invalid_label"),
        (b"a", "invalid_label"),
        ("x" * 501, "invalid_label"),
        (Decimal("0.5"), "invalid_label"),
        ("\ud800", "invalid_encoding"),
    ],
)
def test_what_is_no_label_is_refused(value: object, code: str) -> None:
    with pytest.raises(RowError) as raised:
        label_of(value)
    assert raised.value.code == code


@given(st.lists(st.integers()))
def test_integers_are_in_the_order_of_numbers(values: list[int]) -> None:
    assert [int(label) for label in in_order(map(str, values))] == sorted(set(values))


def test_digits_without_end_are_a_label_too() -> None:
    endless = "9" * 5000
    assert in_order([endless, "10", "2"]) == ["10", "2", endless]


@given(st.lists(TEXT), st.randoms())
def test_the_order_does_not_depend_on_the_rows(values: list[str], draw: object) -> None:
    shuffled = list(values)
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    assert in_order(values) == in_order(shuffled)
    assert sorted(in_order(values)) == sorted(set(values))


def test_one_class_is_none_to_tell_apart() -> None:
    assert problem_of(["a", "a"], 2) == (
        "expected two classes or more, found only 'a'; check label_key, or add rows of another class"
    )
    assert problem_of(["a", "b"], 2) is None


def test_a_column_of_other_values_is_no_label() -> None:
    names = [f"name {n}" for n in range(30)]
    assert "found 30 different labels in 30 rows" in str(problem_of(names, 30))
    assert problem_of([*names, *names], 60) is None


def test_labels_are_shown_briefly() -> None:
    assert shown(map(str, range(12))) == "'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', …"
    assert len(shown(["a" * 1000])) < 50
