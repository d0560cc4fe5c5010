"""Open and read files that a stranger may have put there: no device, no pipe, nothing of more bytes than such a file has.

What is wrong is an OSError as of any file that cannot be read, so that it is told where those are.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 1_000_000
"""What a file that people write has at most; reading that many bytes of YAML takes half a minute."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; raises OSError, also for what is none: a pipe waits for ever, a device has no end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # the latter is told by opening it
        raise OSError(errno.EINVAL, "a device or a pipe, which is no file", str(path))
    return path.open("rb")


def read_start(path: Path, most: int) -> bytes:
    """Return a file's first bytes, at most so many; raises OSError as above."""
    # The files below /proc say that they are empty, and some wait for ever.
    if path.stat().st_size == 0 and path.is_file():
        return b""
    with open_regular(path) as file:
        return file.read(most)


def read_regular(path: Path, most: int) -> bytes:
    """Return a file's content; raises OSError, also where it has more than so many bytes."""
    content = read_start(path, most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than the {most:,} bytes that such a file may have", str(path))
    return content


def read_text(path: Path, encoding: str = "utf-8") -> str:
    r"""Return the text of a file that people write, its lines ended by \n; raises OSError as above, or UnicodeDecodeError."""
    return read_regular(path, MOST_BYTES).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
