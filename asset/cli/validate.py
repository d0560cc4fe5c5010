"""`asset validate`: check the files of the asset, and say what is wrong in them and what to do."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from asset.checks.validate.collect import Report, validate
from asset.environments import ROOT
from asset.findings import Finding, shown
from asset.screen import SafeStream, safe_console

GOOD, WRONG, NOTHING = 0, 1, 2


@dataclass(frozen=True)
class ValidateOptions:
    """What `asset validate` was asked for; without paths it checks the checkout."""

    paths: Sequence[Path] = ()
    as_json: bool = False


def run(options: ValidateOptions) -> int:
    """Check; return the exit status: 0 nothing is wrong, 1 something is, 2 nothing could be checked."""
    errors = safe_console(sys.stderr)
    paths = list(options.paths) or [ROOT]
    missing = [path for path in paths if not path.exists()]
    if missing:
        names = ", ".join(map(str, missing))
        return _nothing(options, errors, f"expected files and folders to check, found nothing at {names}; name others")
    report = validate(paths)
    if not report.files:
        names = ", ".join(shown(path) for path in paths)
        expected = "YAML, MLmodel, MLTable, Dockerfile, requirements or an evaluation's configuration"
        return _nothing(options, errors, f"expected {expected}, found none in {names}; name other files")
    if options.as_json:
        _print_json("findings" if report.findings else "valid", report)
        return WRONG if report.findings else GOOD
    _show(report, safe_console(sys.stdout))
    return WRONG if report.findings else GOOD


def _nothing(options: ValidateOptions, errors: Console, message: str) -> int:
    errors.print(message, markup=False, soft_wrap=True)
    if options.as_json:
        _print_json("nothing", Report(), message)
    return NOTHING


def _show(report: Report, console: Console) -> None:
    """Print what is found by file, a line each, and its fix on the next."""
    for findings, color, word in ((report.findings, "red", ""), (report.notes, "cyan", "note: ")):
        for _, of_file in itertools.groupby(findings, key=lambda one: one.place.where):
            for one in of_file:
                _show_one(one, console, color, word)
            console.print()
    files = f"{len(report.files)} file{'s' * (len(report.files) != 1)} checked"
    wrong = len({one.place.where for one in report.findings})
    many = len(report.findings)
    result = f"{many} finding{'s' * (many != 1)} in {wrong} of them" if many else "nothing is wrong"
    notes = f", {len(report.notes)} note{'s' * (len(report.notes) != 1)}" if report.notes else ""
    others = f"; nothing to check in {', '.join(map(shown, report.others))}" if report.others else ""
    console.print(Text(f"{files}: {result}{notes}{others}", style="bold red" if many else "bold green"), soft_wrap=True)


def _show_one(one: Finding, console: Console, color: str, word: str) -> None:
    place = Text(str(one.place), style="bold")
    console.print(Text.assemble(place, ": ", (word, color), one.message, f" [{one.rule}]"), soft_wrap=True)
    console.print(Text(f"    {one.fix}", style=color), soft_wrap=True)


def _print_json(status: str, report: Report, message: str | None = None) -> None:
    content = {
        "status": status,
        "files": len(report.files),
        "findings": [one.as_dict() for one in report.findings],
        "notes": [one.as_dict() for one in report.notes],
    }
    output = SafeStream(sys.stdout)
    output.write(json.dumps(content | ({"message": message} if message else {}), ensure_ascii=False) + "\n")
    output.flush()
