"""The clients of the soak: what they ask of each task, the models that answer, and clients that misbehave.

A small model is made for each task: the embedded model, or its encoder under a head of random weights. The time and the
work of an answer do not depend on what the head has learned.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import shutil
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import MASK, SEED, SPREAD, sentences
from benchmarks.workers import ROOT
from serving.tasks import TASKS, Task

EMBEDDED = ROOT / "model/embedded"

COUNT = 200
"""Requests that are sent in turn; a share of 0.05 is ten requests."""

LONG_WORDS = 200
TOLERANCE = 0.02
"""How far a score may differ from the score of the same request alone: an engine's rounding may depend on the batch."""

QUESTIONS = ("Who is this about?", "Where does it happen?", "What is done?", "How much of it is there?")

PIECES = 10
"""The pieces in which a slow sender sends a request."""

PATIENCE = 60.0
"""Seconds after which a misbehaving client gives up."""


@dataclass(frozen=True)
class Asked:
    """A request's body, and the status of its answer if the server is not overloaded."""

    body: str
    status: str


def traffic(task: Task, seed: int) -> list[Asked]:
    """Return requests of a task; the same seed gives the same requests."""
    draw = random.Random(f"{seed} {task}")
    asking = _ASKING[task]
    rows = [asking.row(text, draw) for text in sentences()]
    long_rows = [asking.row(text, draw) for text in _long(draw)]
    requests = [asking.request([draw.choice(rows)]) for _ in range(COUNT * 60 // 100)]
    requests += [asking.request(draw.choices(rows, k=draw.randint(2, 8))) for _ in range(COUNT * 20 // 100)]
    requests += [asking.request([draw.choice(long_rows)]) for _ in range(COUNT * 10 // 100)]
    requests += [asking.request(draw.choices(rows, k=2), top_k=5) for _ in range(COUNT * 5 // 100)]
    mistakes = [*_MISTAKES, *asking.mistakes]
    requests += [mistakes[number % len(mistakes)] for number in range(COUNT - len(requests))]
    draw.shuffle(requests)
    return requests


def _long(draw: random.Random) -> list[str]:
    """Return texts of LONG_WORDS words and one mask."""
    texts = []
    for _ in range(8):
        words = " ".join(draw.sample(sentences(), 24)).replace(MASK, "one").split()[:LONG_WORDS]
        words[draw.randrange(len(words))] = MASK
        texts.append(" ".join(words))
    return texts


@dataclass(frozen=True)
class _Asking:
    """How the requests of a task are made."""

    key: str
    """The key of the rows in a request."""
    row: Callable[[str, random.Random], Any]
    """Makes a row from a text with a mask."""
    mistakes: tuple[Asked, ...] = ()
    """Mistakes that only this task refuses."""

    def request(self, rows: list[Any], **parameters: object) -> Asked:
        """Return a request that is answered with 200."""
        # Under `inputs` a single row stands without a list.
        content: dict[str, Any] = {self.key: rows[0] if self.key == "inputs" and len(rows) == 1 else rows}
        return Asked(json.dumps(content | ({"parameters": parameters} if parameters else {})), "200")


def _plain(text: str, _: random.Random) -> str:
    return text.replace(MASK, "one")


def _question(text: str, draw: random.Random) -> dict[str, str]:
    return {"question": draw.choice(QUESTIONS), "context": _plain(text, draw)}


_ASKING: dict[Task, _Asking] = {
    "fill-mask": _Asking(
        "input_data",
        lambda text, _: text,
        (
            Asked(json.dumps({"input_data": ["Nothing is missing here."]}), "400"),
            Asked(json.dumps({"input_data": [f"A {MASK}."] * 1025}), "413"),
        ),
    ),
    "text-classification": _Asking("input_data", _plain),
    "question-answering": _Asking("inputs", _question),
}

_MISTAKES = (
    Asked('{"input_data": ["cut off', "400"),
    Asked('{"hello": ["there"]}', "400"),
    Asked(json.dumps({"input_data": [[["deep"]]]}), "400"),
)
"""Mistakes that every task refuses."""


def first_request(task: Task) -> str:
    """Return the first request to a server, whose answer shows that it is up."""
    asking = _ASKING[task]
    return asking.request([asking.row(f"The {MASK} sat on the mat.", random.Random(0))]).body


def same(answer: object, expected: object) -> bool:
    """Return True if two answers in JSON are the same, apart from small differences of scores.

    >>> same([{"label": "a", "score": 0.501}], [{"label": "a", "score": 0.5}])
    True
    """
    if isinstance(answer, float) and isinstance(expected, float):
        return math.isclose(answer, expected, abs_tol=TOLERANCE)
    if isinstance(answer, dict) and isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(same(answer[name], expected[name]) for name in answer)
    if isinstance(answer, list) and isinstance(expected, list):
        return len(answer) == len(expected) and all(map(same, answer, expected))
    return answer == expected


def model_for(task: Task, cache: Path, encoder: Path = EMBEDDED) -> Path:
    """Return a model folder for a task, which is made on the first call."""
    if task == "fill-mask":
        return encoder
    from safetensors.numpy import load_file, save_file

    folder = cache / f"{encoder.name}-{task}"
    weights = folder / "model.safetensors"
    if weights.is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    config |= {"architectures": [f"Bert{TASKS[task].heads[0]}"], "model_name": f"soak-{task}"}
    if task == "text-classification":
        config["id2label"] = {"0": "negative", "1": "neutral", "2": "positive"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(encoder / name, folder)
    tensors = {name: array for name, array in load_file(encoder / "model.safetensors").items() if "cls." not in name}
    partial = weights.with_suffix(".partial")
    save_file(tensors | _head(task, config["hidden_size"]), partial, metadata={"format": "pt"})
    partial.replace(weights)
    return folder


def _head(task: str, hidden: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(SEED)

    def linear(name: str, outputs: int) -> dict[str, np.ndarray]:
        weight = draw.normal(0, SPREAD, (outputs, hidden)).astype(np.float32)
        return {f"{name}.weight": weight, f"{name}.bias": np.zeros(outputs, np.float32)}

    if task == "text-classification":
        return {**linear("bert.pooler.dense", hidden), **linear("classifier", 3)}
    return linear("qa_outputs", 2)


# Clients that misbehave


class RudeClients:
    """Clients that come at a rate and misbehave in one of five ways; the outcomes of their requests are counted."""

    def __init__(self, port: int, body: str, seed: int, slow_seconds: float = 5.0) -> None:
        """Take the server's port and a body that it would answer; a slow client takes `slow_seconds` to send it."""
        content = body.encode()
        head = "POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content
        self._head = self._request.index(b"\r\n\r\n") + 4
        self._port, self._seconds, self._draw = port, slow_seconds, random.Random(seed)
        self.outcomes: dict[str, Counter[str]] = {}

    async def come(self, rate: float, seconds: float) -> None:
        """Come at a rate for some seconds; returns when the last client has gone."""
        ways: tuple[tuple[str, Callable[[], Awaitable[str]]], ...] = (
            ("slow sender", self._slow),
            ("half-open", self._half_open),
            ("gone after half a request", self._gone_halfway),
            ("gone before the answer", self._gone_early),
            ("slow reader", self._slow_reader),
        )
        end, visits = time.monotonic() + seconds, set()
        while (left := end - time.monotonic()) > 0:
            visit = asyncio.create_task(self._visit(*self._draw.choice(ways)))
            visits.add(visit)
            visit.add_done_callback(visits.discard)
            await asyncio.sleep(min(self._draw.expovariate(rate), left))
        await asyncio.gather(*visits)

    async def _visit(self, name: str, way: Callable[[], Awaitable[str]]) -> None:
        try:
            outcome = await asyncio.wait_for(way(), PATIENCE)
        except TimeoutError:
            outcome = "no answer"
        except (OSError, EOFError) as exc:
            outcome = type(exc).__name__
        self.outcomes.setdefault(name, Counter())[outcome] += 1

    async def _slow(self) -> str:
        """Send the request in pieces; an overloaded server may answer before it has all of them."""
        reader, writer = await self._connect()
        try:
            size = -(-len(self._request) // PIECES)
            for start in range(0, len(self._request), size):
                with contextlib.suppress(OSError):
                    writer.write(self._request[start : start + size])
                    await writer.drain()
                await asyncio.sleep(self._seconds / PIECES)
            return await _status(reader)
        finally:
            writer.close()

    async def _half_open(self) -> str:
        """Send half a head and nothing more, like a client that lost its network."""
        _, writer = await self._connect()
        writer.write(self._request[: self._head // 2])
        await asyncio.sleep(2 * self._seconds)
        writer.close()
        return "left"

    async def _gone_halfway(self) -> str:
        _, writer = await self._connect()
        writer.write(self._request[: self._head + 5])
        await asyncio.sleep(0.05)
        _reset(writer)
        return "left"

    async def _gone_early(self) -> str:
        _, writer = await self._connect()
        writer.write(self._request)
        await asyncio.sleep(0.001)
        _reset(writer)
        return "left"

    async def _slow_reader(self) -> str:
        reader, writer = await self._connect()
        try:
            writer.write(self._request)
            await asyncio.sleep(self._seconds)
            return await _status(reader)
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)


async def _status(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line:
        raise EOFError
    while await reader.read(65536):
        pass
    return line.split(b" ", 2)[1].decode("latin-1")


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as the system does for a killed process with data under way."""
    opened: socket.socket = writer.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
