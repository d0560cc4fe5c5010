"""The settings of a fine-tuning run, under the names, with the choices and defaults of the public pipeline components.

apply_lora, apply_deepspeed and apply_ort alone have another default than there: what spec.yaml says, true.
https://github.com/Azure/azureml-assets/tree/main/assets/training/finetune_acft_hf_nlp/components/pipeline_components
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Task = Literal["text-classification", "question-answering"]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
CountOrAll = Annotated[int, Field(ge=-1)]
"""A count, where -1 means no limit of ours."""

METRICS: dict[Task, tuple[str, ...]] = {
    "text-classification": ("loss", "f1_macro", "mcc", "accuracy", "precision_macro", "recall_macro"),
    "question-answering": ("loss", "f1", "exact"),
}
"""What metric_for_best_model may name. The loss is better when lower, the others when higher."""


class Frozen(BaseModel):
    """A part of the settings: checked when it is made, and not changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FeatureSettings(Frozen):
    """How rows become tokens. The last three are for question answering alone; lengths are in tokens."""

    batch_size: Count = 1000
    pad_to_max_length: bool = False
    max_seq_length: CountOrAll = -1
    doc_stride: Count = 128
    n_best_size: Count = 20
    max_answer_length_in_tokens: Count = 30


class TrainingSettings(Frozen):
    """How the model is trained."""

    apply_lora: bool = True
    merge_lora_weights: bool = True
    lora_alpha: Count = 128
    lora_r: Count = 8
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    num_train_epochs: Count = 1
    max_steps: CountOrAll = -1
    per_device_train_batch_size: Count = 1
    per_device_eval_batch_size: Count = 1
    auto_find_batch_size: bool = False
    optim: Literal["adamw_torch", "adafactor"] = "adamw_torch"
    learning_rate: NotNegative = 2e-5
    warmup_steps: CountOrNone = 0
    weight_decay: NotNegative = 0.0
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    adam_epsilon: NotNegative = 1e-8
    gradient_accumulation_steps: Count = 1
    eval_accumulation_steps: CountOrAll = -1
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
    ] = "linear"
    precision: Literal[32, 16] = 32
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    enable_full_determinism: bool = False
    dataloader_num_workers: CountOrNone = 0
    ignore_mismatched_sizes: bool = True
    max_grad_norm: NotNegative = 1.0
    evaluation_strategy: Literal["epoch", "steps"] = "epoch"
    evaluation_steps_interval: Annotated[float, Field(ge=0, le=1)] = 0.0
    eval_steps: Count = 500
    logging_strategy: Literal["epoch", "steps"] = "steps"
    logging_steps: Count = 10
    metric_for_best_model: str = "loss"
    resume_from_checkpoint: bool = False
    save_total_limit: CountOrAll = -1
    apply_early_stopping: bool = False
    early_stopping_patience: Count = 1
    early_stopping_threshold: NotNegative = 0.0
    apply_deepspeed: bool = True
    deepspeed_stage: Literal[2, 3] = 2
    apply_ort: bool = True
