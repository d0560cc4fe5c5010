"""What an environment is made of, as cyclonedx-py finds it installed, and without what differs from machine to machine.

The table of licenses, from the bills of materials.

Write the bill of materials of each environment, and the table of licenses.

python -m asset.tools.sbom
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from asset.environments import ROOT

NAMES = ("serving", "batch", "evaluation", "finetune", "dev")
"""What images are built of, and what `asset` runs in. The environments of the benchmark are nobody's but its own; the one
for GPUs is the serving one but for onnxruntime-gpu and NVIDIA's own packages."""

SECONDS = 300


class BillError(RuntimeError):
    """An environment is not there, or not as it is pinned; the message says what to do."""


def bill_file(name: str) -> Path:
    """Return where the bill of an environment is kept."""
    return ROOT / "environment" / name / "sbom.cdx.json"


def pinned(name: str) -> dict[str, str]:
    """Return the version of each package in the pins of an environment."""
    text = (ROOT / "environment" / name / "requirements.txt").read_text(encoding="utf-8")
    return {canonicalize_name(package): version for package, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", text)}


def make_bill(name: str) -> str:
    """Return the CycloneDX document of an environment, the same each time; raises BillError."""
    python = ROOT / ".venv" / name / "bin/python"
    if not python.exists():
        raise BillError(f"expected the environment .venv/{name}, found none; run `make sbom`, which sets it up")
    tool = Path(sys.executable).with_name("cyclonedx-py")
    command = [str(tool), "environment", "--output-reproducible", "--sv", "1.6", "--of", "JSON", str(python)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        raise BillError(f"cyclonedx-py failed on .venv/{name}: {done.stderr.strip()[-500:]}")
    return json.dumps(_trimmed(json.loads(done.stdout), name), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _trimmed(found: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a bill of the pinned packages alone: no installer, no checkout, no links, no build of this machine."""
    pins = pinned(name)
    kept = [part for part in found["components"] if canonicalize_name(part["name"]) in pins]
    installed = {canonicalize_name(part["name"]): _public(part["version"]) for part in kept}
    wrong = sorted(package for package, version in pins.items() if installed.get(package) != version)
    if wrong:
        raise BillError(
            f".venv/{name} is not as pinned: expected {wrong[0]}=={pins[wrong[0]]}; delete it and run `make`"
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
    """Return a version without that of a local build: 2.13.0 of 2.13.0+cpu."""
    return version.partition("+")[0]


def _without_texts(licenses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what a package declares, without whole texts in the place of a name."""
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
"""Of packages that declare none, or another than the text that they bring: what that text, read by a person, is."""

TITLE = """# Licenses

What each environment is made of, by what its packages declare; `make sbom` writes this page from
`environment/NAME/sbom.cdx.json`, the bills of materials. Where a package declares nothing, or something else than the text
that it brings, the text counts, and the license is in *italics*. The license of this asset itself is [Apache-2.0](../LICENSE);
what its models are made of is in [NOTICE](../NOTICE).

Not in it: the operating system and Python of the images (Debian and python.org, see python:3.11-slim-bookworm), NVIDIA's
packages, which PyPI's torch and onnxruntime-gpu bring to a machine with a GPU under NVIDIA's own terms, and the
environments of the benchmark.
"""


def license_of(component: Mapping[str, Any]) -> str:
    """Return a package's license: an SPDX expression where there is one; in italics where a person read it."""
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
    """Return the page, of the bill of each environment by its name."""
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


def main() -> int:
    """Write them and print their names; exit status 1 and one line where an environment is not as pinned."""
    try:
        bills = {name: make_bill(name) for name in NAMES}
    except BillError as exc:
        sys.stderr.write(f"sbom: {exc}\n")
        return 1
    written = {bill_file(name): bill for name, bill in bills.items()} | {LICENSES: table(bills)}
    for path, content in written.items():
        path.write_text(content, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
