"""The configuration of an evaluation: what is read, and errors that name the key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.config import IGNORED, KEYS, EvaluationConfig, read_config
from evaluation.errors import ConfigError

values = st.fixed_dictionaries(
    {},
    optional={
        "bootstrap_samples": st.integers(100, 10_000),
        "confidence": st.floats(0.5, 0.999),
        "seed": st.integers(0, 2**32 - 1),
        "ece_bins": st.integers(2, 100),
        "pseudo_perplexity": st.booleans(),
        "pseudo_perplexity_rows": st.integers(1, 1_000_000),
        "top_k": st.integers(1, 1000),
        "max_answer_length": st.integers(1, 512),
    },
)


@given(values, values)
def test_what_is_written_is_read_and_the_params_win(
    tmp_path_factory: pytest.TempPathFactory, in_file: dict[str, object], in_params: dict[str, object]
) -> None:
    file = tmp_path_factory.getbasetemp() / "evaluation-config.json"
    file.write_text(json.dumps(in_file), encoding="utf-8")
    expected = {**EvaluationConfig().model_dump(), **in_file, **in_params}
    assert read_config(file, json.dumps(in_params)).model_dump() == expected


def test_nothing_given_is_the_defaults() -> None:
    assert read_config() == read_config(None, " ") == EvaluationConfig()
    assert set(KEYS) == set(EvaluationConfig().model_dump())


def test_the_public_components_keys_are_ignored_and_named() -> None:
    assert read_config(None, '{"metrics": ["perplexities"], "model_id": "gpt2", "seed": 3}') == EvaluationConfig(
        seed=3, ignored=("metrics", "model_id")
    )
    assert not set(IGNORED) & set(KEYS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"bootstrap_sample": 5}', r"unknown key 'bootstrap_sample'; expected one of bootstrap_samples, confidence, "),
        ('{"bootstrap_samples": 99}', "bootstrap_samples: expected a whole number from 100 to 10000, found 99"),
        ('{"bootstrap_samples": 100.5}', "bootstrap_samples: expected a whole number .*, found 100.5"),
        ('{"confidence": 95}', "confidence: expected a number from 0.5 to 0.999, found 95"),
        ('{"confidence": NaN}', "confidence: expected a number from 0.5 to 0.999, found NaN"),
        ('{"seed": true}', "seed: expected a whole number .*, found true"),
        ('{"pseudo_perplexity": "true"}', 'pseudo_perplexity: expected true or false, found "true"'),
        ('{"max_answer_length": 0}', "max_answer_length: expected a whole number from 1 to 512, found 0"),
        ('{"pseudo_perplexity": 1}', "pseudo_perplexity: expected true or false, found 1"),
        ("[1]", "expected a JSON object, found .1.; write"),
        ("{", "expected a JSON object, found: Expecting"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^evaluation_config_params: {message}"):
        read_config(None, text)
    file = tmp_path / "config.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"config.json: {message}"):
        read_config(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.json: expected a file of JSON that can be read, found: No such file"):
        read_config(tmp_path / "none.json")
    latin1 = tmp_path / "latin1.json"
    latin1.write_bytes(b'{"s\xe9ed": 1}')
    with pytest.raises(ConfigError, match="latin1.json: expected UTF-8 text, found .* at byte 3; convert it"):
        read_config(latin1)
