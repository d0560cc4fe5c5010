"""Decide if an NVIDIA GPU can be used here."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

logger = logging.getLogger("serving.engine.cuda")

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
