"""A YAML file, the line of each of its parts, and what is wrong in it as YAML.

It is read with PyYAML, as the Azure SDK reads it: ruamel.yaml takes `2e-5` for a number, which is a text to the SDK.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asset.findings import Finding, InvalidFileError, Place
from tables.disk import MOST_BYTES, read_regular

Keys = tuple[str, ...]

DEEPEST = 16
"""The deepest level whose lines are kept; an alias inside its own anchor would go on without end."""

MOST_PARTS = 200_000
"""The most parts of a file, with aliases written out. A few lines of aliases to aliases stand for millions of parts."""

MOST_DIGITS = 1000
"""The most digits of a whole number. Python writes no number of more than 4,300 digits, and 0xff… is such a number too."""


class _Loader(yaml.SafeLoader):
    """Builds plain data, and refuses a number that cannot be written down again."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MOST_DIGITS:
            problem = f"a number of {len(node.value):,} characters, more than {MOST_DIGITS:,}"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


class YamlFile:
    r"""A file whose top is a mapping.

    `a:\n  b: 1` gives data {"a": {"b": 1}}, and place("a", "b") is line 2. There is no ("a", "c"): its place is
    line 1, the line of the closest part above it.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            InvalidFileError: the file cannot be read, is not YAML, has a key twice, or is not a mapping.
        """
        self.path = path
        self.text = self._read()
        try:
            loader = _Loader(self.text)
        except yaml.YAMLError as exc:
            # A character that YAML does not have.
            raise self._syntax(exc) from exc
        node = self._composed(loader)
        if problems := list(self._unusable(node)):
            raise InvalidFileError(problems)
        self.data: dict[str, Any] = self._constructed(loader, node)
        self._lines: dict[Keys, int] = dict(_lines(node, ())) if node else {}

    def place(self, *keys: str) -> Place:
        """Return the place of a part; if the file does not have the part, the place of the closest part above it."""
        while keys and keys not in self._lines:
            keys = keys[:-1]
        return Place.in_file(self.path, self._lines.get(keys, 1))

    @property
    def top(self) -> Part:
        """Return the whole file as a part."""
        return Part(self, (), self.data)

    def _read(self) -> str:
        try:
            raw = read_regular(self.path, MOST_BYTES)
        except OSError as exc:
            raise self._invalid("yaml-file", f"expected a YAML file, found: {exc.strerror or exc}", "name one") from exc
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as exc:
            line = raw[: exc.start].count(b"\n") + 1
            raise self._invalid(
                "yaml-encoding", f"expected UTF-8, found the byte 0x{raw[exc.start]:02x}", "save it as UTF-8", line
            ) from exc

    def _composed(self, loader: _Loader) -> yaml.Node | None:
        try:
            return loader.get_single_node()
        except yaml.YAMLError as exc:
            raise self._syntax(exc) from exc
        except RecursionError as exc:
            raise self._invalid(
                "yaml-depth", "expected YAML, found more levels than can be read", "write fewer"
            ) from exc

    def _constructed(self, loader: _Loader, node: yaml.Node | None) -> dict[str, Any]:
        try:
            return loader.construct_document(node)
        except yaml.YAMLError as exc:
            raise self._syntax(exc) from exc
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as exc:
            # What PyYAML raises for a value that does not suit its tag, such as the date 2024-13-45.
            raise self._invalid(
                "yaml-value", f"expected YAML, found a value that cannot be read: {exc}", "quote it"
            ) from exc

    def _syntax(self, exc: yaml.YAMLError) -> InvalidFileError:
        mark = getattr(exc, "problem_mark", None)
        # For a character that YAML does not have, PyYAML gives a position and no mark.
        position = getattr(exc, "position", None)
        line = mark.line + 1 if mark else self.text[: position or 0].count("\n") + 1
        problem = getattr(exc, "problem", None) or str(exc).split("\n")[0] or "it cannot be parsed"
        if "'\\t'" in problem:
            return self._invalid(
                "yaml-tab", "expected spaces before a key or value, found a tab", "put spaces in its place", line
            )
        lines = self.text.splitlines()
        if line > len(lines) or not lines[line - 1].strip():
            # A bracket or quotation mark that is not closed is noticed at the end of the file.
            line = max((number for number, text in enumerate(lines[:line], 1) if text.strip()), default=1)
        began = getattr(exc, "context_mark", None)
        context = f" ({exc.context} that begins on line {began.line + 1})" if began and began.line + 1 < line else ""
        return self._invalid("yaml-syntax", f"expected YAML, found: {problem}{context}", "correct it", line)

    def _unusable(self, node: yaml.Node | None) -> Iterator[Finding]:
        """Yield what makes the file unusable as a whole."""
        if not isinstance(node, yaml.MappingNode):
            message = "expected keys and values (as in `type: pipeline`), found none"
            yield Finding(Place.in_file(self.path, 1), message, "write them", "yaml-mapping")
        elif (parts := _size(node, {})) > MOST_PARTS:
            found = "an alias in its own anchor" if parts == float("inf") else f"aliases that stand for {parts} parts"
            message = f"expected at most {MOST_PARTS} parts, found {found}"
            yield Finding(Place.in_file(self.path, 1), message, "write out what is meant", "yaml-aliases")
        else:
            yield from self._twice(node)

    def _twice(self, top: yaml.Node) -> Iterator[Finding]:
        for node in _nodes(top, set()):
            first: dict[tuple[str, str], int] = {}
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                line, name = key.start_mark.line + 1, (key.tag, str(key.value))
                if isinstance(key, yaml.ScalarNode) and name in first:
                    message = f"expected each key once, found '{key.value}' here and on line {first[name]}"
                    yield Finding(
                        Place.in_file(self.path, line), message, "delete one of the two", "yaml-duplicate-key"
                    )
                first.setdefault(name, line)

    def _invalid(self, rule: str, message: str, fix: str, line: int = 1) -> InvalidFileError:
        return InvalidFileError([Finding(Place.in_file(self.path, line), message, fix, rule)])


@dataclass(frozen=True)
class Part:
    """A mapping in a file, whose values are read by their type.

    A value of another type counts as missing: the SDK refuses it.
    """

    file: YamlFile
    keys: Keys
    data: dict[str, Any]

    def place(self, *keys: str) -> Place:
        """Return the place of this mapping, or of a part of it."""
        return self.file.place(*self.keys, *keys)

    def part(self, key: str) -> Part:
        """Return a mapping in this one; an empty mapping if there is none."""
        value = self.data.get(key)
        return Part(self.file, (*self.keys, key), value if isinstance(value, dict) else {})

    def text(self, key: str) -> str | None:
        """Return a text; None if the value is missing, empty or not a text."""
        value = self.data.get(key)
        return value if isinstance(value, str) and value else None

    def whole(self, key: str) -> int | None:
        """Return a whole number, which may be written as a text of digits, as for the SDK; None if there is none."""
        value = self.data.get(key)
        if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
            return int(value) if len(value) < 20 else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None


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


def _nodes(node: yaml.Node, seen: set[int]) -> Iterator[yaml.Node]:
    """Yield a node and those below it, each once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    yield node
    if isinstance(node, yaml.CollectionNode):
        for value in node.value:
            for child in value if isinstance(value, tuple) else (value,):
                yield from _nodes(child, seen)


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Return how many parts a node has with its aliases written out; infinite if it contains itself."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = float("inf")
    size: float = 1
    if isinstance(node, yaml.CollectionNode):
        for value in node.value:
            size += sum(_size(child, known) for child in (value if isinstance(value, tuple) else (value,)))
    known[id(node)] = size
    return size
