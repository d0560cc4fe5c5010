from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from finetune.tasks.question_answering import split_by_group
from finetune.tasks.text_classification import split_by_label

GROUPS = st.lists(st.sampled_from("abcdefgh"), max_size=200)
SEEDS = st.integers(0, 2**32 - 1)


@given(GROUPS, SEEDS)
def test_a_tenth_of_each_label_is_set_aside(labels: list[str], seed: int) -> None:
    aside = split_by_label(labels, seed)
    assert aside <= set(range(len(labels)))
    there, all_of_them = Counter(labels[index] for index in aside), Counter(labels)
    for label, count in all_of_them.items():
        assert there[label] == (0 if count == 1 else max(1, round(count / 10)))


@given(GROUPS, SEEDS)
def test_every_label_stays_in_train(labels: list[str], seed: int) -> None:
    aside = split_by_label(labels, seed)
    assert {label for index, label in enumerate(labels) if index not in aside} == set(labels)


@given(GROUPS, SEEDS)
def test_no_group_is_on_both_sides(groups: list[str], seed: int) -> None:
    aside = split_by_group(groups, seed)
    inside = {group for index, group in enumerate(groups) if index not in aside}
    assert inside.isdisjoint(groups[index] for index in aside)
    assert bool(aside) == (len(set(groups)) > 1)
    assert inside or not groups


@given(st.lists(st.integers(0, 50), min_size=30, max_size=300), SEEDS)
def test_groups_set_aside_are_at_most_a_tenth_of_the_rows_or_the_smallest(numbers: list[int], seed: int) -> None:
    groups = list(map(str, numbers))
    aside = split_by_group(groups, seed)
    if len(aside) > len(groups) / 10:
        assert len(aside) == min(Counter(groups).values())


@given(GROUPS, SEEDS)
def test_the_same_seed_sets_the_same_rows_aside(groups: list[str], seed: int) -> None:
    assert split_by_label(groups, seed) == split_by_label(groups, seed)
    assert split_by_group(groups, seed) == split_by_group(groups, seed)


def test_another_seed_sets_other_rows_aside() -> None:
    labels = ["a", "b"] * 500
    assert split_by_label(labels, 1) != split_by_label(labels, 2)
    groups = [str(n // 4) for n in range(1000)]
    assert split_by_group(groups, 1) != split_by_group(groups, 2)
