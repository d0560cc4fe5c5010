"""transformers' model: its fill-mask pipeline, and its exports, from which ONNX Runtime and OpenVINO start."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import cast

import torch
from transformers import BertForMaskedLM, pipeline

from benchmarks.inputs import Batch
from benchmarks.peers.systems import Answers, Job

OPSET = 20
"""The first opset with Gelu as one operator."""


class Pipeline:
    """The fill-mask pipeline as its documentation has it: all rows of a call in one batch, torch with the same threads."""

    def __init__(self, precision: str) -> None:
        """Take the settings; `prepare` loads the model."""
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]

    def prepare(self, job: Job) -> None:
        """Load the model in evaluation mode."""
        torch.set_num_threads(job.threads)
        self._pipeline = pipeline("fill-mask", model=str(job.model), dtype=self._dtype, device="cpu", top_k=1)

    def run(self, batch: Batch) -> Answers:
        """Answer the texts."""
        answers = self._pipeline(batch.texts, batch_size=len(batch.texts))
        # The answer to one text is its candidates; the answer to several texts is a list of such answers.
        best = [answers[0]] if len(batch.texts) == 1 else [candidates[0] for candidates in answers]
        return [candidate["token"] for candidate in best], [candidate["score"] for candidate in best]


class MaskedHead(torch.nn.Module):
    """BERT whose head runs at the masked positions only and returns the best token and its probability."""

    def __init__(self, model: BertForMaskedLM) -> None:
        """Wrap a model."""
        super().__init__()
        self.model = model

    def hidden(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return the encoder's output, [rows, tokens, hidden].

        The position ids are computed from the input's shape; else an export through TorchScript has a fixed length.
        """
        positions = torch.ones_like(ids).cumsum(1) - 1
        segments = torch.zeros_like(ids)
        output = self.model.bert(ids, attention_mask=real, position_ids=positions, token_type_ids=segments)
        return cast(torch.Tensor, output.last_hidden_state)

    def forward(self, ids: torch.Tensor, real: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the best token of each masked position, and its probability."""
        masked = self.hidden(ids, real).flatten(0, 1)[positions]
        scores, tokens = self.model.cls(masked).softmax(-1).max(-1)
        return tokens, scores


class FullHead(MaskedHead):
    """BERT as transformers runs it: the whole vocabulary is scored at every position."""

    def forward(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Return the scores, [rows, tokens, vocabulary]."""
        return self.model.cls(self.hidden(ids, real))


def export(folder: Path, head: str, path: Path) -> None:
    """Export a checkpoint with the `masked` or `full` head.

    It takes the TorchScript exporter with eager attention: ONNX Runtime's transformer optimizer recognizes the attention
    of this graph, and not of the newer exporter's graph.
    """
    model = BertForMaskedLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    wrapped = (MaskedHead if head == "masked" else FullHead)(model).eval()
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long(), "positions": torch.tensor([1, 5])}
    outputs = ["tokens", "scores"]
    axes = {"input_ids": {0: "rows", 1: "tokens"}, "attention_mask": {0: "rows", 1: "tokens"}}
    if head == "full":
        del inputs["positions"]
        outputs = ["logits"]
        axes |= {"logits": {0: "rows", 1: "tokens"}}
    else:
        axes |= {name: {0: "masks"} for name in ("positions", "tokens", "scores")}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            wrapped,
            tuple(inputs.values()),
            str(partial),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes=axes,
        )
    partial.replace(path)
