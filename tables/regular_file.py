"""Open and read files that a stranger may have written: no device, no pipe, and a limited number of bytes.

Each fault is an OSError, as for any file that cannot be read.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import BinaryIO

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
