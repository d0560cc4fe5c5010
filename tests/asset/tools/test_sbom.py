"""The bills of materials and the table of licenses are true of the pins."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from asset.tools.sbom import NAMES, READ, license_of, make_bill, pinned, table

ROOT = Path(__file__).resolve().parents[3]

# Licenses that ask more of those who ship an image than a notice. A person looked at each.
KNOWN = {
    "certifi": "MPL-2.0",
    "pathspec": "MPL-2.0",
    "tqdm": "MPL-2.0 AND MIT",
    "paramiko": "*LGPL-2.1*",
    "orjson": "MPL-2.0 AND (Apache-2.0 OR MIT)",
}
FREE = ("MIT", "Apache-2.0", "BSD", "ISC", "PSF", "Python-2.0", "0BSD", "Unlicense", "CC0")


@pytest.fixture(scope="module")
def bills() -> dict[str, str]:
    return {name: make_bill(name) for name in NAMES}


def components(bill: str) -> dict[str, dict]:
    return {canonicalize_name(part["name"]): part for part in json.loads(bill)["components"]}


def test_each_image_has_a_bill() -> None:
    images = {path.parent.name for path in ROOT.glob("environment/*/Dockerfile")}
    assert images | {"dev"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_bill_lists_what_is_pinned_and_nothing_else(bills: dict[str, str], name: str) -> None:
    assert {package: part["version"] for package, part in components(bills[name]).items()} == pinned(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_bill_is_one_of_cyclonedx(bills: dict[str, str], name: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bills[name]) is None
    bill = json.loads(bills[name])
    known = {part["bom-ref"] for part in bill["components"]}
    assert {entry["ref"] for entry in bill["dependencies"]} == known
    assert all(on in known for entry in bill["dependencies"] for on in entry["dependsOn"])


@pytest.mark.parametrize("name", NAMES)
def test_a_bill_knows_no_machine(bills: dict[str, str], name: str) -> None:
    assert [word for word in ("/home", "/root", "/tmp", "file:", "+cpu", ".venv") if word in bills[name]] == []


def test_a_bill_is_made_again_as_it_is(bills: dict[str, str]) -> None:
    assert make_bill("serving") == bills["serving"]


def test_the_page_of_licenses_is_that_of_the_bills(bills: dict[str, str]) -> None:
    assert (ROOT / "docs/licenses.md").read_text(encoding="utf-8") == table(bills), "run `asset tools sbom`"


def test_the_bills_are_not_in_git() -> None:
    command = ["git", "check-ignore", *(f"environment/{name}/sbom.cdx.json" for name in NAMES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == len(NAMES)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"dev"}))
def test_what_an_image_ships_has_a_license_that_is_known(bills: dict[str, str], name: str) -> None:
    odd = {
        package: license_of(part)
        for package, part in components(bills[name]).items()
        if not license_of(part).strip("*").startswith((*FREE, "Microsoft"))
    }
    assert {package: found for package, found in odd.items() if KNOWN.get(package) != found} == {}


def test_no_license_was_read_for_a_package_that_is_gone(bills: dict[str, str]) -> None:
    assert set(READ) <= set().union(*(components(bill) for bill in bills.values()))
