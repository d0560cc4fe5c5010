"""Write output files of JSON lines that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO


class Outputs:
    """Files that are written beside their places, under another name, until `publish` puts them there.

        with Outputs({"predictions": Path("predictions.jsonl")}) as outputs:
            outputs.write("predictions", {"predictions": "capital", "line": 1})
            outputs.publish()

    A place that is a folder gets a file in it, called as the output. What is not published is removed; where the
    process was killed, what it leaves (`.NAME.partial`) is overwritten by the next.
    """

    def __init__(self, places: Mapping[str, Path]) -> None:
        """Take where each output goes."""
        self._places = {name: path / f"{name}.jsonl" if path.is_dir() else path for name, path in places.items()}
        self._files: dict[str, TextIO] = {}

    def __enter__(self) -> Self:
        try:
            for name, place in self._places.items():
                place.parent.mkdir(parents=True, exist_ok=True)
                self._files[name] = _partial(place).open("w", encoding="utf-8", newline="\n")
        except OSError:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a line to an output."""
        self._files[name].write(json.dumps(record, ensure_ascii=False) + "\n")

    def write_line(self, name: str, line: str) -> None:
        """Add a line of JSON, with its end, as it was read back."""
        self._files[name].write(line)

    def lines(self, name: str) -> Iterator[str]:
        """Read back what was written to an output that is not published yet."""
        self._files[name].flush()
        with _partial(self._places[name]).open(encoding="utf-8", newline="\n") as file:
            yield from file

    def publish(self, *names: str) -> None:
        """Put the named outputs, or all, in their places; each is on the disk before it gets its name."""
        chosen = names or tuple(self._files)
        for name in chosen:
            self._files[name].flush()
            os.fsync(self._files[name].fileno())
        for name in chosen:
            self._files.pop(name).close()
            os.replace(_partial(self._places[name]), self._places[name])

    def _discard(self) -> None:
        while self._files:
            name, file = self._files.popitem()
            file.close()
            _partial(self._places[name]).unlink(missing_ok=True)


def _partial(place: Path) -> Path:
    return place.with_name(f".{place.name}.partial")
