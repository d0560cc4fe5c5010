"""Put an ONNX file together without copying its weights.

The protobuf library copies each weight into its message and then again, more than once, into the message's bytes: of a
BERT-base that is two gigabytes of memory, which a machine that is short of it gives slowly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, TensorProto, helper

_GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


def onnx_file(model: ModelProto, initializers: Mapping[str, npt.NDArray[Any]]) -> list[bytes | memoryview]:
    """Return the file of a model whose weights are not in it yet; the model loses its graph to it.

    A message is its fields one after the other, in any order (https://protobuf.dev/programming-guides/encoding).
    """
    graph: list[bytes | memoryview] = [model.graph.SerializeToString()]
    for name, values in initializers.items():
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        tensor = TensorProto(name=name, data_type=kind, dims=values.shape)
        data = _field(_RAW_DATA, [np.ascontiguousarray(values).data])
        graph += _field(_INITIALIZER, [tensor.SerializeToString(), *data])
    model.ClearField("graph")
    return [model.SerializeToString(), *_field(_GRAPH, graph)]


def _field(number: int, parts: Iterable[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return a field of the wire type that has a length: its tag, its length in bytes, its content."""
    content = list(parts)
    length = sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in content)
    return [_varint(number << 3 | 2), _varint(length), *content]


def _varint(value: int) -> bytes:
    """Return a whole number, seven bits a byte, the lowest first."""
    low = []
    while value > 127:
        low.append(value & 127 | 128)
        value >>= 7
    return bytes([*low, value])
