"""A small job of two steps, which runs in the environment of these tests, and a store for MLflow, built once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from asset.cli.main import app
from asset.local.jobs.run_folder import RunFolder, RunState, find_run
from asset.local.jobs.tracking import database
from tests.asset.local.jobs.pipeline_files import PIPELINE_FILES

ROOT = Path(__file__).resolve().parents[4]

ENVIRONMENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/environment.schema.json
name: dev
version: "1"
image: mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04
"""

COUNT = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: count
version: "1"
inputs:
  data:
    type: uri_folder
  mode:
    type: string
    default: lines
    enum: [lines, words]
  least:
    type: integer
    default: 1
    min: 0
    max: 9
  strict:
    type: boolean
    default: true
  share:
    type: number
    optional: true
  title:
    type: string
    optional: true
outputs:
  counted:
    type: uri_file
  rejects:
    type: uri_file
code: ../code
environment: file:../environment/dev/environment.yaml
command: >-
  bash count.sh '${{inputs.data}}' '${{outputs.counted}}' ${{inputs.mode}} ${{inputs.least}} ${{inputs.strict}}
  $[[--share ${{inputs.share}}]] $[[--title '${{inputs.title}}']]
"""

SHOW = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: show
version: "1"
inputs:
  counted:
    type: uri_folder
  flag:
    type: string
outputs:
  result:
    type: uri_folder
code: ../code
environment: file:../environment/dev/environment.yaml
command: >-
  bash show.sh '${{inputs.counted}}' '${{outputs.result}}' '${{inputs.flag}}'
"""

JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: count and show
experiment_name: counting
settings:
  default_compute: azureml:cpu-cluster
inputs:
  data:
    type: uri_file
    path: data.txt
  mode: lines
  flag: /nowhere
outputs:
  shown:
    type: uri_folder
jobs:
  show:
    type: command
    component: ./components/show.yml
    inputs:
      counted: ${{parent.jobs.count.outputs.counted}}
      flag: ${{parent.inputs.flag}}
    outputs:
      result: ${{parent.outputs.shown}}
  count:
    type: command
    component: ./components/count.yml
    inputs:
      data: ${{parent.inputs.data}}
      mode: ${{parent.inputs.mode}}
"""

COUNT_SH = """\
data=$1 counted=$2; shift 2
echo "arguments: $*"
wc -l < "$data" > "$counted"
"""

# What it does after the first half of its output is up to the file that `flag` names, a bash script.
SHOW_SH = """\
echo half > "$2/result.txt"
[ ! -e "$3" ] || . "$3"
echo "count: $(cat "$1")" > "$2/result.txt"
cat "$2/result.txt"
"""


@dataclass
class Asset:
    """The command `asset`, on a job of its own and with local state of its own."""

    folder: Path
    state: Path

    @property
    def job(self) -> Path:
        return self.folder / "job.yml"

    @property
    def flag(self) -> Path:
        """The script that the step `show` runs in its middle, where it is there."""
        return self.folder / "flag.sh"

    def __call__(self, *arguments: str) -> Result:
        """Run the command in this process."""
        return CliRunner().invoke(app, list(arguments), env={"ASSET_DIR": str(self.state)})

    def run(self, *arguments: str) -> Result:
        return self("run", "-f", str(self.job), "--set", f"inputs.flag={self.flag}", *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "asset.cli.main", *arguments],
            cwd=ROOT,
            env=os.environ | {"ASSET_DIR": str(self.state)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text, which is there once, in a file of the job."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def add_step(self, name: str, script: str) -> None:
        """Add a step that takes the output of `count`."""
        self.edit(
            "job.yml",
            "jobs:\n",
            f"""jobs:
  {name}:
    type: command
    command: cat '${{{{inputs.counted}}}}' > '${{{{outputs.copied}}}}'; {script}
    environment: file:./environment/dev/environment.yaml
    inputs:
      counted: ${{{{parent.jobs.count.outputs.counted}}}}
    outputs:
      copied: {{type: uri_file}}
""",
        )

    def line(self, name: str, text: str) -> int:
        """Return the line of a file on which a text stands, from 1."""
        lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines, 1) if text in line]
        assert len(found) == 1, f"{text!r} is on the lines {found} of {name}"
        return found[0]

    @property
    def last(self) -> RunFolder:
        return find_run(self.state / "runs", None)

    @property
    def last_state(self) -> RunState:
        return self.last.read()


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[[], Path]:
    """Write the job into a folder."""

    def make() -> Path:
        folder = tmp_path / "job"
        files = {
            "environment/dev/environment.yaml": ENVIRONMENT,
            "components/count.yml": COUNT,
            "components/show.yml": SHOW,
            "code/count.sh": COUNT_SH,
            "code/show.sh": SHOW_SH,
            "job.yml": JOB,
            "data.txt": "one\ntwo\nthree\n",
        }
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def asset(make_job: Callable[[], Path], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asset:
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(store, database(state))
    folder = make_job()
    monkeypatch.chdir(folder)
    return Asset(folder, state)


@pytest.fixture
def pipeline(asset: Asset) -> Asset:
    """Return the command on another job: a pipeline component, and a step that takes what it makes."""
    for name, text in PIPELINE_FILES.items():
        (asset.folder / name).write_text(text, encoding="utf-8")
    return asset
