"""A scoring script around transformers' fill-mask pipeline, in the style of the inference server's documentation."""

import json
import os

import torch
from transformers import pipeline


def init() -> None:
    """Load the model once in each worker."""
    global model
    torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
    model = pipeline("fill-mask", model=os.environ["AZUREML_MODEL_DIR"], device="cpu", top_k=1)


def run(raw_data: str) -> list[str]:
    """Answer {"input_data": [one text]} with its best word."""
    return [candidate["token_str"] for candidate in model(json.loads(raw_data)["input_data"][0])]
