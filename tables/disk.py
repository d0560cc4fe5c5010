"""Read and write single files safely.

Reading files that a stranger may have written: `open_regular`, `read_start`, `read_regular` and `read_text` open no device and
no pipe, and read a limited number of bytes. Each fault is an OSError, as for any file that cannot be read.

Writing files whole or not at all, so that a reader sees the old content or all of the new, also after a crash:

    write_whole(Path("report.html"), page)                      text or bytes
    write_json(Path("run.json"), {"status": "running"})         for the owner alone, unless `mode` says otherwise
    with whole_file(Path("answers.jsonl")) as file: ...         a binary file, written piece by piece
    with Outputs({"predictions": Path("predictions.jsonl")}) as outputs: ...      several files of JSON lines at once

Each file is written under another name, is brought to the disk, and then gets its own name. If that fails, the earlier file
is still there, and nothing is left beside it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Self, TextIO

MOST_BYTES = 1_000_000
"""The largest file that people write; reading this many bytes of YAML takes half a minute."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; raises OSError, also for a pipe, which may wait for ever, and a device, which has no end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a folder fails by itself
        raise OSError(errno.EINVAL, "a device or a pipe, which is no file", str(path))
    return path.open("rb")


def read_start(path: Path, most: int) -> bytes:
    """Return at most the first `most` bytes of a file; raises OSError as open_regular does."""
    # Files below /proc have size 0, and reading some of them waits for ever.
    if path.stat().st_size == 0 and path.is_file():
        return b""
    with open_regular(path) as file:
        return file.read(most)


def read_regular(path: Path, most: int) -> bytes:
    """Return a file's content; raises OSError, also if the file has more than `most` bytes."""
    content = read_start(path, most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than the {most:,} bytes that such a file may have", str(path))
    return content


def read_text(path: Path, encoding: str = "utf-8") -> str:
    r"""Return the text of a file that people write, with \n at the end of lines; raises OSError or UnicodeDecodeError."""
    return read_regular(path, MOST_BYTES).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


ANYONE, OWNER_ONLY = 0o666, 0o600
"""Who may read and write a new file, before the process's umask."""


@contextlib.contextmanager
def whole_file(path: Path, *, mode: int = ANYONE, unfinished: Path | None = None) -> Iterator[BinaryIO]:
    """Give a file to write; it is put in its place at the end of the block, unless that raises; raises OSError.

    Args:
        path: its place.
        mode: its permissions, before the umask.
        unfinished: the folder in which it is written first, on the same disk; default: the folder of its place.
    """
    partial = (unfinished or path.parent) / f".{uuid.uuid4().hex}.partial"
    try:
        with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            sync(file)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, *, mode: int = ANYONE) -> None:
    """Write a file; text is in UTF-8; raises OSError."""
    with whole_file(path, mode=mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: object, *, mode: int = OWNER_ONLY) -> None:
    """Write a file of JSON; raises OSError."""
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n", mode=mode)


def sync(file: IO[Any]) -> None:
    """Wait until what was written to a file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


class Outputs:
    """Files of JSON lines that are written beside their places, under another name, until `publish` puts them there.

        with Outputs({"predictions": Path("predictions.jsonl")}) as outputs:
            outputs.write("predictions", {"predictions": "capital", "line": 1})
            outputs.publish()

    If a place is a folder, the file is written into it, under the name of the output. What is not published is removed;
    what a killed process leaves (`.NAME.partial`) is overwritten by the next process.
    """

    def __init__(self, places: Mapping[str, Path]) -> None:
        """Take the place of each output."""
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
        """Add a line of JSON that `lines` gave, with its line end."""
        self._files[name].write(line)

    def lines(self, name: str) -> Iterator[str]:
        """Read back what was written to an output that is not published yet."""
        self._files[name].flush()
        with _partial(self._places[name]).open(encoding="utf-8", newline="\n") as file:
            yield from file

    def publish(self, *names: str) -> None:
        """Put the named outputs, or all, in their places; all are on the disk before the first gets its name."""
        chosen = names or tuple(self._files)
        for name in chosen:
            sync(self._files[name])
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
