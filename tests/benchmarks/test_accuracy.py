"""Accuracy on a cloze file: the arithmetic by hand, the figures against transformers, and errors that name the row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertForMaskedLM

from benchmarks.accuracy import accuracy, agreement, evaluate, is_clear, main, table
from evaluation.predict.predictor import Predicted

ROOT = Path(__file__).parents[2]


def answer(*words: str, title: str = "", gap: float = 0.1) -> Predicted:
    """Return the prediction of a row whose two best words are `gap` apart; the model ignores case."""
    top = list(zip(words, (0.5, 0.5 - gap, 0.05, 0.04, 0.03), strict=False))
    right = [word.lower() == title.lower() for word in words]
    return Predicted({"title": title}, {"predictions": words[0], "top": top, "right": right}, {})


# The arithmetic


def test_accuracy_counts_normalized_and_exact_words() -> None:
    predictions = [
        answer("paris", "it", title="Paris"),  # the best but for case
        answer("is", "was", title="is"),  # the best, as it is written
        answer("a", "b", "c", "d", "big", title="Big"),  # the fifth but for case
        answer("red", "green", title="blue"),  # not among them
    ]
    assert accuracy(predictions) == {
        "accuracy@1": 0.5,
        "accuracy@5": 0.75,
        "exact_accuracy@1": 0.25,
        "exact_accuracy@5": 0.25,
    }


def test_agreement_is_counted_on_all_rows_and_on_the_clear_ones() -> None:
    fp32 = [
        answer("a", "b", gap=0.25),
        answer("a", "b", gap=0.25),
        answer("a", "b", gap=0.01),
        answer("a", "b", gap=0.0),
    ]
    int8 = [answer("a", "b"), answer("c", "b"), answer("b", "a"), answer("a", "b")]
    assert agreement(fp32, int8) == {"agreement": 0.5, "clear_rows": 2, "agreement_on_clear_rows": 0.5}


def test_agreement_on_clear_rows_is_none_if_no_row_is_clear() -> None:
    unclear = [answer("a", "b", gap=0.01)]
    assert agreement(unclear, unclear) == {"agreement": 1.0, "clear_rows": 0, "agreement_on_clear_rows": None}


@pytest.mark.parametrize(
    ("scores", "clear"), [((0.5, 0.25), True), ((0.02, 0.0), True), ((0.3, 0.29), False), ((1.0,), True)]
)
def test_a_row_is_clear_from_a_gap_of_two_points_on(scores: tuple[float, ...], clear: bool) -> None:
    assert is_clear(list(zip("ab", scores, strict=False))) is clear


words = st.sampled_from("abcdef")


@given(st.lists(st.tuples(words, st.lists(words, min_size=5, max_size=5, unique=True)), min_size=1))
def test_five_words_find_at_least_what_one_finds(rows: list[tuple[str, list[str]]]) -> None:
    predictions = [answer(*best, title=title) for title, best in rows]
    shares = accuracy(predictions)
    assert 0 <= shares["accuracy@1"] <= shares["accuracy@5"] <= 1
    assert shares["exact_accuracy@1"] == shares["accuracy@1"]
    assert agreement(predictions, predictions)["agreement"] == 1.0


# Errors

GOOD = '{"input_string": "the [MASK] sat", "title": "cat"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3: expected "),
        ('{"input_string": "the [MASK] sat", "title": 7}', "line 3: expected title to be a word"),
        ('{"input_string": "the [MASK] sat", "title": " "}', "line 3: expected title to be a word"),
        ('{"input_string": "the cat sat", "title": "cat"}', r"line 3: expected [MASK] in input_string, found none"),
        ('{"input_string": "[MASK] [MASK]", "title": "cat"}', "line 3: expected as many words in title as masks"),
    ],
)
def test_a_bad_row_is_named(
    sharp_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{GOOD}\n\n{line}\n", encoding="utf-8")
    assert main(["--model", str(sharp_checkpoint), "--data", str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"accuracy: rows.jsonl, {message}")


def test_a_file_or_a_model_that_cannot_be_used_is_named(
    sharp_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, empty = tmp_path / "rows.jsonl", tmp_path / "empty.jsonl"
    good.write_text(GOOD, encoding="utf-8")
    empty.write_text("\n", encoding="utf-8")
    for model, data, message in (
        (sharp_checkpoint, empty, "expected a row a line, found no row"),
        (sharp_checkpoint, tmp_path / "none.jsonl", "found nothing there"),
        (tmp_path, good, "expected config.json and model.safetensors"),
    ):
        assert main(["--model", str(model), "--data", str(data)]) == 1
        assert message in capsys.readouterr().err


# With a model


@pytest.fixture(scope="module")
def data(lines: list[str], sharp_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows. The title of row n is the word transformers ranks n % 8; odd ones capitalized."""
    tokenizer = AutoTokenizer.from_pretrained(sharp_checkpoint)
    model = BertForMaskedLM.from_pretrained(sharp_checkpoint).eval()
    texts = [
        " ".join([*line.split()[: n % 7], "[MASK]", *line.split()[n % 7 + 1 :]]) for n, line in enumerate(lines[:300])
    ]
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        best = model(**encoded).logits[encoded.input_ids == tokenizer.mask_token_id].topk(8).indices
    titles = [tokenizer.convert_ids_to_tokens(ranked[n % 8]) for n, ranked in enumerate(best.tolist())]
    titles = [title.capitalize() if n % 2 and title.isalpha() else title for n, title in enumerate(titles)]
    rows = [{"input_string": text, "title": title} for text, title in zip(texts, titles, strict=True)]
    file = tmp_path_factory.mktemp("accuracy") / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_figures_are_those_of_transformers(sharp_checkpoint: Path, data: Path) -> None:
    report = evaluate(sharp_checkpoint, data, ["fp32"])
    titles = [json.loads(line)["title"] for line in data.read_text(encoding="utf-8").splitlines()]
    as_spelled = [n for n, title in enumerate(titles) if not title[0].isupper()]
    assert report["rows"] == 300
    expected = {
        "accuracy@1": 38 / 300,  # rows 0, 8, … 296
        "accuracy@5": 189 / 300,  # five of every eight, and four of the last four
        "exact_accuracy@1": 38 / 300,  # all even, and so not capitalized
        "exact_accuracy@5": sum(n % 8 < 5 for n in as_spelled) / 300,
    }
    assert expected["exact_accuracy@5"] < expected["accuracy@5"]
    assert report["fp32"] == pytest.approx(expected)


def test_both_precisions_are_compared(sharp_checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", str(sharp_checkpoint), "--data", str(data), "--precision", "int8", "fp32"]
    assert main([*options, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    report = json.loads(out)
    assert out.count("\n") == 1
    against = report["int8_vs_fp32"]
    assert against["accuracy@1_points"] == pytest.approx(
        100 * (report["int8"]["accuracy@1"] - report["fp32"]["accuracy@1"])
    )
    assert 0.5 < against["agreement"] <= against["agreement_on_clear_rows"] <= 1
    assert 0 < against["clear_rows"] <= 300
    lines = list(table(report))
    assert lines[0] == f"{sharp_checkpoint} on {data}, 300 rows"
    assert lines[-1].endswith(f"{against['agreement_on_clear_rows']:.2%} of {against['clear_rows']:,} rows")


def test_it_runs_without_torch(sharp_checkpoint: Path, data: Path) -> None:
    code = (
        "import sys; from benchmarks.accuracy import main; status = main(sys.argv[1:])\n"
        "assert not {'torch', 'transformers', 'pyarrow'} & set(sys.modules); sys.exit(status)"
    )
    arguments = ["--model", str(sharp_checkpoint), "--data", str(data)]
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "300 rows" in found.stdout
