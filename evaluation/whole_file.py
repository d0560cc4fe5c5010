"""Write a text file that is there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write a text in UTF-8 beside its place, and put it there once it is on the disk; raises OSError.

    Where it fails, what was in the place before is still there, and nothing is left beside it.
    """
    with tempfile.NamedTemporaryFile("wb", dir=file.parent, suffix=".part", delete=False) as part:
        try:
            part.write(text.encode("utf-8"))
            part.flush()
            os.fsync(part.fileno())
            os.chmod(part.name, 0o644)  # as any other file: others may read it
            os.replace(part.name, file)
        except BaseException:
            os.unlink(part.name)
            raise
