"""The folders that keep compiled models: a file is there whole or not at all, and a damaged file is not used.

A file is called HASH OF ITS SOURCE.HASH OF ITS CONTENT.KIND, so that one rename publishes it, and a reader can see if it is
as it was written. A damaged file has other weights: the engine might refuse it, or answer with them.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger("serving.engine.compile")

UNFINISHED = "unfinished-"
"""How the folder of a running compilation is called, before some random letters."""


@dataclass
class Made:
    """A compiled model while it is written to a temporary place; `file` is its final place once it is kept."""

    file: Path


@dataclass(frozen=True)
class Entry:
    """The result of one compilation: the hash of everything that it depends on, and the ending of the file's name."""

    source: str
    kind: str

    def found(self, place: Path, accepted: Callable[[Path], bool] = Path.is_file) -> Path | None:
        """Return the accepted and undamaged file in a folder, or None; reads the file once to check it."""
        for path in filter(accepted, sorted(place.glob(f"{self.source}.*.{self.kind}"))):
            try:
                if path == self._named(place, path):
                    return path
                reason = "its content has changed since it was written"
            except OSError as exc:
                reason = exc.strerror or str(exc)
            logger.warning("%s is not used and the model is compiled again: %s", path, reason)
        return None

    @contextmanager
    def kept(self, place: Path) -> Iterator[Made]:
        """Yield a file to write, which gets its name in the folder when the block ends, or is removed if the block raises.

        Raises OSError if the folder cannot be written to.
        """
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _unfinished(place) as folder:
            made = Made(folder / f"{self.source}.{self.kind}")
            yield made
            named = self._named(place, made.file)
            made.file.replace(named)
            made.file = named
        self._drop_damaged(place)

    def _named(self, place: Path, path: Path) -> Path:
        """Return the name that a file has to have for its present content."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return place / f"{self.source}.{digest[:24]}.{self.kind}"

    def _drop_damaged(self, place: Path) -> None:
        for path in place.glob(f"{self.source}.*.{self.kind}"):
            with suppress(OSError):
                if path != self._named(place, path):
                    path.unlink()


@contextmanager
def _unfinished(place: Path) -> Iterator[Path]:
    """Yield a temporary folder, after removing those that killed processes have left.

    Each process that writes in the place holds a shared lock on it. If this process gets the lock alone, no other process
    is at work, and unfinished folders are leftovers.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # others are at work, or the file system has no locks; leftovers stay
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in place.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=place) as folder:
            yield Path(folder)
    finally:
        os.close(descriptor)
