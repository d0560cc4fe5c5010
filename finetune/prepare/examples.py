"""Examples: rows of the user's data in the form that training reads."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import RowError
from tables.rows import Reject, Row, kind_of


@dataclass(frozen=True, slots=True)
class Example:
    """A row as it is written; `group` is its label, or a digest of its context; rows of the same text have one `digest`."""

    record: dict[str, Any]
    group: str
    digest: bytes
    repaired: bool = False


@dataclass
class ReadPart:
    """The result of reading a part of the data: the group and the digest of each row that was kept, and counts."""

    source: str
    groups: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    """The first rows that were left out."""
    places: dict[str, list[str]] = field(default_factory=dict)
    """A label's first rows, by file and line."""
    repaired: int = 0
    duplicates: int = 0
    """Rows whose text is in train too."""
    sha256: str = ""

    def add(self, example: Example) -> None:
        """Count an example."""
        self.groups.append(example.group)
        self.digests.append(example.digest)
        self.repaired += example.repaired


def text_of(row: Row, column: str) -> str:
    """Return the text in a column; raises RowError."""
    value = row.values[column]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise RowError("missing_text", f"expected a text in column {column!r}, found none")
    if not isinstance(value, str):
        raise RowError("not_a_text", f"expected a text in column {column!r}, found {kind_of(value)}")
    if not value.strip():
        raise RowError("empty_text", f"expected a text in column {column!r}, found an empty one")
    check_characters(value, column)
    return value


def check_characters(text: str, column: str) -> None:
    """Raise RowError if a text has half of a surrogate pair, which UTF-8 cannot write."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        problem = f"expected whole characters in column {column!r}, found half of a surrogate pair"
        raise RowError("invalid_encoding", problem) from exc


def digest_of(*texts: str) -> bytes:
    """Return a digest of 16 bytes; other texts, or texts that are divided otherwise, have another digest."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
