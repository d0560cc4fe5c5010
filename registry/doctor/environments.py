"""The virtual environments: whether they are there, and have what their pins say now."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asset.environments import VirtualEnvironment
from registry.doctor.check import Check, note, ok, wrong
from registry.doctor.machine import Machine


@dataclass(frozen=True)
class Purpose:
    """What an environment is for, and how large it is in MB, as measured with a torch for CPUs; one for GPUs has more."""

    text: str
    mb: int


PURPOSES = {
    "serving": Purpose("`make score`, `make serve` and local endpoints", 400),
    "evaluation": Purpose("evaluation jobs", 920),
    "finetune": Purpose("fine-tuning jobs", 2150),
    "batch": Purpose("local batch endpoints", 900),
    "dev": Purpose("the command `asset`, and tests", 2550),
}
SHOWN = 3


def environments(machine: Machine) -> Iterator[Check]:
    """Look at each environment."""
    for name in PURPOSES:
        yield environment(machine, name)


def missing(machine: Machine) -> dict[str, int]:
    """Return the environments that are still to be set up, as MB by name."""
    return {name: purpose.mb for name, purpose in PURPOSES.items() if not _folder(machine, name).exists()}


def environment(machine: Machine, name: str) -> Check:
    """Compare what is installed in .venv/NAME with environment/NAME/requirements.txt as it is now.

    When it was set up does not count, as a checkout gives all its files the same time.
    """
    folder, title = _folder(machine, name), f".venv/{name}"
    pins_file = machine.root / "environment" / name / "requirements.txt"
    expected = f"each package of environment/{name}/requirements.txt at its version"
    if not pins_file.is_file():
        return wrong(title, expected, "no such file", f"`git checkout environment/{name}`")
    # `make` does nothing where its stamp is newer than the pins.
    fix = f"`make -B {title}/.installed`"
    if not folder.exists():
        return note(title, expected, f"not set up; it is for {PURPOSES[name].text}", f"`make {title}/.installed`")
    if not (folder / "bin/python").exists():
        return wrong(title, expected, "its Python is gone", f"`rm -r {title}`, then `make {title}/.installed`")
    if not (folder / ".installed").exists():
        return wrong(
            title, expected, "a set-up that did not end", f"`make {title}/.installed`; .venv/{name}.log says why"
        )
    wanted, found = pins(pins_file), installed(folder)
    off = [
        f"{package} {found.get(package, 'is missing')}{f', not {version}' if package in found else ''}"
        for package, version in wanted.items()
        if found.get(package) != version
    ]
    if off:
        more = f" and {len(off) - SHOWN} more" if len(off) > SHOWN else ""
        return wrong(title, expected, f"{'; '.join(off[:SHOWN])}{more}", fix)
    return ok(title, expected, f"all {len(wanted)} packages")


def pins(file: Path) -> dict[str, str]:
    """Return the version of each package in a requirements file of `make lock`: {"numpy": "2.4.6"}."""
    found = re.findall(r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)", file.read_text(encoding="utf-8"))
    return {_canonical(name): version for name, version in found}


def installed(environment: Path) -> dict[str, str]:
    """Return the version of each package in a virtual environment, from the names of its metadata's folders.

    A build's own mark is left out: torch 2.13.0+cpu is 2.13.0, as pins have it.
    """
    folders = environment.glob("lib/python*/site-packages/*.dist-info")
    parts = (
        folder.name.removesuffix(".dist-info").partition("-") for folder in folders if (folder / "METADATA").exists()
    )
    return {_canonical(name): version.partition("+")[0] for name, _, version in parts}


def _canonical(name: str) -> str:
    """Return a package's name as packages are compared by: Jinja2 and jinja2, a.b and a-b."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _folder(machine: Machine, name: str) -> Path:
    return VirtualEnvironment(name, machine.root).folder
