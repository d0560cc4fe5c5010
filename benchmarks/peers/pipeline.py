"""transformers' fill-mask pipeline on torch."""

from __future__ import annotations

import torch
from transformers import pipeline

from benchmarks.inputs import Batch
from benchmarks.peers import Answers, Job


class Pipeline:
    """The pipeline as its documentation has it, all rows of a request in one batch; torch uses the same threads."""

    def __init__(self, precision: str) -> None:
        """Take the settings; `prepare` loads the model."""
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]

    def prepare(self, job: Job) -> None:
        """Load the model in evaluation mode."""
        torch.set_num_threads(job.threads)
        self._pipeline = pipeline("fill-mask", model=str(job.model), dtype=self._dtype, device="cpu", top_k=1)

    def run(self, batch: Batch) -> Answers:
        """Answer the texts."""
        found = self._pipeline(batch.texts, batch_size=len(batch.texts))
        # One text is answered with its candidates, several with a list of these.
        best = [found[0]] if len(batch.texts) == 1 else [candidates[0] for candidates in found]
        return [candidate["token"] for candidate in best], [candidate["score"] for candidate in best]
