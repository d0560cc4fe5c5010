"""A requirements file of an image: every package at one version, so that the image is the same tomorrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from asset.findings import Finding, Place
from registry.jobs.source import is_file
from registry.validate.asset_folder import AssetFolder
from registry.validate.dockerfile import INDEX
from tables.regular_file import read_text

HASH = re.compile(r"\s--hash[= ](?P<hash>\S+)")
SHA256 = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")


def check(path: Path, asset: AssetFolder) -> Iterator[Finding]:
    """Check each line."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as exc:
        message = f"expected a requirements file, found: {getattr(exc, 'strerror', None) or exc}"
        yield Finding(Place.in_file(path, 1), message, "name a text file", "requirement")
        return
    first: dict[str, int] = {}
    hashed = [bool(HASH.search(line)) for _, line in _lines(text) if not line.startswith("-")]
    for number, line in _lines(text):
        place = Place.in_file(path, number)
        if line.startswith("-"):
            yield from _option(line, path, place)
            continue
        if any(hashed) and not HASH.search(line):
            message = f"expected a hash, as other packages have one, found none for {line.split()[0]}"
            yield Finding(place, message, "add `--hash=sha256:…`: pip refuses the file otherwise", "requirement-hash")
        for match in HASH.finditer(line):
            if not SHA256.fullmatch(match["hash"]):
                message = f"expected a hash as sha256: and 64 digits, found {match['hash'][:80]}"
                yield Finding(place, message, "take it from `pip hash FILE`", "requirement-hash")
        yield from _pinned(HASH.sub("", line).strip(), place, first, number)


def _pinned(line: str, place: Place, first: dict[str, int], number: int) -> Iterator[Finding]:
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        message = f"expected NAME==VERSION, found {line}"
        yield Finding(place, message, "write a package and its version", "requirement")
        return
    versions = list(requirement.specifier)
    exact = len(versions) == 1 and versions[0].operator in ("==", "===") and "*" not in versions[0].version
    if requirement.url or not exact:
        message = f"expected one version of {requirement.name}, found {line}"
        yield Finding(place, message, f"write {requirement.name}==VERSION", "requirement-pin")
    # The same package may be there for each of several systems.
    name = f"{canonicalize_name(requirement.name)} ; {requirement.marker or ''}"
    if name in first:
        message = f"expected each package once, found {requirement.name} here and on line {first[name]}"
        yield Finding(place, message, "delete one of the two", "requirement-twice")
    first.setdefault(name, number)


def _option(line: str, path: Path, place: Place) -> Iterator[Finding]:
    if INDEX.search(line):
        yield Finding(place, "expected packages of one index, found --extra-index-url", "take it out", "extra-index")
    other = re.match(r"(?:-r|--requirement|-c|--constraint)[= ]\s*(\S+)", line)
    if other and not is_file(path.parent / other[1]):
        message = f"expected another file of requirements, found none at {other[1]}"
        yield Finding(place, message, "name one that is there", "requirement")
    if re.match(r"-e\b|--editable\b", line):
        message = f"expected packages of an index, found {line}"
        yield Finding(place, message, "an image has no checkout; take it out", "requirement-pin")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each entry, its lines put together, without comments, and the line that it begins on."""
    number, whole = 0, ""
    for at, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        number = number if whole else at
        whole = f"{whole} {line.rstrip(chr(92)).strip()}".strip()
        if line.endswith("\\"):
            continue
        if whole:
            yield number, whole
        whole = ""
    if whole:
        yield number, whole
