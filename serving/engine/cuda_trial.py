"""Try a GPU: a small model of each task has to give the same answers on the GPU as on the CPU.

    python -m serving.engine.cuda_trial

exits with status 0 if it does, else with 1 and the reason in the last line of standard output. serving.engine.backend runs it
in a process of its own.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np

from serving.engine.backend import Device
from serving.engine.engine import Engine
from serving.engine.graph import build
from serving.engine.heads import logits_head
from serving.model.checkpoint import BertConfig, Checkpoint, expected_shapes
from serving.model.tokenizer import Passage
from serving.settings import Settings
from serving.tasks import TASKS, Task

TOLERANCE = 0.02
"""The largest difference, relative to the size of the logits. CPU and GPU both round to fp16, at different points."""

CONFIG = BertConfig(
    vocab_size=64,
    hidden_size=128,
    num_layers=2,
    num_heads=2,  # heads of 64 numbers, as in all common BERT models: attention kernels are made for this size
    intermediate_size=256,
    max_positions=512,
    type_vocab_size=2,
    layer_norm_eps=1e-12,
    activation="gelu",
    pooler_activation="tanh",
)

_SHORT = Passage([*range(20)], [3, 7], segments=[0] * 9 + [1] * 11)
BATCHES = (
    [_SHORT],
    [_SHORT, Passage([*range(40, 45)], [1], [2, 5])],  # padding, which must not be looked at, and targets
    [Passage([*range(64)] * 8, [500])],  # as long as a text may be: other kernels of attention
)


def driver_fault() -> str | None:
    """Return what is wrong with the NVIDIA driver, by CUDA's driver API; None if it has a GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1)"
    status, count = driver.cuInit(0), ctypes.c_int(0)
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return f"the NVIDIA driver cannot start CUDA (error {status})"
    return None if count.value else "the NVIDIA driver finds no GPU"


def engine_fault(device: Device) -> str | None:
    """Return what goes wrong with the models on a device; None if it gives the CPU's answers."""
    for task in TASKS:
        try:
            error = difference(task, device)
        except Exception as exc:  # ONNX Runtime's errors share no base class of their own
            return f"a small {task} model cannot run on the GPU: {' '.join(str(exc).split())}"
        if not error <= TOLERANCE:  # true for NaN too
            return f"a small {task} model is off the CPU's answers by {error:.3g}, expected at most {TOLERANCE}"
    return None


def difference(task: Task, device: Device) -> float:
    """Return the difference between a device's logits and the CPU's in fp16, relative to their norm."""
    graph = b"".join(build(sample(task), "fp16"))
    places: tuple[Device, Device] = ("cpu", device)
    engines = [Engine(graph, logits_head(task, CONFIG.vocab_size), 0, Settings(), place) for place in places]
    errors = []
    for rows in BATCHES:
        here, there = (np.concatenate([np.ravel(logits) for logits in engine.run(rows)]) for engine in engines)
        errors.append(float(np.linalg.norm(here - there) / np.linalg.norm(here)))
    return float(np.max(errors))  # NaN if one of them is


def sample(task: Task) -> Checkpoint:
    """Return a small model with random weights."""
    normal = np.random.default_rng(0).normal
    shapes = expected_shapes(CONFIG, task)
    return Checkpoint(CONFIG, {n: normal(size=s, scale=0.2).astype(np.float32) for n, s in shapes.items()}, task)


def main() -> int:
    """Run from the command line."""
    fault = driver_fault() or engine_fault("cuda")
    sys.stdout.write(f"{fault or 'the GPU gives the answers of the CPU'}\n")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
