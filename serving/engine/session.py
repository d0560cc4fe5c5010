"""Open a compiled model in the engine that it was compiled for, on the CPU or on a GPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from serving.engine.backend import Device
from serving.engine.machine import usable_cpus
from serving.errors import ModelFolderError
from serving.native.session import NativeSession
from serving.native.weights import is_packed

CUDA = "CUDAExecutionProvider"


class Session(Protocol):
    """A compiled model that runs batches."""

    def run(self, outputs: Sequence[str], feeds: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Return the named outputs for a batch's inputs (serving.engine.graph); unused inputs are ignored."""


def open_session(content: Path | bytes, threads: int, device: Device = "cpu") -> Session:
    """Open a compiled model with `threads` threads of the CPU, or with 0 for all CPUs that this process may use.

    Raises ModelFolderError if the model cannot be read or run on the device. A GPU's graph is not run on the CPU instead,
    which would be slow without anyone noticing.
    """
    if pads_rows(content):
        return _OnnxRuntimeSession(content, threads, device)
    return NativeSession(content, threads)


def pads_rows(content: Path | bytes) -> bool:
    """Return whether a compiled model also computes the padding of a batch, as ONNX graphs do; raises ModelFolderError."""
    return not is_packed(_start(content))


def providers(device: Device) -> list[str | tuple[str, dict[str, str]]]:
    """Return the providers that run a graph's operators, best first; shapes are always computed on the CPU.

    TF32 is off, as it has only 10 of fp32's 23 bits.
    """
    return [(CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"]


def _start(content: Path | bytes) -> bytes:
    if isinstance(content, bytes):
        return content[:16]
    try:
        with content.open("rb") as file:
            return file.read(16)
    except OSError as exc:
        raise ModelFolderError(f"{content}: expected a file that can be read ({exc.strerror})") from exc


class _OnnxRuntimeSession:
    def __init__(self, graph: Path | bytes, threads: int, device: Device) -> None:
        import onnxruntime as ort  # 40 MB and a quarter of a second that the native kernels do not need

        if device == "cuda":
            if CUDA not in ort.get_available_providers():
                raise ModelFolderError(
                    "expected ONNX Runtime for GPUs, found the one for CPUs; see environment/serving-gpu"
                )
            ort.preload_dlls()  # CUDA and cuDNN of their Python packages, which the system's loader does not find

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or usable_cpus()
        options.log_severity_level = 3
        # Idle worker threads that spin take the CPU from the request threads of the same process.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Without VNNI and AMX, ONNX Runtime adds int8 products in pairs in 16 bits, which overflow for two large ones. With
        # this option it widens the products first, which is slower; on other CPUs the option changes nothing.
        options.add_session_config_entry("session.x64quantprecision", "1")
        # Memory is reused without memory patterns too, and a batch of a new shape then needs no planning.
        options.enable_mem_pattern = False
        try:
            source = os.fspath(graph) if isinstance(graph, Path) else graph
            self._session = ort.InferenceSession(source, options, providers(device))
        except Exception as exc:  # ONNX Runtime's errors share no base class of their own
            fix = "" if isinstance(graph, bytes) else f"; delete {graph} to compile the model anew"
            raise ModelFolderError(f"ONNX Runtime cannot open the compiled graph: {exc}{fix}") from exc
        if device == "cuda" and CUDA not in self._session.get_providers():
            raise ModelFolderError(
                f"expected ONNX Runtime to use the GPU, found it on {', '.join(self._session.get_providers())} only; "
                "its log says why; set BERT_SERVING_DEVICE to cpu to serve without one"
            )
        self._session.disable_fallback()  # an error of the GPU is raised, without a silent move to the CPU
        self._inputs = {graph_input.name for graph_input in self._session.get_inputs()}

    def run(self, outputs: Sequence[str], feeds: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        results: list[npt.NDArray[Any]] = self._session.run(
            list(outputs), {name: feed for name, feed in feeds.items() if name in self._inputs}
        )
        return results
