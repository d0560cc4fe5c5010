"""Write a text file that is there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write a text in UTF-8 beside its place, and put it there once it is on the disk; raises OSError.

    Where it fails, what was in the place before is still there, and nothing is left beside it.
    """
    with tempfile.TemporaryDirectory(dir=file.parent) as unfinished:
        part = Path(unfinished) / file.name
        with part.open("wb") as opened:
            opened.write(text.encode("utf-8"))
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
