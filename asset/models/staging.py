"""The folder in which a pull prepares a model folder, and the single step that puts it in the final folder's place.

    model/.bert-base-cased.pull/
        lock        held by a running pull; the system releases it when the process ends, also after a kill
        partial/    files of which some bytes have come, named by the hash of their whole content
        fetched/    files that are whole and checked
        folder/     the next model/bert-base-cased; each pull makes it anew

A reader of the final folder sees all of its old content or all of the new one, also after a kill or a crash.
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
"""Bytes that the small files may take."""

SMALL = 4 << 20
"""Bytes up to which a file is copied; a larger file is linked."""

LOCK_SECONDS = 0.2

AT_FDCWD, RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True)
class Staging:
    """The folder in which the content of a final folder is prepared."""

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
        """Return the folder of files that are not whole yet."""
        return self.path / "partial"

    @property
    def before(self) -> Path:
        """Return the place for the old content of the final folder, on a file system that cannot exchange two folders."""
        return self.path / "before"

    def part(self, file: RemoteFile) -> Path:
        """Return the path of a file that is not whole yet."""
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
        """Return how many bytes of a file have come, if it is not whole."""
        part = self.part(file)
        return part.stat().st_size if part.is_file() else 0

    def forget(self, wanted: set[str]) -> None:
        """Remove the files that an earlier try fetched and this commit does not have."""
        for path in self.fetched.iterdir():
            if path.name not in wanted:
                path.unlink()

    def require_room(self, size: int) -> None:
        """Check that the disk has room for so many bytes more; raises ModelError."""
        free = shutil.disk_usage(self.path).free
        if free < size + SPARE:
            raise ModelError(
                "no_room",
                f"{shown(self.final.parent)}: expected room for {(size + SPARE) / 1e6:,.0f} MB, found {free / 1e6:,.0f} MB; "
                "make room, or give an --output on another disk",
            )

    def keep(self, file: RemoteFile) -> None:
        """Move a whole file to the others, once its bytes are on the disk."""
        part = self.part(file)
        sync(part)
        part.replace(self.fetched / file.name)

    def begin_folder(self) -> None:
        """Make the next folder, empty."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir()

    def publish(self) -> None:
        """Put the folder in the final folder's place, and remove the rest."""
        for path in (*self.folder.rglob("*"), self.folder):
            sync(path)
        if not self.final.exists():
            os.rename(self.folder, self.final)
        elif not _exchange(self.folder, self.final):
            # For a moment there is no final folder; if the process is killed then, the next pull restores it.
            os.rename(self.final, self.before)
            os.rename(self.folder, self.final)
        sync(self.final.parent)
        self.remove()

    def remove(self) -> None:
        """Remove the folder with its content; the lock goes last."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        shutil.rmtree(self.path)


def place(source: Path, target: Path) -> None:
    """Put a file at a second place: a small file is copied, a large file is linked if the disk can do that."""
    target.unlink(missing_ok=True)
    source = source.resolve()  # a file in the hub's cache is a link
    if source.stat().st_size > SMALL:  # a small file may be edited in place, which would change both
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; returns False if this system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    return libc.renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0
