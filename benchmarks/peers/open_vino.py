"""OpenVINO on transformers' model: bf16, and static int8 by NNCF's post-training quantization."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from tokenizers import Tokenizer

from benchmarks.inputs import Batch, calibration
from benchmarks.peers.systems import Answers, Job, best_of_logits, feeds


class OpenVino:
    """OpenVINO with the latency hint and the same threads; layers that are not int8 run in bf16 if the CPU has it.

    With `fixed_shapes` the model is compiled again for each new shape, which measured up to 15 % faster than one model
    for all shapes.
    """

    def __init__(self, precision: str, head: str, fixed_shapes: bool = True) -> None:
        """Take the settings; `prepare` loads the model."""
        self._precision = precision
        self._head = head
        self._fixed_shapes = fixed_shapes
        self._compiled: tuple[tuple[int, int], Any] | None = None

    def prepare(self, job: Job) -> None:
        """Convert and quantize on the first call."""
        self._core = ov.Core()
        path = (quantized if self._precision == "int8" else converted)(self._core, job, self._head)
        self._model = self._core.read_model(path)
        self._settings: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": job.threads}
        if self._precision == "bf16":
            self._settings["INFERENCE_PRECISION_HINT"] = "bf16"

    def run(self, batch: Batch) -> Answers:
        """Answer the token ids."""
        inputs = feeds(batch)
        request = self._request(*inputs["input_ids"].shape)
        if self._head == "masked":
            request.infer(inputs, share_inputs=True)
            tokens, scores = (request.get_output_tensor(index).data for index in range(2))
            return tokens.tolist(), scores.tolist()
        positions = inputs.pop("positions")
        request.infer(inputs, share_inputs=True)
        return best_of_logits(np.asarray(request.get_output_tensor(0).data), positions)

    def _request(self, rows: int, tokens: int) -> Any:  # noqa: ANN401 - OpenVINO's is untyped
        key = (rows, tokens) if self._fixed_shapes else (0, 0)
        if self._compiled is None or self._compiled[0] != key:
            self._compiled = None  # only one shape is kept, since each has a copy of the weights
            model = self._model.clone()
            if self._fixed_shapes:
                shapes = [[rows, tokens], [rows, tokens], [rows]]
                model.reshape(dict(zip(model.inputs, shapes, strict=False)))
            self._compiled = key, self._core.compile_model(model, "CPU", self._settings).create_infer_request()
        return self._compiled[1]


def converted(core: ov.Core, job: Job, head: str) -> Path:
    """Return the model in OpenVINO's format, converted from torch on the first call."""
    path = job.cache / f"openvino-{head}" / "fp32.xml"
    if path.is_file():
        return path
    import torch
    from transformers import BertForMaskedLM

    from benchmarks.peers.transformers_model import FullHead, MaskedHead

    # The conversion keeps this attention as one operator, which measured faster than the many of the ONNX export.
    model = BertForMaskedLM.from_pretrained(job.model, attn_implementation="sdpa", dtype=torch.float32)
    wrapped = (MaskedHead if head == "masked" else FullHead)(model).eval()
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]])
    names = ["input_ids", "attention_mask", *(["positions"] if head == "masked" else [])]
    example = (ids, (ids > 0).long(), torch.tensor([1, 5]))[: len(names)]
    shapes = [([-1] * array.dim(), ov.Type.i64) for array in example]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = ov.convert_model(wrapped, example_input=example, input=shapes)
    for port, name in zip(made.inputs, names, strict=True):
        port.get_tensor().set_names({name})
    return _saved(made, path)


def quantized(core: ov.Core, job: Job, head: str) -> Path:
    """Return the model in static int8, calibrated on the benchmark's sentences on the first call."""
    path = job.cache / f"openvino-{head}" / "int8.xml"
    if path.is_file():
        return path
    import nncf

    fastest = {"model_type": nncf.ModelType.TRANSFORMER, "preset": nncf.QuantizationPreset.PERFORMANCE}

    model = core.read_model(converted(core, job, head))
    rows = calibration(Tokenizer.from_file(str(job.model / "tokenizer.json")))
    names = [port.get_any_name() for port in model.inputs]
    data = nncf.Dataset(rows, lambda batch: {name: feeds(batch)[name] for name in names})
    made = nncf.quantize(model, data, **fastest, subset_size=len(rows))
    return _saved(made, path)


def _saved(model: ov.Model, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    ov.save_model(model, partial, compress_to_fp16=False)
    partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
    partial.replace(path)
    return path
