"""Whose a file is: what is loaded as code, or in the place of what was signed, must be written by nobody else."""

from __future__ import annotations

import os
from pathlib import Path


def is_ours(path: Path) -> bool:
    """Tell whether a file is there, and nobody but this user or root can have written it."""
    try:
        status, folder = path.stat(), path.parent.stat()
    except OSError:
        return False
    return all(_is_ours_alone(part) for part in (status, folder))


def is_our_folder(path: Path) -> bool:
    """Tell whether a folder is there that nobody but this user or root writes to."""
    try:
        return _is_ours_alone(path.stat())
    except OSError:
        return False


def _is_ours_alone(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
