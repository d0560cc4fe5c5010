"""Endpoints with real inference servers, on a script that returns its request or does what the request says."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from asset.local.endpoints.link import LocalEndpoint
from asset.local.endpoints.records import DeploymentRecord, EndpointFolder, EndpointRecord
from asset.local.server import SERVING_PYTHON

SCRIPT = """
import json, os, signal, time

from azureml_inference_server_http.api.aml_response import AMLResponse
from flask import request

def init():
    if os.path.exists("broken"):
        raise RuntimeError("the file 'broken' is there")

def run(raw_data):
    asked = json.loads(raw_data)
    time.sleep(asked.get("sleep", 0))
    if asked.get("die"):
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    if "status" in asked:
        return AMLResponse({"error": {"code": "asked_for"}}, asked["status"], {"Retry-After": "3"}, json_str=True)
    if asked.get("show"):
        return {"headers": dict(request.headers), "variables": dict(os.environ), "folder": os.getcwd()}
    return {"name": os.environ.get("NAME"), "pid": os.getpid()}
"""


@dataclass(frozen=True)
class Reply:
    """An answer, with the monotonic times at which its request was sent and the answer came."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    sent: float
    came: float

    @property
    def json(self) -> Any:  # noqa: ANN401
        return json.loads(self.body)


@dataclass
class Online:
    """An endpoint, and methods that send requests to it."""

    endpoint: LocalEndpoint
    app: Path

    @property
    def folder(self) -> EndpointFolder:
        return self.endpoint.folder

    @property
    def port(self) -> int:
        return self.endpoint.require_running().port

    @property
    def key(self) -> str:
        return self.endpoint.keys().primary

    def deploy(self, name: str = "blue", **settings: Any) -> dict[str, Any]:  # noqa: ANN401
        variables = {"NAME": name, "GUNICORN_CMD_ARGS": "--threads 64", **settings.pop("variables", {})}
        given = {"max_concurrent": 64, "request_timeout": 30.0, **settings}
        record = DeploymentRecord(name, str(SERVING_PYTHON), str(self.app), "score.py", variables=variables, **given)
        return self.endpoint.deploy(record)

    def traffic(self, **shares: int) -> None:
        self.endpoint.create(EndpointRecord(self.folder.name, shares))

    def status(self, name: str = "blue") -> dict[str, Any]:
        return self.endpoint.describe()["deployments"][name]

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def post(self, content: object = None, *, key: str | None = None, path: str = "/score", **headers: str) -> Reply:
        """Send one request, on a connection of its own."""
        with contextlib.closing(self.connect()) as connection:
            return send(connection, content or {}, key or self.key, path, **headers)


def send(
    connection: http.client.HTTPConnection, content: object, key: str, path: str = "/score", **headers: str
) -> Reply:
    """Send a request on a connection that may have been used before."""
    sent = time.monotonic()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **named}
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    connection.request("POST", path, body, named)
    answer = connection.getresponse()
    return Reply(answer.status, answer.headers, answer.read(), sent, time.monotonic())


@dataclass
class Load:
    """Clients that send one request after another, each on a connection of its own that stays open."""

    online: Online
    clients: int
    content: object = field(default_factory=dict)
    replies: list[Reply] = field(default_factory=list)
    problems: list[Exception] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait(self, number: int, seconds: float = 60.0) -> None:
        """Wait until so many more requests are answered."""
        until, deadline = len(self.replies) + number, time.monotonic() + seconds
        while len(self.replies) < until:
            assert time.monotonic() < deadline, f"{len(self.replies)} answers, not {until}; {self.problems}"
            time.sleep(0.005)

    def _send(self) -> None:
        key = self.online.key
        with contextlib.closing(self.online.connect()) as connection:
            while not self._stop.is_set():
                try:
                    self.replies.append(send(connection, self.content, key))
                except Exception as exc:  # noqa: BLE001  a lost request is what the test looks for
                    self.problems.append(exc)
                    return


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("an app")
    (folder / "score.py").write_text(SCRIPT, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def make_online(app: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Online]]:
    """Make endpoints without deployments; delete them after the module's tests."""
    made: list[Online] = []

    def make(name: str = "bert-base-cased") -> Online:
        # A path that is longer than what the system takes for a socket.
        state = tmp_path_factory.mktemp("state-of-an-endpoint-with-a-long-name-for-the-folder-" + "x" * 60)
        endpoint = LocalEndpoint(EndpointFolder.of(state, name))
        made.append(Online(endpoint, app))
        endpoint.create(EndpointRecord(name))
        return made[-1]

    yield make
    for online in made:
        if online.folder.exists:
            online.endpoint.delete()


@pytest.fixture
def own_app(app: Path, tmp_path: Path) -> Path:
    """A copy of the script that a test may change."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "score.py").write_text(SCRIPT, encoding="utf-8")
    return folder
