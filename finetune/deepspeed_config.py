"""The configuration of DeepSpeed: ours, or the user's own, with "auto" where the settings of the run rule."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch

from finetune.prepared import FinetuneError


def default_config(stage: int) -> dict[str, Any]:
    """Return the configuration for a ZeRO stage, 2 or 3.

    No optimizer is named: torch's own then works on the shards, and no operator of DeepSpeed's has to be compiled.
    """
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": torch.cuda.is_available(), "contiguous_gradients": True}
    if stage == 3:
        zero |= {
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            # Each process has a part of the weights; a checkpoint has them all.
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    return {
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }


def read_config(file: Path | None, stage: int, lora: bool) -> dict[str, Any]:
    """Return the user's own configuration, where there is one, else ours; raises FinetuneError where it cannot be used."""
    if importlib.util.find_spec("deepspeed") is None:
        raise FinetuneError(
            "apply_deepspeed: expected the package deepspeed, found none; train in the environment of fine-tuning "
            "(environment/finetune), or set apply_deepspeed to false"
        )
    if file is None:
        config = default_config(stage)
    else:
        try:
            config = json.loads(file.read_bytes())
        except (OSError, ValueError) as exc:
            raise FinetuneError(f"{file}: expected a JSON object of DeepSpeed's settings, found: {exc}") from exc
    zero = config.get("zero_optimization", {}) if isinstance(config, dict) else None
    if not isinstance(zero, dict):
        raise FinetuneError(f"{file}: expected a JSON object of DeepSpeed's settings, found {type(config).__name__}")
    if zero.get("stage") == 3 and lora:
        raise FinetuneError(
            "deepspeed_stage 3: expected apply_lora false, found true: ZeRO 3 shards the frozen weights that LoRA's "
            "checkpoints leave out; set deepspeed_stage to 2, or apply_lora to false"
        )
    if zero.get("stage") == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return config


def set_up() -> None:
    """Make DeepSpeed work without a compiler."""
    import deepspeed  # six seconds that a run without it is spared

    # Sums through shared memory are for inference. They are compiled, and a run killed meanwhile leaves a lock behind
    # that every later one waits for.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
