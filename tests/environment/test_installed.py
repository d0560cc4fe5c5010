"""The environments here, which the Makefile makes of the images' pins, hold just those, and start what they are for."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]

LIST = """
import importlib.metadata, json
print(json.dumps([[found.metadata["Name"], found.version] for found in importlib.metadata.distributions()]))
"""

# Of each image: what it runs, and what that says. The inference server ends with 1 after its help.
STARTS = {
    "serving": [(["bin/azmlinfsrv", "--help"], "--entry_script"), (["-c", "import score"], "")],
    "batch": [
        (["-c", "import deployment.batch_score, pyarrow.parquet"], ""),
        # What Azure's batch runtime imports before it comes to our script.
        (["-c", "import azureml.core, azureml.dataprep"], ""),
    ],
    "evaluation": [
        (["-m", "evaluation.model_prediction", "--help"], "--test-data"),
        (["-m", "evaluation.compute_metrics", "--help"], "--ground-truth"),
    ],
    "finetune": [(["-m", "finetune.train", "--help"], "--prepared")],
}


def run(image: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder = ROOT / ".venv" / image
    assert (folder / ".installed").exists(), f"expected {folder}, found none; run `make test`, which sets it up"
    command = [f"{folder}/{one}" if one.startswith("bin/") else one for one in arguments]
    return subprocess.run([folder / "bin/python", *command], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("image", STARTS)
def test_what_is_installed_is_what_is_pinned(image: str) -> None:
    listed = run(image, "-I", "-c", LIST)  # what lies in the checkout is not installed
    assert listed.returncode == 0, listed.stderr
    # A build of torch for a CPU calls itself 2.13.0+cpu.
    installed = {canonicalize_name(name): Version(version).public for name, version in json.loads(listed.stdout)}
    text = (ROOT / f"environment/{image}/requirements.txt").read_text(encoding="utf-8")
    pins = {name: Version(version).public for name, version in re.findall(r"(?m)^([a-z0-9._-]+)==([^\s\\]+)", text)}
    assert {canonicalize_name(name) for name in pins} == set(pins)
    # What an environment is made with is in it too.
    unpinned = {name: version for name, version in installed.items() if name not in {"pip", "setuptools"} - set(pins)}
    assert unpinned == pins


@pytest.mark.parametrize(
    ("image", "arguments", "said"), [(image, *start) for image, starts in STARTS.items() for start in starts]
)
def test_what_it_is_for_starts(image: str, arguments: list[str], said: str) -> None:
    result = run(image, *arguments)
    assert result.returncode == (1 if arguments[0] == "bin/azmlinfsrv" else 0), result.stderr
    assert said in result.stdout
