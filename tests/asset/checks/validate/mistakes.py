"""A mistake: what is changed in which file, and the place, the rule, the message and the fix that are named."""

from __future__ import annotations

from dataclasses import dataclass

ENDPOINT, BLUE = "deployment/online-endpoint.yml", "deployment/online-deployment-blue.yml"
BATCH_ENDPOINT, BATCH = "deployment/batch-endpoint.yml", "deployment/batch-deployment.yml"
ENVIRONMENT, DOCKERFILE = "environment/serving/environment.yaml", "environment/serving/Dockerfile"
REQUIREMENTS = "environment/serving/requirements.txt"
JOB, COMPONENT = "evaluation/evaluate-model-fill-mask.yml", "evaluation/components/compute_metrics.yml"
PIPELINE, TRAIN = "finetune/components/text_classification_pipeline.yml", "finetune/components/train.yml"
TOPICS = "finetune/finetune-topics.yml"
MLMODEL, TABLE, CONFIG = "model/embedded/MLmodel", "tables/MLTable", "evaluation/evaluation-config.json"


@dataclass(frozen=True)
class Mistake:
    """Text of a file that is replaced; the text that begins on the line that is named, and what is said of it.

    `other` is the file that is named, and `checked` the one that is checked, where it is another one.
    """

    file: str
    old: str
    new: str
    mark: str
    rule: str
    message: str
    fix: str
    other: str | None = None
    checked: str | None = None
