"""An attack: it makes one hostile input a case, gives it to the product, and sees that the documented end comes.

Every input follows from the attack's name, the seed and the case's number alone, so these three reproduce it.
"""

from __future__ import annotations

import importlib
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

MB = 1 << 20


class BrokenPromise(Exception):
    """An input did not end in what is documented; the message says which promise, and shows the input."""


class Bounds(NamedTuple):
    """What one case may take: seconds, and bytes of resident memory beyond what the process had before it."""

    seconds: float
    memory: int


class Leaks(NamedTuple):
    """By how much a process may grow between a quarter of its cases and the last: bytes, file descriptors, threads."""

    memory: int = 96 * MB
    descriptors: int = 4
    threads: int = 4


class Attack(Protocol):
    """What a worker process does; made once, with a folder of its own and the seed."""

    def case(self, number: int) -> Counter[str]:
        """Do one case and count how its inputs ended, for the summary; raises BrokenPromise, or anything."""

    def watched(self) -> int:
        """Return the process whose memory, descriptors and threads count; this one's as a rule."""

    def close(self) -> None:
        """Stop what was started; raises BrokenPromise where only the end shows that something was wrong."""


@dataclass(frozen=True)
class Kind:
    """An attack, by where it is written. A case has so many `inputs`; `data` limits the memory that a process can ask for.

    `share` is its part of the inputs of its `boundary`.
    """

    boundary: str
    share: float
    module: str
    name: str
    bounds: Bounds
    inputs: int = 1
    data: int | None = None
    leaks: Leaks = Leaks()

    def start(self, folder: Path, seed: int) -> Attack:
        """Make it, in the process that runs it."""
        made: Attack = getattr(importlib.import_module(self.module), self.name)(folder, seed)
        return made


KINDS: Mapping[str, Kind] = {
    "json": Kind("requests", 0.55, "tests.torture.json_bodies", "JsonBodies", Bounds(60, 256 * MB), inputs=50),
    "bytes": Kind("requests", 0.35, "tests.torture.raw_bodies", "RawBodies", Bounds(10, 256 * MB)),
    "http": Kind("requests", 0.1, "tests.torture.over_http", "OverHttp", Bounds(15, 512 * MB)),
    "folders": Kind("folders", 1, "tests.torture.model_folders", "ModelFolders", Bounds(30, 1536 * MB), data=2048 * MB),
    "yaml": Kind("files", 0.5, "tests.torture.yaml_files", "YamlFiles", Bounds(30, 512 * MB)),
    "data": Kind("files", 0.5, "tests.torture.data_files", "DataFiles", Bounds(30, 512 * MB)),
}
"""Boundaries, and what attacks them; tests/torture/README.md says them in words."""

FAULTY = Kind("none", 1, "tests.torture.faulty", "Faulty", Bounds(1, 100 * MB), leaks=Leaks(memory=32 * MB))
"""What shows the watch all that it watches for."""

EVERY: Mapping[str, Kind] = {**KINDS, "faulty": FAULTY}


def drawing(kind: str, seed: int, case: int) -> random.Random:
    """Return what the case's input is drawn with."""
    return random.Random(f"{kind}/{seed}/{case}")


def shown(value: object, length: int = 400) -> str:
    """Show an input, cut to a length that a terminal bears."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length // 2]} … {text[-length // 2 :]} ({len(text)} characters)"
