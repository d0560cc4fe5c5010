"""Choose the engine, the device and the precision that run a model on this machine; an NVIDIA GPU is tried first."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from serving.engine.machine import has_int8_products
from serving.errors import ModelFolderError
from serving.model.checkpoint import BertConfig
from serving.native import library
from serving.native.weights import unsuitable

TRIAL_SECONDS = 60.0
_PROVIDER = "capi/libonnxruntime_providers_cuda.so"


def is_built_in() -> bool:
    """Return whether the installed ONNX Runtime is the one for GPUs; looks at its files without loading it."""
    package = find_spec("onnxruntime")
    return bool(package and package.origin and (Path(package.origin).parent / _PROVIDER).is_file())


@functools.cache
def unavailable() -> str | None:
    """Return why no GPU can be used here; None if a GPU can be used.

    A trial (serving.engine.cuda_trial) runs small models, because ONNX Runtime lists its CUDA provider even if the driver is
    missing or too old, and then computes on the CPU without an error. The trial is a process of its own, because a process
    that has used CUDA cannot be forked, which the inference server does after WORKER_PRELOAD.
    """
    if not is_built_in():
        return "the installed ONNX Runtime is for CPUs; environment/serving-gpu has the one for GPUs"
    command = [sys.executable, "-m", "serving.engine.cuda_trial"]
    try:
        root = Path(__file__).parents[2]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=TRIAL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"the trial of the GPU did not end: {exc}"
    if done.returncode == 0:
        return None
    if done.stderr:
        logger.info("the trial of the GPU had errors:\n%s", done.stderr.strip())
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return lines[-1] if lines else f"the trial of the GPU ended with {done.returncode}"


logger = logging.getLogger("serving.engine.backend")

Precision = Literal["fp32", "fp16", "int8"]
Backend = Literal["native", "onnxruntime"]
Device = Literal["cpu", "cuda"]


class Choice(NamedTuple):
    """An engine, a precision and a device."""

    backend: Backend
    precision: Precision
    device: Device = "cpu"


def resolve_precision(setting: str) -> Precision:
    """Return the precision on this CPU: for `auto`, int8 if the CPU has the instructions; fp32 for fp16, which no CPU runs."""
    if setting == "auto":
        return "int8" if has_int8_products() else "fp32"
    return "int8" if setting == "int8" else "fp32"


def choose(precision: str, engine: str, config: BertConfig, device: str = "auto") -> Choice:
    """Choose what runs a model of these dimensions here, by the settings `precision`, `engine` and `device`.

    On a GPU, ONNX Runtime runs the model in fp16, or in fp32 if the setting says so. On a CPU, `auto` takes our kernels for
    int8 if they can be used, else ONNX Runtime. Raises ModelFolderError if the setting names the kernels and they cannot
    be used.
    """
    if device != "cpu":
        reason = _for_cpus_only(precision, engine)
        # An image for GPUs that runs without a GPU deserves a warning, even with the setting `auto`.
        missed = device == "cuda" or (reason is None and is_built_in())
        reason = reason or unavailable()
        if reason is None:
            return Choice("onnxruntime", "fp32" if precision == "fp32" else "fp16", "cuda")
        if missed:
            logger.warning("no GPU is used, the CPU serves: %s", reason)
    if precision == "fp16":
        logger.warning("fp16 is for GPUs, so the CPU serves in fp32")
    return _choose_on_cpu(resolve_precision(precision), engine, config)


def _for_cpus_only(precision: str, engine: str) -> str | None:
    if precision == "int8":
        return "the precision is int8, which is for CPUs"
    return "the engine is native, which is for CPUs" if engine == "native" else None


def _choose_on_cpu(precision: Precision, engine: str, config: BertConfig) -> Choice:
    if engine == "onnxruntime":
        return Choice("onnxruntime", precision)
    reason = unsuitable(config) if precision == "int8" else "they are for int8, and the precision is fp32"
    if reason is None:
        try:
            library.load()
        except library.NotAvailable as exc:
            reason = str(exc)
    if reason is None:
        return Choice("native", precision)
    if engine == "native":
        raise ModelFolderError(f"the native kernels cannot be used: {reason}; set BERT_SERVING_ENGINE to auto")
    if precision == "int8":
        logger.info("ONNX Runtime serves, as the faster native kernels cannot be used: %s", reason)
    return Choice("onnxruntime", precision)
