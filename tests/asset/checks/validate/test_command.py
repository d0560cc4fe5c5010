"""`asset validate` as it is used: on the checkout, on files, by people and by scripts."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from asset.cli.main import app
from tests.asset.checks.validate.mistakes import BLUE, DOCKERFILE, ENDPOINT

if TYPE_CHECKING:
    from tests.asset.checks.validate.conftest import SmallAsset

ROOT = Path(__file__).resolve().parents[4]
KEYS = ["file", "line", "rule", "message", "fix", "severity"]


def asset(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["validate", *arguments])


def test_the_checkout_has_no_mistakes_and_takes_a_few_seconds_of_a_cpu() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "asset.cli.main", "validate", "--json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = json.loads(result.stdout)
    assert (result.returncode, found["status"], found["findings"]) == (0, "valid", [])
    assert found["files"] > 25
    # Five on the machine that this was written on, more than a second of which is the import of the SDK.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 25


def test_people_get_a_line_to_click_on_and_the_fix_below_it(small: SmallAsset) -> None:
    small.edit(BLUE, "Standard_DS3_v2", "Standard_DS33_v2")
    small.edit(ENDPOINT, "blue: 90", "blue: 95")
    small.edit(ENDPOINT, "auth_mode: key", "auth_mode: keys")
    result = asset("deployment")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{BLUE}:13: expected a machine of the list for inference in sku_lists.yaml, found Standard_DS33_v2 [sku]",
        "    choose one of sku_lists.yaml, such as Standard_DS3_v2",
        "",
        f"{ENDPOINT}:4: the Azure SDK refuses it: auth_mode: Value 'keys' passed is not in set ['aml_token', 'key', "
        "'aad_token'] [azure-sdk]",
        "    write key",
        f"{ENDPOINT}:5: expected traffic of 100 percent together, or of none, found 105 [traffic]",
        "    make the shares add up to 100",
        "",
        "5 files checked: 3 findings in 2 of them",
    ]


def test_notes_leave_the_exit_status_good(small: SmallAsset) -> None:
    result = asset("spec.yaml")
    assert result.exit_code == 0
    assert "spec.yaml:6: note: model/bert-base-cased has no weights yet" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 file checked: nothing is wrong, 1 note"


def test_scripts_get_one_object(small: SmallAsset) -> None:
    small.edit(BLUE, "Standard_DS3_v2", "Standard_DS33_v2")
    result = asset("--json", BLUE, "spec.yaml")
    found = json.loads(result.stdout)
    assert (result.exit_code, result.stderr, list(found)) == (1, "", ["status", "files", "findings", "notes"])
    assert (found["status"], found["files"]) == ("findings", 2)
    [finding], [note] = found["findings"], found["notes"]
    assert list(finding) == list(note) == KEYS
    expected = (BLUE, 13, "sku", "choose one of sku_lists.yaml, such as Standard_DS3_v2", "error")
    assert tuple(finding[key] for key in ("file", "line", "rule", "fix", "severity")) == expected
    assert (note["file"], note["rule"], note["severity"]) == ("spec.yaml", "weights", "note")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.yml", "there is no file or folder nowhere.yml; name others"),
        ("score.py", "nothing in score.py can be checked; name files of these kinds: YAML"),
        ("evaluation/test_set", "nothing in evaluation/test_set can be checked; name files of these kinds: YAML"),
    ],
)
def test_nothing_to_check_is_exit_status_two(small: SmallAsset, path: str, message: str) -> None:
    result = asset(path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    found = json.loads(asset("--json", path).stdout)
    assert (found["status"], found["findings"], found["notes"]) == ("nothing", [], [])
    assert message in found["message"]


def test_what_is_no_file_of_azures_is_named_and_left_alone(small: SmallAsset) -> None:
    result = asset("score.py", DOCKERFILE)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["1 file checked: nothing is wrong; nothing to check in score.py"]


def test_colors_are_for_terminals(small: SmallAsset) -> None:
    small.edit(BLUE, "Standard_DS3_v2", "Standard_DS33_v2")
    command = [sys.executable, "-m", "asset.cli.main", "validate", BLUE]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    piped = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert "\x1b" not in piped.stdout
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environ, stdout=theirs, close_fds=True) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode == 1
    assert b"\x1b[" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")
    assert plain == piped.stdout


def test_azure_is_imported_only_for_its_files(small: SmallAsset) -> None:
    code = (
        "import sys; from pathlib import Path; from asset.checks.validate.collect import validate\n"
        "validate(map(Path, sys.argv[1:])); print('azure.ai.ml' in sys.modules)"
    )

    def imported(*names: str) -> str:
        command = [sys.executable, "-c", code, *names]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.strip()

    assert imported(DOCKERFILE, "sku_lists.yaml", "description.md", "tables", "model") == "False"
    assert imported(ENDPOINT) == "True"


def test_a_broken_file_does_not_hide_what_is_wrong_in_others(small: SmallAsset) -> None:
    small.edit(ENDPOINT, "traffic:\n", "traffic: [\n")
    small.edit("sku_lists.yaml", "inference:\n", "inference: ]\n")
    small.edit("spec.yaml", "version: 17", 'version: "17"')
    small.edit(BLUE, "scoring_script: score.py", "scoring_script: scores.py")
    rules = {(one.place.where, one.rule) for one in small.findings()}
    assert rules == {
        (ENDPOINT, "yaml-syntax"),
        ("sku_lists.yaml", "yaml-syntax"),
        ("spec.yaml", "version"),
        (BLUE, "scoring-script"),
    }
