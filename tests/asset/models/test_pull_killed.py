"""A pull that is killed, at whatever moment, leaves what was there before or all of the model, and the next one ends it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asset.models.record import Record
from tests.asset.models.conftest import REPOSITORY, Puller, require_same
from tests.loopback_hub import Repository

ROOT = Path(__file__).resolve().parents[3]

# Forks a process for each thing that a pull does to the disk, which ends as by kill -9 just before it does that; tells
# how each left the folder. Python reports such acts to audit hooks.
KILLED_AT_EACH_STEP = """
import json, os, shutil, signal, sys
from pathlib import Path
import huggingface_hub, httpx2
from asset.models import staging
from asset.models.hub import Hub
from asset.models.selection import Wanted
from asset.models.pull import pull
from tests.asset.models.conftest import Notes

endpoint, repository, folder, before, exchange = sys.argv[1:]
folder = Path(folder)
wanted, hub = Wanted((repository,), "main", folder), Hub(endpoint, folder.parent / "cache")
# Without the certificates, which each process would read.
huggingface_hub.set_client_factory(lambda: httpx2.Client(verify=False, follow_redirects=True))
if exchange == "no":
    staging._exchange = lambda one, other: False
ACTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}

def state():
    return {path.name: path.read_text(errors="replace")[:40] for path in folder.iterdir()} if folder.exists() else None

def killed(step):
    huggingface_hub.close_session()  # two processes have no connection in common
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    left = step
    def hook(event, arguments):
        nonlocal left
        acts = event in ACTS or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        # What is cleared away is named from its folder on.
        if acts and (not os.path.isabs(place := str(arguments[0])) or place.startswith(str(folder.parent))):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    pull(wanted, hub, Notes())
    os._exit(0)

pull(wanted, hub, Notes())  # imports what it does, once and not in each of them
seen, ends = [], False
while not ends:
    shutil.rmtree(folder.parent)
    shutil.copytree(before, folder.parent)
    ends = not killed(len(seen))
    after = state()
    pull(wanted, hub, Notes())
    seen.append([after, state(), sorted(path.name for path in folder.parent.iterdir())])
print(json.dumps(seen))
"""


@pytest.mark.parametrize(("there", "exchange"), [("nothing", "yes"), ("pulled", "yes"), ("pulled", "no")])
def test_a_kill_at_any_step_leaves_the_old_folder_or_the_new_one(
    puller: Puller, tiny: dict[str, bytes], tmp_path: Path, there: str, exchange: str
) -> None:
    old = None
    tiny = {name: data for name, data in tiny.items() if name != "LICENSE"}
    puller.loopback.repositories[REPOSITORY] = Repository(tiny)
    if there == "pulled":
        puller()
        old = {path.name: path.read_bytes() for path in puller.folder.iterdir()}
        puller.loopback.repositories[REPOSITORY] = Repository({**tiny, "README.md": b"# another card\n"})
    before = tmp_path / "before"
    shutil.copytree(puller.folder.parent, before)
    arguments = [puller.loopback.address, REPOSITORY, str(puller.folder), str(before), exchange]
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_STEP, *arguments],
        cwd=ROOT,
        env=puller.loopback.environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    new = seen[-1][0]
    assert new is not None and new["README.md"] == ("# another card\n" if old else "# a card\n")
    olds = [{name: data.decode(errors="replace")[:40] for name, data in old.items()}] if old else [None]
    if exchange == "no" and old:
        olds.append(None)  # between the two steps
    assert len(seen) > 30
    for after, at_last, beside in seen:
        assert after in (*olds, new)
        assert (at_last, beside) == (new, [puller.folder.name])
    assert [after for after, *_ in seen].count(new) > 5  # what is left is cleared away after that


def start(puller: Puller, tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    command = ["pull", "--model-id", REPOSITORY, "--output", str(puller.folder), "--no-package", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "asset.cli.main", *command],
        cwd=ROOT,
        env=puller.loopback.environment(tmp_path / "home"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_pull_killed_at_random_moments_goes_on_and_ends_bit_identical(
    puller: Puller, tiny: dict[str, bytes], tmp_path: Path
) -> None:
    repository, draw = puller.loopback.repositories[REPOSITORY], random.Random(17)
    weights = len(tiny["model.safetensors"])
    repository.rate = weights / 2  # all of it in two seconds
    kept = []
    for _ in range(4):
        process, goal = start(puller, tmp_path), puller.loopback.sent + draw.randrange(weights // 8, weights // 4)
        while puller.loopback.sent < goal:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.kill()
        process.communicate()
        assert not puller.folder.exists()
        kept.append(sum(path.stat().st_size for path in (puller.staging / "partial").iterdir()))
    assert kept == sorted(set(kept))
    assert kept[-1] > weights // 4
    repository.rate = None
    out, told = start(puller, tmp_path, "--json").communicate()
    result = json.loads(out)
    assert result["status"] == "pulled", told
    assert result["bytes"] == weights - kept[-1]
    require_same(puller.folder, tiny)
    assert Record.read(puller.folder)
    assert os.listdir(puller.folder.parent) == [puller.folder.name]


@pytest.mark.parametrize("number", [2, 15])
def test_an_interrupted_pull_says_so_and_keeps_what_came(
    puller: Puller, tiny: dict[str, bytes], tmp_path: Path, number: int
) -> None:
    puller.loopback.repositories[REPOSITORY].rate = len(tiny["model.safetensors"]) / 60
    process = start(puller, tmp_path, "--json")
    while not list(puller.staging.glob("partial/*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    out, told = process.communicate()
    assert process.returncode == 130, told
    assert json.loads(out)["status"] == "interrupted"
    assert "interrupted; the downloaded part is kept, and the next pull continues from there" in told
    puller.require_nothing()
