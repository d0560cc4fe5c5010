"""The card of a tuned model says what it is, and shows nobody's text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from finetune.package.compiled_check import Checked, CompiledCheck
from finetune.package.metrics_file import document, of_check, of_model
from finetune.package.model_card import HISTORY_ROWS, card, cell, code, license_of
from finetune.package.tuned_model import Training, read_tuned
from finetune.package.validation_figures import Figure
from finetune.prepare.prepared import DataPart, PreparedFolder
from finetune.settings import FeatureSettings, TrainingSettings

ODD = "so|so *x*"


@pytest.fixture
def run(make_run: Callable[..., Any], make_checkpoint: Callable[..., Path]) -> Any:  # noqa: ANN401
    labels = {"id2label": {0: "bad", 1: ODD, 2: "good"}}
    return make_run(make_checkpoint(task="text-classification", **labels), rows=20)


def checked() -> CompiledCheck:
    """Return a check in which int8 is a little worse, and faster."""
    compiled = {
        "fp32": Checked([], {"accuracy": Figure(0.75, 0.6, 0.9)}, 5.0),
        "int8": Checked([], {"accuracy": Figure(0.7, 0.5, 0.8)}, 2.0),
    }
    return CompiledCheck(20, 20, 2, Checked([], {"accuracy": Figure(0.75, 0.6, 0.9)}, 10.0), compiled, [], ["a note"])


def written(run: Any, check: CompiledCheck | None = None) -> str:  # noqa: ANN401
    tuned = read_tuned(run.tuned)
    metrics = of_model(run.settings, tuned.training, check)
    return card(PreparedFolder(run.prepared), run.settings, tuned, metrics, check)


def front(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    return yaml.safe_load(head)


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a text: rows of cells, as Markdown divides them."""
    found = re.findall(r"(?m)(?:^\|.*\|\n)+", text)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()] for table in found]


def test_the_front_matter_tells_what_is_known_and_invents_nothing(run: Any) -> None:  # noqa: ANN401
    assert front(written(run)) == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "base_model": "example/tiny-bert",
        "tags": ["generated_from_trainer", "mlflow", "text-classification"],
        "metrics": ["f1_macro", "mcc", "accuracy"],
    }


def test_the_license_is_the_bases(run: Any, tmp_path: Path) -> None:  # noqa: ANN401
    assert license_of(tmp_path, "google-bert/bert-base-cased") == "apache-2.0"
    assert license_of(tmp_path, "someone/their-bert") is None
    (run.prepared / "model/README.md").write_text("---\nlicense: mit\nlanguage: fr\n---\n# A card\n", encoding="utf-8")
    assert front(written(run))["license"] == "mit"
    for broken in ("", "---\n", "no front matter", "---\n: [\n---\n", "---\nlicense: [a]\n---\n"):
        (tmp_path / "README.md").write_text(broken, encoding="utf-8")
        assert license_of(tmp_path, "someone/their-bert") is None


def test_it_names_its_base_and_does_not_claim_to_be_it(run: Any) -> None:  # noqa: ANN401
    text = written(run)
    assert "# tiny-bert-text-classification\n" in text
    assert "**fine-tuned from example/tiny-bert**" in text
    assert "bert-base-cased" not in text


@pytest.mark.parametrize("check", [None, checked()], ids=["unchecked", "checked"])
def test_every_table_has_as_many_cells_in_each_row(run: Any, check: CompiledCheck | None) -> None:  # noqa: ANN401
    found = tables(written(run, check))
    assert len(found) == (7 if check else 6)
    for table in found:
        assert len({len(line) for line in table}) == 1, table
        assert all(set(divider.strip()) <= set("-:") for divider in table[1])


def test_labels_are_counted_and_their_signs_are_no_markup(run: Any) -> None:  # noqa: ANN401
    labels = next(table for table in tables(written(run)) if table[0][0].strip() == "label")
    assert [[cell.strip() for cell in line] for line in labels[2:]] == [
        ["bad", "7", "7"],
        [r"so\|so \*x\*", "7", "7"],
        ["good", "6", "6"],
    ]


def test_every_setting_is_told_and_those_that_differ_stand_out(run: Any) -> None:  # noqa: ANN401
    text = written(run.change(learning_rate=3e-4, apply_lora=False))
    settings = {name.strip(): value.strip() for name, value in tables(text)[-1][2:]}
    assert set(settings) == {*TrainingSettings.model_fields, *FeatureSettings.model_fields}
    assert (settings["learning_rate"], settings["apply_lora"], settings["lora_r"]) == ("**0.0003**", "**false**", "8")
    assert "other than the defaults: apply_lora `false`, num_train_epochs `2`, learning_rate `0.0003`." in text


def test_figures_are_those_of_the_check_with_intervals_where_it_has_them(run: Any) -> None:  # noqa: ANN401
    check = checked()
    check.transformers.figures["accuracy"] = Figure(0.74, 0.6, 0.9)  # training computed in fewer bits, and found 0.75
    text = written(run, check)
    assert "| accuracy | 74.0\u202f% | 60.0–90.0\u202f% |" in text
    assert "| mcc | 0.750 |  |" in text
    assert "| compiled, int8 | 70.0\u202f% | 2.00\u202fms | 5.0 × |" in text
    assert "A note.\n" in text


def test_a_long_history_is_thinned_and_ends_with_the_last(run: Any) -> None:  # noqa: ANN401
    file = run.tuned / "training.json"
    training = json.loads(file.read_bytes())
    training["history"] = [{"eval_loss": 1 / step, "step": step, "epoch": step / 10} for step in range(1, 101)]
    file.write_text(json.dumps(training), encoding="utf-8")
    text = written(run)
    history = next(table for table in tables(text) if table[0][0].strip() == "step")[2:]
    assert len(history) == HISTORY_ROWS
    assert history[-1][0].strip() == "100"
    assert "80 evaluations between these" in text


def test_no_text_of_the_data_is_shown(run: Any, make_run: Callable[..., Any], sharp_reader: Path) -> None:  # noqa: ANN401
    for each in (run, make_run(sharp_reader)):
        text = written(each)
        rows = [row for part in ("train", "validation") for row in PreparedFolder(each.prepared).rows(part)]
        texts = {row[name] for row in rows for name in ("text", "question", "context") if name in row}
        assert len(texts) > 20
        assert [shown for shown in texts if shown in text] == []


def test_pairs_are_evaluated_by_both_columns(make_run: Callable[..., Any], sharp_classifier: Path) -> None:
    assert "--set inputs.input_column_names=text,text_pair" in written(make_run(sharp_classifier, pairs=True))


def test_test_rows_and_reasons_are_told(run: Any) -> None:  # noqa: ANN401
    part = DataPart(source="a`b|c.csv", rows=1234, sha256="ef" * 32, dropped={"no_label": 1500})
    settings = run.settings.model_copy(update={"data": {**run.settings.data, "test": part}})
    text = card(PreparedFolder(run.prepared), settings, read_tuned(run.tuned), [], None)
    assert r"| test | `a'b\|c.csv` | 1,234 | no\_label 1,500 | `efefefefefefefef`… |" in text


@given(st.text())
def test_any_text_is_one_cell(text: str) -> None:
    for written_cell in (cell(text), code(text)):
        assert len(re.split(r"(?<!\\)\|", f"|{written_cell}|")) == 3 or text.endswith("\\")
        assert "\n" not in written_cell and "\r" not in written_cell


def test_metrics_are_those_that_are_numbers(run: Any) -> None:  # noqa: ANN401
    training = Training.model_validate(
        {"best": {"step": 1, "epoch": 1, "metrics": {"loss": float("nan"), "accuracy": 0.5, "f1": 0.1}}}
    )
    assert [metric.name for metric in of_model(run.settings, training, None)] == ["accuracy"]
    both = [metric.name for metric in (*of_model(run.settings, training, checked()), *of_check(checked()))]
    assert both == [
        *("accuracy", "accuracy_compiled_fp32", "accuracy_compiled_int8"),
        *("latency_transformers_fp32", "latency_compiled_fp32", "latency_compiled_int8"),
        *("speedup_compiled_fp32", "speedup_compiled_int8"),
    ]
    told = document(run.settings, of_check(checked()), checked())
    assert {metric["name"]: metric["value"] for metric in told["metrics"]}["speedup_compiled_int8"] == 5
    assert told["left_out"] == [{"name": "int8", "reason": "a note"}]
