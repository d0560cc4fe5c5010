"""LitServe around transformers' fill-mask pipeline, batching on: python litserve_app.py PORT.

It has one worker, since each takes all threads. A batch has at most as many texts as the load has connections, and waits
5 ms for more.
"""

import os
import sys
from typing import Any

import litserve
import torch
from transformers import pipeline

MAX_BATCH = 64
BATCH_SECONDS = 0.005


class FillMask(litserve.LitAPI):
    """{"input_data": [one text]} -> its best word."""

    def setup(self, device: str) -> None:
        """Load the model."""
        torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
        self.model = pipeline("fill-mask", model=os.environ["AZUREML_MODEL_DIR"], device="cpu", top_k=1)

    def decode_request(self, request: dict[str, Any]) -> str:
        """Take the text."""
        return str(request["input_data"][0])

    def predict(self, texts: list[str]) -> list[str]:
        """Answer a batch."""
        found = self.model(texts, batch_size=len(texts))
        best = [found[0]] if len(texts) == 1 else [candidates[0] for candidates in found]
        return [candidate["token_str"] for candidate in best]

    def encode_response(self, word: str) -> list[str]:
        """Give the word."""
        return [word]


if __name__ == "__main__":
    api = FillMask(max_batch_size=MAX_BATCH, batch_timeout=BATCH_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=120)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
