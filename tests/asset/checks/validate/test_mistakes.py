"""Each mistake is named with its file, its line and what to do; the asset without mistakes passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.asset.checks.validate import (
    asset_mistakes,
    data_mistakes,
    deployment_mistakes,
    endpoint_mistakes,
    environment_mistakes,
    pipeline_mistakes,
)
from tests.asset.checks.validate.mistakes import Mistake

if TYPE_CHECKING:
    from tests.asset.checks.validate.conftest import SmallAsset

MODULES = (
    *(pipeline_mistakes, environment_mistakes, endpoint_mistakes, deployment_mistakes),
    *(asset_mistakes, data_mistakes),
)
ALL: dict[str, Mistake] = {
    f"{group}: {name}": mistake
    for module in MODULES
    for group, cases in vars(module).items()
    if isinstance(cases, dict) and group.isupper()
    for name, mistake in cases.items()
}


def test_the_asset_without_mistakes_passes(small: SmallAsset) -> None:
    report = small.validate()
    assert report.findings == []
    assert [note.rule for note in report.notes] == ["weights"]
    assert len(report.files) > 30


@pytest.mark.parametrize("name", ALL)
def test_a_mistake_is_named_with_file_line_and_fix(small: SmallAsset, name: str) -> None:
    mistake = ALL[name]
    small.edit(mistake.file, mistake.old, mistake.new)
    where = mistake.other or mistake.file
    line = small.line(where, mistake.mark)
    found = small.findings(mistake.checked or mistake.file)
    of_rule = [one for one in found if one.rule == mistake.rule]
    assert [(one.place.where, one.place.line, one.fix) for one in of_rule] == [(where, line, mistake.fix)], found
    assert mistake.message in of_rule[0].message
    assert str(of_rule[0]).startswith(f"{where}:{line}: ")
