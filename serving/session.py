"""Open a compiled graph in ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path

import onnxruntime as ort

from serving.cpu import usable_cpus
from serving.errors import ModelFolderError


def open_session(graph: Path | bytes, threads: int) -> ort.InferenceSession:
    """Open a graph on the CPU with so many threads, 0 for all that this process may use.

    Raises ModelFolderError where ONNX Runtime cannot read or run the graph.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_cpus()
    options.log_severity_level = 3
    # Idle worker threads that spin take the CPU from the request threads of the same process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Whatever the batch's shape, memory is reused; without the arena's patterns a new shape costs no planning.
    options.enable_mem_pattern = False
    try:
        return ort.InferenceSession(
            os.fspath(graph) if isinstance(graph, Path) else graph, options, ["CPUExecutionProvider"]
        )
    except Exception as exc:  # ONNX Runtime's errors share no base class of their own
        fix = "" if isinstance(graph, bytes) else f"; delete {graph}, and it is compiled anew"
        raise ModelFolderError(f"ONNX Runtime cannot open the compiled graph: {exc}{fix}") from exc
