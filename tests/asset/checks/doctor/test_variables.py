"""Variables of the environment that are misspelled, out of range or in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from asset.checks.doctor import environments
from asset.checks.doctor.check import Machine


def test_settings_that_serving_takes_are_well(machine: Machine, with_variables: Callable[..., Machine]) -> None:
    assert environments.serving_settings(machine).message == "none set: the defaults"
    check = environments.serving_settings(with_variables(BERT_SERVING_MAX_ROWS="10"))
    assert (check.severity, check.message) == ("ok", "BERT_SERVING_MAX_ROWS")


def test_a_misspelled_setting_is_told_with_the_one_that_is_meant(with_variables: Callable[..., Machine]) -> None:
    check = environments.serving_settings(with_variables(BERT_SERVING_MAX_ROW="10"))
    assert (check.severity, check.fix) == ("error", "write BERT_SERVING_MAX_ROWS for BERT_SERVING_MAX_ROW")


@pytest.mark.parametrize(
    ("name", "value"), [("MAX_ROWS", "0"), ("PRECISION", "int4"), ("THREADS", "-1"), ("DEADLINE_MS", "4 s")]
)
def test_a_setting_out_of_range_is_told(with_variables: Callable[..., Machine], name: str, value: str) -> None:
    check = environments.serving_settings(with_variables(**{f"BERT_SERVING_{name}": value}))
    assert (check.severity, check.fix) == ("error", "correct it, or unset it")
    assert f"BERT_SERVING_{name}: expected" in check.message


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"https_proxy": "http://proxy:3128"},
        {"http_proxy": ""},
        {"http_proxy": "http://proxy:3128", "no_proxy": "localhost,127.0.0.1"},
        {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "*"},
    ],
)
def test_proxies_that_leave_loopback_alone_are_well(
    with_variables: Callable[..., Machine], given: dict[str, str]
) -> None:
    assert environments.proxies(with_variables(**given)).severity == "ok"
    assert caught(given) is False


@pytest.mark.parametrize(
    "given",
    [
        {"http_proxy": "http://me:secret@proxy:3128"},
        {"HTTP_PROXY": "http://me:secret@proxy:3128", "NO_PROXY": "localhost"},
        {"HTTP_PROXY": "http://me:secret@proxy:3128", "NO_PROXY": "127.0.0.1", "no_proxy": "example.com"},
    ],
)
def test_a_proxy_that_catches_loopback_is_wrong(with_variables: Callable[..., Machine], given: dict[str, str]) -> None:
    check = environments.proxies(with_variables(**given))
    assert check.severity == "error"
    assert "NO_PROXY=" in check.fix
    assert "127.0.0.1" in check.message
    assert "secret" not in str(check)
    assert caught(given) is True
    # What is advised helps, and keeps what was there.
    advised = dict(word.split("=", 1) for word in check.fix.split()[1:])
    assert environments.proxies(with_variables(**{**given, **advised})).severity == "ok"
    assert caught({**given, **advised}) is False


def caught(given: dict[str, str]) -> bool:
    """Ask Python itself, in a process with these variables, whether a request to loopback goes to a proxy."""
    code = (
        "import sys, urllib.request as u\n"
        "proxied = 'http' in u.getproxies() and not u.proxy_bypass('127.0.0.1')\n"
        "sys.stdout.write(str(proxied))"
    )
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run([sys.executable, "-c", code], env=environ | given, capture_output=True, text=True, check=True)
    return done.stdout == "True"


def test_where_models_come_from_is_told(machine: Machine, with_variables: Callable[..., Machine]) -> None:
    assert environments.hub(machine).severity == "ok"
    check = environments.hub(
        with_variables(HF_ENDPOINT="https://me:secret@mirror.example.com/hf", HF_TOKEN="hf_private")
    )
    assert (check.severity, check.message) == ("note", "HF_ENDPOINT: https://mirror.example.com/hf; HF_TOKEN is set")
    check = environments.hub(with_variables(HF_HUB_OFFLINE="yes"))
    assert (check.severity, check.message) == ("note", "HF_HUB_OFFLINE is on")
    assert environments.hub(with_variables(HF_HUB_OFFLINE="0")).severity == "ok"
    assert environments.hub(with_variables(HF_ENDPOINT="mirror.example.com")).severity == "error"
