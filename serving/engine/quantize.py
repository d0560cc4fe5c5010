"""Round weights to int8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def quantize_columns(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize a [rows, columns] weight symmetrically, a scale for each column; weight is about quantized * scale."""
    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny) / 127
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)
