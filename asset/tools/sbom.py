"""The bill of materials of each environment, and the table of licenses made from the bills: `asset tools sbom`.

A bill is what cyclonedx-py finds installed, without anything that differs from machine to machine. The bills are made for
a release and are not in git.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from asset.environments import ROOT

NAMES = ("serving", "batch", "evaluation", "finetune", "dev")
"""The environments of the images, and the one that `asset` runs in.

The benchmark's own environments are left out. So is the one for GPUs, which differs from the serving environment by
onnxruntime-gpu and NVIDIA's own packages."""

SECONDS = 300


class BillError(RuntimeError):
    """An environment is missing or differs from its pins; the message says what to do."""


def bill_file(name: str) -> Path:
    """Return the path of an environment's bill."""
    return ROOT / "environment" / name / "sbom.cdx.json"


def pinned(name: str) -> dict[str, str]:
    """Return the version of each package in the pins of an environment."""
    text = (ROOT / "environment" / name / "requirements.txt").read_text(encoding="utf-8")
    return {canonicalize_name(package): version for package, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", text)}


def make_bill(name: str) -> str:
    """Return the CycloneDX document of an environment, the same each time; raises BillError."""
    python = ROOT / ".venv" / name / "bin/python"
    if not python.exists():
        raise BillError(f"the environment .venv/{name} is not set up; run `make setup SETS={name}`")
    tool = Path(sys.executable).with_name("cyclonedx-py")
    command = [str(tool), "environment", "--output-reproducible", "--sv", "1.6", "--of", "JSON", str(python)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        raise BillError(f"cyclonedx-py failed on .venv/{name}: {done.stderr.strip()[-500:]}")
    return json.dumps(_trimmed(json.loads(done.stdout), name), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _trimmed(found: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a bill of only the pinned packages, without the installer, the checkout, links and local builds."""
    pins = pinned(name)
    kept = [part for part in found["components"] if canonicalize_name(part["name"]) in pins]
    installed = {canonicalize_name(part["name"]): _public(part["version"]) for part in kept}
    wrong = sorted(package for package, version in pins.items() if installed.get(package) != version)
    if wrong:
        raise BillError(
            f".venv/{name} differs from its pins: it does not have {wrong[0]}=={pins[wrong[0]]}; run `make -B setup "
            f"SETS={name}`"
        )
    references = {part["bom-ref"]: f"{package}@{pins[package]}" for part, package in zip(kept, installed, strict=True)}
    components = [
        {
            "type": "library",
            "bom-ref": references[part["bom-ref"]],
            "name": part["name"],
            "version": pins[package],
            "purl": f"pkg:pypi/{references[part['bom-ref']]}",
            "licenses": _without_texts(part.get("licenses", [])),
        }
        for part, package in zip(kept, installed, strict=True)
    ]
    return {
        "$schema": found["$schema"],
        "bomFormat": found["bomFormat"],
        "specVersion": found["specVersion"],
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": "root", "name": f"bert-base-cased-{name}"},
            "tools": {
                "components": [
                    {key: tool[key] for key in ("type", "name", "version")}
                    for tool in found["metadata"]["tools"]["components"]
                ]
            },
        },
        "components": sorted(components, key=lambda part: part["bom-ref"]),
        "dependencies": sorted(
            (
                {
                    "ref": references[entry["ref"]],
                    "dependsOn": sorted(references[on] for on in entry.get("dependsOn", ()) if on in references),
                }
                for entry in found["dependencies"]
                if entry["ref"] in references
            ),
            key=lambda entry: entry["ref"],
        ),
    }


def _public(version: str) -> str:
    """Return a version without its local part: 2.13.0 for 2.13.0+cpu."""
    return version.partition("+")[0]


def _without_texts(licenses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the licenses that a package declares, without entries that are a whole text instead of a name."""
    kept = []
    for entry in licenses:
        declared = entry.get("license", {})
        name = declared.get("name", "")
        if "expression" in entry:
            kept.append({"expression": entry["expression"]})
        elif "id" in declared:
            kept.append({"license": {"id": declared["id"]}})
        elif name and len(name) < 100 and "\n" not in name:
            kept.append({"license": {"name": name}})
    # CycloneDX takes one expression, or several licenses.
    expressions = [entry for entry in kept if "expression" in entry]
    return expressions[:1] or kept


CLASSIFIED = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Academic Free License (AFL)": "AFL",
    "License :: OSI Approved :: GNU Library or Lesser General Public License (LGPL)": "LGPL",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}

MICROSOFT = "Microsoft: the user's agreement for Azure"

READ = {
    "azureml-core": MICROSOFT,
    "azureml-dataprep": MICROSOFT,
    "azureml-dataprep-native": MICROSOFT,
    "azureml-dataprep-rslex": MICROSOFT,
    "azureml-dataset-runtime": MICROSOFT,
    "azureml-inference-server-http": "MIT",
    "deepspeed": "Apache-2.0",
    "huey": "MIT",
    "inference-schema": "MIT",
    "locate": "MIT",
    "paramiko": "LGPL-2.1",
    "pkginfo": "MIT",
    "protobuf": "BSD-3-Clause",
    "pysocks": "BSD-3-Clause",
    "sigstore-models": "MIT",
    "skops": "MIT",
    "transformers": "Apache-2.0",
}
"""Licenses that a person read in the package, because it declares none, or another than its license text."""

TITLE = """# Licenses

The packages of each environment and the licenses that they declare. `asset tools sbom` writes this page, and beside it the
bill of materials of each environment, `environment/NAME/sbom.cdx.json`. If a package declares nothing, or something else
than the license text that it brings, the text counts, and the license is in *italics*. The license of this asset itself is
[Apache-2.0](../LICENSE); [NOTICE](../NOTICE) says what its models are made of.

Not listed: the operating system and Python of the images (Debian and python.org, see python:3.11-slim-bookworm), NVIDIA's
packages, which PyPI's torch and onnxruntime-gpu bring to a machine with a GPU under NVIDIA's own terms, and the
environments of the benchmark.
"""


def license_of(component: Mapping[str, Any]) -> str:
    """Return a package's license: an SPDX expression if it declares one; in italics if a person read it."""
    read = READ.get(canonicalize_name(component["name"]))
    if read:
        return f"*{read}*"
    entries = component.get("licenses", [])
    ids = [entry.get("expression") or entry["license"].get("id") for entry in entries]
    found = [name for name in ids if name]
    if not found:
        found = [CLASSIFIED.get(entry["license"]["name"], entry["license"]["name"]) for entry in entries]
    return " and ".join(dict.fromkeys(found)) or "not declared"


def table(bills: Mapping[str, str]) -> str:
    """Return the page of licenses from the bill of each environment."""
    rows: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for name, bill in bills.items():
        for component in json.loads(bill)["components"]:
            package = canonicalize_name(component["name"])
            rows[package, component["version"], license_of(component)].append(name)
    lines = ["| package | version | license | in |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} | {', '.join(names)} |" for row, names in sorted(rows.items())]
    return f"{TITLE}\n{_counts(rows)}\n" + "\n".join(lines) + "\n"


def _counts(rows: Mapping[tuple[str, str, str], list[str]]) -> str:
    packages: dict[str, set[str]] = defaultdict(set)
    for package, _, license_name in rows:
        packages[license_name.strip("*")].add(package)
    ordered = sorted(packages.items(), key=lambda item: (-len(item[1]), item[0]))
    lines = ["| license | packages |", "| --- | ---: |", *(f"| {name} | {len(found)} |" for name, found in ordered)]
    return "\n".join(lines) + "\n"


LICENSES = ROOT / "docs/licenses.md"


def write() -> Iterator[Path]:
    """Write the bills and the page of licenses; yield their paths.

    Raises:
        BillError: an environment is missing or differs from its pins; nothing is written.
    """
    bills = {name: make_bill(name) for name in NAMES}
    for path, content in ({bill_file(name): bill for name, bill in bills.items()} | {LICENSES: table(bills)}).items():
        path.write_text(content, encoding="utf-8")
        yield path
