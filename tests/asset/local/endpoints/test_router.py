"""An endpoint checks, distributes and answers requests as Azure does."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from asset.local.endpoints.router import MOST_BODY_BYTES
from asset.local.server import SERVING_PYTHON
from tests.asset.local.endpoints.conftest import Load, Online, Reply, send


@pytest.fixture(scope="module")
def online(make_online: Callable[[], Online]) -> Online:
    """Two deployments; the second takes two requests at once and gives up after a second."""
    os.environ["AZUREML_MODEL_DIR"] = "of the shell"
    online = make_online()
    del os.environ["AZUREML_MODEL_DIR"]
    online.deploy("blue")
    online.deploy("green", max_concurrent=2, request_timeout=1.0)
    online.traffic(blue=90, green=10)
    return online


def test_a_thousand_requests_are_split_900_to_100(online: Online) -> None:
    names: Counter[str] = Counter()
    lock = threading.Lock()

    def work() -> None:
        with contextlib.closing(online.connect()) as connection:
            found = [send(connection, {}, online.key).json["name"] for _ in range(250)]
        with lock:
            names.update(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == {"blue": 900, "green": 100}


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        (None, "key_auth_bad_header_forbidden"),
        ("Bearer", "key_auth_bad_header_forbidden"),
        ("Basic abc", "key_auth_bad_header_forbidden"),
        ("Bearer wrong", "key_auth_access_denied"),
        ("Bearer \xff", "key_auth_access_denied"),
    ],
)
def test_a_wrong_key_is_401(online: Online, authorization: str | None, text: str) -> None:
    with contextlib.closing(online.connect()) as connection:
        connection.request("POST", "/score", b"{}", {"Authorization": authorization} if authorization else {})
        answer = connection.getresponse()
        assert (answer.status, answer.read().decode()) == (401, text)


def test_either_key_opens_and_an_exchanged_one_does_not(online: Online) -> None:
    before = online.endpoint.keys()
    assert online.post(key=before.secondary).status == 200
    online.endpoint.exchange_key("secondary")
    assert online.post(key=before.secondary).status == 401
    assert online.post(key=online.endpoint.keys().secondary).status == 200
    assert online.post(key=before.primary).status == 200


def test_only_their_owner_may_read_the_keys(online: Online) -> None:
    assert oct(online.folder.keys.stat().st_mode)[-3:] == "600"
    assert oct(online.folder.path.stat().st_mode)[-3:] == "700"
    assert "Keys(…)" in repr(online.endpoint.keys())


def test_a_header_picks_the_deployment(online: Online) -> None:
    replies = [online.post(azureml_model_deployment=name) for name in ("green", "Blue") for _ in range(3)]
    assert [reply.json["name"] for reply in replies] == ["green"] * 3 + ["blue"] * 3
    assert [reply.headers["azureml-model-deployment"] for reply in replies] == ["green"] * 3 + ["blue"] * 3
    assert online.post(azureml_model_deployment="red").status == 404


def test_an_error_of_the_model_is_424_outside(online: Online) -> None:
    for status in (400, 429, 500, 202):
        reply = online.post({"status": status})
        assert (reply.status, reply.json) == (424, {"error": {"code": "asked_for"}})
        assert reply.headers["ms-azureml-model-error-statuscode"] == str(status)
        assert reply.headers["ms-azureml-model-error-reason"] == "model_error"
        assert reply.headers["Retry-After"] == "3"


def test_a_late_answer_is_408(online: Online) -> None:
    reply = online.post({"sleep": 3}, azureml_model_deployment="green")
    assert (reply.status, reply.body) == (408, b"upstream request timeout")
    assert reply.came - reply.sent < 2.5


def test_more_than_twice_max_concurrent_requests_is_429(online: Online) -> None:
    replies: list[Reply] = []

    def work() -> None:
        replies.append(online.post({"sleep": 0.4}, azureml_model_deployment="green"))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == [200] * 4 + [429]
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.headers["ms-azureml-model-error-reason"] == "too_many_pending_request"
    # Two at a time: the second pair waited for the first.
    assert max(reply.came - reply.sent for reply in replies) > 0.75


def test_a_body_that_is_too_long_is_413(online: Online) -> None:
    with contextlib.closing(online.connect()) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        assert send(connection, b"x" * (MOST_BODY_BYTES + 1), online.key).status == 413


def test_a_long_body_within_the_limit_is_passed_on(online: Online) -> None:
    assert online.post({"text": "x" * (MOST_BODY_BYTES - 100)}, azureml_model_deployment="blue").status == 200


def test_health_and_the_description_are_the_servers(online: Online) -> None:
    with contextlib.closing(online.connect()) as connection:
        for path, status in (("/", 200), ("/swagger.json?version=3", 200), ("/nowhere", 424)):
            connection.request("GET", path, headers={"Authorization": f"Bearer {online.key}"})
            answer = connection.getresponse()
            assert answer.status == status
            body = answer.read()
            assert path != "/swagger.json?version=3" or json.loads(body)["openapi"].startswith("3")


def test_the_server_gets_the_request_without_the_key(online: Online) -> None:
    shown = online.post({"show": True}, x_ms_client_request_id="mine", azureml_model_deployment="blue")
    headers = shown.json["headers"]
    assert "Authorization" not in headers
    assert headers["Azureml-Model-Deployment"] == "blue"
    assert headers["X-Ms-Client-Request-Id"] == "mine"
    assert shown.headers["x-request-id"] == headers["X-Request-Id"]
    assert shown.headers["x-ms-client-request-id"] == "mine"
    assert shown.headers.get_all("Content-Type") == ["application/json"]


def test_a_header_that_is_there_twice_is_passed_on_twice(online: Online) -> None:
    with contextlib.closing(online.connect()) as connection:
        connection.putrequest("POST", "/score")
        body = b'{"show": true}'
        given = {
            "Authorization": f"Bearer {online.key}",
            "Content-Length": str(len(body)),
            "Azureml-Model-Deployment": "blue",
        }
        for name, value in (*given.items(), ("X-Tag", "one"), ("X-Tag", "two")):
            connection.putheader(name, value)
        connection.endheaders(body)
        assert json.loads(connection.getresponse().read())["headers"]["X-Tag"] == "one,two"


def test_the_server_has_its_deployments_variables_and_not_the_shells(online: Online) -> None:
    shown = online.post({"show": True}, azureml_model_deployment="blue").json
    assert shown["variables"]["NAME"] == "blue"
    assert shown["variables"]["AML_APP_ROOT"] == str(online.app) == shown["folder"]
    assert "AZUREML_MODEL_DIR" not in shown["variables"]
    assert shown["variables"]["PATH"].startswith(str(SERVING_PYTHON.parent))


def test_a_compressed_body_goes_on_as_it_came(online: Online) -> None:
    reply = online.post(gzip.compress(b"{}"), Content_Encoding="gzip", azureml_model_deployment="blue")
    # The inference server does not unpack it, and nor does anything before it.
    assert (reply.status, reply.headers["ms-azureml-model-error-statuscode"]) == (424, "400")


def test_it_listens_on_loopback_only(online: Online) -> None:
    listening = {line.split()[1] for line in open("/proc/net/tcp", encoding="ascii") if line.split()[3] == "0A"}
    assert f"0100007F:{online.port:04X}" in listening
    assert f"00000000:{online.port:04X}" not in listening


def test_nobody_gets_past_the_keys(online: Online) -> None:
    processes = {online.status(name)["pid"] for name in ("blue", "green")}
    inodes = {os.readlink(link) for pid in processes for link in Path(f"/proc/{pid}/fd").glob("*") if link.is_symlink()}
    ports = [
        line.split()[1] for line in open("/proc/net/tcp", encoding="ascii") if f"socket:[{line.split()[9]}]" in inodes
    ]
    assert ports == []
    [socket] = online.folder.deployment("blue").path.glob("server-*.sock")
    assert socket.is_socket()


def test_nothing_that_clients_send_is_in_the_endpoints_log(online: Online) -> None:
    online.post({"text": "a secret of theirs"}, path="/score?also=secret")
    log = online.folder.daemon_log.read_text(encoding="utf-8")
    assert "secret" not in log and online.key not in log


def test_without_traffic_it_is_404(make_online: Callable[[str], Online]) -> None:
    idle = make_online("idle")
    assert idle.post().status == 404
    idle.deploy("blue")
    assert idle.post().status == 404
    assert idle.post(azureml_model_deployment="blue").status == 200


def test_connections_are_kept_open(online: Online) -> None:
    with Load(online, clients=2) as load:
        load.wait(50)
    assert not load.problems
    assert {reply.status for reply in load.replies} == {200}


def test_a_client_that_goes_away_leaves_no_request_behind(online: Online) -> None:
    for _ in range(6):
        with contextlib.closing(online.connect()) as connection, contextlib.suppress(TimeoutError):
            connection.timeout = 0.1
            connection.request(
                "POST",
                "/score",
                b'{"sleep": 0.3}',
                {"Authorization": f"Bearer {online.key}", "azureml-model-deployment": "blue"},
            )
            with contextlib.suppress(http.client.HTTPException, OSError):
                connection.getresponse()
    deadline = time.monotonic() + 10
    while online.status("blue")["pending"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
