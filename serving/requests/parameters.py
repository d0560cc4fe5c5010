"""The kinds of parameters that a request may have, and how a request's parameters are checked.

    check({"top_k": 3}, known, "fill-mask", settings) -> {"top_k": 3}

Each task lists its own parameters (serving.answering), as Parameter objects by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from serving.errors import BadRequest
from serving.requests.rows import Json, listed
from serving.settings import Settings
from serving.tasks import Task
from tables.rows import kind_of


class Kind(Protocol):
    """A kind of value: `check` returns the value or raises BadRequest, `schema` describes the kind in JSON Schema."""

    def check(self, name: str, value: Json, settings: Settings) -> Json: ...  # noqa: D102
    def schema(self, settings: Settings) -> dict[str, Json]: ...  # noqa: D102


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`; `most` may be the name of a setting."""

    least: int
    most: int | str

    def check(self, name: str, value: Json, settings: Settings) -> int:
        """Return the value if it is a whole number in the range."""
        most = self._limit(settings)
        if type(value) is not int or not self.least <= value <= most:
            found = value if type(value) is int and abs(value) < 2**63 else kind_of(value)
            raise BadRequest("invalid_parameter", f"expected {name} from {self.least} to {most}, found {found}")
        return value

    def schema(self, settings: Settings) -> dict[str, Json]:
        """Return the schema, such as {"type": "integer", "minimum": 1, "maximum": 1000}."""
        return {"type": "integer", "minimum": self.least, "maximum": self._limit(settings)}

    def _limit(self, settings: Settings) -> int:
        return int(getattr(settings, self.most)) if isinstance(self.most, str) else self.most


class Flag:
    """True or false."""

    def check(self, name: str, value: Json, _: Settings) -> bool:
        """Return the value if it is true or false."""
        if not isinstance(value, bool):
            raise BadRequest("invalid_parameter", f"expected {name} to be true or false, found {kind_of(value)}")
        return value

    def schema(self, _: Settings) -> dict[str, Json]:
        """Return {"type": "boolean"}."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    """One of several words."""

    words: tuple[str, ...]

    def check(self, name: str, value: Json, _: Settings) -> str:
        """Return the value if it is one of the words."""
        if value not in self.words:
            expected = f"{', '.join(self.words[:-1])} or {self.words[-1]}"
            raise BadRequest("invalid_parameter", f"expected {name} to be {expected}, found {kind_of(value)}")
        return str(value)

    def schema(self, _: Settings) -> dict[str, Json]:
        """Return the schema, such as {"type": "string", "enum": ["softmax", "none"]}."""
        return {"type": "string", "enum": list(self.words)}


LONGEST_WORD = 1000
"""Letters of a target; the words of vocabularies have at most about a hundred."""


class Targets:
    """A list of words, or a single word."""

    def check(self, name: str, value: Json, settings: Settings) -> list[str]:
        """Return the value as a list of words."""
        words = [value] if isinstance(value, str) else value
        limit = settings.max_targets
        if not isinstance(words, list) or not words or len(words) > limit:
            found = f"{len(words)} of them" if isinstance(words, list) else kind_of(words)
            raise BadRequest("invalid_parameter", f"expected {name} to be 1 to {limit} words, found {found}")
        for word in words:
            if not isinstance(word, str) or not word.strip() or not is_unicode(word):
                raise BadRequest("invalid_parameter", f"expected each of {name} to be a word, found {kind_of(word)}")
            if len(word) > LONGEST_WORD:
                found = f"{len(word)} letters, expected at most {LONGEST_WORD}"
                raise BadRequest("invalid_parameter", f"expected each of {name} to be a word, found a word of {found}")
        return words

    def schema(self, settings: Settings) -> dict[str, Json]:
        """Return one schema for both forms: a text that is not empty, or a list of 1 to max_targets texts."""
        word = {"type": "string", "minLength": 1}
        return {
            "type": ["array", "string"],
            "minItems": 1,
            "maxItems": settings.max_targets,
            "minLength": 1,
            "items": word,
        }


@dataclass(frozen=True)
class Parameter:
    """A parameter of a task: the kind of its value, and its meaning for the published description.

    alias_of: our name for the parameter, if this is another client's name. null: whether null is a value of its own;
    for other parameters, null means that the parameter is not set.
    """

    kind: Kind
    about: str
    alias_of: str = ""
    null: bool = False


def check(values: Json, known: Mapping[str, Parameter], task: Task, settings: Settings) -> dict[str, Any]:
    """Return a request's parameters by our names; raises BadRequest for a parameter that the task does not have."""
    if not isinstance(values, dict):
        raise BadRequest("invalid_parameter", f"expected parameters to be an object, found {kind_of(values)}")
    unknown = sorted(set(values) - set(known))
    if unknown:
        names = " or ".join(name for name, parameter in known.items() if not parameter.alias_of)
        raise BadRequest("unknown_parameter", f"expected {names}, found {listed(unknown)}; this model's task is {task}")
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if value is None and not known[name].null:
            continue
        ours: str = known[name].alias_of or name
        if ours in checked:
            raise BadRequest("invalid_parameter", f"expected {ours} once, found it under two names")
        checked[ours] = None if value is None else known[name].kind.check(name, value, settings)
    return checked


def is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogate, which JSON can write and which is not a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
