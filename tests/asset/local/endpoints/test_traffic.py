"""Requests are distributed exactly by the shares of the traffic, and only valid shares are accepted."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset.local.endpoints.errors import InvalidEndpointError
from asset.local.endpoints.router import Traffic, check_traffic


def test_a_tenth_of_the_requests_comes_in_the_middle_of_ten() -> None:
    traffic = Traffic({"blue": 90, "green": 10})
    assert [traffic.pick() for _ in range(10)] == ["blue"] * 5 + ["green"] + ["blue"] * 4


@given(st.lists(st.integers(0, 100), min_size=1, max_size=5))
def test_every_hundred_requests_are_shared_exactly(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 100]
    shares = {f"d{number}": high - low for number, (low, high) in enumerate(zip(edges, edges[1:], strict=False))}
    traffic = Traffic(shares)
    for _ in range(3):
        counted = Counter(traffic.pick() for _ in range(100))
        assert counted == Counter({name: share for name, share in shares.items() if share})


@pytest.mark.parametrize("shares", [{}, {"blue": 0}])
def test_without_shares_no_deployment_is_picked(shares: dict[str, int]) -> None:
    assert Traffic(shares).pick() is None


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"blue": 90, "red": 10}, r"does not have: red \(it has: blue, green\)"),
        ({"blue": 90}, "the traffic adds up to 90, not to 100 .*; correct blue=90"),
        ({"blue": 150, "green": -50}, "the traffic of blue is 150; write a whole number from 0 to 100"),
        ({"blue": 99.5, "green": 0.5}, "the traffic of blue is 99.5"),
        ({"blue": True}, "the traffic of blue is True"),
    ],
)
def test_invalid_shares_are_refused(shares: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidEndpointError, match=message):
        check_traffic(shares, {"blue", "green"})


def test_shares_that_add_up_to_100_or_0_are_accepted() -> None:
    assert check_traffic({"blue": 100}, {"blue"}) == {"blue": 100}
    assert check_traffic({"blue": 0}, {"blue"}) == {"blue": 0}
