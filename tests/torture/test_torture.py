"""One percent of `make torture`, by the same code; and that its watch sees what it is there for."""

from __future__ import annotations

import pytest

from tests.torture.__main__ import parser
from tests.torture.attack import KINDS
from tests.torture.campaign import Campaign

PERCENT = 0.01
SEED = 17


@pytest.mark.parametrize("name", list(KINDS))
def test_hostile_input_ends_in_its_documented_error(name: str) -> None:
    whole = getattr(parser().parse_args([]), KINDS[name].boundary)
    result = Campaign(name, round(PERCENT * KINDS[name].share * whole), SEED).run(workers=2)
    assert result.failures == []
    assert result.inputs >= PERCENT * KINDS[name].share * whole
    assert result.outcomes.total() == result.inputs


def test_the_watch_sees_what_is_wrong() -> None:
    result = Campaign("faulty", 80, SEED).run(workers=1)
    said = {failure.case: failure.what for failure in result.failures if failure.case is not None}
    assert sorted(said) == [1, 2, 3, 4, 5]
    assert said[1] == "as it was made to"
    assert said[2].startswith("it hung")
    assert said[3].startswith("the process died (exit status -9)")
    assert "of memory, expected at most 100 MB" in said[4]
    assert "it took 1.2 s, expected at most 1" in said[5]
    of_all = [failure.what for failure in result.failures if failure.case is None]
    assert any(what.startswith("a leak: descriptors grew by") for what in of_all)
    assert "the end shows it" in of_all
    assert result.failures[0].reproduce == "make torture ARGS='--reproduce faulty:1 --seed 17'"
