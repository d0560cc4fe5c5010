"""The bills of materials and the table of licenses are true of the pins."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from asset.tools.sbom import NAMES, READ, bill_file, license_of, make_bill, pinned, table

ROOT = Path(__file__).resolve().parents[2]
BILLS = {name: bill_file(name).read_text(encoding="utf-8") for name in NAMES}

# What obliges whoever ships an image to more than a notice, or asks for their own agreement. Each was looked at.
KNOWN = {
    "certifi": "MPL-2.0",
    "pathspec": "MPL-2.0",
    "tqdm": "MPL-2.0 AND MIT",
    "paramiko": "*LGPL-2.1*",
    "orjson": "MPL-2.0 AND (Apache-2.0 OR MIT)",
}
FREE = ("MIT", "Apache-2.0", "BSD", "ISC", "PSF", "Python-2.0", "0BSD", "Unlicense", "CC0")


def components(name: str) -> dict[str, dict]:
    return {canonicalize_name(part["name"]): part for part in json.loads(BILLS[name])["components"]}


def test_each_image_has_a_bill() -> None:
    images = {path.parent.name for path in ROOT.glob("environment/*/Dockerfile")}
    assert images | {"dev"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_bill_lists_what_is_pinned_and_nothing_else(name: str) -> None:
    assert {package: part["version"] for package, part in components(name).items()} == pinned(name), "run `make sbom`"


@pytest.mark.parametrize("name", NAMES)
def test_a_bill_is_one_of_cyclonedx(name: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(BILLS[name]) is None
    bill = json.loads(BILLS[name])
    known = {part["bom-ref"] for part in bill["components"]}
    assert {entry["ref"] for entry in bill["dependencies"]} == known
    assert all(on in known for entry in bill["dependencies"] for on in entry["dependsOn"])


@pytest.mark.parametrize("name", NAMES)
def test_a_bill_knows_no_machine(name: str) -> None:
    assert [word for word in ("/home", "/root", "/tmp", "file:", "+cpu", ".venv") if word in BILLS[name]] == []


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the bills are of Python 3.11, as the images are")
def test_a_bill_is_made_again_as_it_is() -> None:
    assert make_bill("serving") == BILLS["serving"], "run `make sbom`"


def test_the_page_of_licenses_is_that_of_the_bills() -> None:
    assert (ROOT / "docs/licenses.md").read_text(encoding="utf-8") == table(BILLS), "run `make sbom`"


@pytest.mark.parametrize("name", sorted({*NAMES} - {"dev"}))
def test_what_an_image_ships_has_a_license_that_is_known(name: str) -> None:
    odd = {
        package: license_of(part)
        for package, part in components(name).items()
        if not license_of(part).strip("*").startswith((*FREE, "Microsoft"))
    }
    assert {package: found for package, found in odd.items() if KNOWN.get(package) != found} == {}


def test_no_license_was_read_for_a_package_that_is_gone() -> None:
    assert set(READ) <= set().union(*(components(name) for name in NAMES))
