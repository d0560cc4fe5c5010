"""Set rows aside for validation where none are given."""

from __future__ import annotations

import random
from collections.abc import Sequence

SHARE = 0.1


def split_by_label(labels: Sequence[str], seed: int, share: float = SHARE) -> set[int]:
    """Return the indices of the rows that are set aside: the same share of each label, chosen by the seed.

    A label of two rows or more has at least one on each side; that of a single row stays.
    """
    rows: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        rows.setdefault(label, []).append(index)
    draw = random.Random(seed)
    chosen: set[int] = set()
    for label in sorted(rows):
        count = len(rows[label])
        aside = min(max(1, round(count * share)), count - 1)
        chosen.update(draw.sample(rows[label], aside))
    return chosen


def split_by_group(groups: Sequence[str], seed: int, share: float = SHARE) -> set[int]:
    """Return the indices of the rows that are set aside: whole groups, chosen by the seed, up to a share of the rows.

    Where every group is larger than that, it is one of the smallest. Empty for a single group.
    """
    rows: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        rows.setdefault(group, []).append(index)
    if len(rows) < 2:
        return set()
    shuffled = list(rows.values())
    random.Random(seed).shuffle(shuffled)
    chosen: set[int] = set()
    for group in shuffled:
        if len(chosen) + len(group) <= len(groups) * share:
            chosen.update(group)
    return chosen or set(min(shuffled, key=len))
