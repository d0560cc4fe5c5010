"""A disk of a few megabytes that can be full: a tmpfs of its own, which takes root or a user namespace of one's own."""

from __future__ import annotations

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

NOT_HERE = (
    "a disk that is full takes a mount, which is not allowed here: run the tests as root, or within "
    "`unshare --user --map-root-user --mount`"
)


@dataclass(frozen=True)
class SmallDisk:
    """Where it is mounted; `fill` leaves so many bytes of room, `free` gives the rest back."""

    path: Path

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self, room: int = 0) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
            file.truncate(max(0, file.tell() - room))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)

    @property
    def is_full(self) -> bool:
        try:
            (self.path / "probe").write_bytes(bytes(1 << 16))
        except OSError as exc:
            return exc.errno == errno.ENOSPC
        finally:
            (self.path / "probe").unlink(missing_ok=True)
        return False

    @property
    def names(self) -> list[str]:
        """Return the files on it, but for what fills it."""
        files = (path for path in self.path.rglob("*") if path.is_file() and path != self._ballast)
        return sorted(str(path.relative_to(self.path)) for path in files)


@contextlib.contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a disk; the test is skipped, with the reason, where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        refused = subprocess.run(command, capture_output=True, check=False).returncode
    except FileNotFoundError:
        refused = 1
    if refused:
        pytest.skip(NOT_HERE)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
