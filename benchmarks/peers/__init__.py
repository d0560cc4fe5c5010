"""The systems that are timed in process, each in a module of its own.

A module is imported in the worker process of its system only (benchmarks.worker), so that what it needs is in that
process's environment and two systems' thread pools never meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.inputs import Batch

Answers = tuple[list[int], list[float]]
"""For each row, the best token at its mask and that token's probability."""


@dataclass(frozen=True)
class Job:
    """What a system is prepared for: a checkpoint folder, so many threads, and where it may keep what it makes."""

    model: Path
    cache: Path
    threads: int


class Peer(Protocol):
    """A system that answers batches."""

    def prepare(self, job: Job) -> None:
        """Load the model; what takes long (an export, a calibration) is made once and kept in `job.cache`."""

    def run(self, batch: Batch) -> Answers:
        """Answer a batch, from its token ids or, for a system of the level `text`, from its texts."""


@dataclass(frozen=True)
class System:
    """A peer with its settings.

    level: `ids` starts from token ids, `text` from texts; only systems of one level are compared.
    environment: the folder in .venv whose interpreter runs it.
    maker: module and class below benchmarks.peers, with the class's arguments.
    """

    name: str
    level: str
    environment: str
    maker: tuple[str, str]
    options: dict[str, object]
    precision: str


OURS = "ours int8"
OURS_FP32 = "ours fp32"
OURS_TEXT = "ours int8, from text"


def _systems() -> list[System]:
    onnx, openvino = ("onnx_runtime", "OnnxRuntime"), ("open_vino", "OpenVino")
    pipeline, ours = ("pipeline", "Pipeline"), ("ours", "Ours")
    found = [
        System(OURS_FP32, "ids", "serving", ours, {"precision": "fp32"}, "fp32"),
        System(OURS, "ids", "serving", ours, {"precision": "int8"}, "int8"),
    ]
    for name, maker, precisions in (("ONNX Runtime", onnx, ("fp32", "int8")), ("OpenVINO", openvino, ("bf16", "int8"))):
        for precision in precisions:
            for head, suffix in (("masked", ""), ("full", ", full head")):
                options: dict[str, object] = {"precision": precision, "head": head}
                found.append(System(f"{name} {precision}{suffix}", "ids", "bench", maker, options, precision))
    found.append(System(OURS_TEXT, "text", "serving", ours, {"precision": "int8", "text": True}, "int8"))
    for precision in ("fp32", "bf16"):
        name = f"transformers pipeline {precision}"
        found.append(System(name, "text", "bench", pipeline, {"precision": precision}, precision))
    return found


SYSTEMS = {system.name: system for system in _systems()}
"""By name, in the order that they are reported in. ONNX Runtime's int8 is dynamic and OpenVINO's static."""
