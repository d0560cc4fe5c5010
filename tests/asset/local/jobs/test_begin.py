"""What is missing is told before a step runs, and what ends a run before that is told as such."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asset.environments import VirtualEnvironment
from asset.findings import JobError

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset


def test_an_environment_that_is_not_set_up_is_named_with_its_make_target(tmp_path: Path) -> None:
    for name, file in (("environment/lab", "requirements.txt"), (".venv/lab/bin", "python")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / file).touch()
    with pytest.raises(JobError, match=r"lab is not set up; set it up with `make setup SETS=lab`"):
        VirtualEnvironment("lab", tmp_path).require()
    (tmp_path / ".venv/lab/.installed").touch()
    VirtualEnvironment("lab", tmp_path).require()


def test_a_step_does_not_draw_as_a_notebook_does(tmp_path: Path) -> None:
    given = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "HOME": "/home", "PATH": "/bin"}
    environment = VirtualEnvironment("lab", tmp_path)
    assert environment.variables(given) == {
        "HOME": "/home",
        "PATH": f"{environment.folder}/bin:/bin",
        "VIRTUAL_ENV": str(environment.folder),
    }


def test_an_unknown_environment_is_refused_with_the_known_ones(asset: Asset) -> None:
    (asset.folder / "environment/dev").rename(asset.folder / "environment/elsewhere")
    for name in ("count", "show"):
        asset.edit(f"components/{name}.yml", "environment/dev/", "environment/elsewhere/")
    result = asset.run()
    assert result.exit_code == 2
    known = "batch, bench, bench-azureml, dev, evaluation, finetune, serving, serving-gpu"
    assert f"no environment of this checkout ({known}) stands for the environment " in result.stderr
    assert "environment/elsewhere/environment.yaml; name one of those" in result.stderr
    assert not (asset.state / "runs").exists()


def test_a_command_that_names_an_unknown_port_is_refused_before_a_step_runs(asset: Asset) -> None:
    asset.edit("components/show.yml", "'${{inputs.flag}}'", "'${{inputs.flagg}}'")
    result = asset.run("--json")
    assert result.exit_code == 2 and json.loads(result.stdout)["status"] == "invalid"
    assert "step 'show': expected a value for ${{inputs.flagg}} in the command, found none" in result.stderr
    assert not (asset.state / "runs").exists()


def test_json_is_printed_also_if_no_step_could_begin(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    (asset.state / "runs").write_text("", encoding="utf-8")
    result = asset.run("--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1 and found["status"] == "failed" and f"{asset.state}/runs" in found["message"]
    monkeypatch.setattr("asset.local.jobs.plan.plan_job", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    result = asset.run("--json")
    expected = {"status": "interrupted", "message": "interrupted before a step ran"}
    assert result.exit_code == 130 and json.loads(result.stdout) == expected


def test_a_run_that_is_stopped_while_the_store_is_set_up_is_not_running(
    asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asset.local.jobs.tracking.set_up", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    result = asset.run("--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["status"] == asset.last_state.status == "interrupted"


def test_the_end_names_the_command_that_shows_the_run(asset: Asset) -> None:
    assert f"ui --asset-dir {asset.state}`" in asset.run().stdout


def test_quotation_marks_in_paths_are_refused_before_a_step_runs(asset: Asset) -> None:
    (asset.folder / "it's.txt").write_text("one\n", encoding="utf-8")
    result = asset.run("--set", "inputs.data.path=it's.txt")
    assert result.exit_code == 2
    said = f"expected a path without quotation marks, found {asset.folder}/it's.txt; rename or move it"
    assert said in result.stderr
    result = asset.run("--asset-dir", str(asset.folder / "it's"))
    assert result.exit_code == 2 and f"{asset.folder}/it's, has quotation marks in its path; choose" in result.stderr


def test_an_apostrophe_in_a_text_is_refused_before_a_step_runs_with_the_fix(asset: Asset) -> None:
    result = asset.run("--set", "jobs.count.inputs.title=it's")
    assert result.exit_code == 2
    assert "step 'count': its command puts 'title' between apostrophes, and the value has one: it's" in (result.stderr)
    assert "write '\\'' in the place of each" in result.stderr
    assert not (asset.state / "runs").exists()


def test_the_limit_of_a_step_holds(asset: Asset) -> None:
    asset.edit("job.yml", "jobs:\n  show:\n", "jobs:\n  show:\n    limits: {timeout: 1}\n")
    asset.flag.write_text("sleep 300\n", encoding="utf-8")
    result = asset.run()
    assert result.exit_code == 1
    assert "step 'show' failed: it ran longer than its limit of 1 s; raise limits.timeout" in result.stderr


def test_a_setting_that_has_no_effect_here_gets_a_warning(asset: Asset) -> None:
    asset.edit("job.yml", "settings:\n", "settings:\n  continue_on_step_failure: true\n")
    result = asset.run()
    assert result.exit_code == 0 and "warning: continue_on_step_failure has no effect here" in result.stdout
