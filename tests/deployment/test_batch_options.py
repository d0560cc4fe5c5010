"""Options of batch scoring are read once and checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployment.batch_options import Options, OptionsError
from tests.deployment.scoring import Scored


def test_options_that_are_not_set_have_the_defaults_of_the_class(tmp_path: Path) -> None:
    assert Options.from_env({"AZUREML_BI_OUTPUT_PATH": str(tmp_path), "OTHER": "x"}) == Options(tmp_path)


def test_each_option_can_be_set() -> None:
    given = {
        "AZUREML_BI_OUTPUT_PATH": "out",
        "BATCH_SCORING_COLUMNS": "question, context",
        "BATCH_SCORING_PARAMETERS": '{"top_k": 3}',
        "BATCH_SCORING_PART_SECONDS": "0.5",
        "BATCH_SCORING_INPUT_FOLDER": "in",
    }
    assert Options.from_env(given) == Options(Path("out"), ("question", "context"), {"top_k": 3}, 0.5, Path("in"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AZUREML_BI_OUTPUT_PATH", "", "AZUREML_BI_OUTPUT_PATH is not set"),
        ("BATCH_SCORING_COLUMN", "text", "there is no option BATCH_SCORING_COLUMN; correct the name"),
        ("BATCH_SCORING_COLUMNS", "a,b,c", "set it to one name, or to two different names"),
        ("BATCH_SCORING_COLUMNS", "a,a", "set it to one name, or to two different names"),
        ("BATCH_SCORING_PARAMETERS", "{", "BATCH_SCORING_PARAMETERS is not JSON"),
        ("BATCH_SCORING_PARAMETERS", "[1]", "write a JSON object"),
        ("BATCH_SCORING_PART_SECONDS", "soon", "set it to a number of seconds"),
        ("BATCH_SCORING_PART_SECONDS", "-1", "set it to a number of seconds"),
        ("BATCH_SCORING_PART_SECONDS", "inf", "set it to a number of seconds"),
    ],
)
def test_an_option_that_is_not_valid_is_refused(name: str, value: str, said: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(said)):
        Options.from_env({"AZUREML_BI_OUTPUT_PATH": "out", name: value})


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ('{"top": 3}', "expected top_k or targets, found top"),
        ('{"top_k": 0}', "expected top_k from 1"),
        ('{"targets": ["\\u4e2d\\u6587"]}', "cannot be spelled"),
    ],
)
def test_parameters_that_the_model_does_not_take_end_the_run_before_it_begins(
    score: Callable[..., Scored], put: Callable[[str, Any], Path], sharp_checkpoint: Path, parameters: str, said: str
) -> None:
    with pytest.raises(OptionsError, match=re.escape(said)):
        score(sharp_checkpoint, [put("a.txt", "The [MASK] sat.")], PARAMETERS=parameters)
