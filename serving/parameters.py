"""The parameters that each task takes, checked.

    check({"top_k": 3}, "fill-mask", settings) -> {"top_k": 3}

PARAMETERS is the contract: what each is called, and what may stand there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serving.errors import BadRequest
from serving.rows import Json, kind_of, listed
from serving.settings import Settings
from serving.tasks import Task

Check = Callable[[str, Json, Settings], Json]


def _whole(least: int, most: Callable[[Settings], int]) -> Check:
    """Return a check for a whole number."""

    def check(name: str, value: Json, settings: Settings) -> int:
        if type(value) is not int or not least <= value <= most(settings):
            found = value if type(value) is int else kind_of(value)
            raise BadRequest("invalid_parameter", f"expected {name} from {least} to {most(settings)}, found {found}")
        return value

    return check


def _flag(name: str, value: Json, _: Settings) -> bool:
    if not isinstance(value, bool):
        raise BadRequest("invalid_parameter", f"expected {name} to be true or false, found {kind_of(value)}")
    return value


def _function(name: str, value: Json, _: Settings) -> str:
    if value not in ("softmax", "sigmoid", "none"):
        raise BadRequest("invalid_parameter", f"expected {name} to be softmax, sigmoid or none, found {kind_of(value)}")
    return str(value)


def _targets(name: str, value: Json, settings: Settings) -> list[str]:
    words = [value] if isinstance(value, str) else value
    limit = settings.max_targets
    if not isinstance(words, list) or not words or len(words) > limit:
        found = f"{len(words)} of them" if isinstance(words, list) else kind_of(words)
        raise BadRequest("invalid_parameter", f"expected {name} to be 1 to {limit} words, found {found}")
    for word in words:
        if not isinstance(word, str) or not word.strip() or not is_unicode(word):
            raise BadRequest("invalid_parameter", f"expected each of {name} to be a word, found {kind_of(word)}")
    return words


_TOP_K = _whole(1, lambda settings: settings.max_top_k)
_ANSWER_LENGTH = _whole(1, lambda settings: settings.max_answer_length)
_WINDOW = 2**16

PARAMETERS: dict[Task, dict[str, Check]] = {
    "fill-mask": {"top_k": _TOP_K, "targets": _targets},
    "text-classification": {"top_k": _TOP_K, "function_to_apply": _function},
    "question-answering": {
        "top_k": _TOP_K,
        "max_answer_length": _ANSWER_LENGTH,
        "max_answer_len": _ANSWER_LENGTH,
        "doc_stride": _whole(0, lambda _: _WINDOW),
        "max_seq_len": _whole(8, lambda _: _WINDOW),
        "align_to_words": _flag,
        "handle_impossible_answer": _flag,
    },
}
"""What the windows of question answering may be is up to the model, and is checked there."""

ALIASES = {"max_answer_len": "max_answer_length"}
"""Hugging Face's name -> ours."""

MEANING_NULL = {("text-classification", "top_k")}
"""Where null says something (all labels); elsewhere it is as if the parameter were not there."""


def check(values: Json, task: Task, settings: Settings) -> dict[str, Any]:
    """Return a request's parameters by our names; raises BadRequest for one that the task does not have."""
    if not isinstance(values, dict):
        raise BadRequest("invalid_parameter", f"expected parameters to be an object, found {kind_of(values)}")
    known = PARAMETERS[task]
    unknown = sorted(set(values) - set(known))
    if unknown:
        names = " or ".join(name for name in known if name not in ALIASES)
        raise BadRequest("unknown_parameter", f"expected {names}, found {listed(unknown)}; this model's task is {task}")
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if value is None and (task, name) not in MEANING_NULL:
            continue
        ours: str = ALIASES.get(name) or name
        if ours in checked:
            raise BadRequest("invalid_parameter", f"expected {ours} once, found it under two names")
        checked[ours] = None if value is None else known[name](name, value, settings)
    return checked


def is_unicode(text: str) -> bool:
    """Tell whether a text is one: JSON can write half of a surrogate pair, which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
