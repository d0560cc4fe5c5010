"""ONNX Runtime on an export of transformers' model: fp32, or int8 by its transformer optimizer and quantizer."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import onnxruntime as ort

from benchmarks.inputs import Batch
from benchmarks.peers.systems import Answers, Job, best_of_logits, feeds


class OnnxRuntime:
    """fp32 is the plain export, which measured faster than the optimizer's graph; int8 is dynamic, per channel."""

    def __init__(self, precision: str, head: str) -> None:
        """Take the settings; `prepare` loads the model."""
        self._precision = precision
        self._head = head

    def prepare(self, job: Job) -> None:
        """Export and quantize on the first call, and open the session."""
        path = (exported if self._precision == "fp32" else quantized)(job, self._head)
        options = ort.SessionOptions()
        options.intra_op_num_threads = job.threads
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])

    def run(self, batch: Batch) -> Answers:
        """Answer the token ids."""
        inputs = feeds(batch)
        if self._head == "masked":
            tokens, scores = self._session.run(None, inputs)
            return tokens.tolist(), scores.tolist()
        positions = inputs.pop("positions")
        return best_of_logits(self._session.run(None, inputs)[0], positions)


def exported(job: Job, head: str) -> Path:
    """Return the exported model, made on the first call; torch is loaded only for the export."""
    path = job.cache / f"onnx-{head}" / "model.onnx"
    if not path.is_file():
        from benchmarks.peers.transformers_model import export

        export(job.model, head, path)
    return path


def quantized(job: Job, head: str) -> Path:
    """Return the model in dynamic int8, made on the first call: attention and layer norms fused, then quantized."""
    path = job.cache / f"onnx-{head}" / "int8.onnx"
    if path.is_file():
        return path
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model
    from transformers import AutoConfig

    plain = exported(job, head)
    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    config = AutoConfig.from_pretrained(job.model)
    fused = optimize_model(
        str(plain), "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size, opt_level=0
    )
    optimized = plain.with_name("optimized.onnx")
    fused.save_model_to_file(str(optimized))
    onnx.save(untied(onnx.load(optimized)), optimized)
    partial = path.with_suffix(".partial")
    # After the fusion, some types cannot be inferred any more; they are float.
    extra = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(optimized, partial, weight_type=QuantType.QInt8, per_channel=True, extra_options=extra)
    partial.replace(path)
    optimized.unlink()
    return path


def untied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the decoder its own copy of the word embeddings, since the quantizer transposes a Gemm's weight in place."""
    gathered = {name for node in model.graph.node if node.op_type == "Gather" for name in node.input}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] in gathered:
            copy = onnx.TensorProto()
            copy.CopyFrom(weights[node.input[1]])
            copy.name = f"{node.input[1]}.untied"
            model.graph.initializer.append(copy)
            node.input[1] = copy.name
    del model.graph.value_info[:]  # outdated shapes, which the quantizer would find in conflict with the new shapes
    return model
