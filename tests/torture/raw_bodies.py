"""Bodies that are bytes: requests cut, spliced, repeated and with other bytes in them, and texts made to be costly."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from serving.answering.models import model_class
from serving.requests.schema import DIALECTS
from serving.tasks import Task
from tests.torture.answers import answered, services
from tests.torture.attack import drawing
from tests.torture.mutations import mutated


def examples(task: Task) -> list[bytes]:
    """Return a request of each dialect, and some with all that there is to set."""
    inputs = model_class(task).input
    found = [json.dumps(dialect.example(inputs)).encode() for dialect in DIALECTS if dialect.serves(inputs.fields)]
    found += [
        b'{"input_data": ["the [MASK] sat on the [MASK]"], "parameters": {"top_k": 3, "targets": ["cat", "cats"]}}',
        b'{"input_data": {"columns": ["question", "context"], "index": [0], "data": [["who?", "the cat sat"]]}, '
        b'"params": {"top_k": 2, "max_seq_len": 16, "doc_stride": 4, "handle_impossible_answer": true}}',
        '{"inputs": ["é [MASK] \U0001f389", "\\ud83d\\ude00 [MASK]"], "options": {"wait_for_model": true}}'.encode(),
    ]
    return found


def _deep(draw: random.Random) -> str:
    opened, closed = draw.choice([("[", "]"), ('{"a":', "}"), ('{"inputs":', "}")])
    depth = draw.choice([10, 900, 1100, 50_000])
    return opened * depth + "1" + (closed * depth if draw.random() < 0.7 else "")


def _number(draw: random.Random) -> str:
    digits = draw.choice(["9" * draw.choice([20, 4299, 4301, 100_000]), "1e400", "-1e-400", "NaN", "-Infinity", "0x1"])
    return f'{{"inputs": "a [MASK]", "parameters": {{"top_k": {digits}}}}}'


def _same_key(draw: random.Random) -> str:
    return "{" + ",".join(['"inputs": "the [MASK]"'] * draw.choice([2, 3000])) + "}"


def _many_rows(draw: random.Random) -> str:
    rows = ["[MASK]" * draw.choice([0, 1, 64, 65])] * draw.choice([1, 64, 1024, 1025, 60_000])
    return json.dumps({draw.choice(["input_data", "inputs", "instances"]): rows[: 400_000 // (len(rows[0]) + 4) + 1]})


def _long_text(draw: random.Random) -> str:
    unit = draw.choice(["a", "the cat ", "[MASK]", "\u4e2d", "e\u0301", "\x00", "\\u0000", " ", "\U0001f389", "##a"])
    return json.dumps({"inputs": unit * draw.choice([100, 5000, 100_000, 400_000])})


def _odd_keys(draw: random.Random) -> str:
    keys = ["", "\x00", "__proto__", "input_data\u200b", "a" * 10_000, "\ud800", "parameters", "params", "columns"]
    return json.dumps(
        {draw.choice(keys): "the [MASK]", draw.choice(["inputs", "input_data"]): {draw.choice(keys): [1]}}
    )


def _encoded(draw: random.Random) -> str:
    text = draw.choice(['{"inputs": "the [MASK]"}', "", "null", '"', "\ufeff{}"])
    return text.encode(draw.choice(["utf-16", "utf-32", "utf-8-sig"])).decode("latin-1")


COSTLY: tuple[Callable[[random.Random], str], ...] = (
    *(_deep, _number, _same_key, _many_rows, _long_text, _odd_keys, _encoded),
)


def body(draw: random.Random, task: Task) -> bytes:
    """Draw a body: one of ten is made to be costly, the others are requests with a few changes."""
    if draw.random() < 0.1:
        return draw.choice(COSTLY)(draw).encode("utf-8", "surrogatepass")
    known = examples(task)
    return mutated(draw.choice(known), draw, known)


class RawBodies:
    """Has the service of each task answer them, decoded as the inference server does it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._services, self._seed = services(folder), seed

    def watched(self) -> int:
        """Return this process: the services run in it."""
        return os.getpid()

    def case(self, number: int) -> Counter[str]:
        """Answer one body."""
        draw = drawing("bytes", self._seed, number)
        task: Task = list(self._services)[number % len(self._services)]
        try:
            text = body(draw, task).decode("utf-8")
        except UnicodeDecodeError:
            return Counter(["not UTF-8: the server's own refusal"])
        return Counter([f"{task} {answered(self._services[task], text)}"])

    def close(self) -> None:
        """Nothing is left running."""
