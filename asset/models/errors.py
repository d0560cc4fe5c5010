"""The errors of getting, packaging, registering and signing a model.

RuntimeError
└── ModelError          the command ends with status 1
    ├── RequestError    the request cannot be met, now or later, and nothing was done: status 2
    ├── NotAsListed     a file is not as the hub lists it: its bytes are thrown away, and fetched anew if they came in pieces
    └── NotVerified     a folder is not the one that was signed: `differences` names its files
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Literal

from asset.findings import shown

Code = Literal[
    "invalid",
    # the hub, or the way to it
    "not_found",
    "denied",
    "rate_limited",
    "hub_down",
    "unreachable",
    "connection_cut",
    "offline",
    # the files
    "wrong_size",
    "wrong_hash",
    "no_hash",
    "no_safetensors",
    "not_servable",
    "not_verified",
    # this machine
    "folder_taken",
    "in_use",
    "no_room",
    "not_writable",
    "registry",
]
"""The fault, for programs: `code` in the output with --json."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ModelError(RuntimeError):
    """The work cannot go on; the message says what is wrong and what to do."""

    status = 1

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class RequestError(ModelError):
    """The request cannot be met: there is no such model, or the folder or an option cannot be used."""

    status = 2


class NotAsListed(ModelError):
    """A file has another size or other bytes than the hub lists."""


class NotVerified(ModelError):
    """A folder is not as it was signed; `differences` has a sentence for each file."""

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__("not_verified", message)
        self.differences = differences


def disk_error(error: OSError, folder: Path, fix: str) -> ModelError:
    """Return the error for a folder that cannot be written; `fix` says what to do unless the disk is full."""
    place, reason = error.filename or shown(folder), error.strerror or error
    if error.errno in FULL:
        return ModelError(
            "no_room",
            f"{place}: expected room for all of the model, found: {reason}; make room and try again: the bytes that came "
            "are kept",
        )
    return ModelError("not_writable", f"{place}: expected a folder that can be written to, found: {reason}; {fix}")
