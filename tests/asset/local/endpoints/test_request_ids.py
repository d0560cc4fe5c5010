"""Every answer of an endpoint, also a refusal, has the request's ids, and the server behind it gets the same ids."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from asset.environments import ROOT
from asset.local.endpoints.records import DeploymentRecord
from asset.local.endpoints.router import MOST_BODY_BYTES
from asset.local.server import SERVING_PYTHON
from tests.asset.local.endpoints.conftest import Online, send

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MINE = "|4bf92f35.1_"


@pytest.fixture(scope="module")
def online(make_online: Callable[[str], Online]) -> Online:
    online = make_online("ids")
    online.deploy("blue", max_concurrent=1, request_timeout=1.0)
    online.traffic(blue=100)
    return online


def test_an_id_goes_to_the_server_and_back(online: Online) -> None:
    reply = online.post({"show": True}, x_request_id=MINE, x_ms_client_request_id="theirs")
    assert (reply.headers["x-request-id"], reply.headers["x-ms-client-request-id"]) == (MINE, "theirs")
    assert reply.json["headers"]["X-Request-Id"] == MINE
    assert reply.json["headers"]["X-Ms-Client-Request-Id"] == "theirs"
    assert reply.headers.get_all("x-request-id") == [MINE]


@pytest.mark.parametrize("given_id", ["two words", "/etc/passwd", "x" * 101, '"', None])
def test_an_invalid_id_is_replaced(online: Online, given_id: str | None) -> None:
    headers = {} if given_id is None else {"x_request_id": given_id}
    reply = online.post({"show": True}, **headers)
    assert reply.status == 200
    assert UUID.fullmatch(reply.headers["x-request-id"])
    assert reply.json["headers"]["X-Request-Id"] == reply.headers["x-request-id"]


def test_every_refusal_has_the_ids(online: Online) -> None:
    ids = {"x_request_id": MINE, "x_ms_client_request_id": "theirs"}
    refused = {
        401: online.post(key="wrong", **ids),
        404: online.post(azureml_model_deployment="red", **ids),
        408: online.post({"sleep": 3}, **ids),
        424: online.post({"status": 400}, **ids),
        502: online.post({"die": True}, **ids),
    }
    with contextlib.closing(online.connect()) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        refused[413] = send(connection, b"x" * (MOST_BODY_BYTES + 1), online.key, **ids)
    for status, reply in refused.items():
        assert reply.status == status
        assert (reply.headers["x-request-id"], reply.headers["x-ms-client-request-id"]) == (MINE, "theirs"), status


def test_the_log_of_the_real_script_has_the_id_and_not_the_key(online: Online, sharp_checkpoint: Path) -> None:
    variables = {"AZUREML_MODEL_DIR": str(sharp_checkpoint), "GUNICORN_CMD_ARGS": "--threads 8"}
    online.endpoint.deploy(
        DeploymentRecord("real", str(SERVING_PYTHON), str(ROOT), "score.py", variables=variables, max_concurrent=8)
    )
    good = online.post({"input_data": ["the [MASK] sat"]}, azureml_model_deployment="real", x_request_id="good")
    bad = online.post({"input_data": ["a secret"]}, azureml_model_deployment="real", x_request_id="bad")
    assert (good.status, bad.status) == (200, 424)
    log = online.folder.deployment("real").log.read_text(encoding="utf-8")
    lines = {line["request_id"]: line for line in map(json.loads, re.findall(r'(?m)^\{"time".*', log))}
    assert (lines["good"]["status"], lines["good"]["rows"], lines["good"]["tokens"]) == (200, 1, 5)
    assert (lines["bad"]["status"], lines["bad"]["code"]) == (400, "missing_mask")
    assert online.key not in log and "a secret" not in log
