"""Which engine runs a model on this machine, and in which precision."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

from serving.checkpoint import BertConfig
from serving.cpu import has_int8_products
from serving.errors import ModelFolderError
from serving.native import library
from serving.native.weights import unsuitable

logger = logging.getLogger("serving.backend")

Precision = Literal["fp32", "int8"]
Backend = Literal["native", "onnxruntime"]


class Choice(NamedTuple):
    """An engine and a precision."""

    backend: Backend
    precision: Precision


def resolve_precision(wanted: str) -> Precision:
    """Turn `auto` into what suits this CPU: int8 where it has the instructions."""
    if wanted == "auto":
        return "int8" if has_int8_products() else "fp32"
    return "int8" if wanted == "int8" else "fp32"


def choose(precision: str, engine: str, config: BertConfig) -> Choice:
    """Turn the settings `precision` and `engine` into what runs a model of these dimensions here.

    `auto` takes our kernels for int8 where they can be used, else ONNX Runtime. Raises ModelFolderError where the
    kernels are asked for and cannot be used.
    """
    chosen = resolve_precision(precision)
    if engine == "onnxruntime":
        return Choice("onnxruntime", chosen)
    reason = unsuitable(config) if chosen == "int8" else "they are for int8, and the precision is fp32"
    if reason is None:
        try:
            library.load()
        except library.NotAvailable as exc:
            reason = str(exc)
    if reason is None:
        return Choice("native", chosen)
    if engine == "native":
        raise ModelFolderError(f"the native kernels cannot be used: {reason}; set BERT_SERVING_ENGINE to auto")
    if chosen == "int8":
        logger.info("ONNX Runtime serves, as the faster native kernels cannot be used: %s", reason)
    return Choice("onnxruntime", chosen)
