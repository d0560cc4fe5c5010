"""What is said of the interpreter, the CPU and the compiler."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from asset.checks.doctor import processor
from asset.checks.doctor.check import Machine
from serving.engine.backend import choose
from serving.model.checkpoint import BertConfig, read_config
from serving.native import library

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(("version", "status"), [((3, 11, 0), "ok"), ((3, 12, 9), "ok"), ((3, 13, 0), "error")])
def test_python_is_held_against_what_the_project_takes(machine: Machine, version: tuple[int, ...], status: str) -> None:
    check = processor.python(replace(machine, python=version))
    assert check.severity == status
    assert bool(check.fix) == check.message.endswith("; expected >=3.11,<3.13") == (status == "error")


@pytest.mark.parametrize(
    ("cpu", "status", "served"),
    [
        ("amx", "ok", "serving takes int8 on our own kernels (amx)"),
        ("vnni", "ok", "serving takes int8 on our own kernels (vnni)"),
        ("old", "note", "avx2; serving takes fp32 on ONNX Runtime"),
    ],
)
def test_the_cpu_says_which_precision_and_engine_serve(
    with_cpu: Callable[[str], Machine], cpu: str, status: str, served: str
) -> None:
    check = processor.instructions(with_cpu(cpu))
    assert check.severity == status
    assert check.message.endswith(served)


def test_settings_count_for_the_precision_and_the_engine(with_variables: Callable[..., Machine]) -> None:
    assert processor.served_by(with_variables(BERT_SERVING_PRECISION="fp32")) == ("fp32", "ONNX Runtime")
    assert processor.served_by(with_variables(BERT_SERVING_ENGINE="onnxruntime")) == ("int8", "ONNX Runtime")
    assert "fp16 is for GPUs" in processor.instructions(with_variables(BERT_SERVING_PRECISION="fp16")).fix


def test_int8_that_is_asked_of_an_old_cpu_is_told(
    with_variables: Callable[..., Machine], with_cpu: Callable[[str], Machine]
) -> None:
    with_cpu("old")
    check = processor.instructions(with_variables(BERT_SERVING_PRECISION="int8"))
    assert (check.severity, check.message) == ("note", "avx2; serving takes int8 on ONNX Runtime")
    assert "int8 is slower than fp32" in check.fix


def test_a_cpu_that_linux_says_nothing_of_is_a_note(machine: Machine) -> None:
    (machine.proc / "cpuinfo").unlink()
    assert processor.instructions(machine).severity == "note"


def test_what_is_said_of_this_machine_is_what_serving_takes() -> None:
    here = Machine(environ={})
    config = BertConfig.from_json(read_config(ROOT / "model/embedded"))
    chosen = choose("auto", "auto", config, "cpu")
    precision, engine = processor.served_by(here)
    assert (precision, engine.startswith("our own kernels")) == (chosen.precision, chosen.backend == "native")


def test_a_quota_below_the_cpus_is_told(machine: Machine, with_variables: Callable[..., Machine]) -> None:
    assert processor.cpus(machine).message == str(len(os.sched_getaffinity(0)))
    (machine.cgroup / "cpu.max").write_text("50000 100000\n")
    check = processor.cpus(machine)
    assert check.severity == "ok"
    if len(os.sched_getaffinity(0)) > 1:
        assert "the container's quota" in check.message
    check = processor.cpus(with_variables(BERT_SERVING_THREADS="64"))
    assert (check.severity, "the 64 threads of BERT_SERVING_THREADS wait" in check.message) == ("note", True)


def compiler(folder: Path) -> None:
    path = folder / "gcc"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


@pytest.fixture
def unbuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernels' source in a folder of its own, where nothing is built."""
    source = tmp_path / "native"
    source.mkdir()
    monkeypatch.setattr(library, "SOURCE", source)


@pytest.mark.usefixtures("unbuilt")
def test_kernels_need_a_compiler(machine: Machine, with_variables: Callable[..., Machine], tmp_path: Path) -> None:
    check = processor.compiler(machine)
    assert (check.severity, "(CC is not set)" in check.message) == ("note", True)
    assert "install gcc" in check.fix
    check = processor.compiler(with_variables(BERT_SERVING_ENGINE="native"))
    assert check.severity == "error"
    check = processor.compiler(with_variables(CC="nocc -O2"))
    assert (check.severity, "(CC is nocc -O2)" in check.message) == ("note", True)
    compiler(tmp_path / "bin")
    check = processor.compiler(machine)
    assert (check.severity, check.message) == ("ok", f"{tmp_path}/bin/gcc; the first start builds them (amx)")


@pytest.mark.usefixtures("unbuilt")
def test_kernels_that_are_built_need_no_compiler(machine: Machine) -> None:
    place = library.SOURCE / ".built"
    place.mkdir(mode=0o700)
    (place / library._file_name(library.TARGETS[0])).write_bytes(b"")
    (place / library._file_name(library.TARGETS[0])).chmod(0o600)
    assert processor.compiler(machine).message == "amx, built"


def test_an_old_cpu_needs_no_kernels(
    with_cpu: Callable[[str], Machine], with_variables: Callable[..., Machine]
) -> None:
    assert processor.compiler(with_cpu("old")).severity == "ok"
    check = processor.compiler(with_variables(BERT_SERVING_ENGINE="native"))
    assert (check.severity, check.fix) == ("error", "set BERT_SERVING_ENGINE to auto")


def test_a_gpu_is_told(machine: Machine, with_variables: Callable[..., Machine]) -> None:
    assert processor.gpu(machine).severity == "ok"
    assert "the CPU will serve" in processor.gpu(with_variables(BERT_SERVING_DEVICE="cuda")).message
    (machine.proc / "driver/nvidia").mkdir(parents=True)
    (machine.proc / "driver/nvidia/version").write_text("NVRM version")
    check = processor.gpu(machine)
    assert (check.severity, "GPU=1" in check.fix) == ("note", True)
