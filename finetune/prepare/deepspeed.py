"""Check a user's own DeepSpeed config against the run's settings, before anything else is done.

transformers compares some of the keys itself, once the model and the data are loaded, on every process at once. Those
are compared here, and the others that fail later still, or that make a checkpoint without weights.

The configuration of DeepSpeed: ours, or the user's own, with "auto" where the settings of the run rule.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from finetune.prepare.prepared import FinetuneError
from finetune.settings import TrainingSettings

AUTO = "auto"

FILLED = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
"""Keys that are written as "auto" where the file has none: DeepSpeed stops without the first, and accelerate takes 1 for
the second, whatever the settings say."""


OBJECTS = (
    "zero_optimization",
    "zero_optimization.offload_optimizer",
    "zero_optimization.offload_param",
    "optimizer",
    "optimizer.params",
    "scheduler",
    "scheduler.params",
    "fp16",
    "bf16",
    "amp",
)
"""Keys with keys below them. DeepSpeed and transformers fail at another value without saying of which key."""


@dataclass
class DeepSpeedFile:
    """What was found in the file: its config, completed, the stage of ZeRO, what is wrong, and what is to be noted."""

    config: dict[str, Any] = field(default_factory=dict)
    stage: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_deepspeed(path: Path, training: TrainingSettings) -> DeepSpeedFile:
    """Read and check a config; what is wrong is told in the result, each with the file's name."""
    found = DeepSpeedFile()
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        found.wrong.append(f"deepspeed: {path}: expected a file of JSON, found: {reason}")
        return found
    if not isinstance(config, dict):
        found.wrong.append(f"deepspeed: {path}: expected a JSON object, found {type(config).__name__}")
        return found
    found.wrong = [f"deepspeed: {path}: {problem}" for problem in _objects(config)]
    if found.wrong:
        return found
    found.config = {**config, **{key: AUTO for key in FILLED if key not in config}}
    zero = _part(config, "zero_optimization")
    found.stage = zero.get("stage", 0)
    wrong = [
        *_matches(config, training),
        *_precision(config, training),
        *_zero(config, zero),
        *_optimizer(config, training),
    ]
    found.wrong = [f"deepspeed: {path}: {problem}" for problem in wrong]
    if "scheduler" in config:
        found.notes.append("the scheduler of the DeepSpeed config is used in place of lr_scheduler_type")
    return found


def _part(config: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Return an object within objects, empty where there is none."""
    for name in names:
        below = config.get(name)
        config = below if isinstance(below, Mapping) else {}
    return config


def _objects(config: Mapping[str, Any]) -> Iterator[str]:
    for key in OBJECTS:
        *parents, last = key.split(".")
        holder = _part(config, *parents)
        none = parents == ["zero_optimization"] and holder.get(last) is None  # DeepSpeed takes null there
        if last in holder and not none and not isinstance(holder[last], Mapping):
            yield f"expected an object as {key}, found {holder[last]!r}; write its keys and values, or leave it out"


def _matches(config: Mapping[str, Any], training: TrainingSettings) -> Iterator[str]:
    """Compare the keys that say again what a setting says: "auto", or the same."""
    same: dict[str, tuple[object, str]] = {
        "train_micro_batch_size_per_gpu": (training.per_device_train_batch_size, "per_device_train_batch_size"),
        "gradient_accumulation_steps": (training.gradient_accumulation_steps, "gradient_accumulation_steps"),
        "gradient_clipping": (training.max_grad_norm, "max_grad_norm"),
        "optimizer.params.lr": (training.learning_rate, "learning_rate"),
        "optimizer.params.betas": ([training.adam_beta1, training.adam_beta2], "adam_beta1 and adam_beta2"),
        "optimizer.params.eps": (training.adam_epsilon, "adam_epsilon"),
        "optimizer.params.weight_decay": (training.weight_decay, "weight_decay"),
        "scheduler.params.warmup_max_lr": (training.learning_rate, "learning_rate"),
        "scheduler.params.warmup_num_steps": (max(1, training.warmup_steps), "warmup_steps, 1 where that is 0"),
    }
    for key, (value, name) in same.items():
        *parents, last = key.split(".")
        found = _part(config, *parents).get(last)
        if found not in (None, AUTO, value):
            yield f'expected {key} "auto" or {value}, as {name} says, found {found!r}; write "auto"'
    for key, why in (
        ("train_batch_size", "it depends on the number of processes"),
        ("scheduler.params.total_num_steps", "it depends on the number of rows"),
    ):
        *parents, last = key.split(".")
        found = _part(config, *parents).get(last)
        if found not in (None, AUTO):
            yield f'expected {key} "auto" or none, as {why}, found {found!r}; write "auto"'


def _precision(config: Mapping[str, Any], training: TrainingSettings) -> Iterator[str]:
    for name in ("fp16", "bf16"):
        enabled = _part(config, name).get("enabled")
        if enabled in (None, AUTO) or (enabled is False and training.precision == 32):
            continue
        why = "precision is 32" if training.precision == 32 else "the machine that trains decides between fp16 and bf16"
        yield f'expected {name}.enabled "auto", as {why}, found {enabled!r}; write "auto"'
    if _part(config, "amp").get("enabled"):
        yield "expected no amp, which needs NVIDIA's apex, found it enabled; use the setting precision"


def _zero(config: Mapping[str, Any], zero: Mapping[str, Any]) -> Iterator[str]:
    stage = zero.get("stage", 0)
    if type(stage) is not int or stage not in range(4):
        yield f"expected zero_optimization.stage 0, 1, 2 or 3, found {stage!r}"
    elif stage == 3 and zero.get("stage3_gather_16bit_weights_on_model_save") is not True:
        yield (
            "expected zero_optimization.stage3_gather_16bit_weights_on_model_save true, found "
            f"{json.dumps(zero.get('stage3_gather_16bit_weights_on_model_save'))}: checkpoints would have no "
            "model.safetensors; set it to true"
        )
    offload = (
        _part(zero, "offload_optimizer").get("device", "none") not in ("none", None) or zero.get("cpu_offload") is True
    )
    if offload and "optimizer" not in config and config.get("zero_force_ds_cpu_optimizer") is not False:
        yield (
            "expected an optimizer, as zero_optimization.offload_optimizer needs DeepSpeed's own, found none; add "
            '"optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": '
            '"auto"}}'
        )


def _optimizer(config: Mapping[str, Any], training: TrainingSettings) -> Iterator[str]:
    if "optimizer" in config and training.optim != "adamw_torch":
        kind = _part(config, "optimizer").get("type")
        yield f"expected no optimizer, as optim is {training.optim}, found {kind!r}; leave out one of the two"


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
