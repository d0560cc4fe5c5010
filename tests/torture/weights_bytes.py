"""Damage model.safetensors: its length, its header, its offsets, its numbers; and files that are large by holes alone."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.torture.mutations import mutated

NAME = "model.safetensors"
GB = 1 << 30
LARGEST = 8000 * GB
DTYPES = (
    "BOOL",
    "U8",
    "I8",
    "I16",
    "I32",
    "I64",
    "F16",
    "BF16",
    "F32",
    "F64",
    "F8_E5M2",
    "F8_E4M3",
    "C64",
    "F4",
    "U64",
    "?",
)

Damage = Callable[[Path, random.Random], None]


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return a safetensors file's header and data."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(path: Path, header: Any, data: bytes, length: int | None = None) -> None:  # noqa: ANN401 - JSON
    """Write one, its header's length another than it is where that is given."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def bytes_anywhere(folder: Path, draw: random.Random) -> None:
    """Change bytes of the file, for the most part of its header."""
    path = folder / NAME
    content = path.read_bytes()
    end = draw.choice([8, 200, 4000, len(content)])
    path.write_bytes(mutated(content[:end], draw) + content[end:])


def cut(folder: Path, draw: random.Random) -> None:
    """Cut its end off."""
    os.truncate(folder / NAME, draw.choice([0, 7, 8, 9, 100, draw.randrange((folder / NAME).stat().st_size)]))


def header_length(folder: Path, draw: random.Random) -> None:
    """Say another length of its header."""
    header, data = split(folder / NAME)
    length = draw.choice([0, 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 100_000_001, 99_999_999, draw.randrange(5000)])
    join(folder / NAME, header, data, length)


def offsets(folder: Path, draw: random.Random) -> None:
    """Let tensors overlap, end before they begin, or lie outside of the file."""
    header, data = split(folder / NAME)
    for name in draw.sample(sorted(header), 3):
        start, end = header[name]["data_offsets"]
        odd = [[end, start], [start, 2**63], [-1, end], [0, end], [start + 1, end + 1], [start, start], [2**64, 2**64]]
        header[name]["data_offsets"] = draw.choice([*odd, [start], "0,1", [0.5, 1.5], [1e300, 2], None])
    join(folder / NAME, header, data)


def shapes(folder: Path, draw: random.Random) -> None:
    """Say other shapes: some of as many numbers, some of absurdly many."""
    header, data = split(folder / NAME)
    for name in draw.sample(sorted(header), draw.choice([1, 5])):
        shape = header[name]["shape"]
        odd = [shape[::-1], [*shape, 1], [1, *shape], [2**32, 2**32], [2**64], [-1, 32], [], [0], [1] * 100, "x", [1.5]]
        header[name]["shape"] = draw.choice(odd)
    join(folder / NAME, header, data)


def dtypes(folder: Path, draw: random.Random) -> None:
    """Write tensors as another type, with as many bytes as it has."""
    header, data = split(folder / NAME)
    sizes = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "F16": 2, "BF16": 2, "I64": 8, "F64": 8, "C64": 8, "U64": 8}
    sizes |= {"F8_E5M2": 1, "F8_E4M3": 1}
    changed, new, start = set(draw.sample(sorted(header), draw.choice([1, len(header)]))), bytearray(), 0
    kind = draw.choice(DTYPES)
    for name, tensor in header.items():
        old = data[slice(*tensor["data_offsets"])]
        if name in changed:
            tensor["dtype"] = kind
            old = old[: len(old) // 4 * sizes.get(kind, 4)] + bytes(
                max(0, len(old) // 4 * sizes.get(kind, 4) - len(old))
            )
        new += old
        tensor["data_offsets"] = [start, len(new)]
        start = len(new)
    join(folder / NAME, header, bytes(new))


def names(folder: Path, draw: random.Random) -> None:
    """Leave tensors out, give two one name, or give them odd ones."""
    header, data = split(folder / NAME)
    name = draw.choice(sorted(header))
    odd = ["", "\x00", "bert." + name, name + "\n", "../" + name, "a" * 100_000, "\ud800", "__metadata__", "é"]
    if draw.random() < 0.3:
        text = json.dumps(header).encode()
        join(folder / NAME, text[:-1] + b"," + text[1:], data)  # each name twice
        return
    header[draw.choice(odd)] = header[name] if draw.random() < 0.3 else header.pop(name)
    join(folder / NAME, header, data)


def numbers(folder: Path, draw: random.Random) -> None:
    """Put NaN, infinities and huge numbers in: in one place, a row or everywhere."""
    header, data = split(folder / NAME)
    array = np.frombuffer(data, np.float32).copy()
    tensors = [one["data_offsets"] for one in header.values()]
    start, end = draw.choice([[0, len(data)], *tensors])
    value = draw.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e30, 1e-45, 0.0])
    places = range(start // 4, end // 4)
    at = draw.choice([list(places), draw.sample(places, 1), list(places)[: draw.choice([1, 32])]])
    array[at] = value
    join(folder / NAME, header, array.tobytes())


def header_nested(folder: Path, draw: random.Random) -> None:
    """Make the header deep, long or of another type."""
    _, data = split(folder / NAME)
    deep = b'{"a":' * 100_000
    metadata = json.dumps({"__metadata__": {"format": "x" * draw.choice([10, 5_000_000])}}).encode()
    many = json.dumps({f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(50_000)}).encode()
    header = draw.choice(
        [deep, b"[" * 100_000, metadata, many, b"[]", b"null", b'"x"', b"{}", b"\xff\xfe", b" " * 9_000_000]
    )
    join(folder / NAME, header, draw.choice([data, b""]))


def holes(folder: Path, draw: random.Random) -> None:
    """Make the file many GB large, by a hole that takes no disk: a tensor that nobody needs, or one of the model's."""
    header, data = split(folder / NAME)
    size = draw.choice([3, 20, 200, 2000]) * GB
    if draw.random() < 0.5:
        header["unneeded"] = {"dtype": "U8", "shape": [size], "data_offsets": [len(data), len(data) + size]}
    else:
        hidden = header["embeddings.word_embeddings.weight"]["shape"][1]
        rows = size // 4 // hidden
        header["embeddings.word_embeddings.weight"] = {
            "dtype": "F32",
            "shape": [rows, hidden],
            "data_offsets": [len(data), len(data) + rows * hidden * 4],
        }
        config = json.loads((folder / "config.json").read_bytes())
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": rows}), encoding="utf-8")
        data, header = _without_gap(header, data)
    join(folder / NAME, header, data)
    end = 8 + int.from_bytes((folder / NAME).open("rb").read(8), "little")
    size = end + max(tensor["data_offsets"][1] for tensor in header.values())
    os.truncate(folder / NAME, min(size, LARGEST))  # an earlier damage may have put an offset anywhere


def _without_gap(header: dict[str, Any], data: bytes) -> tuple[bytes, dict[str, Any]]:
    """Move tensors together after one of them has left its place for the end."""
    new, moved = bytearray(), {}
    for name, tensor in sorted(header.items(), key=lambda one: one[1]["data_offsets"]):
        start, end = tensor["data_offsets"]
        place = len(new)
        if end <= len(data):
            new += data[start:end]
        moved[name] = tensor | {"data_offsets": [place, place + end - start]}
    return bytes(new), moved


DAMAGES: tuple[Damage, ...] = (
    *(bytes_anywhere, bytes_anywhere, cut, header_length, offsets, shapes, dtypes, names, numbers, numbers),
    *(header_nested, holes, holes),
)
