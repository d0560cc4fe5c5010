"""An endpoint as commands see it: they start its process, ask it, stop it, and clean up after one that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from asset.environments import ROOT
from asset.local.endpoints.control import connect
from asset.local.endpoints.errors import DiedError, EndpointError, NotRunningError, error_of
from asset.local.endpoints.records import DaemonRecord, DeploymentRecord, EndpointFolder, EndpointRecord
from asset.local.endpoints.router import Keys, check_traffic
from asset.local.endpoints.server import MARK
from asset.local.jobs.step_process import end_leftovers

logger = logging.getLogger("asset.local.endpoints")

START_SECONDS, STOP_SECONDS = 60.0, 60.0
LOG_LINES_SHOWN = 15


@dataclass(frozen=True)
class LocalEndpoint:
    """An endpoint in a folder of local state."""

    folder: EndpointFolder

    def create(self, record: EndpointRecord) -> None:
        """Start the process of a new endpoint, or of one that was stopped, or give the one that runs another traffic.

        Raises:
            EndpointError: the traffic cannot be, or the process does not start.
        """
        with self._lock():
            if not self.folder.exists:
                check_traffic(record.traffic, set())
                self.folder.make()
                Keys.fresh().write(self.folder.keys)
                # Last: with this file it is an endpoint, which cannot be without keys.
                self.folder.write(EndpointRecord(record.name, {}, record.resource))
            self._start()
        self.call("PUT", "/", {"traffic": record.traffic, "resource": record.resource})

    def start(self) -> None:
        """Start the endpoint's process, where it does not run, with the deployments that it had."""
        with self._held():
            self._start()

    def deploy(self, record: DeploymentRecord) -> dict[str, Any]:
        """Start a deployment, new or in the place of the one of its name, and wait until it serves.

        Raises:
            EndpointError: there is no such endpoint, or the deployment's server does not start; then what was there serves on.
        """
        self.start()
        return self.call("PUT", f"/deployments/{record.name}", record)

    def delete_deployment(self, name: str) -> None:
        """Remove a deployment that has no traffic."""
        self.start()
        self.call("DELETE", f"/deployments/{name}")

    def exchange_key(self, which: str) -> None:
        """Exchange the "primary" or the "secondary" key."""
        with self._held():
            self.keys().exchanged(which).write(self.folder.keys)
        if self.running() is not None:
            self.call("PUT", "/keys")

    def keys(self) -> Keys:
        """Return the keys."""
        self.folder.read()
        return Keys.read(self.folder.keys)

    def stop(self) -> None:
        """Let the process answer what it has accepted, and end it."""
        with self._held():
            self._stop()

    def delete(self) -> None:
        """Stop the endpoint and remove all of it, its logs and keys too."""
        with self._held():
            self._stop()
            shutil.rmtree(self.folder.path)

    def describe(self) -> dict[str, Any]:
        """Return how its deployments are; of a stopped one, that they are stopped."""
        if self.running() is not None:
            return self.call("GET", "/")
        stopped = {"status": "stopped", "pid": None, "restarts": 0, "pending": 0, "error": ""}
        deployments = {name: stopped for name in self.folder.deployments()}
        return {"deployments": deployments, "traffic": self.folder.read().traffic}

    def running(self) -> DaemonRecord | None:
        """Return the process that serves the endpoint; None where it was stopped. One that died is told of in the log, once."""
        try:
            return self._running()
        except DiedError as exc:
            logger.warning("%s", exc)
            return None

    def require_running(self) -> DaemonRecord:
        """Return the process that serves the endpoint.

        Raises:
            NotRunningError: there is none; the message says why, and what to do.
        """
        self.folder.read()
        daemon = self._running()
        if daemon is None:
            raise NotRunningError(
                f"expected the endpoint '{self.folder.name}' to run, found it stopped; start it with "
                f"`asset endpoints start {self.folder.name}`"
            )
        return daemon

    def call(self, method: str, path: str, body: object = None, seconds: float | None = None) -> dict[str, Any]:
        """Ask the endpoint's process something and return its answer; without `seconds`, however long that takes.

        Raises:
            EndpointError: it refused, ended, or does not answer.
        """
        content = None if body is None else json.dumps(body, default=vars)
        connection = _Connection(self.folder, seconds)
        try:
            connection.request(method, path, content)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise NotRunningError(
                f"expected an answer of the process of the endpoint '{self.folder.name}', found none ({exc}); see "
                f"{self.folder.daemon_log}"
            ) from exc
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise error_of(answer.status, told["message"])
        return told

    def _running(self) -> DaemonRecord | None:
        daemon = self.folder.daemon()
        if daemon is None or daemon.process.runs:
            return daemon
        self.folder.write_daemon(None)
        left = end_leftovers(MARK, str(self.folder.path))
        raise DiedError(
            f"expected the endpoint '{self.folder.name}' to run, found that its process {daemon.process.pid} ended without "
            f"being told to (its log: {self.folder.daemon_log}), and "
            + (f"stopped {len(left)} processes that it left" if left else "nothing that it left")
            + f"; start it again with `asset endpoints start {self.folder.name}`"
        )

    def _start(self) -> None:
        """Start the process where it does not run. The lock is held."""
        if self.running() is not None:
            return
        with open(self.folder.daemon_log, "ab") as log:
            began = log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                [sys.executable, "-m", "asset.local.endpoints.daemon", str(self.folder.path)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # It goes on when this command and its terminal are gone.
                start_new_session=True,
            )
        # It outlives this object; where this process goes on, as in a notebook, somebody has to notice its end.
        threading.Thread(target=process.wait, daemon=True).start()
        deadline = time.monotonic() + START_SECONDS
        while self.folder.daemon() is None:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise NotRunningError(self._not_started(began))
            time.sleep(0.01)

    def _not_started(self, began: int) -> str:
        with open(self.folder.daemon_log, "rb") as log:
            log.seek(began)
            lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return (
            f"expected the process of the endpoint '{self.folder.name}' to start, found that it did not. The end of its log:\n"
            + "\n".join(lines)
            + f"\nMend what it names (all of it: {self.folder.daemon_log})"
        )

    def _stop(self) -> None:
        """Stop the process where it runs. The lock is held."""
        daemon = self.running()
        if daemon is None:
            return
        deadline = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(EndpointError):
            self.call("POST", "/stop", seconds=STOP_SECONDS)
        while daemon.process.runs and time.monotonic() < deadline:
            time.sleep(0.02)
        if daemon.process.runs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.process.pid, signal.SIGKILL)
            while daemon.process.runs:
                time.sleep(0.02)
            end_leftovers(MARK, str(self.folder.path))
            self.folder.write_daemon(None)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold an endpoint that is there, and still is when those who held it are done; raises NotFoundError."""
        self.folder.read()
        with self._lock():
            self.folder.read()
            yield

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the endpoint for this command; another one waits."""
        self.folder.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.folder.lock, "w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class _Connection(http.client.HTTPConnection):
    """A connection to the control socket. An answer takes as long as a server takes to start."""

    def __init__(self, folder: EndpointFolder, seconds: float | None) -> None:
        super().__init__("endpoint")
        self._folder, self._seconds = folder, seconds

    def connect(self) -> None:
        self.sock: socket.socket = connect(self._folder)
        self.sock.settimeout(self._seconds)
