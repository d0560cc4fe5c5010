"""An endpoint checks keys, in a time that reveals nothing about them."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import pytest

from asset.local.endpoints import records as module
from asset.local.endpoints.records import MISSING, WRONG, Keys

KEYS = Keys("first-of-two", "second")


@pytest.mark.parametrize("given", ["first-of-two", "second"])
def test_either_key_opens(given: str) -> None:
    assert KEYS.refusal(f"Bearer {given}") is None
    assert KEYS.refusal(f"bearer   {given} ") is None


@pytest.mark.parametrize(
    "given", ["first-of-tw", "first-of-two!", "f", "x" * 100_000, "clé", "\udcff", "\x00", "First-of-two", "sécond"]
)
def test_another_key_is_refused_whatever_its_length_and_letters(given: str) -> None:
    assert KEYS.refusal(f"Bearer {given}") == WRONG


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic first-of-two", "first-of-two"])
def test_a_missing_key_and_a_wrong_key_have_different_answers(header: str | None) -> None:
    assert KEYS.refusal(header) == MISSING


def test_keys_with_other_letters_work() -> None:
    assert Keys("schlüssel", "鍵").refusal("Bearer 鍵") is None


@pytest.mark.parametrize("decides", [lambda *_: False, lambda *_: True], ids=["never", "always"])
def test_the_comparison_in_constant_time_is_what_decides(
    monkeypatch: pytest.MonkeyPatch, decides: Callable[..., bool]
) -> None:
    monkeypatch.setattr(module.hmac, "compare_digest", decides)
    expected = None if decides() else WRONG
    assert (KEYS.refusal("Bearer first-of-two"), KEYS.refusal("Bearer wrong")) == (expected, expected)


@pytest.mark.parametrize("given", ["first-of-two", "second", "wrong"])
def test_both_keys_are_compared_each_time(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    KEYS.refusal(f"Bearer {given}")
    assert compared == [(given.encode(), b"first-of-two"), (given.encode(), b"second")]
