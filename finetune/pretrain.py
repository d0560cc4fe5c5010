"""Masked-language-model training of a BERT checkpoint on your own text files.

    python -m finetune.pretrain --model model/embedded --text notes.txt --output-dir runs/notes

reads text, one sentence or paragraph a line, carries on from the checkpoint and leaves in `runs/notes/model` the best
one by held-out loss: a folder that `score.py` serves. Stopped at any moment, the same command with `--resume` goes on
from its last whole checkpoint.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import BertForMaskedLM, EvalPrediction, Trainer, TrainingArguments
from transformers.modeling_outputs import MaskedLMOutput

from finetune.masked_text import (
    IGNORED,
    Masking,
    MaskingCollator,
    TextError,
    encode,
    is_held_out,
    masked_once,
    pack,
    read_lines,
)

HELD_OUT_ROWS = 512
"""Rows the held-out loss is measured on at most: about 33,000 tokens, 5,000 of them masked, in a few seconds."""


class MaskedPositionsBert(BertForMaskedLM):
    """BertForMaskedLM whose vocabulary head sees the masked positions only: a seventh of the work in its largest layer."""

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **inputs: torch.Tensor) -> MaskedLMOutput:  # type: ignore[override]
        """Return the mean loss over masked positions and, as `logits`, whether each was guessed right [masked]."""
        # Additive, not boolean: eager attention is the fast one here (see load_model) and adds its mask.
        dtype = torch.bfloat16 if torch.is_autocast_enabled(input_ids.device.type) else torch.float32
        seen = inputs.pop("attention_mask")
        bias = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)
        hidden = self.bert(input_ids, attention_mask=bias, **inputs).last_hidden_state
        masked = labels != IGNORED
        logits = self.cls(hidden[masked])
        loss = nn.functional.cross_entropy(logits, labels[masked])
        return MaskedLMOutput(loss=loss, logits=logits.detach().argmax(-1) == labels[masked])


def load_model(folder: str, dropout: float) -> MaskedPositionsBert:
    """Load a BERT checkpoint in fp32 with its dropout replaced."""
    # Eager: the backward of torch's fused CPU attention took 48 ms a layer for 12 heads of 32, eager 6 ms.
    model = MaskedPositionsBert.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return model


def keep_freed_memory() -> None:
    """Make glibc reuse the large buffers of a step instead of returning them to the system: a fifth off a CPU step."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**29)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(parameter, value)


def build_rows(args: argparse.Namespace, tokenizer: Tokenizer) -> tuple[Any, Any]:
    """Read the text files and return (training rows, held-out rows), both packed."""
    train: list[str] = []
    held_out: list[str] = []
    for line in read_lines(args.text):
        (held_out if is_held_out(line, args.held_out_one_in) else train).append(line)
    sides = {"training": train, "held-out": sorted(set(held_out))}
    rows = {}
    for side, lines in sides.items():
        sequences = encode(tokenizer, lines, args.max_length, args.min_tokens)
        if not sequences:
            raise TextError(
                f"no {side} text: expected lines of at least {args.min_tokens} tokens, found {len(lines)} lines, none long "
                "enough; give more text, or lower --min-tokens or --held-out-one-in"
            )
        rows[side] = pack(sequences, args.max_length, tokenizer.token_to_id("[PAD]"), args.seed)
    return rows["training"], rows["held-out"][:HELD_OUT_ROWS]


def training_arguments(args: argparse.Namespace) -> TrainingArguments:
    """Translate our options to the Trainer's."""
    on_cpu = not torch.cuda.is_available()
    bf16_here = torch.ops.mkldnn._is_mkldnn_bf16_supported() if on_cpu else torch.cuda.is_bf16_supported()
    return TrainingArguments(
        output_dir=str(args.output_dir / "checkpoints"),
        use_cpu=on_cpu,
        bf16=bf16_here if args.precision == "auto" else args.precision == "bf16",
        max_steps=args.max_steps,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        lr_scheduler_type=args.lr_schedule,
        warmup_steps=args.warmup_steps,
        weight_decay=args.weight_decay,
        adam_beta2=0.98,
        adam_epsilon=1e-6,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        eval_strategy="steps",
        eval_steps=args.eval_steps,
        save_steps=args.eval_steps,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        logging_steps=min(50, args.eval_steps),
        report_to=["tensorboard"],
        seed=args.seed,
        dataloader_pin_memory=not on_cpu,
    )


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end: trainer_state.json is what the Trainer writes last."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def guessed_right(prediction: EvalPrediction) -> dict[str, float]:
    """Held-out masked-token accuracy, from what MaskedPositionsBert returns as `logits`."""
    return {"masked_accuracy": float(np.mean(prediction.predictions))}


def save_for_serving(model: MaskedPositionsBert, source: Path, folder: Path) -> None:
    """Write a checkpoint folder in fp16 safetensors with the source's tokenizer beside it."""
    model.config.architectures = ["BertForMaskedLM"]
    half = BertForMaskedLM(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())


def train(args: argparse.Namespace) -> dict[str, float]:
    """Train, keep the best checkpoint by held-out loss, write it to `output_dir/model`; return its held-out metrics."""
    keep_freed_memory()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    train_rows, held_out = build_rows(args, tokenizer)
    masking = Masking(args.mlm_probability, whole_words=args.whole_words)
    trainer = Trainer(
        model=load_model(str(args.model), args.dropout),
        args=training_arguments(args),
        data_collator=MaskingCollator(tokenizer, masking, args.seed),
        train_dataset=[{"input_ids": row} for row in train_rows],
        eval_dataset=masked_once(held_out, MaskingCollator(tokenizer, masking, seed=0)),
        compute_metrics=guessed_right,
    )
    checkpoint = last_whole_checkpoint(args.output_dir / "checkpoints") if args.resume else None
    if checkpoint is None:
        trainer.evaluate()  # where it starts from, so that the gain can be read off the log
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    metrics = trainer.evaluate()
    save_for_serving(trainer.model, args.model, args.output_dir / "model")
    return metrics


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's options; exits 2 with a message where they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m finetune.pretrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", type=Path, required=True, help="checkpoint folder to start from (config.json, model.safetensors, tokenizer.json)")
    add("--text", type=Path, nargs="+", required=True, help="UTF-8 text files, one sentence or paragraph a line; .gz and .xz too")
    add("--output-dir", type=Path, required=True, help="gets checkpoints/ (with TensorBoard logs) and model/, the best one")
    add("--resume", action="store_true", help="go on from the last whole checkpoint in the output folder")
    add("--max-steps", type=int, default=5000, help="optimizer steps (%(default)s)")
    add("--batch-size", type=int, default=96, help="rows a step (%(default)s)")
    add("--max-length", type=int, default=64, help="tokens a row; lines are packed into rows, longer ones cut (%(default)s)")
    add("--min-tokens", type=int, default=8, help="shorter lines are left out (%(default)s)")
    add("--mlm-probability", type=float, default=0.15, help="share of tokens predicted; 80 %% of them [MASK], 10 %% random, 10 %% kept")
    add("--whole-words", action="store_true", help="hide all pieces of a word together")
    add("--learning-rate", type=float, default=4e-4, help="peak rate (%(default)s)")
    add("--lr-schedule", choices=["cosine", "linear", "constant_with_warmup"], default="cosine", help="(%(default)s)")
    add("--warmup-steps", type=int, default=200, help="(%(default)s)")
    add("--weight-decay", type=float, default=0.01, help="(%(default)s)")
    add("--dropout", type=float, default=0.0, help="while training; none by default, as a short run underfits (%(default)s)")
    add("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="auto: bf16 where the hardware has it")
    add("--eval-steps", type=int, default=250, help="steps between held-out evaluations and checkpoints (%(default)s)")
    add("--held-out-one-in", type=int, default=200, help="one line in so many is held out, chosen by its content (%(default)s)")
    add("--seed", type=int, default=17, help="(%(default)s)")
    return parser.parse_args(argv)


def main() -> int:
    """Run from the command line; exit status 1 and one line where the text cannot be used."""
    args = parse_args()
    try:
        metrics = train(args)
    except TextError as exc:
        sys.stderr.write(f"pretrain: {exc}\n")
        return 1
    sys.stdout.write(f"held-out loss {metrics['eval_loss']:.3f}, masked-token accuracy {metrics['eval_masked_accuracy']:.3f}: {args.output_dir / 'model'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
