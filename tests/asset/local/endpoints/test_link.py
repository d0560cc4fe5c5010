"""Commands that run at the same time, a process that does not answer, and a name in capital letters."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asset.local.endpoints import link
from asset.local.endpoints.errors import NotFoundError
from asset.local.endpoints.link import LocalEndpoint
from asset.local.endpoints.records import EndpointFolder, EndpointRecord, Keys
from asset.local.processes import ProcessId
from tests.asset.local.endpoints.conftest import Online


@pytest.mark.parametrize("command", [LocalEndpoint.start, LocalEndpoint.stop, LocalEndpoint.delete])
def test_a_command_that_waited_for_a_deletion_finds_no_endpoint(
    tmp_path: Path, command: Callable[[LocalEndpoint], None]
) -> None:
    endpoint = LocalEndpoint(EndpointFolder.of(tmp_path, "bert"))
    endpoint.folder.write(EndpointRecord("bert"))
    Keys.fresh().write(endpoint.folder.keys)
    errors: list[Exception] = []

    def wait() -> None:
        try:
            command(endpoint)
        except Exception as exc:  # noqa: BLE001  the test checks its type
            errors.append(exc)

    waiting = threading.Thread(target=wait)
    with endpoint._lock():
        waiting.start()
        time.sleep(0.2)
        (endpoint.folder.path / "endpoint.json").unlink()
    waiting.join()
    assert [type(exc) for exc in errors] == [NotFoundError]


def test_an_endpoint_is_there_once_it_has_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = LocalEndpoint(EndpointFolder.of(tmp_path, "bert"))

    def killed(keys: Keys, path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Keys, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        endpoint.create(EndpointRecord("bert"))
    assert not endpoint.folder.exists


def test_a_process_that_does_not_answer_is_ended(
    make_online: Callable[[str], Online], monkeypatch: pytest.MonkeyPatch
) -> None:
    online = make_online("hangs")
    process = online.endpoint.require_running().process
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(link, "STOP_SECONDS", 0.5)
    online.endpoint.stop()
    assert ProcessId.of(process.pid) != process
    assert online.folder.daemon() is None


def test_an_endpoint_is_the_same_however_its_name_is_written(tmp_path: Path) -> None:
    folder = EndpointFolder.of(tmp_path, "Bert")
    assert folder == EndpointFolder.of(tmp_path, "bert")
    assert folder.deployment("Blue") == folder.deployment("blue")
