"""The virtual environments and their pins, and the environment variables of serving, of proxies and of the hub."""

from __future__ import annotations

import difflib
import re
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from asset.checks.doctor.check import Machine, note, ok, wrong
from asset.environments import VirtualEnvironment
from asset.findings import Finding
from serving.errors import SettingsError
from serving.settings import PREFIX, Settings


@dataclass(frozen=True)
class Purpose:
    """The purpose of an environment and its size in MB, measured with the torch for CPUs; the torch for GPUs takes more."""

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


def environments(machine: Machine) -> Iterator[Finding]:
    """Check each environment."""
    for name in PURPOSES:
        yield environment(machine, name)


def missing(machine: Machine) -> dict[str, int]:
    """Return the environments that are not set up yet, with their MB by name."""
    return {name: purpose.mb for name, purpose in PURPOSES.items() if not _folder(machine, name).exists()}


def environment(machine: Machine, name: str) -> Finding:
    """Compare the packages in .venv/NAME with environment/NAME/requirements.txt.

    Times of files do not count, as a checkout gives all its files the same time.
    """
    folder, title = _folder(machine, name), f".venv/{name}"
    pins_file = machine.root / "environment" / name / "requirements.txt"
    expected = f"each package of environment/{name}/requirements.txt at its version"
    if not pins_file.is_file():
        return wrong(title, expected, "no such file", f"`git checkout environment/{name}`")
    # `make` does nothing if its stamp is newer than the pins.
    fix = f"`make -B setup SETS={name}`"
    if not folder.exists():
        return note(title, f"not set up; it is for {PURPOSES[name].text}", f"`make setup SETS={name}`")
    if not (folder / "bin/python").exists():
        return wrong(title, expected, "its Python is gone", f"`rm -r {title}`, then `make setup SETS={name}`")
    if not (folder / ".installed").exists():
        return wrong(
            title, expected, "a set-up that did not end", f"`make setup SETS={name}`; .venv/{name}.log says why"
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
    return ok(title, f"all {len(wanted)} packages")


def pins(file: Path) -> dict[str, str]:
    """Return the version of each package in a requirements file of `make lock`: {"numpy": "2.4.6"}."""
    found = re.findall(r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)", file.read_text(encoding="utf-8"))
    return {_canonical(name): version for name, version in found}


def installed(environment: Path) -> dict[str, str]:
    """Return the version of each package in a virtual environment, from the names of the folders of its metadata.

    The mark of a build is left out, as in the pins: torch 2.13.0+cpu is 2.13.0.
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


LOOPBACK = ("127.0.0.1", "localhost")
ON = {"1", "ON", "YES", "TRUE"}
"""Values that mean yes to huggingface_hub."""


def serving_settings(machine: Machine) -> Finding:
    """Check that serving accepts the environment variables that are meant for it."""
    return check_settings(machine.environ, "settings of serving")


def check_settings(environ: Mapping[str, str], name: str) -> Finding:
    """Check settings as serving reads them."""
    known = [PREFIX + field.name.upper() for field in fields(Settings)]
    expected = "BERT_SERVING_ variables that serving knows, in their ranges"
    given = sorted(name for name in environ if name.startswith(PREFIX))
    try:
        Settings.from_env(environ)
    except SettingsError as exc:
        unknown = [one for one in given if one not in known]
        close = {one: difflib.get_close_matches(one, known, 1) for one in unknown}
        meant = [f"write {match[0]} for {one}" for one, match in close.items() if match]
        return wrong(name, expected, str(exc), "; ".join(meant) or "correct it, or unset it")
    return ok(name, ", ".join(given) or "none set: the defaults")


def proxies(machine: Machine) -> Finding:
    """Check that requests to this machine itself do not go through a proxy."""
    name, expected = "proxies", "none, or NO_PROXY for 127.0.0.1 and localhost"
    # Names in lower case win, as with curl and Python.
    given = {key.lower(): key for key in sorted(machine.environ) if machine.environ[key]}
    set_ = [given[key] for key in ("http_proxy", "all_proxy") if key in given]
    if not set_:
        return ok(name, "none for http")
    without = machine.environ[given["no_proxy"]] if "no_proxy" in given else ""
    caught = [host for host in LOOPBACK if not urllib.request.proxy_bypass_environment(host, {"no": without})]
    if not caught:
        return ok(name, f"{', '.join(set_)}, with NO_PROXY for loopback")
    found = f"{', '.join(set_)} would catch requests to {', '.join(caught)}, as of curl to `make serve`"
    kept = f"{without}," if without else ""
    return wrong(name, expected, found, f"export NO_PROXY={kept}127.0.0.1,localhost no_proxy={kept}127.0.0.1,localhost")


def hub(machine: Machine) -> Finding:
    """Say from where models are pulled; the hub is not asked."""
    name, expected = "hub", "https://huggingface.co, or a mirror in HF_ENDPOINT"
    endpoint = machine.environ.get("HF_ENDPOINT", "").strip()
    token = "; HF_TOKEN is set" if machine.environ.get("HF_TOKEN") else ""
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        return wrong(name, expected, "HF_ENDPOINT has no http:// or https://", "write it as https://mirror.example.com")
    if machine.environ.get("HF_HUB_OFFLINE", "").upper() in ON:
        found = f"HF_HUB_OFFLINE is on{token}"
        return note(name, found, "unset it for `asset pull`, which otherwise finds only files in the hub's cache")
    if endpoint:
        # The address may contain a password before the mirror's name.
        mirror = re.sub(r"//[^/]*@", "//", endpoint)
        return note(name, f"HF_ENDPOINT: {mirror}{token}", "unset it to pull from huggingface.co")
    return ok(name, f"https://huggingface.co, used only by `asset pull`{token}")
