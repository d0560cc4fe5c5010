"""A model between two: through the command line, on tiny checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, BertModel

from finetune.pretrain.interpolate import main


def run(model: Path, toward: Path, share: float | str, output: Path) -> int:
    return main(
        ["--model", str(model), "--toward", str(toward), "--share", str(share), "--output-dir", str(output)],
    )


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_encoder_goes_a_share_of_the_way_and_the_head_stays(
    share: float, checkpoint: Path, sharp_checkpoint: Path, tmp_path: Path
) -> None:
    assert run(checkpoint, sharp_checkpoint, share, tmp_path / "mixed") == 0
    mixed = BertForMaskedLM.from_pretrained(tmp_path / "mixed", dtype=torch.float32)
    ours, other = (BertForMaskedLM.from_pretrained(folder) for folder in (checkpoint, sharp_checkpoint))
    theirs = other.bert.state_dict()
    for name, weight in ours.bert.state_dict().items():
        between = (1 - share) * weight + share * theirs[name]
        torch.testing.assert_close(mixed.bert.state_dict()[name], between, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(
        mixed.cls.predictions.transform.state_dict(), ours.cls.predictions.transform.state_dict(), rtol=1e-3, atol=1e-6
    )
    assert (tmp_path / "mixed" / "tokenizer.json").read_bytes() == (checkpoint / "tokenizer.json").read_bytes()


def test_an_encoder_without_a_head_will_do(checkpoint: Path, sharp_checkpoint: Path, tmp_path: Path) -> None:
    BertModel.from_pretrained(sharp_checkpoint, add_pooling_layer=False).save_pretrained(tmp_path / "encoder")
    assert run(checkpoint, tmp_path / "encoder", 0.3, tmp_path / "one") == 0
    assert run(checkpoint, sharp_checkpoint, 0.3, tmp_path / "other") == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_models_of_another_shape_are_refused(
    checkpoint: Path, make_checkpoint: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deeper = make_checkpoint(num_hidden_layers=3)
    assert run(deeper, checkpoint, 0.3, tmp_path / "mixed") == 1
    assert "expected encoder.layer.2.attention" in capsys.readouterr().err
    wider = make_checkpoint(intermediate_size=48)
    assert run(checkpoint, wider, 0.3, tmp_path / "mixed") == 1
    assert "of [64, 32] as in --model, found [48, 32]" in capsys.readouterr().err
    assert not (tmp_path / "mixed").exists()


def test_what_is_no_such_model_is_named(
    checkpoint: Path, sharp_classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(checkpoint, cut)
    weights = load_file(cut / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.bias"]
    save_file(weights, cut / "model.safetensors", {"format": "pt"})
    taken = tmp_path / "taken"
    taken.mkdir()
    for model, toward, share, output, message in (
        (checkpoint, tmp_path, 0.3, "out", "--toward"),
        (tmp_path / "none", checkpoint, 0.3, "out", "found no such folder"),
        (checkpoint, cut, 0.3, "out", "found no encoder.layer.1.output.dense.bias"),
        (sharp_classifier, checkpoint, 0.3, "out", "expected the weights of a BertForMaskedLM, found no cls."),
        (checkpoint, checkpoint, 1.5, "out", "expected a number from 0 to 1, found 1.5"),
        (checkpoint, checkpoint, 0.3, "taken", "expected a folder that is not there yet"),
    ):
        assert run(model, toward, share, tmp_path / output) == 1
        error = capsys.readouterr().err
        assert message in error, error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
