"""Write a BERT model as an ONNX graph for its task.

Inputs of every task, for B rows of S tokens:

    input_ids  int64 [B, S]   padded to the longest row
    lengths    int32 [B]      the real tokens of each row
    segments   int64 [B, S]   token types; only if rows may be pairs of texts and the checkpoint has several types

If the task's head reads the masks, K the most masks in one row, M masks in all, T targets:

    positions  int64 [B, K]   the masks of each row, as indices into the flattened B*S tokens; padded with any index
    selected   int64 [M]      which of the flattened B*K positions are real
    k          int64 [1]      candidates a mask
    targets    int64 [M, T]   token ids whose probability is asked for; T may be 0

    -> `scores` float [M, k] and `tokens` int64 [M, k], best first; `target_scores` float [M, T]; `logits` float [M, vocabulary]

If it reads the first token of each row -> `logits` float [B, labels]. If it reads every token -> an output for each number of
its last layer, such as `start_logits` and `end_logits`, float [B, S].

Padding is never read (the output of a padded token is arbitrary). The last layer computes keys and values for all tokens, and
everything else only for the tokens that the head reads. Heads without a vocabulary are so small that they stay in fp32, as
does everything computed from logits. Every operator, except those of int8, has a kernel for GPUs too, in fp16 and fp32.

The operators are those that ONNX Runtime runs fastest on a CPU: Add + LayerNormalization instead of the fused
SkipLayerNormalization, Gelu instead of BiasGelu, and one product for query, key and value.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from serving.engine.backend import Precision
from serving.engine.graph_nodes import Nodes, onnx_file
from serving.model.checkpoint import WORD_EMBEDDINGS, Checkpoint
from serving.tasks import TASKS

Signature = dict[str, tuple[int, list[str | int | None]]]

INPUTS: Signature = {
    "input_ids": (TensorProto.INT64, ["rows", "tokens"]),
    "lengths": (TensorProto.INT32, ["rows"]),
}
SEGMENTS: Signature = {"segments": (TensorProto.INT64, ["rows", "tokens"])}
MASK_INPUTS: Signature = {
    "positions": (TensorProto.INT64, ["rows", "masks_a_row"]),
    "selected": (TensorProto.INT64, ["masks"]),
    "k": (TensorProto.INT64, [1]),
    "targets": (TensorProto.INT64, ["masks", "targets"]),
}
MASK_OUTPUTS: Signature = {
    "scores": (TensorProto.FLOAT, ["masks", "k"]),
    "tokens": (TensorProto.INT64, ["masks", "k"]),
    "target_scores": (TensorProto.FLOAT, ["masks", "targets"]),
    "logits": (TensorProto.FLOAT, ["masks", "vocabulary"]),
}


def build(checkpoint: Checkpoint, precision: Precision) -> list[bytes | memoryview]:
    """Return the ONNX file of a checkpoint, in parts."""
    graph = _Graph(checkpoint, precision)
    last = checkpoint.config.num_layers - 1
    hidden = graph.embeddings()
    for layer in range(last):
        hidden = graph.layer(layer, hidden)
    if graph.head.tokens == "masks":
        graph.score_words(graph.last_layer_at_masks(last, hidden))
    elif graph.head.tokens == "first":
        graph.score_rows(graph.last_layer_at_first(last, hidden))
    else:
        graph.score_tokens(graph.layer(last, hidden))
    return graph.file()


class _Graph(Nodes):
    """The parts of a BERT; each method returns the name of its output."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision) -> None:
        super().__init__(checkpoint, precision)
        self.task = checkpoint.task
        self.pooler_activation = {"tanh": "Tanh", "relu": "Relu"}[checkpoint.config.pooler_activation]
        self.head = TASKS[checkpoint.task].head
        self.has_segments = self.head.pairs and checkpoint.config.type_vocab_size > 1

    def embeddings(self) -> str:
        """Return the embedded tokens, [B*S, hidden]."""
        words = self.op("Gather", self.weight(WORD_EMBEDDINGS), "input_ids")
        table = self.weights["embeddings.position_embeddings.weight"]
        types = self.weights.get("embeddings.token_type_embeddings.weight")
        count = self.op("Shape", "input_ids", start=1)
        zero, axis = self.constant("zero", [0]), self.constant("axis_0", [0])
        if types is None or not self.has_segments:
            # There is one segment only, so its embedding is added to the positions' embeddings.
            table = table if types is None else table + types[0]
            positions = self.op("Slice", self.real("embeddings.position_and_type", table), zero, count, axis)
        else:
            # The table has a row for each type at each position, for one look-up of both.
            table = (table[:, None] + types).reshape(-1, self.config.hidden_size)
            firsts = self.constant("first_type_of_position", list(range(0, len(table), len(types))))
            places = self.op("Add", "segments", self.op("Slice", firsts, zero, count, axis))
            positions = self.op("Gather", self.real("embeddings.position_and_type", table), places)
        embedded = self.flat(self.op("Add", words, positions))
        return self.layer_norm("embeddings.LayerNorm", embedded)

    def layer(self, index: int, hidden: str) -> str:
        """Return an encoder layer's output for all tokens, [B*S, hidden]."""
        parts = [f"encoder.layer.{index}.attention.self.{part}" for part in ("query", "key", "value")]
        query, key, value = self.split(self.linear(parts, hidden), 3)
        return self.feed_forward(index, hidden, self.flat(self.attention(query, key, value)))

    def last_layer_at_masks(self, index: int, hidden: str) -> str:
        """Return the last layer's output at the masks, [M, hidden]."""
        masked = self.op("Gather", hidden, self.op("Reshape", "positions", self.constant("all", [-1])))
        context = self.attention_of(index, hidden, masked, self.rows_shape("positions"))
        return self.feed_forward(index, self.op("Gather", masked, "selected"), self.op("Gather", context, "selected"))

    def last_layer_at_first(self, index: int, hidden: str) -> str:
        """Return the last layer's output at each row's first token, [CLS], as [B, hidden]."""
        rows = self.op("Reshape", hidden, self.rows_shape("input_ids"))
        first = self.op("Gather", rows, self.array("first", np.array(0)), axis=1)
        shape = self.constant("one_a_row", [-1, 1, self.config.hidden_size])
        return self.feed_forward(index, first, self.attention_of(index, hidden, first, shape))

    def attention_of(self, index: int, hidden: str, some: str, shape: str) -> str:
        """Return the attention of some tokens to all tokens, [N, hidden]; `shape` is [B, N/B, hidden]."""
        prefix = f"encoder.layer.{index}.attention.self."
        key, value = self.split(self.linear([f"{prefix}key", f"{prefix}value"], hidden), 2)
        query = self.op("Reshape", self.linear([f"{prefix}query"], some), shape)
        return self.flat(self.attention(query, key, value))

    def attention(self, query: str, key: str, value: str) -> str:
        inputs = (query, key, value, "", "lengths")
        return self.op("MultiHeadAttention", *inputs, domain="com.microsoft", num_heads=self.config.num_heads)

    def feed_forward(self, index: int, hidden: str, context: str) -> str:
        prefix = f"encoder.layer.{index}."
        attended = self.op("Add", self.linear([f"{prefix}attention.output.dense"], context), hidden)
        attended = self.layer_norm(f"{prefix}attention.output.LayerNorm", attended)
        inner = self.gelu(self.linear([f"{prefix}intermediate.dense"], attended))
        output = self.op("Add", self.linear([f"{prefix}output.dense"], inner), attended)
        return self.layer_norm(f"{prefix}output.LayerNorm", output)

    def score_words(self, masked: str) -> None:
        """Score the vocabulary at the masks."""
        transformed = self.gelu(self.linear([self.head.dense], masked))
        transformed = self.layer_norm(self.head.norm, transformed)
        logits = self.product(self.head.weight, self.head.bias, transformed, output="logits")
        probabilities = self.op("Softmax", logits, axis=-1)
        self.nodes.append(helper.make_node("TopK", [probabilities, "k"], ["scores", "tokens"], axis=-1))
        self.nodes.append(helper.make_node("GatherElements", [probabilities, "targets"], ["target_scores"], axis=1))

    def score_rows(self, first: str) -> None:
        """Score each row by its first token."""
        pooled = self.op(self.pooler_activation, self.exact(self.head.dense, first))
        self.exact(self.head.layer, pooled, output=self.head.outputs[0])

    def score_tokens(self, hidden: str) -> None:
        """Score every token, with a graph output for each number of the last layer, such as an answer's start and end."""
        outputs = self.head.outputs
        numbers, shape = self.exact(self.head.layer, hidden), self.op("Shape", "input_ids")
        columns = [f"{output}_of_tokens" for output in outputs]
        self.nodes.append(helper.make_node("Split", [numbers], columns, axis=1, num_outputs=len(columns)))
        for column, output in zip(columns, outputs, strict=True):
            self.op("Reshape", column, shape, output=output)

    def split(self, joined: str, parts: int) -> list[str]:
        """Cut [B*S, parts*hidden] into [B, S, hidden] each."""
        names = [f"{joined}_{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [joined], names, axis=1, num_outputs=parts))
        return [self.op("Reshape", name, self.rows_shape("input_ids")) for name in names]

    def flat(self, data: str) -> str:
        """Return [B, N, hidden] as [B*N, hidden]."""
        return self.op("Reshape", data, self.constant("flat", [-1, self.config.hidden_size]))

    def rows_shape(self, of: str) -> str:
        """Return the shape [rows of a two-dimensional input, its columns, hidden]."""
        hidden = self.constant("hidden_size", [self.config.hidden_size])
        return self.op("Concat", self.op("Shape", of), hidden, axis=0)

    def file(self) -> list[bytes | memoryview]:
        """Return the ONNX file in parts."""
        masks = self.head.tokens == "masks"
        taken = INPUTS | (SEGMENTS if self.has_segments else {}) | (MASK_INPUTS if masks else {})
        inputs = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in taken.items()]
        shape: list[str | int | None] = ["rows", "labels" if self.head.tokens == "first" else "tokens"]
        results = MASK_OUTPUTS if masks else {name: (TensorProto.FLOAT, shape) for name in self.head.outputs}
        outputs = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in results.items()]
        name = f"bert_{self.task.replace('-', '_')}"
        graph = helper.make_graph(self.nodes, name, inputs, outputs)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="serving.engine.graph")
        return onnx_file(model, self.initializers)
