"""Sockets in a folder: they need no port, and who may not enter the folder cannot connect.

A server behind an endpoint listens on one, so that nobody gets past the endpoint's keys; and commands reach the endpoint's
process by one. The system takes no path of more than 107 bytes, so a socket is named from its folder's descriptor.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from registry.local_server import BACKLOG

_numbers = itertools.count()


class Listener:
    """A socket that listens until it is closed, whatever becomes of the processes that take connections from it."""

    def __init__(self, folder: Path, name: str | None = None) -> None:
        """Listen on a socket of this name, or one of its own, in a folder; raises OSError where that cannot be."""
        for path in folder.glob("server-*.sock"):
            if not path.name.startswith(f"server-{os.getpid()}-"):
                path.unlink(missing_ok=True)  # of a process that was killed
        self._file = folder / (name or f"server-{os.getpid()}-{next(_numbers)}.sock")
        self._file.unlink(missing_ok=True)
        self._folder = _opened(folder)
        self.path = _short(self._folder, self._file.name)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(self.path)
        self.socket.listen(BACKLOG)

    def close(self) -> None:
        """Listen no more; a second time does nothing."""
        if self._folder >= 0:
            self.socket.close()
            self._file.unlink(missing_ok=True)
            os.close(self._folder)
            self._folder = -1


@contextlib.contextmanager
def reachable(folder: Path, name: str) -> Iterator[str]:
    """Return the path by which a socket in a folder can be connected to, however long its own is."""
    descriptor = _opened(folder)
    try:
        yield _short(descriptor, name)
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY)


def _short(descriptor: int, name: str) -> str:
    return f"/proc/self/fd/{descriptor}/{name}"
