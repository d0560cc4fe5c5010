"""`asset validate`: check the files of the asset, and say what is wrong in them and what to do."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from asset.cli.loop import DONE, FAILED, INVALID, AsJson, Result, perform
from asset.environments import ROOT
from asset.screen import Screen

if TYPE_CHECKING:
    from asset.checks.validate.collect import Report
    from asset.findings import Finding

KINDS = "YAML, MLmodel, MLTable, Dockerfile, requirements or an evaluation's configuration"


def validate(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATHS", help="Files and folders. Default: the whole checkout.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the asset's files for mistakes that Azure would refuse, would not notice, or would fail on later.

    Checks pipeline jobs and components, environments with their Dockerfile and requirements, endpoints and deployments,
    spec.yaml and the files beside it, sku_lists.yaml, MLmodel, MLTable and the evaluation's configuration. The checks are
    the Azure SDK's own validation, the validation of Microsoft's registry (azureml-assets), and rules for mistakes that
    both miss. Each finding has its file, its line and its fix. A note, such as that weights are not pulled yet, is not a
    finding.

    Exit status: 0 if nothing is wrong, 1 if something is wrong, 2 if there was nothing to check.

    **Examples**

        asset validate

        asset validate deployment evaluation/evaluate-model-fill-mask.yml

        asset validate --json | jq '.findings[] | .file, .line, .fix'
    """
    perform(lambda screen: _validate(screen, paths or [ROOT], as_json), as_json)


def _validate(screen: Screen, paths: list[Path], as_json: bool) -> Result:
    from asset.checks.validate.collect import Report, validate
    from asset.findings import shown

    missing = [path for path in paths if not path.exists()]
    if missing:
        message = f"there is no file or folder {', '.join(map(str, missing))}; name others"
        return _nothing_to_check(screen, Report(), message)
    report = validate(paths)
    if not report.files:
        names = ", ".join(shown(path) for path in paths)
        message = f"nothing in {names} can be checked; name files of these kinds: {KINDS}"
        return _nothing_to_check(screen, report, message)
    if not as_json:
        _show(screen, report)
    status = "findings" if report.findings else "valid"
    return Result(_answer(status, report), status=FAILED if report.findings else DONE)


def _nothing_to_check(screen: Screen, report: Report, message: str) -> Result:
    screen.errors.print(message, markup=False, soft_wrap=True)
    return Result(_answer("nothing", report) | {"message": message}, status=INVALID)


def _answer(status: str, report: Report) -> dict[str, object]:
    return {
        "status": status,
        "files": len(report.files),
        "findings": [finding.as_dict() for finding in report.findings],
        "notes": [finding.as_dict() for finding in report.notes],
    }


def _show(screen: Screen, report: Report) -> None:
    """Show the findings of each file, then the notes, and the numbers of both."""
    from asset.findings import shown

    for findings, color, word in ((report.findings, "red", ""), (report.notes, "cyan", "note: ")):
        for _, of_file in itertools.groupby(findings, key=lambda finding: finding.place.where):
            for finding in of_file:
                _show_finding(screen, finding, color, word)
            screen.say("")
    files = f"{len(report.files)} file{'s' * (len(report.files) != 1)} checked"
    wrong = len({finding.place.where for finding in report.findings})
    count = len(report.findings)
    result = f"{count} finding{'s' * (count != 1)} in {wrong} of them" if count else "nothing is wrong"
    notes = f", {len(report.notes)} note{'s' * (len(report.notes) != 1)}" if report.notes else ""
    others = f"; nothing to check in {', '.join(map(shown, report.others))}" if report.others else ""
    screen.say(f"{files}: {result}{notes}{others}", "bold red" if count else "bold green")


def _show_finding(screen: Screen, finding: Finding, color: str, word: str) -> None:
    place = Text(str(finding.place), style="bold")
    screen.say(Text.assemble(place, ": ", (word, color), finding.message, f" [{finding.rule}]"))
    screen.say(f"    {finding.fix}", color)
