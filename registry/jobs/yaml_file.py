"""A YAML file with the line on which each of its parts stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from registry.jobs.errors import Finding, InvalidJobError, Place

Keys = tuple[str, ...]

DEEPEST = 16
"""Levels that lines are known for; an alias inside its own anchor would go on without end."""


class YamlFile:
    r"""A file whose top is a mapping.

    `a:\n  b: 1` gives data {"a": {"b": 1}}, and place("a", "b") is line 2; place("a", "c"), which is not there, is
    line 1, that of the closest part above it.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            InvalidJobError: it cannot be read, is not YAML, or is no mapping.
        """
        self.path = path
        text = self._text()
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            self.data: dict[str, Any] = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            mark = getattr(exc, "problem_mark", None)
            problem = getattr(exc, "problem", None) or "it cannot be parsed"
            raise self._invalid(f"expected YAML, found: {problem}; correct it", mark.line + 1 if mark else 1) from exc
        if not isinstance(self.data, dict):
            raise self._invalid("expected keys and values (as in `type: pipeline`), found none; write them")
        self._lines: dict[Keys, int] = dict(_lines(node, ()))

    def place(self, *keys: str) -> Place:
        """Return where a part stands, or the closest part above it that is there."""
        while keys and keys not in self._lines:
            keys = keys[:-1]
        return Place.in_file(self.path, self._lines.get(keys, 1))

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise self._invalid(
                f"expected a YAML file, found: {getattr(exc, 'strerror', None) or exc}; name one"
            ) from exc

    def _invalid(self, message: str, line: int = 1) -> InvalidJobError:
        return InvalidJobError([Finding(Place.in_file(self.path, line), message)])


def _lines(node: yaml.Node, keys: Keys) -> Iterator[tuple[Keys, int]]:
    """Yield the keys that lead to each part of a document, and the line of the last of them."""
    if len(keys) == DEEPEST:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*keys, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*keys, str(index))
            yield here, value.start_mark.line + 1
            yield from _lines(value, here)
