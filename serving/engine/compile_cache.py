"""Where compiled models are kept: each file whole or not there at all, and what was damaged since is not taken.

A file is called <hash of what it was made from>.<hash of what is in it>.<kind>, so one rename makes both true at once, and
whoever takes it can see that it is what was written. A damaged file has weights that nobody made: the engine might refuse it,
or answer with them.
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
"""What the folder of a compilation that runs is called, before some random letters."""


@dataclass
class Made:
    """A compiled model that is written: first to a place of its own; when it is kept, `file` is where."""

    file: Path


@dataclass(frozen=True)
class Entry:
    """What one compilation makes: the hash of all that it depends on, and the file's kind, which ends its name."""

    source: str
    kind: str

    def found(self, place: Path, accepted: Callable[[Path], bool] = Path.is_file) -> Path | None:
        """Return the file in a folder, read whole once; None where none is accepted and as it was written."""
        for path in filter(accepted, sorted(place.glob(f"{self.source}.*.{self.kind}"))):
            try:
                if path == self._named(place, path):
                    return path
                reason = "its content is not what was written"
            except OSError as exc:
                reason = exc.strerror or str(exc)
            logger.warning("%s is not used, the model is compiled anew: %s", path, reason)
        return None

    @contextmanager
    def kept(self, place: Path) -> Iterator[Made]:
        """Give a file to write; when the block ends it gets its name in the folder. Nothing is left of one that raises.

        Raises OSError where the folder cannot be written to.
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
        """Return what a file is to be called, of what is in it now."""
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
    """Give a folder to write in, gone at the end; those that killed processes left are removed first.

    Whoever writes in a place holds a shared lock on it. So one who gets it alone knows that what is unfinished is
    nobody's any more.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # others are at work here; or the file system has no locks, and what is left stays
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in place.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=place) as folder:
            yield Path(folder)
    finally:
        os.close(descriptor)
