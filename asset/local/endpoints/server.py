"""The inference server of a deployment, in a process of its own, and the sockets in an endpoint's folder.

A server takes connections from a socket that stays open in the endpoint's process: a request that comes while no server runs
waits in the socket's queue for the next server. A server ends with the endpoint's process, however that ends.

A Unix socket in a folder needs no port, and a user who may not enter the folder cannot connect. So nobody gets past the
endpoint's keys to its servers, and commands reach the endpoint's process safely.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Self

import aiohttp
from yarl import URL

from asset.local.endpoints.errors import LostError, StartError
from asset.local.processes import signal_group
from asset.local.server import BACKLOG, STOP_SECONDS, how_it_ended, start_server, with_end_of_log

MARK = "ASSET_ENDPOINT_FOLDER"
"""The environment variable by which an endpoint's servers are found: it has the path of the endpoint's folder."""

RETIRE_SECONDS = 30.0
LONGEST_LOG = 32 * 1024 * 1024
"""The size in bytes at which a log is moved to log.old.txt, when the next server starts."""

IDLE_SECONDS = 15.0
SERVER_OPTIONS = "--keep-alive 60"
"""This side closes an idle connection long before the server would, so that no request meets a connection being closed."""

ORIGIN = "http://127.0.0.1"
"""The address in requests to a server; the connection itself is to its socket."""

ADDED_BY_AIOHTTP = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


@dataclass(frozen=True)
class Launch:
    """How a server is started."""

    python: Path
    script: Path
    variables: dict[str, str]
    log: Path
    older_log: Path


@dataclass(frozen=True)
class Answer:
    """A server's answer, of any status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], path: str, log: Path, log_start: int) -> None:
        """Use a process that `start` has started."""
        self.answered, self.in_flight = False, 0
        self.exited = _exit_status(process)
        self.session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path, limit=0, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        self._process, self._log, self._log_start = process, log, log_start
        self._started = time.monotonic()

    @classmethod
    def start(cls, launch: Launch, listener: Listener) -> Self:
        """Start a server on an open socket; raises LocalServerError or OSError if it cannot be started."""
        with _opened_log(launch) as log:
            start = log.tell()
            process = start_server(launch.python, launch.script, launch.variables, listener.socket, log)
        return cls(process, listener.path, launch.log, start)

    @property
    def pid(self) -> int:
        """Return the number of the process that leads the server's group."""
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Return how many seconds ago the server was started."""
        return time.monotonic() - self._started

    @property
    def runs(self) -> bool:
        """Return whether the server's process still runs."""
        return not self.exited.done()

    async def until_healthy(self, seconds: float) -> None:
        """Wait until the server answers for the first time.

        Raises:
            StartError: the server ended, or did not answer in time; the message has the end of its log.
        """
        probe = asyncio.ensure_future(self.is_healthy(seconds))
        await asyncio.wait({probe, self.exited}, return_when=asyncio.FIRST_COMPLETED)
        if not self.runs:
            probe.cancel()
            raise StartError(self.failure(f"the inference server stopped with {self.how_it_ended}"))
        if not await probe:
            raise StartError(self.failure(f"the inference server was not healthy within {seconds:.0f} s"))

    async def is_healthy(self, seconds: float) -> bool:
        """Return whether the server answers GET / within so many seconds."""
        if self.session.closed:
            return False
        try:
            timeout = aiohttp.ClientTimeout(total=seconds)
            async with self.session.get(f"{ORIGIN}/", timeout=timeout) as answer:
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send the server a request and return its answer.

        Raises:
            LostError: the server ended, or closed the connection, before it answered.
        """
        self.in_flight += 1
        try:
            # The pool learns that the server has closed an idle connection when the event loop has looked at the connection.
            # So let the loop look first: a request on a closed connection would seem to have ended the server.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if self.session.closed:
                raise LostError("the server was stopped before it got the request")
            url = URL(f"{ORIGIN}{target}", encoded=True)
            async with self.session.request(
                method,
                url,
                headers=headers,
                data=body or None,
                allow_redirects=False,
                skip_auto_headers=ADDED_BY_AIOHTTP,
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError) as exc:
            raise LostError("the server ended, or closed the connection, before it answered") from exc
        finally:
            self.in_flight -= 1
        self.answered = True
        return Answer(answer.status, answer.headers, content)

    @property
    def how_it_ended(self) -> str:
        """Return the exit status of the server's process in words, such as "SIGKILL"."""
        return how_it_ended(self.exited.result())

    def failure(self, text: str) -> str:
        """Return a message with the last lines of this server's part of the log."""
        return with_end_of_log(text, self._log, self._log_start)

    def kill(self) -> None:
        """Kill the server with its workers."""
        signal_group(self.pid, signal.SIGKILL)

    async def retire(self) -> None:
        """Let workers that outlive their leader finish their requests, and end them."""
        signal_group(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + RETIRE_SECONDS
        try:
            while self.in_flight and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
        finally:
            await self.session.close()
            self.kill()

    async def stop(self) -> None:
        """Stop the server in order; requests that it still works on are lost."""
        await self.session.close()
        if self.runs:
            self._process.send_signal(signal.SIGINT)
            await asyncio.wait({self.exited}, timeout=STOP_SECONDS)
        self.kill()
        await asyncio.wait({self.exited})


def _exit_status(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """Return a future with the exit status of a child of this process."""
    loop = asyncio.get_running_loop()
    status: asyncio.Future[int] = loop.create_future()
    descriptor = os.pidfd_open(process.pid)

    def read() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        status.set_result(process.wait())

    loop.add_reader(descriptor, read)
    return status


def _opened_log(launch: Launch) -> IO[bytes]:
    """Open the log for a new server, after its last line."""
    if launch.log.exists() and launch.log.stat().st_size > LONGEST_LOG:
        launch.log.replace(launch.older_log)
    log = open(launch.log, "ab")
    log.seek(0, os.SEEK_END)
    log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} the endpoint starts a server\n".encode())
    log.flush()
    return log


_numbers = itertools.count()


class Listener:
    """A Unix socket that listens until it is closed, even while no process takes connections from it."""

    def __init__(self, folder: Path, name: str | None = None) -> None:
        """Listen on a socket in a folder; without a name, on a new socket. Raises OSError if that fails."""
        for path in folder.glob("server-*.sock"):
            if not path.name.startswith(f"server-{os.getpid()}-"):
                path.unlink(missing_ok=True)  # left by a process that was killed
        self._file = folder / (name or f"server-{os.getpid()}-{next(_numbers)}.sock")
        self._file.unlink(missing_ok=True)
        self._folder = _opened(folder)
        self.path = _short(self._folder, self._file.name)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(self.path)
        self.socket.listen(BACKLOG)

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._folder >= 0:
            self.socket.close()
            self._file.unlink(missing_ok=True)
            os.close(self._folder)
            self._folder = -1


@contextlib.contextmanager
def reachable(folder: Path, name: str) -> Iterator[str]:
    """Return a path by which a socket in a folder can be connected to, however long the folder's own path is."""
    descriptor = _opened(folder)
    try:
        yield _short(descriptor, name)
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY)


def _short(descriptor: int, name: str) -> str:
    """Return the path of a socket by its folder's descriptor: the system takes no path of more than 107 bytes."""
    return f"/proc/self/fd/{descriptor}/{name}"
