"""A server whose request threads are fewer than its queue takes says so, and no other."""

from __future__ import annotations

import pytest

from serving.answering.service import warn_of_few_threads

GUNICORN = {"SERVER_SOFTWARE": "gunicorn/27.0.1"}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [(None, 1), ("", 1), ("--timeout 9", 1), ("--threads 128", 128), ("--threads=256 -k gthread --threads 8", 8)],
)
def test_too_few_request_threads_are_warned_of(
    caplog: pytest.LogCaptureFixture, arguments: str | None, found: int
) -> None:
    warn_of_few_threads(128, GUNICORN | ({} if arguments is None else {"GUNICORN_CMD_ARGS": arguments}))
    assert f"found {found}:" in caplog.text
    assert "GUNICORN_CMD_ARGS='--threads 256'" in caplog.text


@pytest.mark.parametrize(
    "environ", [GUNICORN | {"GUNICORN_CMD_ARGS": "--timeout 9 --threads 129"}, {"GUNICORN_CMD_ARGS": "--threads 1"}, {}]
)
def test_enough_threads_or_no_server_are_not_warned_of(
    caplog: pytest.LogCaptureFixture, environ: dict[str, str]
) -> None:
    warn_of_few_threads(128, environ)
    assert caplog.text == ""
