"""The output folder of `python -m finetune.pretrain`: what may be written there, what a run resumes from, what it leaves."""

from __future__ import annotations

import argparse
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

from transformers import BertForMaskedLM, PreTrainedModel

from finetune.checkpoints import TOKENIZER_FILES, last_whole_checkpoint
from finetune.prepared import FinetuneError

FREE_TO_CHANGE = ("model", "text", "output_dir", "resume", "max_steps", "warmup_steps", "precision", "log_to")
"""Options that a resumed run may give anew. The optimizer's state or the held-out lines depend on the others."""


def check_output(args: argparse.Namespace) -> Path | None:
    """Return the checkpoint to resume from, if any; raises FinetuneError where work would be overwritten."""
    folder = args.output_dir
    checkpoint = last_whole_checkpoint(folder / "checkpoints")
    if args.model.resolve() == (folder / "model").resolve():
        raise FinetuneError(f"--output-dir {folder}: expected a folder other than --model's; it would be overwritten")
    begun = next((folder / "checkpoints").glob("checkpoint-*"), None)
    if begun and not args.resume:
        raise FinetuneError(
            f"--output-dir {folder}: expected a folder without checkpoints, found {(checkpoint or begun).name}; give "
            "--resume to go on from it, or another folder"
        )
    if not checkpoint and (folder / "model").exists():
        raise FinetuneError(
            f"--output-dir {folder}: expected a folder without a model, found {folder / 'model'} and no checkpoint "
            "to go on from; give another folder"
        )
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise FinetuneError(f"--output-dir {folder}: expected a folder that can be written to, found: {exc}") from exc
    _check_same_run(args, resuming=checkpoint is not None)
    return checkpoint


def _check_same_run(args: argparse.Namespace, resuming: bool) -> None:
    """Compare the options with those the run was begun with, kept in options.json, and keep them."""
    file = args.output_dir / "options.json"
    options: dict[str, Any] = {name: value for name, value in vars(args).items() if name not in FREE_TO_CHANGE}
    options["tokenizer"] = f"crc32 {zlib.crc32((args.model / 'tokenizer.json').read_bytes()):08x}"
    if resuming and file.is_file():
        for name, begun_with in json.loads(file.read_bytes()).items():
            if options.get(name) != begun_with:
                given = "--model with the tokenizer" if name == "tokenizer" else f"--{name.replace('_', '-')}"
                raise FinetuneError(
                    f"--resume: expected {given} {begun_with} as the run was begun with, found {options.get(name)}; "
                    "give the same, or begin anew in another --output-dir"
                )
        return
    file.write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")


def save_for_serving(model: PreTrainedModel, source: Path, folder: Path) -> None:
    """Write a checkpoint folder in fp16 safetensors with the source's tokenizer beside it, whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.config.architectures = ["BertForMaskedLM"]
    # A name that config.json gave to the model it started from is not this one's.
    vars(model.config).pop("model_name", None)
    half = BertForMaskedLM(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(partial)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, partial / name)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
