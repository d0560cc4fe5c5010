"""A virtual environment is held against its pins as they are now, and what mends it is said."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asset.checks.doctor.check import Machine
from asset.checks.doctor.environments import PURPOSES, environment, environments, installed, missing, pins

ROOT = Path(__file__).resolve().parents[4]


def set_up(machine: Machine, name: str) -> Path:
    """Make an environment that has what its pins say, with the folders that pip leaves of a package."""
    folder = machine.root / ".venv" / name
    packages = folder / "lib/python3.11/site-packages"
    for package, version in pins(machine.root / f"environment/{name}/requirements.txt").items():
        # Names are written otherwise than in pins, and torch's version has its build.
        build = "+cpu" if package == "torch" else ""
        metadata = packages / f"{package.replace('-', '_').title()}-{version}{build}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").touch()
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(sys.executable)
    (folder / ".installed").touch()
    return folder


@pytest.mark.parametrize("name", PURPOSES)
def test_an_environment_with_its_pins_is_well(machine: Machine, name: str) -> None:
    set_up(machine, name)
    check = environment(machine, name)
    assert (check.severity, check.fix) == ("ok", "")


def test_environments_that_are_not_set_up_are_notes(machine: Machine) -> None:
    found = list(environments(machine))
    assert {check.severity for check in found} == {"note"}
    assert [check.fix for check in found] == [f"`make setup SETS={name}`" for name in PURPOSES]
    assert list(missing(machine)) == list(PURPOSES)
    set_up(machine, "serving")
    assert "serving" not in missing(machine)


def test_a_pin_that_changed_since_is_told(machine: Machine) -> None:
    set_up(machine, "serving")
    file = machine.root / "environment/serving/requirements.txt"
    version = pins(file)["numpy"]
    file.write_text(file.read_text().replace(f"numpy=={version}", "numpy==99.1"))
    check = environment(machine, "serving")
    assert (check.severity, check.message.split("; expected ")[0]) == ("error", f"numpy {version}, not 99.1")
    assert check.fix == "`make -B setup SETS=serving`"


def test_packages_that_are_missing_are_named(machine: Machine) -> None:
    folder = set_up(machine, "evaluation")
    for name in ("Pyyaml", "Numpy", "Onnx", "Tqdm"):
        (metadata,) = folder.glob(f"lib/python*/site-packages/{name}-[0-9]*.dist-info")
        shutil.rmtree(metadata)
    check = environment(machine, "evaluation")
    assert check.severity == "error"
    assert "numpy is missing; onnx is missing; pyyaml is missing and 1 more" in check.message


def test_a_set_up_that_was_cut_short_is_told(machine: Machine) -> None:
    folder = set_up(machine, "batch")
    (folder / ".installed").unlink()
    check = environment(machine, "batch")
    assert (check.severity, check.message.split("; expected ")[0]) == ("error", "a set-up that did not end")


def test_an_environment_whose_python_was_removed_is_told(machine: Machine, tmp_path: Path) -> None:
    folder = set_up(machine, "dev")
    (folder / "bin/python").unlink()
    (folder / "bin/python").symlink_to(tmp_path / "gone")
    check = environment(machine, "dev")
    assert (check.severity, check.message.split("; expected ")[0]) == ("error", "its Python is gone")


def test_pins_that_are_gone_are_told(machine: Machine) -> None:
    (machine.root / "environment/serving/requirements.txt").unlink()
    assert environment(machine, "serving").severity == "error"


def test_what_is_read_of_an_environment_is_what_pip_says() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze", "--exclude-editable", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    theirs = {line.partition("==")[0].lower().replace("_", "-").replace(".", "-"): line for line in listed.split()}
    ours = installed(Path(sys.prefix))
    assert set(theirs) <= set(ours)
    assert {name for name, line in theirs.items() if line.partition("==")[2].partition("+")[0] != ours[name]} == set()


def test_make_makes_again_what_is_well_by_its_stamp(machine: Machine) -> None:
    shutil.copy(ROOT / "Makefile", machine.root / "Makefile")
    set_up(machine, "serving")
    stamp = ".venv/serving/.installed"
    (machine.root / "environment/serving/requirements.txt").touch()
    (machine.root / stamp).touch()
    command = ["make", "--dry-run", stamp]
    run = {"cwd": machine.root, "capture_output": True, "text": True, "check": True}
    assert "up to date" in subprocess.run(command, **run).stdout
    assert "pip install" in subprocess.run([*command, "-B"], **run).stdout.replace("-m pip", "pip")
