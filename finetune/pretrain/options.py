"""The options of `asset pretrain`, their checks, and the output folder.

All checks run before any work starts. The output folder says if a run may write it and from where it resumes.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import BertForMaskedLM, PreTrainedModel

from finetune.checkpoint_files import TOKENIZER_FILES
from finetune.errors import FinetuneError
from finetune.train.checkpoints import last_whole_checkpoint
from finetune.train.training_log import LOG_RECEIVERS
from serving.errors import ModelFolderError
from serving.model.checkpoint import BertConfig, read_config
from serving.model.tokenizer import open_tokenizer

CHECKPOINT_FILES = ("config.json", "model.safetensors", "tokenizer.json")


def number(kind: type[int] | type[float], expected: str, holds: Callable[[float], bool]) -> Callable[[str], float]:
    """Return an argparse type: a finite number for which `holds` is true, refused as "expected …, found …"."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not holds(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
        return value

    return parse


COUNT = number(int, "an integer of 1 or more", lambda n: n >= 1)
COUNT_OR_NONE = number(int, "an integer of 0 or more", lambda n: n >= 0)
POSITIVE = number(float, "a number above 0", lambda x: x > 0)
NOT_NEGATIVE = number(float, "a number of 0 or more", lambda x: x >= 0)
SHARE = number(float, "a share above 0 and below 1", lambda x: 0 < x < 1)
DROPOUT = number(float, "a share of 0 or more and below 1", lambda x: 0 <= x < 1)
SEED = number(int, "an integer from 0 to 4294967295", lambda n: 0 <= n < 2**32)
FRAMED = number(int, "an integer of 3 or more ([CLS], a token, [SEP])", lambda n: n >= 3)
ONE_IN = number(int, "an integer of 2 or more (1 leaves nothing to train on)", lambda n: n >= 2)


def parse_args(argv: list[str] | None, description: str) -> argparse.Namespace:
    """Return the command line's options; exits with status 2 and a message if they make no sense."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("asset pretrain", description=description, formatter_class=formatter)
    _add_files(parser)
    _add_training(parser)
    args = parser.parse_args(argv)
    if args.min_tokens > args.max_length:
        parser.error(
            f"argument --min-tokens: expected at most --max-length, {args.max_length}, found {args.min_tokens}; "
            "no line would be left"
        )
    if args.warmup_steps is None:
        args.warmup_steps = min(200, args.max_steps // 10)
    return args


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--model",
        type=Path,
        required=True,
        help=f"BERT checkpoint folder to start from ({', '.join(CHECKPOINT_FILES)})",
    )
    add(
        "--text",
        type=Path,
        nargs="+",
        required=True,
        help="UTF-8 files with a sentence or a paragraph on each line; .gz and .xz too",
    )
    add("--output-dir", type=Path, required=True, help="gets checkpoints/, logs/ and model/, the best checkpoint")
    add("--resume", action="store_true", help="go on from the last whole checkpoint in the output folder")
    add("--max-steps", type=COUNT, default=5000, help="optimizer steps (%(default)s)")
    add("--eval-steps", type=COUNT, default=250, help="steps between held-out losses and checkpoints (%(default)s)")
    add(
        "--held-out-one-in",
        type=ONE_IN,
        default=200,
        help="hold out one line in N, chosen by its content; keep N the same from run to run (%(default)s)",
    )
    add(
        "--log-to",
        choices=LOG_RECEIVERS,
        default="tensorboard",
        help="tensorboard: logs/ in the output folder; mlflow: the store of MLFLOW_TRACKING_URI (%(default)s)",
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batch-size", type=COUNT, default=96, help="rows a step (%(default)s)")
    add("--max-length", type=FRAMED, default=64, help="tokens a row; longer lines are cut (%(default)s)")
    add("--min-tokens", type=FRAMED, default=8, help="shorter lines are left out (%(default)s)")
    add(
        "--mlm-probability",
        type=SHARE,
        default=0.15,
        help="share of tokens predicted, 80 %% of them [MASK], 10 %% random, 10 %% kept (%(default)s)",
    )
    add("--whole-words", action="store_true", help="hide all pieces of a word together")
    add("--learning-rate", type=POSITIVE, default=4e-4, help="peak rate (%(default)s)")
    add("--lr-schedule", choices=["cosine", "linear", "constant_with_warmup"], default="cosine", help="(%(default)s)")
    add("--warmup-steps", type=COUNT_OR_NONE, help="(200, or a tenth of a short run's steps)")
    add("--weight-decay", type=NOT_NEGATIVE, default=0.01, help="(%(default)s)")
    add("--dropout", type=DROPOUT, default=0.0, help="none by default, because a short run underfits (%(default)s)")
    add("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="auto: bf16 if the hardware has it")
    add("--seed", type=SEED, default=17, help="(%(default)s)")


def check_model(folder: Path, max_length: int) -> Tokenizer:
    """Return the tokenizer of a checkpoint folder that can be trained and served; raises FinetuneError otherwise."""
    missing = [name for name in CHECKPOINT_FILES if not (folder / name).is_file()]
    if missing:
        found = f"no {', '.join(missing)}" if folder.is_dir() else "no such folder"
        inner = folder / "model"
        fix = f"give {inner}" if (inner / "config.json").is_file() else "give the folder of a saved checkpoint"
        raise FinetuneError(f"--model {folder}: expected {', '.join(CHECKPOINT_FILES)}, found {found}; {fix}")
    try:
        described = read_config(folder)
        kind = described.get("model_type", "bert")
        if kind != "bert":  # a DistilBERT can be served, but this command trains a BertForMaskedLM
            raise FinetuneError(f"--model {folder}: config.json: expected model_type 'bert', found {kind!r}")
        config = BertConfig.from_json(described)
        tokenizer = open_tokenizer(folder / "tokenizer.json", config.vocab_size)
    except ModelFolderError as exc:
        raise FinetuneError(f"--model {folder}: {exc}") from exc
    if max_length > config.max_positions:
        raise FinetuneError(
            f"--max-length {max_length}: expected at most the model's {config.max_positions} positions; give --max-length "
            f"{config.max_positions} or less"
        )
    # A text that speaks of "[SEP]" or "[MASK]" means the characters, not a border or a hidden word.
    tokenizer.encode_special_tokens = True
    return tokenizer


FREE_TO_CHANGE = ("model", "text", "output_dir", "resume", "max_steps", "warmup_steps", "precision", "log_to")
"""Options that a resumed run may give anew. The optimizer's state or the held-out lines depend on the others."""


def check_output(args: argparse.Namespace) -> Path | None:
    """Return the checkpoint to resume from, if any; raises FinetuneError if earlier work would be overwritten."""
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
    """Compare the options with those in options.json, which the first start of the run wrote; write them if there are none."""
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
    # The name in config.json is the base model's, not the trained model's.
    vars(model.config).pop("model_name", None)
    half = BertForMaskedLM(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(partial)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, partial / name)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
