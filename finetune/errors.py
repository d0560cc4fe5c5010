"""The errors of fine-tuning.

Exception
├── FinetuneError    fine-tuning cannot start or go on; the command ends with status 1
└── RowError         a row of the data cannot be trained on; the row is left out and counted by its code
"""

from __future__ import annotations


class FinetuneError(Exception):
    """Fine-tuning cannot start or go on; the message says what is wrong and what to do."""


class RowError(Exception):
    """A row cannot be trained on; `code` is for programs, the message for people, without the row's text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
