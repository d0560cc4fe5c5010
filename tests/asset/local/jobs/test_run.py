"""`asset run` runs the steps of a job in order, in their environment, and keeps what they did."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.asset.local.jobs.processes import gone

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset

ROOT = Path(__file__).resolve().parents[4]


def test_a_job_runs_in_order_and_keeps_what_it_did(asset: Asset) -> None:
    result = asset.run()
    assert result.exit_code == 0, result.output
    state = asset.last_state
    assert state.status == "finished" and list(state.steps) == ["count", "show"]
    assert state.name.startswith("job-20") and Path(state.job_file) == asset.job
    count, show = state.steps["count"], state.steps["show"]
    assert (count.status, count.exit_status, show.exit_status) == ("finished", 0, 0)
    assert count.started < count.ended <= show.started < show.ended
    counted = asset.last.path / "count/outputs/counted"
    assert counted.read_text(encoding="utf-8") == "3\n" and count.outputs == {"counted": str(counted)}
    assert f"bash count.sh '{asset.folder / 'data.txt'}'" in count.command
    assert count.inputs["data"] == str(asset.folder / "data.txt")
    assert Path(count.log).read_text(encoding="utf-8") == "arguments: lines 1 True\n"


def test_the_output_of_the_job_is_linked_and_shown(asset: Asset) -> None:
    result = asset.run()
    shown = asset.last.path / "outputs/shown"
    assert (shown / "result.txt").read_text(encoding="utf-8") == "count: 3\n"
    assert f"shown: {shown}" in result.stdout
    moved = asset.last.path.rename(asset.folder / "moved")
    assert (moved / "outputs/shown/result.txt").is_file()


def test_lines_of_a_step_come_behind_its_name(asset: Asset) -> None:
    lines = asset.run().stdout.splitlines()
    assert "count | arguments: lines 1 True" in lines and "show | count: 3" in lines


def test_groups_are_kept_if_their_inputs_have_values(asset: Asset) -> None:
    asset.run("--set", "jobs.count.inputs.title=A title", "--set", "jobs.count.inputs.least=4")
    log = Path(asset.last_state.steps["count"].log).read_text(encoding="utf-8")
    assert log == "arguments: lines 4 True --title A title\n"


def test_a_step_runs_in_the_environment_that_its_component_names(asset: Asset) -> None:
    asset.flag.write_text('echo "$VIRTUAL_ENV $(command -v python) $PYTHONPATH"\n', encoding="utf-8")
    assert asset.run().exit_code == 0
    log = Path(asset.last_state.steps["show"].log).read_text(encoding="utf-8")
    assert log.startswith(f"{ROOT}/.venv/dev {ROOT}/.venv/dev/bin/python \n")


def test_azure_variables_and_those_of_the_step_are_set(asset: Asset) -> None:
    asset.edit(
        "job.yml",
        "component: ./components/show.yml",
        "component: ./components/show.yml\n    environment_variables:\n      GREETING: hello",
    )
    asset.flag.write_text("env\n", encoding="utf-8")
    assert asset.run().exit_code == 0
    state = asset.last_state
    found = set(Path(state.steps["show"].log).read_text(encoding="utf-8").splitlines())
    assert {
        "GREETING=hello",
        f"AZUREML_RUN_ID={state.name}-show",
        f"AZUREML_ROOT_RUN_ID={state.name}",
        f"MLFLOW_TRACKING_URI=sqlite:///{asset.state}/mlflow.db",
        f"MLFLOW_RUN_ID={state.steps['show'].mlflow_run_id}",
        "MLFLOW_EXPERIMENT_NAME=counting",
    } <= found


def test_a_command_written_into_the_job_runs(asset: Asset) -> None:
    inline = """\
  last:
    type: command
    command: echo "${{inputs.word}} $(cat '${{inputs.rows}}')" > '${{outputs.said}}'
    environment: file:environment/dev/environment.yaml
    inputs:
      rows: ${{parent.jobs.count.outputs.counted}}
      word: counted
    outputs:
      said:
        type: uri_file
"""
    asset.job.write_text(asset.job.read_text(encoding="utf-8") + inline, encoding="utf-8")
    result = asset.run()
    assert result.exit_code == 0, result.output
    assert (asset.last.path / "last/outputs/said").read_text(encoding="utf-8") == "counted 3\n"


def test_a_distributed_step_runs_as_many_processes(asset: Asset) -> None:
    asset.edit(
        "components/show.yml",
        "command: >-",
        "distribution:\n  type: pytorch\n  process_count_per_instance: 2\ncommand: >-",
    )
    asset.flag.write_text('echo "rank $RANK of $WORLD_SIZE"\n', encoding="utf-8")
    result = asset.run()
    assert result.exit_code == 0, result.output
    assert {"show[0] | rank 0 of 2", "show[1] | rank 1 of 2"} <= set(result.stdout.splitlines())


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("resources:\n  instance_count: 2\n", "expected one instance for step 'show', found 2; this machine is one"),
        (
            "distribution:\n  type: mpi\n",
            "expected the distribution pytorch in step 'show', found mpi; only that runs here",
        ),
    ],
)
def test_several_nodes_and_other_distributions_are_refused(asset: Asset, added: str, said: str) -> None:
    asset.edit("components/show.yml", "command: >-", f"{added}command: >-")
    result = asset.run()
    assert result.exit_code == 2
    line = asset.line("components/show.yml", added.splitlines()[1].strip())
    assert f"components/show.yml:{line}: {said}" in result.stderr


def test_a_step_that_fails_is_named_with_the_end_of_its_log(asset: Asset) -> None:
    asset.flag.write_text("for n in $(seq 30); do echo line $n; done; exit 3\n", encoding="utf-8")
    result = asset.run()
    assert result.exit_code == 1
    assert "step 'show' failed: its command ended with status 3" in result.stderr
    assert "  line 30\n" in result.stderr and "  line 11\n" in result.stderr and "line 10\n" not in result.stderr
    assert f"asset run --asset-dir {asset.state} --resume {asset.last.path.name}" in result.stderr
    state = asset.last_state
    assert (state.status, state.steps["count"].status, state.steps["show"].status) == ("failed", "finished", "failed")
    assert state.steps["show"].exit_status == 3 and not (asset.last.path / "show/outputs").exists()


def test_an_output_that_is_used_and_not_written_is_an_error(asset: Asset) -> None:
    (asset.folder / "code/count.sh").write_text("echo nothing\n", encoding="utf-8")
    result = asset.run()
    assert result.exit_code == 1
    said = "step 'count' failed: its command ended with status 0 and did not write counted, which the job uses"
    assert said in result.stderr


def test_nothing_of_a_finished_step_runs_on(asset: Asset) -> None:
    asset.flag.write_text(f"setsid sleep 300 & echo $! > {asset.folder}/pid\n", encoding="utf-8")
    started = time.monotonic()
    assert asset.run().exit_code == 0
    state = asset.last_state.steps["show"]
    assert gone(int((asset.folder / "pid").read_text(encoding="utf-8"))) and state.status == "finished"
    assert time.monotonic() - started < 60


def test_a_step_without_code_has_a_folder_of_its_own(asset: Asset) -> None:
    asset.add_step("aside", "mkdir outputs; echo mine > outputs/log.txt")
    result = asset.run()
    assert result.exit_code == 0, result.output
    assert (asset.last.path / "aside/outputs/copied").read_text(encoding="utf-8") == "3\n"
    assert (asset.last.path / "aside/work/outputs/log.txt").is_file()


def test_a_reader_that_goes_away_does_not_stop_a_run(asset: Asset) -> None:
    asset.flag.write_text("for n in $(seq 2000); do echo line $n; done\n", encoding="utf-8")
    runner = asset.start("run", "-f", str(asset.job), "--set", f"inputs.flag={asset.flag}")
    runner.stdout.readline()
    runner.stdout.close()
    errors = runner.stderr.read()
    assert runner.wait(timeout=120) == 0, errors
    assert errors.count("the output takes no more (Broken pipe); the run goes on") == 1 and "Traceback" not in errors
    assert "line 2000\n" in Path(asset.last_state.steps["show"].log).read_text(encoding="utf-8")


def test_a_log_that_cannot_be_written_fails_the_step(asset: Asset) -> None:
    asset.flag.write_text("exit 3\n", encoding="utf-8")
    asset.run()
    asset.flag.unlink()
    log = Path(asset.last_state.steps["show"].log)
    log.unlink()
    log.symlink_to("/dev/full")
    result = asset("run", "--resume")
    assert result.exit_code == 1
    assert f"step 'show' failed: its output cannot be written to {log}: [Errno 28] No space left" in result.stderr


def test_json_is_one_object_on_standard_output(asset: Asset) -> None:
    result = asset.run("--json")
    found = json.loads(result.stdout)
    assert (found["status"], found["outputs"]) == ("finished", {"shown": str(asset.last.path / "outputs/shown")})
    assert "count | arguments" in result.stderr
    asset.flag.write_text("echo why; exit 3\n", encoding="utf-8")
    failed = json.loads(asset.run("--json").stdout)
    assert (failed["status"], failed["failed_step"], failed["last_lines"]) == ("failed", "show", ["why"])
    assert failed["steps"]["show"]["exit_status"] == 3
    asset.edit("job.yml", "path: data.txt", "path: dat.txt")
    invalid = json.loads(asset.run("--json").stdout)
    assert invalid["findings"][0]["line"] == asset.line("job.yml", "dat.txt")


def test_the_metrics_of_an_evaluation_are_shown(asset: Asset) -> None:
    metric = {"name": "accuracy@1", "value": 0.24123, "low": 0.222, "high": 0.26, "rows": 1940, "unit": "share"}
    document = {"task": "fill-mask", "metrics": [metric]}
    asset.flag.write_text(f"echo '{json.dumps(document)}' > $2/metrics.json; touch $2/report.html\n", encoding="utf-8")
    result = asset.run()
    assert all(part in result.stdout for part in ("accuracy@1", "24.1\u202f%", "22.2–26.0\u202f%", "1,940"))
    assert f"report: {asset.last.path}/outputs/shown/report.html" in result.stdout
    assert json.loads(asset.run("--json").stdout)["metrics"] == {"accuracy@1": 0.24123}


def test_metrics_of_a_step_are_shown_and_the_command_that_serves_a_model(asset: Asset) -> None:
    document = {"task": "text-classification", "metrics": [{"name": "accuracy", "value": 0.875}]}
    inline = f"""\
  tune:
    type: command
    command: >-
      echo '{json.dumps(document)}' > ${{{{outputs.figures}}}}/metrics.json; touch ${{{{outputs.model}}}}/MLmodel
    environment: file:environment/dev/environment.yaml
    outputs:
      figures:
        type: uri_folder
      model: ${{{{parent.outputs.tuned}}}}
"""
    asset.edit("job.yml", "outputs:\n  shown:", "outputs:\n  tuned:\n    type: mlflow_model\n  shown:")
    asset.job.write_text(asset.job.read_text(encoding="utf-8") + inline, encoding="utf-8")
    result = asset.run()
    assert result.exit_code == 0, result.output
    assert "accuracy" in result.stdout and "0.875" in result.stdout
    assert f"make serve MODEL={asset.last.path}/outputs/tuned" in result.stdout
    told = json.loads(asset.run("--json").stdout)
    assert told["metrics"] == {"accuracy": 0.875}


def test_the_model_of_this_checkout_is_named_as_on_azure(asset: Asset) -> None:
    asset.edit(
        "job.yml", "type: uri_file\n    path: data.txt", "type: mlflow_model\n    path: azureml:bert-base-cased:17"
    )
    asset.edit("components/count.yml", "data:\n    type: uri_folder", "data:\n    type: mlflow_model")
    (asset.folder / "code/count.sh").write_text('ls "$1" | sort | head -n 1 > "$2"\n', encoding="utf-8")
    result = asset.run()
    assert result.exit_code == 0, result.output
    used = Path(asset.last_state.steps["count"].inputs["data"])
    pulled = any((ROOT / "model/bert-base-cased").glob("**/*.safetensors"))
    assert used == ROOT / "model" / ("bert-base-cased" if pulled else "embedded")
    assert ("warning: bert-base-cased is not here: running the small embedded model" in result.stdout) is not pulled
    assert ("or name a model folder with --set inputs.data.path=FOLDER" in result.stdout) is not pulled


def test_runs_of_one_second_have_names_of_their_own(asset: Asset) -> None:
    for _ in range(3):
        assert asset.run().exit_code == 0
    assert len(list((asset.state / "runs").iterdir())) == 3


def test_run_without_a_job_is_refused(asset: Asset) -> None:
    result = asset("run")
    assert result.exit_code == 2
    assert "there is no job to run; name its file, as in `asset run -f evaluation/JOB.yml`" in result.stderr
    assert "expected a YAML file, found: No such file or directory; name one" in asset("run", "-f", "none.yml").stderr


@pytest.mark.parametrize("command", [[], ["run"], ["ui"]])
def test_help_teaches_with_examples(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asset.cli.main", *command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(
        word in done.stdout for word in (["asset run -f", "--resume", "--set"] if command == ["run"] else ["asset"])
    )


def test_a_store_that_cannot_be_used_does_not_stop_a_run(asset: Asset) -> None:
    (asset.state / "mlflow.db").write_bytes(b"this is no database" * 100)
    result = asset.run()
    assert result.exit_code == 0, result.output
    assert "warning: MLflow cannot track this run" in result.stdout and result.stdout.count("MLflow cannot track") == 1
    assert asset.last_state.mlflow_run_id is None
    shutil.rmtree(asset.last.path)
