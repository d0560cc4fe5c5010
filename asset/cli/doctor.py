"""`asset doctor`: check this machine, its environments and a deployment before something else fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from asset.cli.loop import DONE, FAILED, AsJson, Result, perform
from asset.findings import ERROR, NOTE, OK, Finding
from asset.screen import Screen

if TYPE_CHECKING:
    from asset.checks.doctor.check import Machine
    from asset.yaml_file import YamlFile

WORDS = {OK: "ok", NOTE: "note", ERROR: "wrong"}
STYLES = {OK: "green", NOTE: "yellow", ERROR: "bold red"}


def doctor(
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Also check a deployment's file: its machine and its settings.")
    ] = None,
    sku: Annotated[
        str | None, typer.Option("--sku", metavar="SIZE", help="Also check an Azure VM size, such as Standard_F4s_v2.")
    ] = None,
    azure: Annotated[
        bool, typer.Option("--azure", help="Also look for a workspace and a sign-in, without using the network.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="The port that a server on this machine would use.")
    ] = 5001,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with this machine, its environments or a deployment, before something else fails.

    Checks Python, the CPU, the precision and engine that it serves with, the CPUs and memory that a container may use, the
    disk, the C compiler, the port and the process that holds it, each virtual environment against its pins, the model
    folder, the folder of compiled models, and environment variables that are misspelled or in the way. A problem has its
    fix below it. A note is about something that works and is good to know. Nothing is sent, changed or installed, and no
    secret is shown.

    Exit status: 0 if nothing is wrong, 1 if something is wrong, 2 if nothing could be checked.

    **Examples**

        asset doctor

        asset doctor --sku Standard_F4s_v2                      # is it allowed and large enough?

        asset doctor -f deployment/online-deployment-blue.yml

        asset doctor --azure --json
    """
    from asset.checks.doctor.check import Machine

    perform(lambda screen: examine(screen, Machine(port=port), file, sku, azure, as_json), as_json)


def examine(
    screen: Screen,
    machine: Machine,
    file: Path | None = None,
    sku: str | None = None,
    azure: bool = False,
    as_json: bool = False,
) -> Result:
    """Do all checks of a machine; each is shown when it is done, unless the answer is for `--json`."""
    from asset.checks.doctor.deployment import read

    findings = []
    for finding in _checks(machine, read(file) if file else None, sku, azure):
        findings.append(finding)
        if not as_json:
            _show(screen, finding)
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in STYLES}
    worst = ERROR if counts[ERROR] else OK
    if not as_json:
        text = f"{len(findings)} checks: {counts[OK]} ok, {counts[NOTE]} to know, {counts[ERROR]} wrong"
        screen.say(text, STYLES[worst])
    answer = {"status": WORDS[worst], "checks": [finding.as_dict() for finding in findings]}
    return Result(answer, status=FAILED if worst == ERROR else DONE)


def _checks(machine: Machine, file: YamlFile | None, sku: str | None, on_azure: bool) -> Iterator[Finding]:
    """Do the checks of this machine, then those of Azure and of the deployment."""
    from asset.checks.doctor import azure, deployment, environments, model, processor

    yield processor.python(machine)
    yield processor.instructions(machine)
    yield processor.cpus(machine)
    yield processor.compiler(machine)
    yield processor.gpu(machine)
    yield model.memory(machine)
    yield model.disk(machine, environments.missing(machine))
    yield processor.port(machine)
    yield from environments.environments(machine)
    yield azure.server_files(machine)
    yield model.model(machine)
    yield model.cache(machine)
    yield environments.serving_settings(machine)
    yield environments.proxies(machine)
    yield environments.hub(machine)
    yield from azure.azure(machine) if on_azure else [azure.not_asked()]
    if file:
        yield from deployment.deployment(machine, file, sku)
    if sku:
        yield from deployment.sku(machine.root, sku, model.size_planned(machine), "inference" if file else None)


def _show(screen: Screen, finding: Finding) -> None:
    """Show a finding on a line, and below it what to do."""
    style, word = STYLES[finding.severity], WORDS[finding.severity]
    screen.say(Text.assemble((f"{word:<6}", style), (f"{finding.rule}: ", "bold"), finding.message))
    if finding.fix:
        screen.say(f"      {finding.fix}", "dim" if finding.severity == NOTE else "")
