"""What can go wrong with a signature.

RuntimeError
└── SigningError        the message says what was expected, what was found and what to do
    ├── CannotSign      what is asked for cannot be done: no model folder, no usable key; nothing was written
    ├── NotVerified     the folder is not what was signed, or not signed by whom it should be
    └── NotWritten      the disk does not take the signature
"""

from __future__ import annotations


class SigningError(RuntimeError):
    """A folder cannot be signed or verified. `status` is the command's exit status, `code` names the fault in --json."""

    status = 1
    code = "failed"


class CannotSign(SigningError):
    """What is asked for cannot be done."""

    status = 2
    code = "invalid"


class NotVerified(SigningError):
    """The folder is not what was signed; `differences` names its files, a sentence each."""

    code = "not_verified"

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


class NotWritten(SigningError):
    """The disk does not take the signature."""

    code = "not_writable"
