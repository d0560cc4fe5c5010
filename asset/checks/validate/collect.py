"""Go through files, and put together what is found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from asset import azure_sdk
from asset.checks.pipeline.errors import ELSEWHERE
from asset.checks.validate import microsoft_validator
from asset.checks.validate.asset_folder import AssetFolder, asset_root
from asset.checks.validate.kinds import NAMED, YAML, find, text_check, yaml_check
from asset.findings import ERROR, Finding, InvalidFileError, Place

THEIRS = (azure_sdk.RULE, microsoft_validator.RULE)
"""The rules of others. Where one of ours says what is wrong on a line, it says what to do too, and theirs is left out."""

FAULT = "fault"

MOST = 200
"""Findings of one file that are told; one of thousands has the same one thousands of times."""


@dataclass
class Report:
    """What was found in which files; `others` are those that there is nothing to check in."""

    files: list[Path] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def validate(paths: Iterable[Path]) -> Report:
    """Check files, and those of folders."""
    report, found = Report(), list[Finding]()
    assets: dict[Path, AssetFolder] = {}
    for path in find(paths):
        root = asset_root(path)
        asset = assets.setdefault(root, AssetFolder(root))
        one = _check(path, asset)
        if one is None:
            report.others.append(path)
            continue
        report.files.append(path)
        found += _not_too_many(path, one)
    found = [_elsewhere(one) if one.rule == ELSEWHERE else one for one in _once(found)]
    report.findings = _sorted(_ours_first([one for one in found if one.severity == ERROR]))
    report.notes = _sorted([one for one in found if one.severity != ERROR])
    return report


def _check(path: Path, asset: AssetFolder) -> list[Finding] | None:
    """Return what is found in a file; None where it is not of a kind that is checked."""
    findings: list[Finding] = []
    try:
        if (text := text_check(path)) is not None:
            findings.extend(text(path, asset))
        elif path.suffix in YAML or path.name in NAMED:
            file = asset.read(path)
            if (check := yaml_check(file)) is not None:
                findings.extend(check(file, asset))
        else:
            return None
    except InvalidFileError as exc:
        findings += exc.findings
    except Exception as exc:
        # A mistake of this command's: it must not hide what is found in other files.
        message = f"a fault of `asset validate` itself: {type(exc).__name__}: {exc}"
        findings.append(Finding(Place.in_file(path, 1), message, "report it, with this file", FAULT))
    return findings


def _not_too_many(path: Path, found: list[Finding]) -> list[Finding]:
    if len(found) <= MOST:
        return found
    message = f"{len(found) - MOST:,} more findings are left out"
    return [*found[:MOST], Finding(Place.in_file(path, 1), message, "correct these, and check again", "too-many")]


def _once(findings: list[Finding]) -> list[Finding]:
    """Leave out what is said twice: a component is looked at by itself and in each job that has it, under other names."""
    first: dict[tuple[Place, str, str], Finding] = {}
    for one in findings:
        first.setdefault((one.place, one.rule, one.fix), one)
    return list(first.values())


def _elsewhere(one: Finding) -> Finding:
    """Return what only this machine refuses as something to know."""
    return replace(one.as_note(), message=f"Azure may run this, and `asset run` does not: {one.message}")


def _ours_first(findings: list[Finding]) -> list[Finding]:
    """Leave out what others say of a line that one of our rules is about, or of a whole file that has other findings."""
    ours = {(one.place.where, one.place.line) for one in findings if one.rule not in THEIRS}
    files = {where for where, _ in ours}
    kept = []
    for one in findings:
        of_all = one.place.line == 1 and one.place.where in files
        if one.rule not in THEIRS or not (of_all or (one.place.where, one.place.line) in ours):
            kept.append(one)
    return kept


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda one: (one.place.where, one.place.line or 0))
