"""A deployment in an endpoint's process: it keeps a server running, and passes requests to the server.

A server that ends is replaced at once, and requests wait for the new server. If the new server ends before it has answered
anything, the next servers start after 1, 2, 4, … seconds, and requests are refused meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from asset.local.endpoints.errors import LostError, NotRunningError, StartError
from asset.local.endpoints.records import DeploymentFolder, DeploymentRecord
from asset.local.endpoints.server import MARK, SERVER_OPTIONS, Answer, Launch, Listener, Server
from asset.local.server import LocalServerError, server_variables

logger = logging.getLogger("asset.local.endpoints")

LONGEST_DELAY = 30.0
STARTING, READY, RESTARTING, FAILING, STOPPED = "starting", "ready", "restarting", "failing", "stopped"

NOT_THE_SERVERS = (
    "AZUREML_",
    "AML_",
    "BERT_SERVING_",
    "GUNICORN_",
    "WORKER_",
    "SCORING_",
    "MLFLOW_",
    "PYTHON",
    "ASSET_",
)
"""Prefixes of environment variables that a server gets from its deployment only, not from the shell of the command."""


class Deployment:
    """A deployment of an endpoint, in the endpoint's process."""

    def __init__(self, record: DeploymentRecord, folder: DeploymentFolder) -> None:
        """Open the socket that its servers listen on; raises OSError if the socket cannot be opened."""
        self.record, self.pending, self.restarts, self.error = record, 0, 0, ""
        self.status = STARTING
        self._listener = Listener(folder.path)
        self._launch = _launch(record, folder)
        self._server: Server | None = None
        self._slots = asyncio.Semaphore(record.max_concurrent)
        # Set while the deployment is ready or failing; requests wait while it is not set, because a server is starting.
        self._settled = asyncio.Event()
        self._up_before, self._up_since = 0.0, 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the first server, and keep a server running from then on.

        Raises:
            StartError: the server did not start; nothing is left of it.
        """
        try:
            await self._start_server()
        except BaseException:
            await self.stop()
            raise
        self._task(self._supervise())

    def restore(self) -> None:
        """Keep a server running for a deployment that had a server before; a server that does not start is started again."""
        self._task(self._supervise())

    def describe(self) -> dict[str, Any]:
        """Return the state of the deployment, ready for JSON."""
        server = self._server
        return {
            "status": self.status,
            "pid": server.pid if server and server.runs else None,
            "restarts": self.restarts,
            "pending": self.pending,
            "error": self.error,
        }

    @property
    def is_full(self) -> bool:
        """Return whether Azure would refuse another request."""
        return self.pending >= 2 * self.record.max_concurrent

    async def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Pass a request to the server and return its answer; wait first if a server is being started.

        Raises:
            TimeoutError: no answer within the deployment's request timeout. Waiting for a server does not count.
            LostError: the server ended while it worked on the request.
            NotRunningError: there is no server, and none starts soon.
        """
        with self._counted():
            seconds = await self._slot(self.record.request_timeout)
            try:
                server = await self._ready_server()
                async with asyncio.timeout(seconds):
                    return await server.exchange(method, target, headers, body)
            except LostError:
                self._suspect(server)
                raise
            finally:
                self._slots.release()

    async def drain(self, seconds: float) -> None:
        """Wait until no request is pending, at most so many seconds."""
        deadline = time.monotonic() + seconds
        while self.pending and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Stop the server; requests that are still pending are lost."""
        self.status = STOPPED
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.stop()
        self._listener.close()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1

    async def _slot(self, seconds: float) -> float:
        """Wait for one of the `max_concurrent` slots; return how many of the seconds are left."""
        begin = self._up_seconds()
        while (left := seconds - (self._up_seconds() - begin)) > 0:
            await self._ready_server()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._slots.acquire()
                    return max(seconds - (self._up_seconds() - begin), 0.001)
        raise TimeoutError

    async def _ready_server(self) -> Server:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.record.probe.startup_seconds):
                await self._settled.wait()
        if self._server is None or self.status != READY:
            raise NotRunningError(
                f"deployment '{self.record.name}' has no running server, because its server ended again and again; see its log"
            )
        return self._server

    async def _start_server(self) -> None:
        server = None
        try:
            self._server = server = Server.start(self._launch, self._listener)
            await server.until_healthy(self.record.probe.startup_seconds)
        except (LocalServerError, OSError) as exc:
            raise StartError(f"cannot start the inference server: {exc}") from exc
        except StartError:
            assert server is not None
            await server.stop()
            self._server = None
            raise
        logger.info("%s: process %d is ready after %.1f s", self.record.name, server.pid, server.seconds)
        self._set_ready()

    async def _supervise(self) -> None:
        failures = 0
        while True:
            try:
                if self._server is None:
                    await self._start_server()
                assert self._server is not None
                await self._until_it_ends(self._server)
                failures = self._note_end(self._server, failures)
                self._task(self._server.retire())
                self._server = None
            except StartError as exc:
                failures += 1
                self.error = str(exc)
                logger.warning("%s: the server did not start; see its log", self.record.name)
            if failures > 1:
                self.status = FAILING
                self._settled.set()
                await asyncio.sleep(min(2.0 ** (failures - 2), LONGEST_DELAY))

    def _note_end(self, server: Server, failures: int) -> int:
        """Record that the server ended; return how many servers in a row have ended without an answer."""
        self._set_not_ready(RESTARTING)
        self.restarts += 1
        self.error = server.failure(f"process {server.pid} ended with {server.how_it_ended}")
        logger.warning("%s: process %d ended with %s", self.record.name, server.pid, server.how_it_ended)
        return 0 if server.answered else failures + 1

    async def _until_it_ends(self, server: Server) -> None:
        """Wait until the server has ended; kill a server that fails too many probes in a row."""
        probe, misses, seconds = self.record.probe, 0, self.record.probe.initial_delay
        while True:
            await asyncio.wait({server.exited}, timeout=seconds)
            if not server.runs:
                return
            seconds = probe.period
            misses = 0 if await server.is_healthy(probe.timeout) else misses + 1
            if misses >= probe.failure_threshold and server.runs:
                logger.warning(
                    "%s: process %d failed %d probes in a row and is killed", self.record.name, server.pid, misses
                )
                server.kill()
                await asyncio.wait({server.exited})

    def _suspect(self, server: Server) -> None:
        """Let requests wait until a server that closed a connection answers again, because its worker may have ended."""
        if server is self._server and self.status == READY:
            self._set_not_ready(RESTARTING)
            self._task(self._until_it_answers(server))

    async def _until_it_answers(self, server: Server) -> None:
        healthy = await server.is_healthy(self.record.probe.startup_seconds)
        if server is self._server and server.runs:
            if healthy:
                self._set_ready()
            else:
                server.kill()

    def _set_ready(self) -> None:
        self.status = READY
        self._up_since = time.monotonic()
        self._settled.set()

    def _set_not_ready(self, status: str) -> None:
        self._up_before = self._up_seconds()
        self.status = status
        self._settled.clear()

    def _up_seconds(self) -> float:
        return self._up_before + (time.monotonic() - self._up_since if self.status == READY else 0.0)

    def _task(self, work: Any) -> None:  # noqa: ANN401  a coroutine
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _launch(record: DeploymentRecord, folder: DeploymentFolder) -> Launch:
    base = {name: value for name, value in os.environ.items() if not name.startswith(NOT_THE_SERVERS)}
    environment = Path(record.python).parents[1]
    base["PATH"] = os.pathsep.join([str(environment / "bin"), os.environ.get("PATH", os.defpath)])
    base |= {"VIRTUAL_ENV": str(environment), **record.variables}
    options = f"{record.variables.get('GUNICORN_CMD_ARGS', '')} {SERVER_OPTIONS}"
    variables = server_variables(base, record.app_root, record.model, options)
    variables |= {"PYTHONUNBUFFERED": "1", MARK: str(folder.path.parents[1])}
    script = Path(record.app_root) / record.script
    return Launch(Path(record.python), script, variables, folder.log, folder.older_log)
