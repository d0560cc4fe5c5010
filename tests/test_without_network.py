"""The server needs no network to start and to answer, and does not try to reach one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CUT_OFF = ["unshare", "--map-root-user", "--net"]


def why_not() -> str | None:
    """Return why this machine cannot take the network from a process; None where it can."""
    if shutil.which("unshare") is None:
        return "there is no `unshare` (util-linux) here"
    done = subprocess.run([*CUT_OFF, "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"no user namespace can be made here: {done.stderr.strip()}"


@pytest.fixture(scope="module", autouse=True)
def can_be_cut_off() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)


def ask(model: Path, body: object) -> dict[str, object]:
    command = [*CUT_OFF, sys.executable, "-m", "tests.without_network", str(model), json.dumps(body)]
    # What a machine at work may have set, and would be asked by who looks for a network.
    env = os.environ | {"HTTPS_PROXY": "http://192.0.2.1:3128", "HF_ENDPOINT": "https://192.0.2.1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("fixture", "body", "rows"),
    [
        ("sharp_checkpoint", {"input_data": ["The [MASK] sat."], "parameters": {"targets": ["cat", "mouse"]}}, 1),
        ("sharp_classifier", {"input_data": ["The cat sat on the warm mat."]}, 1),
        ("sharp_reader", {"input_data": [{"question": "Who sat?", "context": "The cat sat on the mat."}]}, 1),
    ],
)
def test_the_server_starts_and_answers_with_the_network_cut_off(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, body: object, rows: int
) -> None:
    # A folder that was never started: the first start compiles.
    source = request.getfixturevalue(fixture)
    model = Path(shutil.copytree(source, tmp_path / "model", ignore=shutil.ignore_patterns(".compiled")))
    found = ask(model, body)
    assert found["interfaces"] == ["lo"]
    assert (found["connecting"], found["counted"]) == ("Network is unreachable", 1), "the network was not cut off"
    assert (found["status"], len(found["answer"])) == (200, rows)
    assert found["attempts"] == 0, "something tried to reach another machine"
