"""Change bytes as a fuzzer does: a few bits, pieces cut out, doubled, moved, or taken from elsewhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

ODD = (
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xef\xbb\xbf",
    b"\r\n",
    b'"',
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
)
ODD += (b"\\u0000", b"\\ud800", b"1e999", b"NaN", b"-1", b"null", b"true", b"9" * 40, b"\t", b"\\", b":", b"[MASK]")

Change = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


def _flip(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    if not data:
        return b"\x01"
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]


def _cut(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    start, end = _part(data, draw)
    return data[:start] + data[end:]


def _truncate(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _double(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    start, end = _part(data, draw)
    return data[:end] + data[start:end] * draw.choice([1, 2, 30]) + data[end:]


def _insert(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.choice(ODD) * draw.choice([1, 1, 1, 3, 200]) + data[place:]


def _replace(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    start, end = _part(data, draw)
    return data[:start] + draw.choice(ODD) + data[end:]


def _splice(data: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    other = draw.choice(others) if others else data
    start, end = _part(other, draw)
    place = draw.randrange(len(data) + 1)
    return data[:place] + other[start:end] + data[place:]


CHANGES: tuple[Change, ...] = (_flip, _cut, _truncate, _double, _insert, _replace, _splice)


def _part(data: bytes, draw: random.Random) -> tuple[int, int]:
    start = draw.randrange(len(data) + 1)
    return start, min(len(data), start + draw.choice([1, 2, 5, 20, 100]))


def mutated(data: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return data with one to six changes; `others` are what pieces may come from."""
    for _ in range(draw.choice([1, 1, 2, 3, 6])):
        data = draw.choice(CHANGES)(data, draw, others)
    return data
