"""Masked-language-model training of a BERT checkpoint on your own text files.

    asset pretrain --model model/embedded --text notes.txt --output-dir runs/notes

reads text, with a sentence or a paragraph on each line, and trains the checkpoint further. `runs/notes/model` is the best
checkpoint by held-out loss: a folder that `score.py` serves. If the run was stopped, the same command with `--resume`
continues from the last complete checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers import BertForMaskedLM, EvalPrediction, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.modeling_outputs import MaskedLMOutput

from finetune.errors import FinetuneError
from finetune.pretrain.masked_text import (
    IGNORED,
    Masking,
    MaskingCollator,
    Rows,
    encode,
    is_held_out,
    masked_once,
    pack,
    read_lines,
    without_seen,
)
from finetune.pretrain.options import check_model, check_output, parse_args, save_for_serving
from finetune.train.checkpoints import BestInThisFolder, CheckpointingTrainer, best_checkpoint, step_of
from finetune.train.processes import has_bf16, keep_freed_memory
from finetune.train.training_log import ConciseProgress, check_logging, log_receivers, say

HELD_OUT_ROWS = 512
"""Rows the held-out loss is measured on at most: about 33,000 tokens, 5,000 of them masked, in a few seconds."""


class MaskedPositionsBert(BertForMaskedLM):
    """BertForMaskedLM whose vocabulary head computes the masked positions only, a seventh of the work of its largest layer."""

    accepts_loss_kwargs = False  # the loss is a batch's own mean; the Trainer would scale it by the number of processes

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **inputs: torch.Tensor) -> MaskedLMOutput:
        """Return the mean loss over masked positions; when evaluating, as `logits`, [rows, (guessed right, masked)]."""
        # Additive, not boolean: eager attention is the fastest here (see load_model), and it adds the mask.
        dtype = torch.bfloat16 if torch.is_autocast_enabled(input_ids.device.type) else torch.float32
        seen = inputs.pop("attention_mask")
        bias = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)
        hidden = self.bert(input_ids, attention_mask=bias, **inputs).last_hidden_state
        masked = labels != IGNORED
        logits = self.cls(hidden[masked])
        # Not the mean of cross_entropy: a small batch can be without a masked position, and 0 / 0 is not a loss.
        loss = nn.functional.cross_entropy(logits, labels[masked], reduction="sum") / masked.sum().clamp(min=1)
        if not loss.isfinite():
            raise FinetuneError(
                f"expected a finite loss, found {loss.item()}: training has diverged; what was saved before is kept; "
                "begin anew in another --output-dir with a lower --learning-rate or more --warmup-steps"
            )
        if self.training:
            return MaskedLMOutput(loss=loss)
        right = torch.zeros_like(masked)
        right[masked] = logits.argmax(-1) == labels[masked]
        return MaskedLMOutput(loss=loss, logits=torch.stack((right.sum(1), masked.sum(1)), 1))


def guessed_right(prediction: EvalPrediction) -> dict[str, float]:
    """Return the held-out masked-token accuracy, from the `logits` of MaskedPositionsBert."""
    right, masked = prediction.predictions.sum(0)
    return {"masked_accuracy": float(right / max(masked, 1))}


def load_model(folder: Path, dropout: float) -> MaskedPositionsBert:
    """Load a BERT checkpoint in fp32 with its dropout replaced; raises FinetuneError if its weights do not fit."""
    # Eager: the backward of torch's fused CPU attention took 48 ms a layer for 12 heads of 32, eager 6 ms.
    try:
        model = MaskedPositionsBert.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    except (OSError, RuntimeError, ValueError, SafetensorError) as exc:
        raise FinetuneError(
            f"{folder}: expected the weights that config.json describes, found: {exc}; fetch the checkpoint again"
        ) from exc
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    # A tied decoder is not saved twice; without this the Trainer warns that it is missing from the best checkpoint.
    model._keys_to_ignore_on_save = set(model.all_tied_weights_keys)
    return model


def build_rows(args: argparse.Namespace, tokenizer: Tokenizer) -> tuple[Rows, Rows]:
    """Read the text files and return (training rows, held-out rows), both packed."""
    train: list[str] = []
    held_out: list[str] = []
    for line in read_lines(args.text):
        (held_out if is_held_out(line, args.held_out_one_in) else train).append(line)
    sides = {"training": train, "held-out": sorted(set(held_out))}
    sequences = {side: encode(tokenizer, lines, args.max_length, args.min_tokens) for side, lines in sides.items()}
    sequences["held-out"] = without_seen(sequences["held-out"], sequences["training"])
    for side, lines in sides.items():
        if not sequences[side]:
            raise FinetuneError(
                f"no {side} text: expected lines of at least {args.min_tokens} tokens, found {len(lines)} lines, none "
                "long enough or unlike the others; give more text, or lower --min-tokens or --held-out-one-in"
            )
    pad_id = tokenizer.token_to_id("[PAD]")
    rows = {side: pack(found, args.max_length, pad_id, args.seed) for side, found in sequences.items()}
    return rows["training"], rows["held-out"][:HELD_OUT_ROWS]


def training_arguments(args: argparse.Namespace) -> TrainingArguments:
    """Translate our options to the Trainer's."""
    on_cpu = not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(args.output_dir / "checkpoints"),
        use_cpu=on_cpu,
        bf16=has_bf16() if args.precision == "auto" else args.precision == "bf16",
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
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        logging_steps=min(50, args.eval_steps),
        report_to="none",
        seed=args.seed,
        dataloader_pin_memory=not on_cpu,
    )


def make_trainer(args: argparse.Namespace, tokenizer: Tokenizer, weights: Path) -> Trainer:
    """Read the weights, then the text: a damaged checkpoint is found in a second, a large text takes minutes."""
    torch.manual_seed(args.seed)  # for the head, if the checkpoint has none
    model = load_model(weights, args.dropout)
    masking = Masking(args.mlm_probability, whole_words=args.whole_words)
    collator, eval_collator = (MaskingCollator(tokenizer, masking, seed) for seed in (args.seed, 0))
    train_rows, held_out = build_rows(args, tokenizer)
    keep_freed_memory()  # after the text is read: its memory should go back to the system
    trainer = CheckpointingTrainer(
        model=model,
        args=training_arguments(args),
        data_collator=collator,
        train_dataset=[{"input_ids": row} for row in train_rows],
        eval_dataset=masked_once(held_out, eval_collator),
        compute_metrics=guessed_right,
        callbacks=[BestInThisFolder()],
    )
    trainer.keep = 2
    trainer.remove_callback(ProgressCallback)
    return trainer


def train(args: argparse.Namespace) -> dict[str, float]:
    """Train, keep the best checkpoint by held-out loss, write it to `output_dir/model`; return its held-out metrics."""
    check_logging(args.log_to)
    tokenizer = check_model(args.model, args.max_length)
    checkpoint = check_output(args)
    transformers.utils.logging.disable_progress_bar()  # a bar for each of the two seconds that files take
    done = step_of(checkpoint) if checkpoint else 0
    if done >= args.max_steps:
        say(f"{checkpoint}: no step is left of --max-steps {args.max_steps}; writing the best checkpoint")
        trainer = make_trainer(args, tokenizer, best_checkpoint(checkpoint))
    else:
        if args.resume:
            say(f"going on from {checkpoint}" if checkpoint else f"nothing to resume in {args.output_dir}: starting")
        trainer = make_trainer(args, tokenizer, checkpoint or args.model)
        run(trainer, checkpoint, log_receivers(args.log_to, args.output_dir / "logs"))
    metrics = trainer.evaluate()
    if trainer.is_world_process_zero():
        save_for_serving(trainer.model, args.model, args.output_dir / "model")
    return metrics


def run(trainer: Trainer, checkpoint: Path | None, receivers: list[TrainerCallback]) -> None:
    """Train from the start or a checkpoint; the best checkpoint's weights are in the trainer afterwards."""
    progress = ConciseProgress({"eval_loss": "held-out loss", "eval_masked_accuracy": "masked-token accuracy"})
    for receiver in (progress, *receivers):
        trainer.add_callback(receiver)
    try:
        if checkpoint is None:
            trainer.evaluate()  # the loss at the start, so that the log shows the gain
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        progress.close()
        # The best checkpoint's figures are logged, at its own step; a later entry would open a second MLflow run.
        for receiver in (progress, *receivers):
            trainer.remove_callback(receiver)


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; exit status 1 and one line if training cannot start or continue."""
    args = parse_args(argv, __doc__)
    try:
        metrics = train(args)
    except FinetuneError as exc:
        sys.stderr.write(f"pretrain: {exc}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("pretrain: stopped; the same command with --resume goes on from the last checkpoint\n")
        return 130
    sys.stdout.write(
        f"held-out loss {metrics['eval_loss']:.3f}, masked-token accuracy {metrics['eval_masked_accuracy']:.3f}: "
        f"{args.output_dir / 'model'}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
