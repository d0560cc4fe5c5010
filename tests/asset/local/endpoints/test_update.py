"""A deployment is replaced, and an endpoint stopped, without a lost request."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asset.local.endpoints.errors import (
    ConflictError,
    EndpointError,
    InvalidEndpointError,
    NotFoundError,
    NotRunningError,
    StartError,
)
from asset.local.endpoints.link import LocalEndpoint
from asset.local.endpoints.records import EndpointFolder, EndpointRecord
from tests.asset.local.endpoints.conftest import Load, Online, Reply, until
from tests.asset.local.jobs.processes import gone


@pytest.fixture
def online(make_online: Callable[[str], Online], own_app: Path, request: pytest.FixtureRequest) -> Online:
    name = f"e{abs(hash(request.node.name)) % 10**8}"
    online = Online(make_online(name).endpoint, own_app)
    online.deploy("blue")
    online.traffic(blue=100)
    return online


def test_an_update_under_load_loses_nothing(online: Online) -> None:
    before = online.status()["pid"]
    with Load(online, 6, {"sleep": 0.01}) as load:
        load.wait(100)
        online.deploy("blue", variables={"NAME": "new blue"})
        load.wait(100)
    assert load.problems == []
    assert {reply.status for reply in load.replies} == {200}
    names = [reply.json["name"] for reply in sorted(load.replies, key=lambda reply: reply.sent)]
    assert names[0] == "blue" and names[-1] == "new blue"
    assert online.status()["pid"] != before
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_an_update_that_does_not_start_leaves_what_was_there(online: Online) -> None:
    (online.app / "broken").touch()
    with pytest.raises(StartError):
        online.deploy("blue", variables={"NAME": "new blue"})
    assert online.post().json["name"] == "blue"
    (online.app / "broken").unlink()
    online.endpoint.stop()
    online.endpoint.start()
    assert online.post().json["name"] == "blue"


def test_a_deployment_whose_record_cannot_be_written_leaves_no_server(online: Online) -> None:
    daemon = online.endpoint.require_running().process.pid
    children = Path(f"/proc/{daemon}/task/{daemon}/children")
    before = children.read_text(encoding="utf-8")
    # As a disk that is full would, this keeps the file from being written.
    online.folder.deployment("green").record.mkdir(parents=True)
    with pytest.raises(EndpointError, match=r"files cannot be read or written: .*Is a directory") as told:
        online.deploy("green")
    assert not isinstance(told.value, NotRunningError)
    assert children.read_text(encoding="utf-8") == before
    assert set(online.endpoint.describe()["deployments"]) == {"blue"}


def test_stopping_answers_what_was_accepted(online: Online) -> None:
    replies: list[Reply] = []
    threads = [threading.Thread(target=lambda: replies.append(online.post({"sleep": 1.0}))) for _ in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while online.status()["pending"] < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    online.endpoint.stop()
    for thread in threads:
        thread.join()
    assert [reply.status for reply in replies] == [200] * 3
    with pytest.raises(NotRunningError, match="is stopped; start it with `asset endpoints start"):
        online.endpoint.require_running()
    assert online.endpoint.describe()["deployments"]["blue"]["status"] == "stopped"


def test_sigterm_answers_what_was_accepted_and_leaves_no_server(make_online: Callable[[str], Online]) -> None:
    online = make_online("told-to-end")
    online.deploy("blue")
    online.traffic(blue=100)
    daemon, server = online.folder.daemon(), online.status()["pid"]
    assert daemon is not None
    replies: list[Reply] = []
    threads = [threading.Thread(target=lambda: replies.append(online.post({"sleep": 1.0}))) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: online.status()["pending"] == 3)
    os.kill(daemon.process.pid, signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert [reply.status for reply in replies] == [200] * 3
    until(lambda: not daemon.process.runs)
    assert online.endpoint.running() is None  # it ended in order: nothing is told of
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    online.endpoint.start()
    assert online.post().status == 200


def test_sigterm_while_a_server_starts_leaves_none(make_online: Callable[[str], Online], own_app: Path) -> None:
    online = Online(make_online("told-early").endpoint, own_app)
    script = own_app / "score.py"
    waits = f'open("{own_app}/loading", "w").write(str(os.getppid())); time.sleep(60)'
    script.write_text(
        script.read_text(encoding="utf-8").replace("def init():", f"def init():\n    {waits}"), encoding="utf-8"
    )
    daemon = online.folder.daemon()
    assert daemon is not None
    told: list[str] = []

    def deploy() -> None:
        with pytest.raises(EndpointError) as caught:
            online.deploy("blue")
        told.append(str(caught.value))

    thread = threading.Thread(target=deploy)
    thread.start()
    until(lambda: (own_app / "loading").exists() and (own_app / "loading").read_text(encoding="utf-8"))
    os.kill(daemon.process.pid, signal.SIGTERM)
    until(lambda: not daemon.process.runs)
    thread.join(60)
    assert len(told) == 1
    server = int((own_app / "loading").read_text(encoding="utf-8"))
    until(lambda: gone(server), 10)
    assert "Traceback" not in online.folder.daemon_log.read_text(encoding="utf-8")


def test_a_deployment_with_traffic_is_not_deleted(online: Online) -> None:
    with pytest.raises(ConflictError, match="deployment 'blue' has 100 % of the traffic"):
        online.endpoint.delete_deployment("blue")
    online.traffic(blue=0)
    online.endpoint.delete_deployment("blue")
    assert not online.folder.deployment("blue").path.exists()
    with pytest.raises(NotFoundError, match=r"has no deployment blue \(it has: none\)"):
        online.endpoint.delete_deployment("blue")


def test_a_deleted_endpoint_is_gone(online: Online) -> None:
    pid = online.status()["pid"]
    online.endpoint.delete()
    assert not online.folder.path.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(NotFoundError, match="there is no endpoint e"):
        online.endpoint.start()


def test_logs_grow_over_restarts_and_stops(online: Online) -> None:
    log = online.folder.deployment("blue").log
    first = log.read_text(encoding="utf-8")
    online.endpoint.stop()
    online.endpoint.start()
    assert online.post().status == 200
    text = log.read_text(encoding="utf-8")
    assert text.startswith(first)
    assert text.count("the endpoint starts a server") == 2


def test_traffic_to_missing_deployments_makes_no_endpoint(make_online: Callable[[str], Online], online: Online) -> None:
    folder = EndpointFolder(online.folder.path.parent / "fresh")
    with pytest.raises(InvalidEndpointError, match=r"does not have: blue \(it has: none\)"):
        LocalEndpoint(folder).create(EndpointRecord("fresh", {"blue": 100}))
    assert not folder.exists


def test_a_record_that_cannot_be_read_is_named(online: Online) -> None:
    online.endpoint.stop()
    file = online.folder.path / "endpoint.json"
    text = file.read_text(encoding="utf-8")
    file.write_text("{", encoding="utf-8")
    with pytest.raises(InvalidEndpointError, match=r"the record of endpoint e\d+ cannot be read: .*endpoint.json: "):
        online.endpoint.start()
    file.write_text(text, encoding="utf-8")
