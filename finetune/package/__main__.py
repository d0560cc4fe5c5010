r"""Package a tuned model: an MLflow folder with its card, checked on the engine that serves it.

    python -m finetune.package --prepared PREPARED --pytorch-model-folder TRAINED \
        --mlflow-model-folder MODEL --metrics METRICS

With apply_ort, the model is compiled as score.py compiles it: in fp32, and in int8 if the CPU is made for it. The figures
on all validation rows are compared with those of transformers in fp32. The command fails if a figure falls by more than
0.1 points in fp32 or 2 points in int8, or by more than one row can move it, if that is more. The public component's
apply_ort is different: it trains with ONNX Runtime (onnxruntime-training, whose last release is 1.19.2 and whose module
name is onnxruntime's). Ours checks the model that is served.

An adapter (merge_lora_weights false) is merged into the base model here. MLmodel is written last.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evaluation.errors import TrackingError
from evaluation.predict.predictor import settings_for
from evaluation.report.metrics_file import track
from evaluation.report.number_format import interval, quantity
from finetune.errors import FinetuneError
from finetune.package import metrics_file
from finetune.package.compiled_check import CompiledCheck, check, failed
from finetune.package.mlflow_folder import check_output, publish, stage
from finetune.package.model_card import card
from finetune.package.tuned_model import TunedModel, check_checkpoint, read_tuned
from finetune.prepare.prepared import PreparedFolder, Settings
from finetune.train.task_model import merge
from serving.errors import ModelFolderError, SettingsError


def run(args: argparse.Namespace) -> None:
    """Package the model; raises FinetuneError, SettingsError, TrackingError or OSError."""
    prepared = PreparedFolder(args.prepared)
    settings = prepared.settings()
    if "validation" not in settings.data:
        raise FinetuneError(f"{prepared.path}: expected validation rows, found none; prepare the data again")
    tuned = read_tuned(args.pytorch_model_folder)
    check_output(args.mlflow_model_folder)
    settings_for("cpu", "fp32", None)  # a wrong environment variable of serving is reported now, not after the work
    with tempfile.TemporaryDirectory(prefix="package-") as made:
        work = Path(made)
        checkpoint = _checkpoint(prepared, settings, tuned, work / "merged")
        check_checkpoint(checkpoint, settings)
        staged = work / "model"
        staged.mkdir()
        stage(tuned, checkpoint, settings, staged)
        found = _checked(staged, prepared, settings, work / "compiled")
        metrics = metrics_file.of_model(settings, tuned.training, found)
        everything = [*metrics, *(metrics_file.of_check(found) if found else [])]
        file = metrics_file.write(metrics_file.document(settings, everything, found), args.metrics)
        for metric in everything:
            value = quantity(metric.value, metric.unit)
            sys.stdout.write(f"{metric.name:32}{value:>14}   {interval(metric.low, metric.high, metric.unit)}".rstrip())
            sys.stdout.write("\n")
        if not (found and found.failures):
            (staged / "README.md").write_text(card(prepared, settings, tuned, metrics, found), encoding="utf-8")
            publish(staged, args.mlflow_model_folder)
    track([metric.model_dump() for metric in everything], [file])
    if found and found.failures:
        raise FinetuneError(failed(found))


def _checkpoint(prepared: PreparedFolder, settings: Settings, tuned: TunedModel, to: Path) -> Path:
    """Return the folder of the whole model; an adapter alone is merged with its base model into `to`."""
    if not tuned.is_adapter:
        return tuned.path
    to.mkdir()
    logging.info("merging the adapter into %s", settings.base.name)
    merge(prepared.model, tuned.path, settings, to)
    return to


def _checked(staged: Path, prepared: PreparedFolder, settings: Settings, cache: Path) -> CompiledCheck | None:
    if not settings.training.apply_ort:
        logging.info("apply_ort is off: the compiled model is not checked")
        return None
    found = check(staged, prepared, settings, cache)
    for note in found.notes:
        logging.info("%s", note)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; exit status 1 and one line if an input cannot be used, 130 if stopped."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        run(args)
    except (FinetuneError, ModelFolderError, SettingsError, TrackingError) as exc:
        sys.stderr.write(f"package: {exc}\n")
        return 1
    except OSError as exc:
        place = exc.filename or "a file"
        sys.stderr.write(f"package: {place}: expected a file that can be used, found: {exc.strerror or exc}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("package: stopped\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m finetune.package", description=__doc__, formatter_class=formatter)
    parser.add_argument("--prepared", type=Path, required=True, help="the folder that finetune.prepare wrote")
    parser.add_argument("--pytorch-model-folder", type=Path, required=True, help="the folder that finetune.train wrote")
    parser.add_argument("--mlflow-model-folder", type=Path, required=True, help="folder for the model")
    parser.add_argument("--metrics", type=Path, required=True, help="folder for metrics.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
