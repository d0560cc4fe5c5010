"""An endpoint for commands: start its process, send it commands, stop it, and clean up after a process that was killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from filelock import FileLock

from asset.local.endpoints.control import connect
from asset.local.endpoints.errors import EndpointError, NotRunningError, error_of
from asset.local.endpoints.records import DaemonRecord, DeploymentRecord, EndpointFolder, EndpointRecord, Keys
from asset.local.endpoints.router import check_traffic
from asset.local.endpoints.server import MARK
from asset.local.processes import end_marked, kill, start_in_background
from asset.local.server import with_end_of_log

logger = logging.getLogger("asset.local.endpoints")

START_SECONDS, STOP_SECONDS = 60.0, 60.0


@dataclass(frozen=True)
class LocalEndpoint:
    """An endpoint in a folder of local state."""

    folder: EndpointFolder

    def create(self, record: EndpointRecord) -> None:
        """Make a new endpoint, or update an existing one; start its process if it does not run, and set its traffic.

        Raises:
            EndpointError: the traffic is not valid, or the process does not start.
        """
        with self._lock():
            if not self.folder.exists:
                check_traffic(record.traffic, set())
                self.folder.make()
                Keys.fresh().write(self.folder.keys)
                # This file makes it an endpoint, so it is written last, after the keys.
                self.folder.write(EndpointRecord(record.name, {}, record.resource))
            self._start()
        self.call("PUT", "/", {"traffic": record.traffic, "resource": record.resource})

    def start(self) -> None:
        """Start the endpoint's process with its deployments, if it does not run."""
        with self._held():
            self._start()

    def deploy(self, record: DeploymentRecord) -> dict[str, Any]:
        """Start a deployment, or replace it, and wait until its server is ready.

        Raises:
            EndpointError: the endpoint does not exist, or the server does not start; then the deployment before it stays.
        """
        self.start()
        return self.call("PUT", f"/deployments/{record.name}", record)

    def delete_deployment(self, name: str) -> None:
        """Remove a deployment that has no traffic."""
        self.start()
        self.call("DELETE", f"/deployments/{name}")

    def exchange_key(self, which: str) -> None:
        """Replace the "primary" or the "secondary" key with a new key."""
        with self._held():
            self.keys().exchanged(which).write(self.folder.keys)
        if self.running() is not None:
            self.call("PUT", "/keys")

    def keys(self) -> Keys:
        """Return the keys."""
        self.folder.read()
        return Keys.read(self.folder.keys)

    def stop(self) -> None:
        """Stop the process, once it has answered the requests that it has accepted."""
        with self._held():
            self._stop()

    def delete(self) -> None:
        """Stop the endpoint and remove all of it, with its logs and keys."""
        with self._held():
            self._stop()
            shutil.rmtree(self.folder.path)

    def describe(self) -> dict[str, Any]:
        """Return the state of its deployments and its traffic."""
        if self.running() is not None:
            return self.call("GET", "/")
        stopped = {"status": "stopped", "pid": None, "restarts": 0, "pending": 0, "error": ""}
        deployments = {name: stopped for name in self.folder.deployments()}
        return {"deployments": deployments, "traffic": self.folder.read().traffic}

    def running(self) -> DaemonRecord | None:
        """Return the endpoint's process; None if it does not run. If it was killed, the log says so once."""
        try:
            return self._running()
        except NotRunningError as exc:
            logger.warning("%s", exc)
            return None

    def require_running(self) -> DaemonRecord:
        """Return the endpoint's process.

        Raises:
            NotRunningError: it does not run; the message says why, and what to do.
        """
        self.folder.read()
        daemon = self._running()
        if daemon is None:
            raise NotRunningError(
                f"endpoint '{self.folder.name}' is stopped; start it with `asset endpoints start {self.folder.name}`"
            )
        return daemon

    def call(self, method: str, path: str, body: object = None, seconds: float | None = None) -> dict[str, Any]:
        """Send the endpoint's process a command and return its answer; without `seconds`, wait as long as it takes.

        Raises:
            EndpointError: the process refused the command, ended, or does not answer.
        """
        content = None if body is None else json.dumps(body, default=vars)
        connection = _Connection(self.folder, seconds)
        try:
            connection.request(method, path, content)
            answer = connection.getresponse()
            reply = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise NotRunningError(
                f"the process of endpoint '{self.folder.name}' does not answer ({exc}); see {self.folder.daemon_log}"
            ) from exc
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise error_of(answer.status, reply["message"])
        return reply

    def _running(self) -> DaemonRecord | None:
        daemon = self.folder.daemon()
        if daemon is None or daemon.process.runs:
            return daemon
        self.folder.write_daemon(None)
        left = end_marked(MARK, str(self.folder.path))
        raise NotRunningError(
            f"process {daemon.process.pid} of endpoint '{self.folder.name}' was killed (its log: {self.folder.daemon_log})"
            + (f"; {len(left)} processes that it left behind were stopped" if left else "")
            + f"; start the endpoint again with `asset endpoints start {self.folder.name}`"
        )

    def _start(self) -> None:
        """Start the process if it does not run. The caller holds the lock."""
        if self.running() is not None:
            return
        log = self.folder.daemon_log
        began = log.stat().st_size if log.exists() else 0
        process = start_in_background(
            [sys.executable, "-m", "asset.local.endpoints.daemon", str(self.folder.path)], log
        )
        deadline = time.monotonic() + START_SECONDS
        while self.folder.daemon() is None:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                text = f"the process of endpoint '{self.folder.name}' did not start"
                raise NotRunningError(with_end_of_log(text, log, began))
            time.sleep(0.01)

    def _stop(self) -> None:
        """Stop the process if it runs. The caller holds the lock."""
        daemon = self.running()
        if daemon is None:
            return
        deadline = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(EndpointError):
            self.call("POST", "/stop", seconds=STOP_SECONDS)
        while daemon.process.runs and time.monotonic() < deadline:
            time.sleep(0.02)
        if daemon.process.runs:
            kill(daemon.process)
            end_marked(MARK, str(self.folder.path))
            self.folder.write_daemon(None)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the lock of an existing endpoint; raises NotFoundError, also if it is deleted while this command waits."""
        self.folder.read()
        with self._lock():
            self.folder.read()
            yield

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the lock of the endpoint; other commands wait."""
        self.folder.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder.lock):
            yield


class _Connection(http.client.HTTPConnection):
    """A connection to the control socket of an endpoint."""

    def __init__(self, folder: EndpointFolder, seconds: float | None) -> None:
        super().__init__("endpoint")
        self._folder, self._seconds = folder, seconds

    def connect(self) -> None:
        self.sock: socket.socket = connect(self._folder)
        self.sock.settimeout(self._seconds)
