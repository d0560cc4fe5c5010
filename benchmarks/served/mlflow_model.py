"""Save a checkpoint as an MLflow model of the transformers flavor: python mlflow_model.py CHECKPOINT FOLDER."""

import sys

import mlflow.transformers
from transformers import pipeline

if __name__ == "__main__":
    checkpoint, folder = sys.argv[1:]
    model = pipeline("fill-mask", model=checkpoint, device="cpu")
    signature = mlflow.models.infer_signature(["Paris is the [MASK] of France."], ["capital"])
    mlflow.transformers.save_model(model, folder, signature=signature, pip_requirements=[])
