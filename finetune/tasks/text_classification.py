"""Text classification: texts, or pairs of texts, each with one of a few labels.

A label is a text, whatever kind of value a file has in its place.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from finetune.errors import RowError
from finetune.prepare.examples import Example, ReadPart, digest_of, text_of
from finetune.settings import Part
from finetune.tasks.task import SHARE, Column, TuningTask
from tables.rows import Row

INTEGER = re.compile(r"-?\d{1,600}", re.ASCII)
"""A label that is ordered as a number. Python reads no number of thousands of digits."""

LONGEST_LABEL = 500
"""Characters of a label. A column of texts may have megabytes, and each label is shown, and is in every answer."""

MANY_LABELS = 20
"""More labels than this must have at least two rows each on average: a column of names or figures has not."""

SHOWN_ROWS = 5
"""Rows that a message names, at most."""


class TextClassification(TuningTask):
    """Rows of {"text", "text_pair" (if there are pairs), "label"}."""

    name = "text-classification"
    public_name = "SingleLabelClassification"
    columns = (
        Column("sentence1_key", "the column of the text"),
        Column("sentence2_key", "the column of the second text, if rows are pairs", needed=False),
        Column("label_key", "the column of the label: texts, integers, or true and false"),
    )
    texts = ("text", "label")
    classifies = True
    one_example_a_row = True
    special_tokens = 2
    split_unit = "of each label"
    split_needs = "two rows of one label"
    metrics = ("loss", "f1_macro", "mcc", "accuracy", "precision_macro", "recall_macro")
    figures = {"accuracy": "accuracy", "f1_macro": "macro_f1", "mcc": "mcc"}
    model_class = "AutoModelForSequenceClassification"
    targets = ("labels",)
    adapter_type = "SEQ_CLS"
    heads = {"bert": ("pooler", "classifier"), "distilbert": ("pre_classifier", "classifier")}

    def example(self, row: Row, columns: Mapping[str, str]) -> Example:
        """Return a row as an example, whose group is its label; raises RowError."""
        texts = {"text": text_of(row, columns["sentence1_key"])}
        if "sentence2_key" in columns:
            texts["text_pair"] = text_of(row, columns["sentence2_key"])
        label = label_of(row.values[columns["label_key"]])
        return Example({**texts, "label": label}, label, digest_of(*texts.values()))

    def is_prepared(self, row: Mapping[str, Any]) -> bool:
        """Return whether the second text is a text or absent."""
        return isinstance(row.get("text_pair"), str | None)

    def truth(self, row: Mapping[str, Any]) -> str:
        """Return the label of a prepared row."""
        return str(row["label"])

    def split(self, groups: Sequence[str], seed: int) -> set[int]:
        """Set a tenth of each label's rows aside."""
        return split_by_label(groups, seed)

    def least_length(self, columns: Mapping[str, str]) -> int:
        """Return the special tokens and a token for each text; a pair has one special token more."""
        return 5 if "sentence2_key" in columns else 3

    def labels(self, groups: Iterable[str]) -> list[str]:
        """Return the labels in the order of their ids."""
        return in_order(groups)

    def problem_of_parts(self, parts: Mapping[Part, ReadPart]) -> str | None:
        """Say if the labels of train are no classes, or another part has a label that train has not."""
        train = parts["train"]
        problem = problem_of(train.groups, len(train.groups))
        if problem:
            return f"train: {train.source}: {problem}"
        others = (_problem_of_unseen(part, read, set(train.groups)) for part, read in parts.items() if part != "train")
        return next(filter(None, others), None)


TASK = TextClassification()


def _problem_of_unseen(part: Part, read: ReadPart, known: set[str]) -> str | None:
    """Name the labels that are not in train, and their first rows."""
    unseen = Counter(label for label in read.groups if label not in known)
    if not unseen:
        return None
    labels = in_order(unseen)
    places = [place for label in labels for place in read.places[label]]
    more = ", …" if unseen.total() > len(places[:SHOWN_ROWS]) else ""
    return (
        f"{part}: expected labels of train, {shown(in_order(known))}, found {shown(labels)} in {unseen.total():,} "
        f"row{'s' * (unseen.total() > 1)} ({'; '.join(places[:SHOWN_ROWS])}{more}); correct them, or add such rows to train"
    )


def label_of(value: object) -> str:
    """Return a value as a label; raises RowError for a value that cannot be a label.

    An integer is the same label as its digits, because CSV does not tell them apart; true and false are written as JSON
    writes them. A float without a fraction is an integer: tables with gaps turn integers into such floats.

    >>> label_of(" Sports "), label_of(1), label_of(1.0), label_of("1"), label_of(True)
    ('Sports', '1', '1', '1', 'true')
    """
    if isinstance(value, str):
        return _checked_label(value.strip())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value is None or (isinstance(value, (float, Decimal)) and math.isnan(value)):
        raise RowError("missing_label", "expected a label, found none")
    if isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        return str(int(value))
    is_number = isinstance(value, (float, Decimal))
    kind = (
        "a number with a fraction; a figure to be predicted is no class" if is_number else f"a {type(value).__name__}"
    )
    raise RowError("invalid_label", f"expected a text, an integer, true or false as a label, found {kind}")


def _checked_label(label: str) -> str:
    if not label:
        raise RowError("missing_label", "expected a label, found an empty text")
    try:
        label.encode()
    except UnicodeEncodeError as exc:
        problem = "expected a label of whole characters, found half of a surrogate pair"
        raise RowError("invalid_encoding", problem) from exc
    if len(label) > LONGEST_LABEL:
        problem = f"expected a label of at most {LONGEST_LABEL} letters, found {len(label):,}"
        raise RowError("invalid_label", f"{problem}; is another column meant?")
    return label


def in_order(labels: Iterable[str]) -> list[str]:
    """Return different labels in the order of their ids: as numbers if all are integers, else as texts.

    >>> in_order(["10", "9"]), in_order(["b", "a", "b"])
    (['9', '10'], ['a', 'b'])
    """
    different = set(labels)
    if all(map(INTEGER.fullmatch, different)):
        return sorted(different, key=lambda label: (int(label), label))
    return sorted(different)


def problem_of(labels: Iterable[str], rows: int) -> str | None:
    """Say why these labels are no classes to train on; None if they are."""
    different = in_order(labels)
    if len(different) < 2:
        only = f"only {shown(different)}" if different else "none"
        return f"expected two classes or more, found {only}; check label_key, or add rows of another class"
    if len(different) > MANY_LABELS and 2 * len(different) > rows:
        return (
            f"expected classes, found {len(different):,} different labels in {rows:,} rows; label_key seems to name "
            "another column than the label's"
        )
    return None


def shown(labels: Iterable[str]) -> str:
    """List the first ten labels for a message, each cut to 40 characters.

    >>> shown(["a", "b"])
    "'a', 'b'"
    """
    listed = [repr(label if len(label) <= 40 else f"{label[:39]}…") for label in labels]
    return ", ".join(listed[:10]) + (", …" if len(listed) > 10 else "")


def split_by_label(labels: Sequence[str], seed: int, share: float = SHARE) -> set[int]:
    """Return the indices of the rows that are set aside: the same share of each label, chosen by the seed.

    A label of two rows or more has at least one row on each side; the row of a label with a single row stays.
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
