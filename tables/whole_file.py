"""Write a text file that is there whole or not at all.

Write output files of JSON lines that are there whole or not at all.

A JSON file that is replaced as a whole: whoever reads sees the old content or the new, also after a crash.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO


def write_whole(file: Path, text: str) -> None:
    """Write a text in UTF-8 beside its place, and put it there once it is on the disk; raises OSError.

    Where it fails, what was in the place before is still there, and nothing is left beside it.
    """
    with tempfile.TemporaryDirectory(dir=file.parent) as unfinished:
        part = Path(unfinished) / file.name
        with part.open("wb") as opened:
            opened.write(text.encode("utf-8"))
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)


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


OWNER_ONLY = 0o600


def write_json(path: Path, content: object) -> None:
    """Replace the file's content; its owner alone may read it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
