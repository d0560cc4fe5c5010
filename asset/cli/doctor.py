"""`asset doctor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from asset.checks.doctor import azure, environments, model, processor
from asset.checks.doctor.check import Check, Machine, NothingToCheckError, Status
from asset.checks.doctor.deployment import deployment, read, sku
from asset.screen import SafeStream, safe_console

WRONG, INVALID = 1, 2
STYLES: dict[Status, str] = {"ok": "green", "note": "yellow", "wrong": "bold red"}


@dataclass(frozen=True)
class DoctorOptions:
    """What `asset doctor` was asked for; None for what was left out."""

    file: Path | None = None
    sku: str | None = None
    azure: bool = False
    as_json: bool = False


def doctor(options: DoctorOptions, machine: Machine) -> int:
    """Check, and tell; return the exit status: 0 nothing wrong, 1 something is, 2 nothing could be checked."""
    output = SafeStream(sys.stdout)
    try:
        document = read(options.file) if options.file else {}
    except NothingToCheckError as exc:
        safe_console(sys.stderr).print(str(exc), markup=False, soft_wrap=True)
        if options.as_json:
            output.write(json.dumps({"status": "invalid", "message": str(exc)}, ensure_ascii=False) + "\n")
        output.flush()
        return INVALID
    console = safe_console(sys.stdout)
    found = []
    for check in _checks(options, machine, document):
        found.append(check)
        if not options.as_json:
            _show(console, check)
    status = "wrong" if any(check.status == "wrong" for check in found) else "ok"
    if options.as_json:
        told = {"status": status, "checks": [asdict(check) for check in found]}
        output.write(json.dumps(told, ensure_ascii=False) + "\n")
    else:
        _sum_up(console, found)
    output.flush()
    return WRONG if status == "wrong" else 0


def _checks(options: DoctorOptions, machine: Machine, document: dict[str, Any]) -> Iterator[Check]:
    """Run all checks, those of the deployment and the machine in Azure last."""
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
    yield from azure.azure(machine) if options.azure else [azure.not_asked()]
    if options.file:
        yield from deployment(machine, options.file, document, options.sku)
    if options.sku:
        yield from sku(machine.root, options.sku, model.size_planned(machine), "inference" if options.file else None)


def _show(console: Console, check: Check) -> None:
    """Show a check on a line, and below it what to do."""
    line = Text.assemble((f"{check.status:<6}", STYLES[check.status]), (f"{check.name}: ", "bold"), check.found)
    console.print(line, soft_wrap=True)
    if check.status == "wrong":
        console.print(Text(f"      expected {check.expected}"), soft_wrap=True)
    if check.fix:
        console.print(Text(f"      {check.fix}", "dim" if check.status == "note" else ""), soft_wrap=True)


def _sum_up(console: Console, found: list[Check]) -> None:
    counts = {status: sum(check.status == status for check in found) for status in STYLES}
    text = f"{len(found)} checks: {counts['ok']} ok, {counts['note']} to know, {counts['wrong']} wrong"
    console.print(Text(text, STYLES["wrong" if counts["wrong"] else "ok"]), soft_wrap=True)
