from __future__ import annotations

import doctest
import importlib.util
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import in_process, machine, report, workers
from benchmarks.__main__ import parsed
from benchmarks.inputs import Batch
from benchmarks.machine import OtherWork
from benchmarks.peers.systems import OURS, OURS_TEXT, SYSTEMS
from benchmarks.servers import AZUREML, LITSERVE, NO_OP
from benchmarks.servers import OURS as OUR_SERVER
from benchmarks.workers import WorkerError, interpreter

ROOT = Path(__file__).resolve().parents[2]
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "vocab_size": 28996}


def timed(ms: float) -> dict[str, float]:
    return {"ms": ms, "least_ms": ms, "most_ms": ms, "calls": 3}


@pytest.fixture
def results() -> dict[str, Any]:
    load = {
        "requests_per_second": 100.0,
        "failed": 0,
        "p50": 5.0,
        "p90": 6.0,
        "p99": 7.0,
        "p100": 9.0,
        "other_work": 0.0,
    }
    servers = {
        name: {**{c: {**load, "requests_per_second": rate} for c in ("1", "8", "32", "64")}, "resident_mb": 300.0}
        for name, rate in ((OUR_SERVER, 400.0), (NO_OP, 900.0), (AZUREML, 20.0), (LITSERVE, 40.0))
    }
    point = {
        OURS: timed(4.0),
        "OpenVINO int8": timed(5.0),
        OURS_TEXT: timed(4.5),
        "transformers pipeline fp32": timed(54),
    }
    measured = {
        "model": "bert-base-random-17",
        "points": {"1x12": point, in_process.SENTENCE: {OURS_TEXT: timed(6.0)}},
        "needs": {"1x12": {"operations": 2_000_000_000, "bytes": 107_000_000}},
        "problems": {"ONNX Runtime int8": "WorkerError: no"},
        "agreement": {OURS: 1.0},
        "other_work": {"1x12": 0.25},
    }
    machine = {"cpu": "A CPU", "instructions": ["amx_int8"], "threads": 2, "system": "Linux", "commit": "abc"}
    return {
        "machine": {**machine, "versions": {"torch": "2"}, "server": "server==1", "date": "2026-01-01"},
        "ceiling": {"int8_tops": 4.0, "int8_by": "a product", "read_gbs": 30.0, "read_by": "a sum"},
        "in_process": {"bert-base-random-17": measured},
        "http": {"model": "bert-base-random-17", "generator": "wrk 4", "servers": servers, "problems": {}},
        "skipped": {"accuracy": "no file"},
    }


@pytest.mark.parametrize(
    "name", ["accuracy", "inputs", "in_process", "report", "load", "peers.systems"], ids=lambda name: name
)
def test_the_examples_in_the_docstrings_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"benchmarks.{name}"))
    assert found.attempted > 0
    assert found.failed == 0


def test_the_report_names_every_figure(results: dict[str, Any]) -> None:
    text = report.render(results)
    assert "| OpenVINO int8               |        5.00 (1.25) |" in text or "5.00 (1.25)" in text
    assert "54.0 (12.00)" in text  # from text, against ours from text
    assert "ours answers 20.0 times the requests of azureml-inference-server-http" in text
    assert "ours answers 10.0 times the requests of LitServe" in text
    assert "p50 is -6.00 ms from the in-process figure" in text
    assert "4.00 int8 TOPS" in text and "89%" in text  # 107 MB at 30 GB/s is 3.57 ms of 4.0
    assert "Left out: ONNX Runtime int8: WorkerError: no" in text
    assert "Not measured: accuracy: no file" in text
    assert text.count("Unreliable, since other processes used the CPU meanwhile: 1x12 (25%).") == 1


def test_every_table_row_has_as_many_cells(results: dict[str, Any]) -> None:
    rows = [line.count("|") for line in report.render(results).split("\n") if line.startswith("| ")]
    assert len(rows) > 8
    tables = "".join(line if line.startswith("|") else "\0" for line in report.render(results).split("\n")).split("\0")
    assert tables


def test_a_report_of_nothing_but_the_machine_is_written(results: dict[str, Any]) -> None:
    assert report.render({"machine": results["machine"]}).startswith("# Benchmark of 2026-01-01")


def test_the_plot_is_a_png(results: dict[str, Any], tmp_path: Path) -> None:
    assert report.draw(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert not report.draw({"machine": results["machine"]}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_ratios_stay_within_a_level() -> None:
    point = {
        OURS: {"ms": 2.0},
        OURS_TEXT: {"ms": 4.0},
        "OpenVINO int8": {"ms": 3.0},
        "transformers pipeline fp32": {"ms": 40.0},
    }
    assert in_process.ratios(point) == {
        OURS: 1.0,
        OURS_TEXT: 1.0,
        "OpenVINO int8": 1.5,
        "transformers pipeline fp32": 10.0,
    }


def test_a_different_token_is_the_same_answer_only_where_it_is_as_good() -> None:
    expected = {"tokens": [5, 6], "scores": [0.5, 0.4]}
    assert in_process.same_answers(expected, {"tokens": [5, 7], "scores": [0.5, 0.4001]})
    assert not in_process.same_answers(expected, {"tokens": [5, 7], "scores": [0.5, 0.3]})


def test_needs_of_a_row_of_bert_base() -> None:
    batch = Batch(["…"], [[1] * 12], [3])
    needed = machine.needs(BASE, batch)
    # 11 layers of 7.08 M weights for 12 tokens, keys and values of the last, and its rest and the head once.
    assert needed["operations"] == pytest.approx(2 * (11 * 12 * 7.08e6 + 12 * 1.18e6 + 5.9e6 + 22.9e6), rel=0.01)
    assert needed["bytes"] == pytest.approx(85e6 + 22.9e6, rel=0.01)
    assert machine.floor_seconds(needed, {"int8_tops": 1.0, "read_gbs": 1e6}) == needed["operations"] / 1e12
    assert machine.floor_seconds(needed, {"int8_tops": 1e6, "read_gbs": 10.0}) == needed["bytes"] / 1e10


class Echo:
    """A system that answers each row with its first token."""

    def run(self, batch: Batch) -> tuple[list[int], list[float]]:
        return [row[0] for row in batch.ids], [1.0] * len(batch.ids)


def test_a_worker_answers_times_and_survives_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.Worker, "peer", Echo(), raising=False)
    batch = Batch(["a"], [[7, 8]], [1]).to_json()
    commands = [
        {"do": "answer", "batch": batch},
        {"do": "nonsense"},
        {"do": "time", "batch": batch, "seconds": 0.0, "warm_up": True},
    ]
    answers = io.StringIO()
    workers.serve(io.StringIO("".join(json.dumps(command) + "\n" for command in commands)), answers)
    first, second, third = map(json.loads, answers.getvalue().splitlines())
    assert first == {"tokens": [7], "scores": [1.0]}
    assert "error" in second
    assert len(third["seconds"]) == 1


def test_work_of_others_is_told_from_the_benchmarks_own() -> None:
    others = OtherWork()
    end = time.process_time() + 0.5  # of CPU, however busy the machine is
    command = "import time\nwhile time.process_time() < 1: pass"
    with subprocess.Popen([sys.executable, "-c", command]):
        while time.process_time() < end:
            pass
    own = others._counted()[2] - others._start[2]
    assert own > 1.4  # of this process and its child
    assert 0 <= others.share() <= 1


def test_an_environment_that_is_not_there_is_said() -> None:
    with pytest.raises(WorkerError, match="make bench"):
        interpreter("absent")


def test_every_system_has_a_module_and_an_environment() -> None:
    for system in SYSTEMS.values():
        assert importlib.util.find_spec(system.maker[0])
        assert (ROOT / f"environment/{system.environment}/requirements.txt").is_file()


def test_the_command_line_is_read_without_any_peers_package() -> None:
    code = (
        "import sys; from benchmarks.__main__ import parsed; parsed([])\n"
        "heavy = ('torch', 'transformers', 'openvino', 'mlflow', 'litserve', 'matplotlib', 'onnxruntime')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_parts_systems_and_servers_can_be_chosen() -> None:
    args = parsed(["--only", "http", "--servers", "ours", "--quick"])
    assert (list(args.only), list(args.servers), args.quick) == (["http"], ["ours"], True)
    assert list(parsed([]).systems) == list(SYSTEMS)
