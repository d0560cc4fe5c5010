"""Train a model on prepared data: the second of fine-tuning's three steps.

    python -m finetune.train --prepared prepared --pytorch-model-folder model

It runs alone, or as one of several processes that torchrun, Azure ML or the local runner have started. If it was stopped,
the same command continues from the last complete checkpoint, provided the settings say resume_from_checkpoint.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from finetune.errors import FinetuneError
from finetune.prepare.prepared import PreparedFolder
from finetune.train.processes import Processes, precision_of


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; exit status 1 and one line if training cannot start or continue."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m finetune.train", description=__doc__, formatter_class=formatter)
    parser.add_argument("--prepared", type=Path, required=True, help="what finetune.prepare has written")
    parser.add_argument("--pytorch-model-folder", type=Path, required=True, help="where the trained model goes")
    args = parser.parse_args(argv)
    first = os.environ.get("RANK", "0") == "0"
    try:
        processes = Processes.from_env(os.environ)
        prepared = PreparedFolder(args.prepared)
        settings = prepared.settings()
        precision = precision_of(settings.training.precision)
        # torch and transformers take seconds to load, so they are imported only after the checks.
        from finetune.train.output_folder import OutputFolder
        from finetune.train.training import Run, train

        run = Run(prepared, settings, OutputFolder(args.pytorch_model_folder), precision, processes)
        found = train(run)
    except (FinetuneError, OSError) as exc:
        if first:
            sys.stderr.write(f"train: {exc}\n")
        return 1
    except KeyboardInterrupt:
        if first:
            fix = "the same with resume_from_checkpoint true goes on from the last checkpoint"
            sys.stderr.write(f"train: stopped; {fix}\n")
        return 130
    if first and found is not None:
        best = found["best"]
        figures = ", ".join(f"{name} {value:.3f}" for name, value in best["metrics"].items())
        sys.stdout.write(f"best at step {best['step']}: {figures}: {args.pytorch_model_folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
