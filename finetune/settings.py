"""The settings of a fine-tuning run: names, choices and defaults of the public pipeline components.

Only apply_lora, apply_deepspeed and apply_ort have another default than there: true, as spec.yaml says. The parser and
the help of `python -m finetune.prepare` are made from these classes (finetune.options).
https://github.com/Azure/azureml-assets/tree/main/assets/training/finetune_acft_hf_nlp/components/pipeline_components
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Part = Literal["train", "validation", "test"]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
CountOrAll = Annotated[int, Field(ge=-1)]
"""A count, where -1 means no limit."""
Share = Annotated[float, Field(ge=0, lt=1)]


class Frozen(BaseModel):
    """A part of the settings: checked when it is made, and not changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FeatureSettings(Frozen):
    """How rows become tokens. Lengths are in tokens; the last three are for question answering alone."""

    batch_size: Count = Field(1000, description="rows that become tokens at once; not the batch of training")
    pad_to_max_length: bool = Field(
        False, description="give every row the greatest length; else a batch is as long as its longest row"
    )
    max_seq_length: CountOrAll = Field(-1, description="tokens a row; -1: all positions of the model")
    doc_stride: Count = Field(128, description="tokens that two windows of a long context share")
    n_best_size: Count = Field(20, description="candidates an answer is chosen from")
    max_answer_length_in_tokens: Count = Field(30, description="longer answers are not considered")


class TrainingSettings(Frozen):
    """How the model is trained."""

    apply_lora: bool = Field(True, description="train small matrices beside the weights (LoRA)")
    merge_lora_weights: bool = Field(True, description="add LoRA's matrices to the weights at the end")
    lora_alpha: Count = 128
    lora_r: Count = 8
    lora_dropout: Share = 0.0
    num_train_epochs: Count = 1
    max_steps: CountOrAll = Field(-1, description="optimizer steps, in place of num_train_epochs; -1: train the epochs")
    per_device_train_batch_size: Count = 1
    per_device_eval_batch_size: Count = 1
    auto_find_batch_size: bool = Field(False, description="lower the batch size until a batch fits the memory")
    optim: Literal["adamw_torch", "adafactor"] = "adamw_torch"
    learning_rate: NotNegative = 2e-5
    warmup_steps: CountOrNone = 0
    weight_decay: NotNegative = 0.0
    adam_beta1: Share = 0.9
    adam_beta2: Share = 0.999
    adam_epsilon: NotNegative = 1e-8
    gradient_accumulation_steps: Count = 1
    eval_accumulation_steps: CountOrAll = Field(
        -1, description="batches before an evaluation's results leave the GPU; -1: all of them"
    )
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
    ] = "linear"
    precision: Literal[32, 16] = Field(
        32, description="bits of a number: 32, or 16 for mixed precision if the machine has it"
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    enable_full_determinism: bool = False
    dataloader_num_workers: CountOrNone = 0
    ignore_mismatched_sizes: bool = Field(True, description="start a head of another size anew")
    max_grad_norm: NotNegative = 1.0
    evaluation_strategy: Literal["epoch", "steps"] = Field(
        "epoch", description="evaluate, and save, after each epoch or every eval_steps"
    )
    evaluation_steps_interval: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="a share of an epoch, in place of eval_steps; 0: eval_steps"
    )
    eval_steps: Count = 500
    logging_strategy: Literal["epoch", "steps"] = "steps"
    logging_steps: Count = 10
    metric_for_best_model: str = Field("loss", description="the metric by which the best checkpoint is chosen")
    resume_from_checkpoint: bool = Field(False, description="go on from the last checkpoint in the output")
    save_total_limit: CountOrAll = Field(-1, description="checkpoints that are kept beside the best; -1: all")
    apply_early_stopping: bool = False
    early_stopping_patience: Count = Field(1, description="evaluations without a gain before training stops")
    early_stopping_threshold: NotNegative = 0.0
    apply_deepspeed: bool = Field(True, description="train with DeepSpeed")
    deepspeed_stage: Literal[2, 3] = Field(
        2, description="the stage of ZeRO, if there is no DeepSpeed config of your own"
    )
    apply_ort: bool = Field(
        True, description="compile the tuned model for serving, and fail the run if its validation figures drop"
    )
