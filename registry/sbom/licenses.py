"""The table of licenses, from the bills of materials."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from packaging.utils import canonicalize_name

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
