"""Read what a cell of CSV holds where it may be a list or an object: as JSON, or not at all.

A table of plain text has no lists, so that those who write one choose how. JSON is read; what Python prints is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

PRINTED = re.compile(r"""\s*(?:\{.*?(['"])text\1\s*:|\[\s*['"].*\]\s*$)""", re.DOTALL)
"""How the text of a list of texts, or of an object of answers, looks."""


def read_cell(value: Any, accepted: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - a value of the user's
    """Return what a text says as JSON where that is accepted, and any other value as it is.

    >>> read_cell('["capital"]', is_texts), read_cell("1990", is_texts)
    (['capital'], '1990')
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found if accepted(found) else value


def is_texts(value: object) -> bool:
    """Tell whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_printed(value: object) -> bool:
    """Tell whether a value that `read_cell` returned is the text of a list or object all the same.

    Python and pandas print {'text': array(['Paris'])} and ['Paris'], which is no JSON. Taken for a word or an answer it
    would never be found, and nobody would be told.

    >>> is_printed("['Paris']"), is_printed("[sic]")
    (True, False)
    """
    return isinstance(value, str) and PRINTED.match(value) is not None


PRINTED_MESSAGE = "found the text of a list or an object that is not JSON; write it as JSON does"
"""The end of a message about a value that `is_printed`."""
