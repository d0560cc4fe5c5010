"""Servers that end are replaced, and no request is lost beyond those that they worked on."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asset.local.endpoints.errors import NotRunningError, StartError
from asset.local.endpoints.records import DaemonRecord, Probe
from asset.local.server import SERVING_PYTHON, local_server
from tests.asset.local.endpoints.conftest import Load, Online, until

CLIENTS = 8


@pytest.fixture(scope="module")
def online(make_online: Callable[[], Online]) -> Online:
    online = make_online()
    for name in ("blue", "green"):
        online.deploy(name)
    online.traffic(blue=50, green=50)
    return online


def worker_of(pid: int) -> int:
    [worker] = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return int(worker)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def seconds_to_start(app: Path) -> float:
    """Return how many seconds a server that does nothing takes to start at present."""
    began = time.monotonic()
    with local_server(None, python=SERVING_PYTHON, entry_script=app / "score.py"):
        return time.monotonic() - began


@pytest.mark.parametrize("which", ["process", "process and worker", "worker"])
def test_a_killed_server_loses_only_what_it_worked_on(online: Online, which: str) -> None:
    no_op = seconds_to_start(online.app)
    log = online.folder.deployment("blue").log
    with Load(online, CLIENTS, {"sleep": 0.005}) as load:
        load.wait(200)
        pid = online.status()["pid"]
        worker = worker_of(pid)
        before = log.read_bytes()
        killed = time.monotonic()
        if "process" in which:
            os.kill(pid, signal.SIGKILL)
        if "worker" in which:
            os.kill(worker, signal.SIGKILL)
        until(lambda: online.status()["status"] == "ready")
        load.wait(400)
    assert load.problems == []
    failed = [reply for reply in load.replies if reply.status != 200]
    # Each client has one request under way, and half of these are the other deployment's.
    assert len(failed) <= CLIENTS
    # There is a moment at which all of them were under way: that of the end, which comes some time after the kill.
    ended = min((reply.came for reply in failed), default=math.inf)
    assert all(reply.sent < ended for reply in failed) and killed < ended
    assert {reply.status for reply in failed} <= {502}
    assert {reply.headers["azureml-model-deployment"] for reply in failed} <= {"blue"}
    for reply in failed:
        assert reply.json["error"]["code"] == "deployment_ended"
    back = min(r.came for r in load.replies if r.sent > killed and r.status == 200 and r.json["name"] == "blue")
    assert back - killed < max(no_op, seconds_to_start(online.app)) + 2.0
    assert log.read_bytes().startswith(before)
    if which != "worker":
        assert online.status()["pid"] != pid
        until(lambda: not runs(worker))


def test_a_restart_is_counted_and_its_cause_is_shown(online: Online) -> None:
    pid, restarts = online.status("green")["pid"], online.status("green")["restarts"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: online.status("green")["restarts"] == restarts + 1)
    assert online.post(azureml_model_deployment="green").status == 200
    status = online.status("green")
    assert status["status"] == "ready"
    assert f"process {pid} ended with SIGKILL" in status["error"]
    assert f"green: process {pid} ended with SIGKILL" in online.folder.daemon_log.read_text(encoding="utf-8")


def test_a_server_is_replaced_whatever_ended_it_and_whatever_became_of_its_log(online: Online) -> None:
    pid = online.status("green")["pid"]
    online.folder.deployment("green").log.unlink()
    # One of the signals that have a number alone.
    os.kill(pid, signal.SIGRTMIN + 1)
    until(lambda: online.status("green")["pid"] not in (pid, None))
    assert online.post(azureml_model_deployment="green").status == 200
    assert f"process {pid} ended with signal {signal.SIGRTMIN + 1}" in online.status("green")["error"]


def test_a_request_that_ends_its_server_is_answered_502_and_ends_no_second_one(online: Online) -> None:
    restarts = online.status()["restarts"]
    reply = online.post({"die": True}, azureml_model_deployment="blue")
    assert (reply.status, reply.json["error"]["code"]) == (502, "deployment_ended")
    assert reply.headers["Retry-After"] == "1"
    assert online.post(azureml_model_deployment="blue").status == 200
    assert online.status()["restarts"] == restarts + 1


def test_a_server_that_does_not_start_is_an_error_with_its_log(online: Online, own_app: Path) -> None:
    broken = Online(online.endpoint, own_app)
    (own_app / "broken").touch()
    with pytest.raises(StartError, match="the file 'broken' is there") as told:
        broken.deploy("red")
    assert "the inference server stopped with status 3" in str(told.value)
    assert "red" not in online.endpoint.describe()["deployments"]
    # Its log is kept until it is deleted, to look at.
    assert "RuntimeError" in online.folder.deployment("red").log.read_text(encoding="utf-8")
    online.endpoint.delete_deployment("red")
    assert not online.folder.deployment("red").path.exists()


def test_a_server_that_cannot_start_again_is_started_less_and_less_often(online: Online, own_app: Path) -> None:
    own = Online(online.endpoint, own_app)
    own.deploy("loop")
    (own_app / "broken").touch()
    os.kill(own.status("loop")["pid"], signal.SIGKILL)
    until(lambda: own.status("loop")["status"] == "failing", 60)
    assert "the file 'broken' is there" in own.status("loop")["error"]
    reply = own.post(azureml_model_deployment="loop")
    assert (reply.status, reply.json["error"]["code"]) == (503, "deployment_unavailable")
    assert reply.came - reply.sent < 1.0
    log = own.folder.deployment("loop").log
    time.sleep(3)
    starts = log.read_text(encoding="utf-8").count("the endpoint starts a server")
    assert 2 < starts < 8
    (own_app / "broken").unlink()
    until(lambda: own.post(azureml_model_deployment="loop").status == 200, 60)
    own.endpoint.delete_deployment("loop")


def test_a_server_that_hangs_is_replaced(online: Online) -> None:
    online.deploy("slow", probe=Probe(initial_delay=1, period=1, timeout=1, failure_threshold=2))
    # A start may take longer than the two seconds that such a probe gives it; here it has been made by now.
    pid = online.status("slow")["pid"]
    os.kill(worker_of(pid), signal.SIGSTOP)
    until(lambda: online.status("slow")["pid"] not in (pid, None), 60)
    assert online.post(azureml_model_deployment="slow").status == 200
    online.endpoint.delete_deployment("slow")


def test_a_killed_endpoint_leaves_no_server_and_is_reported_once(
    make_online: Callable[[str], Online], caplog: pytest.LogCaptureFixture
) -> None:
    online = make_online("killed")
    online.deploy("blue")
    online.traffic(blue=100)
    port, key = online.port, online.key
    servers = [online.status()["pid"], worker_of(online.status()["pid"])]
    daemon = online.folder.daemon()
    assert isinstance(daemon, DaemonRecord)
    os.kill(daemon.process.pid, signal.SIGKILL)
    until(lambda: not any(map(runs, servers)), 10)
    with pytest.raises(NotRunningError, match=r"process \d+ of endpoint 'killed' was killed"):
        online.endpoint.require_running()
    assert online.endpoint.running() is None
    assert caplog.records == []  # told of once
    online.endpoint.start()
    assert (online.port, online.key) == (port, key)
    assert online.post().json["name"] == "blue"


def test_two_commands_at_once_make_one_endpoint(make_online: Callable[[str], Online]) -> None:
    online = make_online("twice")
    online.endpoint.stop()
    problems: list[Exception] = []

    def deploy(name: str) -> None:
        try:
            online.deploy(name)
        except Exception as exc:  # noqa: BLE001
            problems.append(exc)

    threads = [threading.Thread(target=deploy, args=(name,)) for name in ("blue", "blue", "green")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert set(online.endpoint.describe()["deployments"]) == {"blue", "green"}
    log = online.folder.daemon_log.read_text(encoding="utf-8")
    assert log.count("serving at") == 2  # when it was made, and now
