"""The nodes and weights of an ONNX graph while it is built: layers by their names, in fp32, fp16 or int8; and the file.

In fp16, weights and activations are float16, and operators add up in fp32 (ONNX Runtime's do, on a GPU). Results of logits
and small heads are computed in fp32.

`onnx_file` writes the file without copying the weights. The protobuf library would copy each weight into its message and
again, more than once, into the message's bytes: for BERT-base, two gigabytes of memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper

from serving.engine.backend import Precision
from serving.model.checkpoint import ACTIVATIONS, DECODER, WORD_EMBEDDINGS, Checkpoint
from serving.native.weights import quantize_columns


class Nodes:
    """Collects nodes and weights; each method appends the layer or value of its name and returns the output's name."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision) -> None:
        """Take the checkpoint, whose tensors name the layers."""
        self.config = checkpoint.config
        self.weights = dict(checkpoint.weights)
        self.precision = precision
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, npt.NDArray[Any]] = {}

    def linear(self, names: list[str], data: str) -> str:
        """Apply linear layers with the same input as one product, with their outputs side by side."""
        if len(names) == 1:
            return self.product(f"{names[0]}.weight", f"{names[0]}.bias", data)
        joined = "+".join(names)
        for kind in ("weight", "bias"):
            self.weights[f"{joined}.{kind}"] = np.concatenate([self.weights[f"{name}.{kind}"] for name in names])
        return self.product(f"{joined}.weight", f"{joined}.bias", data)

    def product(self, weight: str, bias: str, data: str, output: str = "") -> str:
        """Return data [N, in] x weight [out, in] transposed + bias [out]; a named `output` is the graph's, in float32."""
        if self.precision != "int8":
            half = self.precision == "fp16" and output
            name = self.op(
                "Gemm", data, self.weight(weight), self.weight(bias), output="" if half else output, transB=1
            )
            return self.op("Cast", name, to=TensorProto.FLOAT, output=output) if half else name
        quantized, scale = quantize_columns(self.weights[weight].T)
        quantized_name = self.array(f"{weight}.int8", np.ascontiguousarray(quantized))
        scale_name = self.array(f"{weight}.scale", scale)
        data, zero_point, row_scale = self.quantize_rows(data)
        one = self.array("one", np.array(1, np.float32))
        inputs = (data, quantized_name, one, scale_name, zero_point)
        products = self.op("Mul", self.op("MatMulIntegerToFloat", *inputs, domain="com.microsoft"), row_scale)
        return self.op("Add", products, self.weight(bias), output=output)

    def quantize_rows(self, data: str) -> tuple[str, str, str]:
        """Quantize activations to uint8 around 128 with a scale a token; return the numbers, the zero point and the scales.

        One scale for the whole batch (DynamicQuantizeMatMul) takes up to a quarter less time, but then a text's answer
        depends on the other texts of the batch, and the best word differed from fp32's four times as often.
        """
        largest = self.op("ReduceMax", self.op("Abs", data), self.constant("axis_1", [1]), keepdims=1)
        scale = self.op("Mul", largest, self.array("a_127th", np.array(1 / 127, np.float32)))
        scale = self.op(
            "Max", scale, self.array("tiny", np.array(1e-30, np.float32))
        )  # for rows of zeros, which are divided by it
        flat = self.op("Reshape", scale, self.constant("all", [-1]))
        zero_points = self.op("Expand", self.array("128_each", np.array([128], np.uint8)), self.op("Shape", flat))
        quantized = self.op("QuantizeLinear", data, flat, zero_points, axis=0)
        return quantized, self.array("128", np.array(128, np.uint8)), scale

    def exact(self, name: str, data: str, output: str = "") -> str:
        """Apply a linear layer in fp32 at any precision: it is so small that a lower precision saves nothing."""
        if self.precision == "fp16":
            data = self.op("Cast", data, to=TensorProto.FLOAT)
        weight, bias = (self.array(f"{name}.{part}", self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.op("Gemm", data, weight, bias, output=output, transB=1)

    def layer_norm(self, name: str, data: str) -> str:
        """Apply a layer normalization of the checkpoint."""
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", data, weight, bias, axis=-1, epsilon=self.config.layer_norm_eps)

    def gelu(self, data: str) -> str:
        """Apply the activation that config.json names."""
        return self.op("Gelu", data, approximate=ACTIVATIONS[self.config.activation])

    def weight(self, name: str) -> str:
        """Keep a weight of the checkpoint once."""
        if name == DECODER and self.weights[DECODER] is self.weights[WORD_EMBEDDINGS]:
            name = WORD_EMBEDDINGS  # tied: stored once
        return self.real(name, self.weights[name])

    def real(self, name: str, values: npt.NDArray[np.float32]) -> str:
        """Keep real numbers, in float16 for fp16; a number too large for float16 becomes infinite."""
        with np.errstate(over="ignore"):  # serving.engine.compile checks the graph's results
            return self.array(name, values.astype(np.float16) if self.precision == "fp16" else values)

    def constant(self, name: str, values: list[int]) -> str:
        """Keep whole numbers, such as shapes and axes."""
        return self.array(name, np.array(values, np.int64))

    def array(self, name: str, values: npt.NDArray[Any]) -> str:
        """Keep an array under its name."""
        if name not in self.initializers:
            self.initializers[name] = values
        return name

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:  # noqa: ANN401 - an operator's own
        """Append an operator and return its output's name."""
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output


_GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


def onnx_file(model: ModelProto, initializers: Mapping[str, npt.NDArray[Any]]) -> list[bytes | memoryview]:
    """Return the file of a model with these weights, in parts; the model's own graph is cleared.

    A protobuf message is its fields one after the other, in any order
    (https://protobuf.dev/programming-guides/encoding).
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
    """Return a field with a length: its tag, its length in bytes, its content."""
    content = list(parts)
    length = sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in content)
    return [_varint(number << 3 | 2), _varint(length), *content]


def _varint(value: int) -> bytes:
    """Return a whole number in seven bits a byte, the lowest bits first."""
    low = []
    while value > 127:
        low.append(value & 127 | 128)
        value >>= 7
    return bytes([*low, value])
