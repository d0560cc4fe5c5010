"""Move the encoder of a masked language model a part of the way to another encoder, weight by weight.

    asset interpolate --model runs/notes/model --toward model/embedded --share 0.3 --output-dir runs/mixed

makes each weight of the encoder 0.7 of the first model's and 0.3 of the second's. Further training makes a model forget;
a share of the original model restores some of that, often without a loss of new knowledge: linear interpolation of
weights, as in WiSE-FT (Wortsman et al. 2022, https://arxiv.org/abs/2109.01903). Both models must have the same shape, and one
must be trained from the other. The masked-word head is the first model's, so the second may be an encoder alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import BertForMaskedLM, BertModel, PreTrainedModel

from finetune.errors import FinetuneError
from finetune.pretrain.options import check_model, save_for_serving
from finetune.train.task_model import quiet


def interpolate(model: Path, toward: Path, share: float, output: Path) -> None:
    """Write a model between two models: (1 - share) of the first encoder plus share of the second.

    Args:
        model: a folder of a BERT with a masked-word head; the result has its head and its tokenizer.
        toward: a folder of a BERT of the same shape, with any head or none.
        share: from 0, the first model, to 1.
        output: a new folder, with fp16 safetensors that score.py serves.

    Raises:
        FinetuneError: a folder has no suitable model, the models differ in shape, or the output exists.
    """
    if not 0 <= share <= 1:
        raise FinetuneError(f"--share: expected a number from 0 to 1, found {share}")
    if output.exists():
        raise FinetuneError(f"--output-dir: expected a folder that is not there yet, found {output}; name another")
    check_model(model, max_length=0)
    mixed = _load(BertForMaskedLM, model, "--model")
    other = _load(BertModel, toward, "--toward", add_pooling_layer=False).state_dict()
    for name, weight in mixed.bert.state_dict().items():
        if name not in other or other[name].shape != weight.shape:
            found = f"{list(other[name].shape)}" if name in other else "none"
            raise FinetuneError(
                f"--toward {toward}: expected {name} of {list(weight.shape)} as in --model, found {found}"
            )
        weight.lerp_(other[name], share)
    save_for_serving(mixed, model, output)


def _load(kind: type[PreTrainedModel], folder: Path, option: str, **options: bool) -> PreTrainedModel:
    """Load a model's weights in fp32; some that the folder lacks are an error, and not drawn at random."""
    try:
        model, report = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as exc:
        raise FinetuneError(f"{option} {folder}: expected a BERT in safetensors, found: {exc}; name another") from exc
    if missing := sorted(report["missing_keys"]):
        raise FinetuneError(
            f"{option} {folder}: expected the weights of a {kind.__name__}, found no {', '.join(missing)}"
        )
    return model


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; exit status 1 and one line if the models cannot be interpolated."""
    parser = argparse.ArgumentParser(
        prog="asset interpolate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the model that has the masked-word head")
    parser.add_argument("--toward", type=Path, required=True, help="folder of the model that it moves to")
    parser.add_argument("--share", type=float, required=True, help="the part of the way: 0 is --model, 1 is --toward")
    parser.add_argument("--output-dir", type=Path, required=True, help="the folder to write; it must not exist")
    args = parser.parse_args(argv)
    try:
        with quiet():
            interpolate(args.model, args.toward, args.share, args.output_dir)
    except FinetuneError as exc:
        sys.stderr.write(f"interpolate: {exc}\n")
        return 1
    sys.stdout.write(f"{args.output_dir}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
