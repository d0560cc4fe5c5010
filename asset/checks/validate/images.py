"""The files of an image: environment.yaml, the Dockerfile and requirements.txt.

An image must build from the files that are there, must be the same when it is built again, and must not run as root.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from asset.azure_sdk import refused
from asset.checks.kinds import Kind
from asset.checks.pipeline.source import REMOTE, is_file, is_folder
from asset.checks.validate.asset_folder import AssetFolder
from asset.environments import ROOT
from asset.findings import Finding, Place, problem
from asset.yaml_file import Part, YamlFile
from tables.disk import read_text


def check_environment_file(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check the file, and the Dockerfile that it names."""
    yield from refused(file, Kind.ENVIRONMENT)
    yield from check_environment(file.top, file.path.parent, asset)


def check_environment(environment: Part, folder: Path, asset: AssetFolder) -> Iterator[Finding]:
    """Check an environment in its own file, or inside a deployment in `folder`."""
    if ("build" in environment) == ("image" in environment):
        found = "both" if "build" in environment else "none"
        place = environment.place("image" if found == "both" else "name")
        yield Finding(place, f"expected `build` or `image`, found {found}", "write one of them", "environment-source")
    image = environment.text("image")
    if image and (wrong := tag_problem(image)):
        yield wrong.at(environment.place("image"), "image-tag")
    conda = environment.text("conda_file")
    if conda and not REMOTE.match(conda) and not is_file(folder / conda):
        message = f"expected a conda file, found none at {conda}"
        yield Finding(environment.place("conda_file"), message, "name one that is there", "conda-file")
    if "build" in environment:
        yield from _build(environment.part("build"), folder, asset)


def _build(build: Part, folder: Path, asset: AssetFolder) -> Iterator[Finding]:
    path = build.text("path")
    if path is None:
        yield Finding(build.place(), "expected the folder to build from, found none", "write `path: .`", "build-path")
        return
    if re.match(r"https?://|git\+", path):
        return
    if not is_folder(folder / path):
        message = f"expected a folder to build from, found none at {path}"
        yield Finding(build.place("path"), message, "name one that is there", "build-path")
        return
    name = build.text("dockerfile_path") or "Dockerfile"
    if not is_file(folder / path / name):
        place = build.place("dockerfile_path" if "dockerfile_path" in build else "path")
        yield Finding(place, f"expected a Dockerfile, found none at {name}", "write one, or name it", "dockerfile")
        return
    yield from check_dockerfile(folder / path / name, asset)


def check_named(holder: Part, folder: Path, asset: AssetFolder) -> Iterator[Finding]:
    """Check the environment of a deployment in `folder`: a name, a file, or one written into the deployment."""
    named, place = holder.data.get("environment"), holder.place("environment")
    fix = "write `environment: file:…/environment/NAME/environment.yaml`"
    if named is None:
        yield Finding(holder.place("name"), "expected an environment, found none", fix, "no-environment")
    elif isinstance(named, dict):
        yield from check_environment(holder.part("environment"), folder, asset)
    elif not isinstance(named, str):
        yield Finding(place, f"expected an environment, found {named!r}", fix, "environment-prefix")
    elif REMOTE.match(named):
        return
    elif not named.startswith("file:"):
        fix = f"write `environment: file:{named}`" if is_file(folder / named) else fix
        message = f"expected `file:` or `azureml:` before the environment, found {named}"
        yield Finding(place, message, fix, "environment-prefix")
    elif not is_file(folder / named.removeprefix("file:")):
        message = f"expected an environment's file, found none at {named.removeprefix('file:')}"
        yield Finding(place, message, "name one that is there", "environment-file")


HADOLINT = "hadolint"
"""The rule of hadolint's findings."""

NOT_PARSED = "hadolint DL1000"
"""The start of hadolint's message about a file that is no Dockerfile; nothing else in it can be checked."""

HEREDOC = re.compile(r"<<-?[\"']?(\w+)[\"']?")
INDEX = re.compile(r"extra-index-url", re.IGNORECASE)
"""An option that Microsoft's registry refuses in the files of an image."""


@dataclass(frozen=True)
class Instruction:
    """An instruction with its lines joined, and the line on which it begins."""

    name: str
    rest: str
    line: int


def check_dockerfile(path: Path, asset: AssetFolder) -> Iterator[Finding]:
    """Check the instructions, and that what they copy is in the folder of the Dockerfile."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as exc:
        message = f"expected a Dockerfile, found: {getattr(exc, 'strerror', None) or exc}"
        yield Finding(Place.in_file(path, 1), message, "name a text file", "dockerfile")
        return
    linted = list(_linted(path, text))
    yield from linted
    if any(NOT_PARSED in finding.message for finding in linted):
        return
    instructions = list(_instructions(text))
    for instruction in instructions:
        if instruction.name in ("COPY", "ADD"):
            yield from _copied(instruction, path)
        if INDEX.search(instruction.rest):
            yield _extra_index(Place.in_file(path, instruction.line))
    yield from _base(instructions, path)
    yield from _user(instructions, path)


def _linted(path: Path, text: str) -> Iterator[Finding]:
    """Yield what hadolint, the linter of Dockerfiles, finds."""
    program = shutil.which(
        HADOLINT, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    if program is None:
        message = "only checked by the rules here: hadolint is not installed"
        yield Finding(Place.in_file(path, 1), message, "run `make setup SETS=dev`", HADOLINT).as_note()
        return
    command = [program, "--no-fail", "--format", "json", "--config", str(ROOT / ".hadolint.yaml"), "-"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False, timeout=60)
    try:
        results = json.loads(done.stdout)
    except ValueError:
        message = f"hadolint cannot read this file: {done.stderr.decode(errors='replace').strip()[:200]}"
        yield Finding(Place.in_file(path, 1), message, "correct the file", HADOLINT)
        return
    for result in results:
        message = re.sub(r"\s+", " ", f"hadolint {result['code']}: {result['message']}")
        fix = f"correct it; https://github.com/hadolint/hadolint/wiki/{result['code']} says how"
        if result["level"] in ("error", "warning"):
            yield Finding(Place.in_file(path, result["line"]), message, fix, HADOLINT)


def tag_problem(image: str) -> Finding | None:
    """Say that an image has no fixed version, such as python or python:latest; None if it has."""
    if image == "scratch" or "$" in image or "@sha256:" in image or image.startswith("azureml"):
        return None
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    if tag and tag != "latest":
        return None
    return problem(
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
            # The lines of a here-document are not instructions.
            next((one for _, one in lines if one.strip() == mark), None)
        name, _, rest = whole.strip().partition(" ")
        yield Instruction(name.upper(), rest.strip(), number)


def _base(instructions: list[Instruction], path: Path) -> Iterator[Finding]:
    """Find images to start from that have no fixed version."""
    froms = [instruction for instruction in instructions if instruction.name == "FROM"]
    if not froms:
        message = "this Dockerfile has no FROM, so it builds no image"
        yield Finding(Place.in_file(path, 1), message, "write `FROM IMAGE:VERSION` first", "dockerfile-from")
    stages: set[str] = set()
    for instruction in froms:
        words = [word for word in instruction.rest.split() if not word.startswith("--")]
        if words and words[0].lower() not in stages and (wrong := tag_problem(words[0])):
            yield wrong.at(Place.in_file(path, instruction.line), "image-tag")
        if len(words) == 3 and words[1].upper() == "AS":
            stages.add(words[2].lower())


def _user(instructions: list[Instruction], path: Path) -> Iterator[Finding]:
    """Check that the last stage ends with a user other than root."""
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


def _extra_index(place: Place) -> Finding:
    message = "--extra-index-url names a second index: a package could come from either"
    return Finding(place, message, "take it out", "extra-index")


HASH = re.compile(r"\s--hash[= ](?P<hash>\S+)")
SHA256 = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")


def check_requirements(path: Path, asset: AssetFolder) -> Iterator[Finding]:
    """Check each line: one exact version and, if one package has a hash, a hash for every package."""
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
    # A package may have one line for each of several systems.
    name = f"{canonicalize_name(requirement.name)} ; {requirement.marker or ''}"
    if name in first:
        message = f"expected each package once, found {requirement.name} here and on line {first[name]}"
        yield Finding(place, message, "delete one of the two", "requirement-twice")
    first.setdefault(name, number)


def _option(line: str, path: Path, place: Place) -> Iterator[Finding]:
    if INDEX.search(line):
        yield _extra_index(place)
    other = re.match(r"(?:-r|--requirement|-c|--constraint)[= ]\s*(\S+)", line)
    if other and not is_file(path.parent / other[1]):
        message = f"expected another file of requirements, found none at {other[1]}"
        yield Finding(place, message, "name one that is there", "requirement")
    if re.match(r"-e\b|--editable\b", line):
        message = f"expected packages of an index, found {line}"
        yield Finding(place, message, "an image has no checkout; take it out", "requirement-pin")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each entry with its lines joined and without comments, and the line on which it begins."""
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
