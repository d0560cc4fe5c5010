"""What training is timed beside: transformers' Trainer as its documentation sets it up, on the same rows.

python -m benchmarks.plain_training --model DIR --data FILE.jsonl --batch-size 16 --steps 40 --threads 2
-> {"tokens_per_second": 812.5}     fp32, the default attention, rows in random order, padded a batch
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def train(model: Path, rows: Sequence[dict[str, str]], batch_size: int, steps: int, threads: int) -> float:
    """Return the non-padding tokens a second of a training of so many steps."""
    import torch
    import transformers
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(model)
    labels = sorted({row["label"] for row in rows})
    encoded = tokenizer([row["text"] for row in rows], truncation=True)
    data: list[dict[str, Any]] = [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels.index(row["label"])}
        for ids, row in zip(encoded.input_ids, rows, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=AutoModelForSequenceClassification.from_pretrained(
                model, num_labels=len(labels), dtype=torch.float32
            ),
            args=TrainingArguments(
                output_dir=folder,
                use_cpu=not torch.cuda.is_available(),
                per_device_train_batch_size=batch_size,
                max_steps=steps,
                learning_rate=5e-5,
                save_strategy="no",
                report_to="none",
                logging_strategy="no",
                disable_tqdm=True,
                include_num_input_tokens_seen="non_padding",
            ),
            data_collator=DataCollatorWithPadding(tokenizer),
            train_dataset=data,
        )
        seconds = trainer.train().metrics["train_runtime"]
    return trainer.state.num_input_tokens_seen / seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.plain_training")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    for name in ("--batch-size", "--steps", "--threads"):
        parser.add_argument(name, type=int, required=True)
    args = parser.parse_args(argv)
    rows = [json.loads(line) for line in args.data.read_text(encoding="utf-8").splitlines()]
    speed = train(args.model, rows, args.batch_size, args.steps, args.threads)
    sys.stdout.write(json.dumps({"tokens_per_second": speed}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
