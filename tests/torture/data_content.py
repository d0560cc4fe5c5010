"""Draw what stands in data files: rows with odd values, written well and badly in each kind of file."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow
import pyarrow.parquet

from serving.tasks import Task

MANY = 100_000
"""Times that a text is repeated in a file of 4 KB; the tiny models answer so many questions in 15 s."""

ROWS: dict[Task, list[dict[str, Any]]] = {
    "fill-mask": [{"input_string": f"the [MASK] sat {n}", "title": "cat"} for n in range(8)],
    "text-classification": [{"text": f"the cat {n}", "label": ("bad", "good")[n % 2]} for n in range(12)],
    "question-answering": [
        {"question": "who?", "context": f"the cat sat {n}", "answers": {"text": ["cat"], "answer_start": [4]}}
        for n in range(8)
    ],
}

ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "\x00",
    "\ud800",
    [],
    {},
    [[]],
)
ODD += (
    "[MASK]" * 500,
    "the cat " * 3000,
    "x" * 300_000,
    {"text": [], "answer_start": []},
    {"text": ["x"], "answer_start": [-5]},
)
ODD += (
    {"text": "cat", "answer_start": 4},
    "{'text': ['cat'], 'answer_start': [4]}",
    "['a', 'b']",
    "[" * 5000,
    ["cat", 7],
    "é\u0301",
)
ODD += ({"text": [None], "answer_start": [1e300]}, "2024-01-01", "=cmd()", "\u202e", "9" * 6000, {"a": {"b": {"c": 1}}})


def rows_of(task: Task, draw: random.Random) -> list[Any]:
    """Draw rows: sound ones, some with odd values, columns missing or too many, or that are no objects."""
    rows: list[Any] = [dict(row) for row in ROWS[task]]
    for row in draw.sample(rows, draw.choice([0, 1, 3, len(rows)])):
        key = draw.choice([*row, "extra", "", "\x00"])
        if draw.random() < 0.2:
            row.pop(key, None)
        else:
            row[key] = draw.choice(ODD)
    if draw.random() < 0.2:
        rows.insert(draw.randrange(len(rows)), draw.choice(ODD))
    return rows


def json_lines(rows: list[Any], draw: random.Random) -> bytes:
    """Write JSON lines, or one array, or broken JSON."""
    lines = [json.dumps(row, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass") for row in rows]
    whole = json.dumps(draw.choice([rows, {"data": rows}, {"data": rows, "more": 1}, [rows]])).encode()
    extra = [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"",
        b"\x00",
        b"9" * 6000,
        b'{"text": NaN}',
        b'"' + b"x" * 3_000_000 + b'"',
        b"\xff",
    ]
    lines.insert(draw.randrange(len(lines) + 1), draw.choice(extra)) if draw.random() < 0.4 else None
    return draw.choice([draw.choice([b"\n", b"\n", b"\r\n", b"\n\n"]).join(lines), whole])


def delimited(rows: list[Any], draw: random.Random) -> bytes:
    """Write CSV or TSV, with quotes that are not closed, doubled or missing, and lines of other lengths."""
    delimiter = draw.choice([",", ",", "\t", ";"])
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    names = draw.choice([names, names, [*names, names[0]], [], [*names, "x" * 100_000], ['"' + names[0], *names[1:]]])
    lines = [delimiter.join(names)]
    for row in rows:
        cells = [str(row.get(name, "") if isinstance(row, dict) else row) for name in names]
        lines.append(delimiter.join(draw.choice(QUOTINGS)(cell) for cell in cells))
    text = draw.choice(["\n", "\n", "\r\n", "\r"]).join(lines)
    if draw.random() < 0.15:
        text += '\n"' + draw.choice(["x" * 2_500_000, "a\n" * 30_000, '""' * 10_000])
    return text.encode("utf-8", "surrogatepass")


QUOTINGS: tuple[Callable[[str], str], ...] = (
    *(lambda cell: '"' + cell.replace('"', '""') + '"',) * 4,
    lambda cell: cell,
    lambda cell: f'"{cell}',
    lambda cell: f'"{cell}"x',
    lambda cell: f"'{cell}'",
    lambda cell: cell.replace(" ", "\n"),
)


def parquet(rows: list[Any], draw: random.Random) -> bytes:
    """Write parquet of odd types, or one that is cut or changed."""
    names = [name for name in rows[0] if name] if isinstance(rows[0], dict) and rows[0] else ["text"]
    made: dict[str, Any] = {}
    for name in names:
        texts = [
            str(row.get(name, "") if isinstance(row, dict) else row).encode("utf-8", "replace").decode() for row in rows
        ]
        arrays: list[Callable[[], Any]] = [
            *(lambda texts=texts: pyarrow.array(texts),) * 6,
            lambda: pyarrow.array(range(len(rows))),
            lambda: pyarrow.array([None] * len(rows)),
            lambda: pyarrow.array([b"\xff\x00"] * len(rows), pyarrow.binary()),
            lambda: pyarrow.array([b"\xff\x00"] * len(rows), pyarrow.binary()).cast(pyarrow.string(), safe=False),
            lambda: pyarrow.array([[{"a": [1.5]}]] * len(rows)),
            lambda: pyarrow.array([2**62] * len(rows), pyarrow.timestamp("ns")),
            lambda: pyarrow.array([1] * len(rows), pyarrow.duration("s")),
            lambda: pyarrow.array([2**52] * len(rows), pyarrow.timestamp("ms")),
            lambda: pyarrow.DictionaryArray.from_arrays([0] * len(rows), ["the [MASK]"]),
            lambda: pyarrow.array([10**20] * len(rows), pyarrow.decimal128(38)),
            lambda: pyarrow.array([2**30] * len(rows), pyarrow.date32()),
            lambda: pyarrow.array([86_399_999_999_999] * len(rows), pyarrow.time64("ns")),
        ]
        made[name] = draw.choice(arrays)()
    sink = io.BytesIO()
    table = pyarrow.table(made)
    pyarrow.parquet.write_table(table, sink, compression=draw.choice(["snappy", "none", "zstd"]))
    if draw.random() < 0.1:  # a page of a few bytes that stands for many
        sink = io.BytesIO()
        many = pyarrow.table({name: ["the [MASK] cat"] * MANY for name in names})
        pyarrow.parquet.write_table(many, sink, compression="zstd")
    return sink.getvalue()


def text_lines(rows: list[Any], draw: random.Random) -> bytes:
    """Write lines of text."""
    lines = [str(row).encode("utf-8", "surrogatepass") for row in rows]
    return b"\n".join([*lines, draw.choice([b"", b"\xff\xfe", b"\x00" * 100, b"word " * 300_000, b"\r\r"])])


WRITERS: dict[str, Callable[[list[Any], random.Random], bytes]] = {
    ".jsonl": json_lines,
    ".json": json_lines,
    ".csv": delimited,
    ".tsv": delimited,
    ".parquet": parquet,
    ".txt": text_lines,
}

MLTABLES = (
    *("paths: [{file: ./NAME}]\ntransformations: [READER]\n", "paths: [{pattern: ./*}]\ntransformations: [READER]\n"),
    *(
        "paths: [{folder: .}]\ntransformations: [{READER: {delimiter: ''}}]\n",
        "paths: [{file: /dev/zero}]\ntransformations: [READER]",
    ),
    *(
        "paths: [{pattern: ../../**/*}]\ntransformations: [READER]\n",
        "paths: &a [*a]\n",
        "a: " + "[" * 50_000,
        "\x00",
        "paths: [[]]",
    ),
    *(
        "paths: [{file: 7}]\ntransformations: {}\n",
        'paths: [{file: "a\\0b"}]\ntransformations: [READER]\n',
        "? [a]\n: b\n",
        "!!int x",
    ),
    *(
        "paths: [{file: ./NAME}]\ntransformations: [{READER: {encoding: [utf8], 1: 2}}]\n",
        "paths: [{pattern: '[' }]\ntransformations: [READER]",
    ),
    *(
        "x: 2024-13-45\n",
        "paths: [{file: ./NAME}]\ntransformations: [{[a]: 1}]\n",
        "paths: [{file: ~}]\ntransformations: [READER]\n",
    ),
)
