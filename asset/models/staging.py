"""The folder beside the final one in which a pull is made ready, and the one act by which it takes that one's place.

    model/.bert-base-cased.pull/
        lock        held by the pull at work; it goes with the process, however that ends
        partial/    what has come of files, named by the hash of the content that they are to have
        fetched/    files that are whole and checked
        folder/     what becomes model/bert-base-cased; made anew by each pull

Who looks at the final folder sees what was there before or all of the new one, also after a kill or a crash.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from asset.findings import shown
from asset.models.errors import ModelError
from asset.models.hub import RemoteFile

SPARE = 16 << 20
"""Bytes for all that is small."""

SMALL = 4 << 20
"""Bytes up to which a file is copied."""

LOCK_SECONDS = 0.2

AT_FDCWD, RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True)
class Staging:
    """The folder for a final one."""

    final: Path

    @property
    def path(self) -> Path:
        """Return the folder itself."""
        return self.final.with_name(f".{self.final.name}.pull")

    @property
    def fetched(self) -> Path:
        """Return the folder of whole files."""
        return self.path / "fetched"

    @property
    def folder(self) -> Path:
        """Return the folder that becomes the final one."""
        return self.path / "folder"

    @property
    def partial(self) -> Path:
        """Return the folder of what has come of files."""
        return self.path / "partial"

    @property
    def before(self) -> Path:
        """Return where the final folder's last content waits, on a file system that cannot exchange two folders."""
        return self.path / "before"

    def part(self, file: RemoteFile) -> Path:
        """Return where a file's bytes go while they come."""
        return self.partial / file.key

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; raises InUse if another process holds it."""
        with self._hold():
            for folder in (self.fetched, self.partial):
                folder.mkdir(exist_ok=True)
            if self.before.exists() and not self.final.exists():
                os.rename(self.before, self.final)
            try:
                yield
            finally:
                if self.path.exists() and not any((*self.partial.iterdir(), *self.fetched.iterdir())):
                    self.remove()

    def _hold(self) -> FileLock:
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / "lock", timeout=LOCK_SECONDS)
            try:
                lock.acquire()
            except FileNotFoundError:
                continue  # a pull that ended has removed the folder
            except Timeout as exc:
                raise ModelError(
                    "in_use", f"{shown(self.final)} is in use by another pull; wait for it, or give another --output"
                ) from exc
            return lock

    def came(self, file: RemoteFile) -> int:
        """Return how many bytes of a file that is not whole are here already."""
        part = self.part(file)
        return part.stat().st_size if part.is_file() else 0

    def forget(self, wanted: set[str]) -> None:
        """Remove what an earlier try fetched of a commit that has other files."""
        for path in self.fetched.iterdir():
            if path.name not in wanted:
                path.unlink()

    def require_room(self, size: int) -> None:
        """See that the disk has room for so many bytes more; raises NoRoom."""
        free = shutil.disk_usage(self.path).free
        if free < size + SPARE:
            raise ModelError(
                "no_room",
                f"{shown(self.final.parent)}: expected room for {(size + SPARE) / 1e6:,.0f} MB, found {free / 1e6:,.0f} MB; "
                "make room, or give an --output on another disk",
            )

    def keep(self, file: RemoteFile) -> None:
        """Move a file that came whole to the others, once it is on the disk."""
        part = self.part(file)
        sync(part)
        part.replace(self.fetched / file.name)

    def begin_folder(self) -> None:
        """Make the folder that is to be, empty."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir()

    def publish(self) -> None:
        """Put the folder in the final one's place, and remove what is left."""
        for path in (*self.folder.rglob("*"), self.folder):
            sync(path)
        if not self.final.exists():
            os.rename(self.folder, self.final)
        elif not _exchange(self.folder, self.final):
            # For a moment there is no folder; the next pull puts right what a kill leaves then.
            os.rename(self.final, self.before)
            os.rename(self.folder, self.final)
        sync(self.final.parent)
        self.remove()

    def remove(self) -> None:
        """Remove the folder, with all that is in it; the lock goes last."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        shutil.rmtree(self.path)


def place(source: Path, target: Path) -> None:
    """Put a file where it is needed too. A large one is there twice at the cost of one, where the disk can do that."""
    target.unlink(missing_ok=True)
    source = source.resolve()  # in the hub's cache it is a link
    if source.stat().st_size > SMALL:  # a small one may be edited in its place, which the other would share
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one act; returns whether this system can."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    return libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0
