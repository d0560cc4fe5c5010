"""The parameters that each task takes, checked.

    check({"top_k": 3}, "fill-mask", settings) -> {"top_k": 3}

PARAMETERS is the contract: what each is called, what may stand there, and what it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from serving.errors import BadRequest
from serving.requests.rows import Json, listed
from serving.settings import Settings
from serving.tasks import Task
from tables.rows import kind_of


class Kind(Protocol):
    """What may stand in a parameter: `check` returns it or raises BadRequest, `schema` says it in JSON Schema."""

    def check(self, name: str, value: Json, settings: Settings) -> Json: ...  # noqa: D102
    def schema(self, settings: Settings) -> dict[str, Json]: ...  # noqa: D102


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`, or to the setting of that name."""

    least: int
    most: int | str

    def check(self, name: str, value: Json, settings: Settings) -> int:
        """Return a whole number in the range."""
        most = self._limit(settings)
        if type(value) is not int or not self.least <= value <= most:
            found = value if type(value) is int and abs(value) < 2**63 else kind_of(value)
            raise BadRequest("invalid_parameter", f"expected {name} from {self.least} to {most}, found {found}")
        return value

    def schema(self, settings: Settings) -> dict[str, Json]:
        """Return e.g. {"type": "integer", "minimum": 1, "maximum": 1000}."""
        return {"type": "integer", "minimum": self.least, "maximum": self._limit(settings)}

    def _limit(self, settings: Settings) -> int:
        return int(getattr(settings, self.most)) if isinstance(self.most, str) else self.most


class Flag:
    """True or false."""

    def check(self, name: str, value: Json, _: Settings) -> bool:
        """Return one of them."""
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
        """Return one of them."""
        if value not in self.words:
            expected = f"{', '.join(self.words[:-1])} or {self.words[-1]}"
            raise BadRequest("invalid_parameter", f"expected {name} to be {expected}, found {kind_of(value)}")
        return str(value)

    def schema(self, _: Settings) -> dict[str, Json]:
        """Return e.g. {"type": "string", "enum": ["softmax", "none"]}."""
        return {"type": "string", "enum": list(self.words)}


LONGEST_WORD = 1000
"""Letters of a target; a vocabulary has no word of more than a hundred or so."""


class Targets:
    """Words: a list of them, or one alone."""

    def check(self, name: str, value: Json, settings: Settings) -> list[str]:
        """Return a list of them."""
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
                raise BadRequest("invalid_parameter", f"expected each of {name} to be a word, found one of {found}")
        return words

    def schema(self, settings: Settings) -> dict[str, Json]:
        """Return what both forms have in common: a text is not empty, a list has so many of them."""
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
    """A parameter: what may stand there, and what it does, for the published description."""

    kind: Kind
    about: str


_ANSWER_LENGTH = Whole(1, "max_answer_length")
_WINDOW = 2**16

PARAMETERS: dict[Task, dict[str, Parameter]] = {
    "fill-mask": {
        "top_k": Parameter(Whole(1, "max_top_k"), "Candidates a mask, best first."),
        "targets": Parameter(Targets(), "Words to score, among all the words of the vocabulary, instead of the best."),
    },
    "text-classification": {
        "top_k": Parameter(Whole(1, "max_top_k"), "Labels a text, best first; null for all."),
        "function_to_apply": Parameter(
            Choice(("softmax", "sigmoid", "none")), "From logits to scores; by default as the model's config.json says."
        ),
    },
    "question-answering": {
        "top_k": Parameter(Whole(1, "max_top_k"), "Answers a question, best first."),
        "max_answer_length": Parameter(_ANSWER_LENGTH, "Tokens of the longest answer; by default 15."),
        "max_answer_len": Parameter(_ANSWER_LENGTH, "Hugging Face's name for max_answer_length."),
        "doc_stride": Parameter(Whole(0, _WINDOW), "Tokens that two windows of a long context share; by default 128."),
        "max_seq_len": Parameter(
            Whole(8, _WINDOW), "Tokens of a window with its question, at most what the model reads; by default 384."
        ),
        "align_to_words": Parameter(Flag(), "Answers begin and end where words do; by default true."),
        "handle_impossible_answer": Parameter(Flag(), "The empty answer is one too; by default false."),
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
        checked[ours] = None if value is None else known[name].kind.check(name, value, settings)
    return checked


def is_unicode(text: str) -> bool:
    """Tell whether a text is one: JSON can write half of a surrogate pair, which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
