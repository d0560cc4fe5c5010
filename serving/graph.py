"""Write a BERT masked-language model as an ONNX graph.

Inputs, for B rows of S tokens, K the most masks in one of them, M masks in all, T targets:

    input_ids  int64 [B, S]   padded to the longest row
    lengths    int32 [B]      tokens of each row that are real
    positions  int64 [B, K]   the masks of each row, as indices into the flattened B*S tokens; padded with any index
    selected   int64 [M]      which of the flattened B*K positions are real
    k          int64 [1]      candidates a mask
    targets    int64 [M, T]   token ids whose probability is asked for; T may be 0

Outputs: `scores` float [M, k] and `tokens` int64 [M, k], best first; `target_scores` float [M, T]; `logits` float [M, vocabulary].

Padding is never looked at, the last layer computes keys and values for all tokens but all else for the masked ones
only, and the vocabulary is scored for the masked ones only.

Operators are chosen by what ONNX Runtime runs fastest on a CPU: Add + LayerNormalization rather than the fused
SkipLayerNormalization, and Gelu rather than BiasGelu; one product for query, key and value.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.checkpoint import ACTIVATIONS, DECODER, WORD_EMBEDDINGS, Checkpoint

Precision = Literal["fp32", "int8"]

Signature = dict[str, tuple[int, list[str | int | None]]]

INPUTS: Signature = {
    "input_ids": (TensorProto.INT64, ["rows", "tokens"]),
    "lengths": (TensorProto.INT32, ["rows"]),
    "positions": (TensorProto.INT64, ["rows", "masks_a_row"]),
    "selected": (TensorProto.INT64, ["masks"]),
    "k": (TensorProto.INT64, [1]),
    "targets": (TensorProto.INT64, ["masks", "targets"]),
}
OUTPUTS: Signature = {
    "scores": (TensorProto.FLOAT, ["masks", "k"]),
    "tokens": (TensorProto.INT64, ["masks", "k"]),
    "target_scores": (TensorProto.FLOAT, ["masks", "targets"]),
    "logits": (TensorProto.FLOAT, ["masks", "vocabulary"]),
}


def build(checkpoint: Checkpoint, precision: Precision, weight_bits: int = 8) -> onnx.ModelProto:
    """Return the graph of a checkpoint; `weight_bits` is 7 where int8 products would saturate (no VNNI)."""
    graph = _Graph(checkpoint, precision, weight_bits)
    hidden = graph.embeddings()
    for layer in range(checkpoint.config.num_layers - 1):
        hidden = graph.layer(layer, hidden)
    graph.head(graph.last_layer(checkpoint.config.num_layers - 1, hidden))
    return graph.model()


def quantize_columns(
    weight: npt.NDArray[np.float32], bits: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize a [rows, columns] weight symmetrically, a scale for each column; weight is about quantized * scale."""
    limit = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny) / limit
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)


class _Graph:
    """Nodes and weights in the making; a method appends what it is named for and returns its output's name."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision, weight_bits: int) -> None:
        self.config = checkpoint.config
        self.weights = dict(checkpoint.weights)
        self.precision = precision
        self.weight_bits = weight_bits
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def embeddings(self) -> str:
        """Return the embedded tokens, [B*S, hidden]."""
        words = self.op("Gather", self.weight(WORD_EMBEDDINGS), "input_ids")
        # One segment only, so its embedding is part of the position's.
        table = (
            self.weights["embeddings.position_embeddings.weight"]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        )
        count = self.op("Shape", "input_ids", start=1)
        zero, axis = self.constant("zero", [0]), self.constant("axis_0", [0])
        positions = self.op("Slice", self.array("embeddings.position_and_type", table), zero, count, axis)
        embedded = self.op(
            "Reshape", self.op("Add", words, positions), self.constant("flat", [-1, self.config.hidden_size])
        )
        return self.layer_norm("embeddings.LayerNorm", embedded)

    def layer(self, index: int, hidden: str) -> str:
        """Return an encoder layer's output for all tokens, [B*S, hidden]."""
        parts = [f"encoder.layer.{index}.attention.self.{part}" for part in ("query", "key", "value")]
        query, key, value = self.split(self.linear(parts, hidden), 3)
        context = self.attention(query, key, value)
        return self.feed_forward(
            index, hidden, self.op("Reshape", context, self.constant("flat", [-1, self.config.hidden_size]))
        )

    def last_layer(self, index: int, hidden: str) -> str:
        """Return the last layer's output at the masks, [M, hidden]: nothing else of it is needed."""
        parts = [f"encoder.layer.{index}.attention.self.{part}" for part in ("key", "value")]
        key, value = self.split(self.linear(parts, hidden), 2)
        masked = self.op("Gather", hidden, self.op("Reshape", "positions", self.constant("all", [-1])))
        query = self.linear([f"encoder.layer.{index}.attention.self.query"], masked)
        query = self.op("Reshape", query, self.rows_shape("positions"))
        context = self.attention(query, key, value)
        context = self.op("Reshape", context, self.constant("flat", [-1, self.config.hidden_size]))
        return self.feed_forward(index, self.op("Gather", masked, "selected"), self.op("Gather", context, "selected"))

    def attention(self, query: str, key: str, value: str) -> str:
        return self.op(
            "MultiHeadAttention",
            query,
            key,
            value,
            "",
            "lengths",
            domain="com.microsoft",
            num_heads=self.config.num_heads,
        )

    def feed_forward(self, index: int, hidden: str, context: str) -> str:
        prefix = f"encoder.layer.{index}."
        attended = self.op("Add", self.linear([f"{prefix}attention.output.dense"], context), hidden)
        attended = self.layer_norm(f"{prefix}attention.output.LayerNorm", attended)
        inner = self.gelu(self.linear([f"{prefix}intermediate.dense"], attended))
        output = self.op("Add", self.linear([f"{prefix}output.dense"], inner), attended)
        return self.layer_norm(f"{prefix}output.LayerNorm", output)

    def head(self, masked: str) -> None:
        """Score the vocabulary at the masks."""
        transformed = self.gelu(self.linear(["cls.predictions.transform.dense"], masked))
        transformed = self.layer_norm("cls.predictions.transform.LayerNorm", transformed)
        logits = self.product(DECODER, "cls.predictions.bias", transformed, output="logits")
        probabilities = self.op("Softmax", logits, axis=-1)
        self.nodes.append(helper.make_node("TopK", [probabilities, "k"], ["scores", "tokens"], axis=-1))
        self.nodes.append(helper.make_node("GatherElements", [probabilities, "targets"], ["target_scores"], axis=1))

    def linear(self, names: list[str], data: str) -> str:
        """Apply one or several linear layers that share their input as one product; outputs side by side."""
        if len(names) == 1:
            return self.product(f"{names[0]}.weight", f"{names[0]}.bias", data)
        joined = "+".join(names)
        for kind in ("weight", "bias"):
            self.weights[f"{joined}.{kind}"] = np.concatenate([self.weights[f"{name}.{kind}"] for name in names])
        return self.product(f"{joined}.weight", f"{joined}.bias", data)

    def product(self, weight: str, bias: str, data: str, output: str = "") -> str:
        """Return data [N, in] x weight [out, in] transposed + bias [out]."""
        if self.precision == "fp32":
            return self.op("Gemm", data, self.weight(weight), self.weight(bias), output=output, transB=1)
        quantized, scale = quantize_columns(self.weights[weight].T, self.weight_bits)
        quantized_name = self.array(f"{weight}.int8", np.ascontiguousarray(quantized))
        scale_name = self.array(f"{weight}.scale", scale)
        data, zero_point, row_scale = self.quantize_rows(data)
        one = self.array("one", np.array(1, np.float32))
        inputs = (data, quantized_name, one, scale_name, zero_point)
        products = self.op("Mul", self.op("MatMulIntegerToFloat", *inputs, domain="com.microsoft"), row_scale)
        return self.op("Add", products, self.weight(bias), output=output)

    def quantize_rows(self, data: str) -> tuple[str, str, str]:
        """Quantize activations to uint8 around 128, a scale for each token; return them, the zero point, the scales.

        One scale for the whole batch (DynamicQuantizeMatMul) takes up to a quarter less time, but then a text's answer
        depends on what it shares the batch with, and the best word differed from fp32's four times as often.
        """
        largest = self.op("ReduceMax", self.op("Abs", data), self.constant("axis_1", [1]), keepdims=1)
        scale = self.op("Mul", largest, self.array("a_127th", np.array(1 / 127, np.float32)))
        scale = self.op("Max", scale, self.array("tiny", np.array(1e-30, np.float32)))  # a row of zeros divides by it
        flat = self.op("Reshape", scale, self.constant("all", [-1]))
        zero_points = self.op("Expand", self.array("128_each", np.array([128], np.uint8)), self.op("Shape", flat))
        quantized = self.op("QuantizeLinear", data, flat, zero_points, axis=0)
        return quantized, self.array("128", np.array(128, np.uint8)), scale

    def layer_norm(self, name: str, data: str) -> str:
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", data, weight, bias, axis=-1, epsilon=self.config.layer_norm_eps)

    def gelu(self, data: str) -> str:
        return self.op("Gelu", data, approximate=ACTIVATIONS[self.config.activation])

    def split(self, joined: str, parts: int) -> list[str]:
        """Cut [B*S, parts*hidden] into [B, S, hidden] each."""
        names = [f"{joined}_{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [joined], names, axis=1, num_outputs=parts))
        return [self.op("Reshape", name, self.rows_shape("input_ids")) for name in names]

    def rows_shape(self, of: str) -> str:
        """Return the shape [rows of a two-dimensional input, its columns, hidden]."""
        hidden = self.constant("hidden_size", [self.config.hidden_size])
        return self.op("Concat", self.op("Shape", of), hidden, axis=0)

    def weight(self, name: str) -> str:
        if name == DECODER and self.weights[DECODER] is self.weights[WORD_EMBEDDINGS]:
            name = WORD_EMBEDDINGS  # tied: stored once
        return self.array(name, self.weights[name])

    def constant(self, name: str, values: list[int]) -> str:
        return self.array(name, np.array(values, np.int64))

    def array(self, name: str, values: npt.NDArray[Any]) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(values, name)
        return name

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:  # noqa: ANN401 - an operator's own
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def model(self) -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in INPUTS.items()]
        outputs = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in OUTPUTS.items()]
        graph = helper.make_graph(self.nodes, "bert_fill_mask", inputs, outputs, list(self.initializers.values()))
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="serving.graph")
