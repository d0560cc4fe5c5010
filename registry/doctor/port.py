"""Whether a port of this machine is free, and who holds it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from registry.doctor.check import Check, ok, wrong
from registry.doctor.machine import Machine

LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def port(machine: Machine) -> Check:
    """See that a server can listen on the port of 127.0.0.1, as `make serve` does."""
    name, expected = "port", f"{machine.port} of 127.0.0.1 free"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", machine.port))
            listener.listen(1)
        except OSError as exc:
            who = holder(machine.proc, machine.port)
            found = f"{exc.strerror}{', by ' + who if who else ''}"
            return wrong(
                name, expected, found, f"end it, or take another port: PORT={machine.port % 65535 + 1} make serve"
            )
    return ok(name, expected, "free")


def holder(proc: Path, port: int) -> str | None:
    """Return the process that listens on a port, as in "python3 (pid 4711)"; None where /proc does not tell.

    What it was started with is not told: passwords may stand there.
    """
    wanted = {f"socket:[{inode}]" for inode in _listening(proc, port)}
    if not wanted:
        return None
    for process in sorted((path for path in proc.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)):
        if wanted & set(_open_files(process)):
            with contextlib.suppress(OSError):  # it has ended
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return "a process of another user"


def _open_files(process: Path) -> Iterator[str]:
    """Yield what a process has open: nothing where it is another user's, or has ended."""
    with contextlib.suppress(OSError):
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed in the meantime, as the folder itself that is read here
                yield str(link.readlink())


def _listening(proc: Path, port: int) -> list[str]:
    """Return the inodes of the sockets that listen on a port."""
    found = []
    for table in (proc / "net/tcp", proc / "net/tcp6"):
        try:
            rows = [line.split() for line in table.read_text().splitlines()[1:]]
        except OSError:
            continue
        found += [row[9] for row in rows if row[3] == LISTENS and int(row[1].rpartition(":")[2], 16) == port]
    return found
