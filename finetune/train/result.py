"""The result of a training run: the best checkpoint as a plain Hugging Face folder, its adapter, and training.json.

One process makes all of it from a checkpoint's files, in which the weights are complete and in fp32, even with DeepSpeed.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from transformers import PreTrainedModel

from finetune.checkpoint_files import TOKENIZER_FILES
from finetune.errors import FinetuneError
from finetune.prepare.prepared import PreparedFolder, Settings
from finetune.train.checkpoints import writing
from finetune.train.output_folder import OutputFolder
from finetune.train.processes import Precision
from finetune.train.task_model import load, quiet, read_config, with_lora
from tables.disk import write_whole

PACKAGES = ("torch", "transformers", "accelerate", "peft", "deepspeed", "tokenizers", "safetensors")


def best_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return the best step and its metrics, from trainer_state.json."""
    step = state["best_global_step"]
    entry = next(entry for entry in state["log_history"] if entry["step"] == step and "eval_loss" in entry)
    speeds = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
    metrics = {name.removeprefix("eval_"): value for name, value in entry.items() if name.startswith("eval_")}
    measured = {name: value for name, value in metrics.items() if name not in speeds}
    return {"step": step, "epoch": entry["epoch"], "metrics": measured}


def write_model(prepared: PreparedFolder, settings: Settings, output: OutputFolder, best: Path, halves: bool) -> None:
    """Write a checkpoint's model, and its adapter beside it; `halves`: DeepSpeed trained it in 16 bits.

    If LoRA is not to be merged, only the adapter is written.
    """
    training = settings.training
    model = load(prepared, settings, read_config(prepared, settings)).model
    if training.apply_lora:
        adapted = with_lora(model, settings)
        _load_adapter(adapted, best, halves)
        folder = output.path / "adapter" if training.merge_lora_weights else output.path
        with quiet(), writing(output.path):
            adapted.save_pretrained(folder)
        _name_base(folder / "adapter_config.json", settings.base.name)
        (folder / "README.md").unlink(missing_ok=True)  # a model card that is empty but for its headings
        model = adapted.merge_and_unload() if training.merge_lora_weights else None
    else:
        _load_whole(model, best, halves)
    if model is not None:
        with quiet(), writing(output.path):
            model.save_pretrained(output.path)
    for name in TOKENIZER_FILES:
        if (prepared.model / name).is_file():
            shutil.copyfile(prepared.model / name, output.path / name)


def _name_base(file: Path, name: str) -> None:
    """Replace the base model's path in this run by its name; peft reads it when it saves."""
    config = json.loads(file.read_bytes())
    file.write_text(json.dumps({**config, "base_model_name_or_path": name}, indent=2) + "\n", encoding="utf-8")


def _load_adapter(adapted: torch.nn.Module, best: Path, halves: bool) -> None:
    from peft import load_peft_weights, set_peft_model_state_dict

    if halves:
        _check(adapted.load_state_dict(_master_weights(best), strict=False).unexpected_keys, best)
        return
    found = set_peft_model_state_dict(adapted, load_peft_weights(str(best), device="cpu"))
    _check(found.unexpected_keys, best)


def _load_whole(model: PreTrainedModel, best: Path, halves: bool) -> None:
    weights = _master_weights(best) if halves else load_file(best / "model.safetensors")
    found = model.load_state_dict(weights, strict=False)
    _check([*found.unexpected_keys, *found.missing_keys], best)


def _check(differ: list[str], best: Path) -> None:
    if differ:
        raise FinetuneError(f"{best}: expected the weights of the model that was trained, found others: {differ[:3]}")


def _master_weights(best: Path) -> dict[str, torch.Tensor]:
    """Return the fp32 weights that DeepSpeed's optimizer keeps beside the 16-bit weights."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    with contextlib.redirect_stdout(io.StringIO()):
        return get_fp32_state_dict_from_zero_checkpoint(str(best))


def write_training(
    output: OutputFolder, state: dict[str, Any], seconds: float, precision: Precision, processes: int
) -> dict[str, Any]:
    """Write training.json, the last of the folder's files; return its content."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    found = {
        "best": best_of(state),
        "history": state["log_history"],
        "seconds": round(seconds, 3),
        "tokens_per_second": round(state["num_input_tokens_seen"] / seconds, 1) if seconds else 0.0,
        "device": device,
        "precision": precision,
        "processes": processes,
        "versions": versions(),
    }
    write_whole(output.training, json.dumps(found, indent=2) + "\n")
    return found


def versions() -> dict[str, str]:
    """Return the versions of the packages that trained."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found | {"transformers": transformers.__version__}
