"""The configuration of DeepSpeed: ours, or the user's own, in which "auto" stands for the settings of the run.

A user's config is checked against the settings before any work is done. transformers compares some keys itself, but only
once the model and the data are loaded, in every process at once; other keys fail later still, or make a checkpoint without
weights.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.settings import TrainingSettings

AUTO = "auto"

FILLED = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
"""Keys that are written as "auto" if the file lacks them: DeepSpeed stops without the first, and accelerate takes 1 for
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
"""Keys with keys below them. DeepSpeed and transformers fail at another value without naming the key."""

UNKNOWN_YET = {
    "train_batch_size": "it depends on the number of processes",
    "scheduler.params.total_num_steps": "it depends on the number of rows",
}
"""Keys that only the training can fill in, and why."""


@dataclass
class DeepSpeedFile:
    """A checked config: completed, with its ZeRO stage, the problems and the notes."""

    config: dict[str, Any] = field(default_factory=dict)
    stage: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_deepspeed(path: Path, training: TrainingSettings) -> DeepSpeedFile:
    """Read and check a config; each problem in the result begins with the file's name."""
    checked = DeepSpeedFile()
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        checked.wrong.append(f"deepspeed: {path}: expected a file of JSON, found: {reason}")
        return checked
    if not isinstance(config, dict):
        checked.wrong.append(f"deepspeed: {path}: expected a JSON object, found {type(config).__name__}")
        return checked
    checked.wrong = [f"deepspeed: {path}: {problem}" for problem in _objects(config)]
    if checked.wrong:
        return checked
    checked.config = {**config, **{key: AUTO for key in FILLED if key not in config}}
    checked.stage = _object(config, "zero_optimization").get("stage", 0)
    problems = [
        *_matches(config, training),
        *_precision(config, training),
        *_zero(config),
        *_optimizer(config, training),
    ]
    checked.wrong = [f"deepspeed: {path}: {problem}" for problem in problems]
    if "scheduler" in config:
        checked.notes.append("the scheduler of the DeepSpeed config is used in place of lr_scheduler_type")
    return checked


def _object(config: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Return an object within objects, empty if it is absent."""
    for name in names:
        below = config.get(name)
        config = below if isinstance(below, Mapping) else {}
    return config


def _value(config: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the value of a key such as "optimizer.params.lr", None if it is absent."""
    *parents, last = key.split(".")
    return _object(config, *parents).get(last)


def _objects(config: Mapping[str, Any]) -> Iterator[str]:
    for key in OBJECTS:
        *parents, last = key.split(".")
        holder = _object(config, *parents)
        null = parents == ["zero_optimization"] and holder.get(last) is None  # DeepSpeed takes null there
        if last in holder and not null and not isinstance(holder[last], Mapping):
            yield f"expected an object as {key}, found {holder[last]!r}; write its keys and values, or leave it out"


def _matches(config: Mapping[str, Any], training: TrainingSettings) -> Iterator[str]:
    """Compare the keys that repeat a setting: each has to be "auto" or the setting's value."""
    same: dict[str, tuple[object, str]] = {
        "train_micro_batch_size_per_gpu": (training.per_device_train_batch_size, "per_device_train_batch_size"),
        "gradient_accumulation_steps": (training.gradient_accumulation_steps, "gradient_accumulation_steps"),
        "gradient_clipping": (training.max_grad_norm, "max_grad_norm"),
        "optimizer.params.lr": (training.learning_rate, "learning_rate"),
        "optimizer.params.betas": ([training.adam_beta1, training.adam_beta2], "adam_beta1 and adam_beta2"),
        "optimizer.params.eps": (training.adam_epsilon, "adam_epsilon"),
        "optimizer.params.weight_decay": (training.weight_decay, "weight_decay"),
        "scheduler.params.warmup_max_lr": (training.learning_rate, "learning_rate"),
        "scheduler.params.warmup_num_steps": (max(1, training.warmup_steps), "warmup_steps, or 1 if that is 0"),
    }
    for key, (value, name) in same.items():
        written = _value(config, key)
        if written not in (None, AUTO, value):
            yield f'expected {key} "auto" or {value}, as {name} says, found {written!r}; write "auto"'
    for key, why in UNKNOWN_YET.items():
        written = _value(config, key)
        if written not in (None, AUTO):
            yield f'expected {key} "auto" or none, as {why}, found {written!r}; write "auto"'


def _precision(config: Mapping[str, Any], training: TrainingSettings) -> Iterator[str]:
    for name in ("fp16", "bf16"):
        enabled = _object(config, name).get("enabled")
        if enabled in (None, AUTO) or (enabled is False and training.precision == 32):
            continue
        why = "precision is 32" if training.precision == 32 else "the machine that trains decides between fp16 and bf16"
        yield f'expected {name}.enabled "auto", as {why}, found {enabled!r}; write "auto"'
    if _object(config, "amp").get("enabled"):
        yield "expected no amp, which needs NVIDIA's apex, found it enabled; use the setting precision"


def _zero(config: Mapping[str, Any]) -> Iterator[str]:
    zero = _object(config, "zero_optimization")
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
        _object(zero, "offload_optimizer").get("device", "none") not in ("none", None)
        or zero.get("cpu_offload") is True
    )
    if offload and "optimizer" not in config and config.get("zero_force_ds_cpu_optimizer") is not False:
        yield (
            "expected an optimizer, as zero_optimization.offload_optimizer needs DeepSpeed's own, found none; add "
            '"optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": '
            '"auto"}}'
        )


def _optimizer(config: Mapping[str, Any], training: TrainingSettings) -> Iterator[str]:
    if "optimizer" in config and training.optim != "adamw_torch":
        kind = _object(config, "optimizer").get("type")
        yield f"expected no optimizer, as optim is {training.optim}, found {kind!r}; leave out one of the two"


def default_config(stage: int) -> dict[str, Any]:
    """Return our configuration for a ZeRO stage, 2 or 3.

    It names no optimizer: torch's own then works on the shards, and no operator of DeepSpeed has to be compiled.
    """
    import torch  # two seconds, which a check of a user's config is spared

    zero: dict[str, Any] = {"stage": stage, "overlap_comm": torch.cuda.is_available(), "contiguous_gradients": True}
    if stage == 3:
        zero |= {
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            # Each process has a part of the weights; a checkpoint has all of them.
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


def run_config(file: Path | None, stage: int, lora: bool) -> dict[str, Any]:
    """Return the user's own configuration if there is one, else ours; raises FinetuneError if it cannot be used."""
    if importlib.util.find_spec("deepspeed") is None:
        raise FinetuneError(
            "apply_deepspeed: expected the package deepspeed, found none; train in the environment of fine-tuning "
            "(environment/finetune), or set apply_deepspeed to false"
        )
    config = default_config(stage) if file is None else _read_object(file)
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise FinetuneError(f"{file}: expected a JSON object of DeepSpeed's settings, found {type(zero).__name__}")
    if zero.get("stage") == 3 and lora:
        raise FinetuneError(
            "deepspeed_stage 3: expected apply_lora false, found true: ZeRO 3 shards the frozen weights that LoRA's "
            "checkpoints leave out; set deepspeed_stage to 2, or apply_lora to false"
        )
    if zero.get("stage") == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return config


def _read_object(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError) as exc:
        raise FinetuneError(f"{file}: expected a JSON object of DeepSpeed's settings, found: {exc}") from exc
    if not isinstance(config, dict):
        raise FinetuneError(f"{file}: expected a JSON object of DeepSpeed's settings, found {type(config).__name__}")
    return config


def set_up_deepspeed() -> None:
    """Make DeepSpeed work without a compiler."""
    import deepspeed  # six seconds, which a run without DeepSpeed is spared

    # Sums through shared memory are for inference. They are compiled, and a run that is killed meanwhile leaves a lock
    # behind that every later run waits for.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
