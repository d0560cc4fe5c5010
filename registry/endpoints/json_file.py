"""A JSON file that is replaced as a whole: whoever reads sees the old content or the new, also after a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path

OWNER_ONLY = 0o600


def write_json(path: Path, content: object) -> None:
    """Replace the file's content; its owner alone may read it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
