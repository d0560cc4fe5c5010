"""A Dockerfile: that it builds, from what is there, to an image that is the same tomorrow and does not run as root."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asset.findings import Finding, Place, Problem, one_of
from registry.validate.asset_folder import AssetFolder
from tables.regular_file import read_text

INSTRUCTIONS = (
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
    *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)
HEREDOC = re.compile(r"<<-?[\"']?(\w+)[\"']?")
INDEX = re.compile(r"extra-index-url", re.IGNORECASE)
"""What Microsoft's registry refuses in what an image is built from: a package of that name could come from either."""


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines put together, and the line that it begins on."""

    name: str
    rest: str
    line: int


def check(path: Path, asset: AssetFolder) -> Iterator[Finding]:
    """Check the instructions, and that what they copy is in the folder of the Dockerfile."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as exc:
        message = f"expected a Dockerfile, found: {getattr(exc, 'strerror', None) or exc}"
        yield Finding(Place.in_file(path, 1), message, "name a text file", "dockerfile")
        return
    instructions = list(_instructions(text))
    for one in instructions:
        place = Place.in_file(path, one.line)
        if one.name not in INSTRUCTIONS:
            names = one_of(one.name, INSTRUCTIONS)
            message = f"expected an instruction of a Dockerfile, found {one.name}"
            yield Finding(
                place, message, names.fix.replace("choose one of those", "correct it"), "dockerfile-instruction"
            )
        elif one.name in ("COPY", "ADD"):
            yield from _copied(one, path)
        if INDEX.search(one.rest):
            yield Finding(
                place, "expected packages of one index, found --extra-index-url", "take it out", "extra-index"
            )
    yield from _base(instructions, path)
    yield from _user(instructions, path)


def tag_problem(image: str) -> Problem | None:
    """Say why an image is not the same tomorrow, or None: python, python:latest."""
    if image == "scratch" or "$" in image or "@sha256:" in image or image.startswith("azureml"):
        return None
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    if tag and tag != "latest":
        return None
    return Problem(
        f"expected an image with the tag of a version, found {image}", f"write {image.split(':latest')[0]}:VERSION"
    )


def _instructions(text: str) -> Iterator[Instruction]:
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole = line
        while whole.rstrip().endswith("\\"):
            following = next(((n, one) for n, one in lines if one.strip() and not one.lstrip().startswith("#")), None)
            whole = whole.rstrip()[:-1] + (f" {following[1]}" if following else "")
        for mark in HEREDOC.findall(whole):
            # Its lines are of no instruction's.
            next((one for _, one in lines if one.strip() == mark), None)
        name, _, rest = whole.strip().partition(" ")
        yield Instruction(name.upper(), rest.strip(), number)


def _base(instructions: list[Instruction], path: Path) -> Iterator[Finding]:
    first = next((one for one in instructions if one.name != "ARG"), None)
    if first is None or first.name != "FROM":
        found, line = (first.name, first.line) if first else ("nothing", 1)
        message = f"expected FROM as the first instruction, found {found}"
        yield Finding(Place.in_file(path, line), message, "write `FROM IMAGE:VERSION` first", "dockerfile-from")
    stages: set[str] = set()
    for one in instructions:
        if one.name != "FROM":
            continue
        words = [word for word in one.rest.split() if not word.startswith("--")]
        place = Place.in_file(path, one.line)
        if not words:
            yield Finding(
                place, "expected the name of an image, found none", "write `FROM IMAGE:VERSION`", "dockerfile-from"
            )
        elif words[0].lower() not in stages and (wrong := tag_problem(words[0])):
            yield Finding(place, wrong.message, wrong.fix, "image-tag")
        if len(words) == 3 and words[1].upper() == "AS":
            stages.add(words[2].lower())


def _user(instructions: list[Instruction], path: Path) -> Iterator[Finding]:
    """See that the last stage ends as another user than root."""
    starts = [index for index, one in enumerate(instructions) if one.name == "FROM"]
    last = instructions[starts[-1] :] if starts else []
    users = [one for one in last if one.name == "USER"]
    name = users[-1].rest.split(":")[0].strip() if users else ""
    if last and name in ("", "root", "0"):
        line = users[-1].line if users else last[-1].line
        message = f"expected an image that runs as a user of its own, found {name or 'no USER, which is root'}"
        fix = "end with `RUN useradd --create-home --uid 1000 NAME` and `USER NAME`"
        yield Finding(Place.in_file(path, line), message, fix, "dockerfile-user")


def _copied(one: Instruction, path: Path) -> Iterator[Finding]:
    try:
        words = json.loads(one.rest) if one.rest.startswith("[") else shlex.split(one.rest)
    except ValueError:
        words = one.rest.split()
    options = [word for word in words if isinstance(word, str) and word.startswith("--")]
    sources = [word for word in words if isinstance(word, str) and not word.startswith("--")][:-1]
    if any(option.startswith("--from=") for option in options):
        return
    for source in sources:
        if "$" in source or "://" in source or source.startswith("<<"):
            continue
        place = Place.in_file(path, one.line)
        if ".." in Path(source).parts:
            message = f"expected a path within the folder that the image is built from, found {source}"
            yield Finding(place, message, "copy the file into that folder", "dockerfile-copy")
        elif not _is_there(path.parent, source):
            message = f"expected {source} beside the Dockerfile, found nothing there"
            yield Finding(place, message, "add it, or name another", "dockerfile-copy")


def _is_there(folder: Path, source: str) -> bool:
    try:
        pattern = source.strip("/") or "."
        return any(folder.glob(pattern)) if set(pattern) & set("*?[") else (folder / pattern).exists()
    except (OSError, ValueError, NotImplementedError):
        return False
