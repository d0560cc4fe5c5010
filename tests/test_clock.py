"""A wall clock that jumps, as when a machine is set or wakes up, moves no deadline and stops no server."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from asset.local.server import local_server

ROOT = Path(__file__).resolve().parents[1]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"
DAY = 86400
PARIS = "Paris is the [MASK] of France."
LONG = "We walked through the old streets and looked at the houses. " * 4 + PARIS
PACKAGES = ("tables", "serving", "asset", "deployment", "evaluation", "finetune", "benchmarks")


@dataclass(frozen=True)
class JumpingClock:
    """What a process needs in its environment for its wall clock to be off by what `jump` says last."""

    variables: dict[str, str]

    def jump(self, seconds: int) -> None:
        file = Path(self.variables["CLOCK_OFFSET_FILE"])
        file.with_suffix(".new").write_text(str(seconds), encoding="utf-8")
        file.with_suffix(".new").replace(file)


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[JumpingClock]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("a clock that jumps takes a C compiler, and there is none here")
    library = tmp_path / "clock.so"
    source = ROOT / "tests/jumping_clock.c"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    found = JumpingClock({"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(tmp_path / "offset")})
    found.jump(0)
    yield found


def wall_clock(clock: JumpingClock) -> float:
    command = [str(SERVING_PYTHON), "-c", "import time; print(time.time())"]
    environment = {**os.environ, **clock.variables}
    return float(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def test_a_clock_that_jumps_moves_no_deadline_and_ends_no_worker(clock: JumpingClock) -> None:
    one = json.dumps({"input_data": [PARIS]}).encode()
    many = json.dumps({"input_data": [LONG] * 100}).encode()
    too_many = json.dumps({"input_data": [LONG] * 1000}).encode()
    settings = {**clock.variables, "BERT_SERVING_DEADLINE_MS": "20000"}
    with local_server(ROOT / "model/embedded", python=SERVING_PYTHON, env=settings) as server:
        worker = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text(encoding="utf-8")
        for seconds in (DAY, -DAY, 2 * DAY, 0):
            with ThreadPoolExecutor(4) as pool:
                busy = [pool.submit(server.post, many) for _ in range(2)]
                time.sleep(0.1)
                clock.jump(seconds)
                assert abs(wall_clock(clock) - time.time() - seconds) < 60
                # None of them is told that its time is over, and none waits for a time that does not come.
                assert [future.result(60).status for future in busy] == [200, 200]
                assert server.post(one, timeout=60).body == b'["capital"]'
            time.sleep(1.2)  # the server looks each second whether its worker and idle connections live
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(server.post, too_many)
            clock.jump(-DAY)
            assert late.result(60).status in (200, 504)
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        assert children.read_text(encoding="utf-8") == worker


def test_nothing_that_waits_or_measures_asks_the_wall_clock() -> None:
    found = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
                    found += [f"{path.relative_to(ROOT)}: time.{node.attr}"] if node.attr in ("time", "time_ns") else []
    assert found == []
