"""One process of the inference server, for one deployment.

It takes connections from a socket that stays open in this process: what connects while no server is there waits in the
socket's queue for the next one. It ends with this process, however that ends.

Sockets in a folder: they need no port, and who may not enter the folder cannot connect.

A server behind an endpoint listens on one, so that nobody gets past the endpoint's keys; and commands reach the endpoint's
process by one. The system takes no path of more than 107 bytes, so a socket is named from its folder's descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
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
from asset.local.server import BACKLOG, server_command

MARK = "ASSET_ENDPOINT_FOLDER"
"""The environment variable that tells an endpoint's servers from all other processes: it holds the endpoint's folder."""

STOP_SECONDS, RETIRE_SECONDS = 5.0, 30.0
LOG_LINES_SHOWN = 25
MOST_SHOWN = 64 * 1024
LONGEST_LOG = 32 * 1024 * 1024
"""Bytes of a log after which the next server begins a new one; the one before is kept."""

IDLE_SECONDS = 15.0
SERVER_OPTIONS = "--keep-alive 60"
"""An idle connection is closed by us, well before the server would: never by both at the moment of a request."""

ORIGIN = "http://127.0.0.1"
"""Where requests to a server are for; they go to its socket."""

ADDED_BY_AIOHTTP = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")

# The socket is handed over as systemd does it, see asset.local.server. SIGINT (2) when the process that started it ends
# is gunicorn's quick stop, its workers with it; a shell may have it ignored in what runs in the background.
HAND_OVER_SOCKET = """
import ctypes, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
ctypes.CDLL(None).prctl(1, signal.SIGINT)
if os.getppid() != int(sys.argv[2]):
    sys.exit("the endpoint's process ended")
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
os.execv(sys.argv[3], sys.argv[3:])
"""


@dataclass(frozen=True)
class Launch:
    """What a server is started with."""

    python: Path
    app_root: Path
    script: str
    variables: dict[str, str]
    log: Path
    older_log: Path


@dataclass(frozen=True)
class Answer:
    """What a server answered, of any status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Server:
    """A running server."""

    def __init__(self, process: asyncio.subprocess.Process, path: str, log: Path, log_start: int) -> None:
        """Take over a process that `start` has made."""
        self.answered, self.in_flight = False, 0
        self.exited = asyncio.ensure_future(process.wait())
        self.session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path, limit=0, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        self._process, self._log, self._log_start = process, log, log_start
        self._started = time.monotonic()

    @classmethod
    async def start(cls, launch: Launch, listener: Listener) -> Self:
        """Start a server on a socket that listens; raises LocalServerError or OSError where it cannot be."""
        command = server_command(launch.python, launch.app_root / launch.script)
        descriptor = listener.socket.fileno()
        with _log_of(launch) as log:
            start = log.tell()
            process = await asyncio.create_subprocess_exec(
                *(str(launch.python), "-ISc", HAND_OVER_SOCKET, str(descriptor), str(os.getpid())),
                *command,
                cwd=launch.app_root,
                env=launch.variables,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=[descriptor],
                start_new_session=True,
            )
        return cls(process, listener.path, launch.log, start)

    @property
    def pid(self) -> int:
        """Return the process that leads the server's group."""
        return self._process.pid

    @property
    def seconds(self) -> float:
        """Return how long ago it was started."""
        return time.monotonic() - self._started

    @property
    def runs(self) -> bool:
        """Return whether its process has not ended."""
        return not self.exited.done()

    async def until_healthy(self, seconds: float) -> None:
        """Wait until it answers for the first time.

        Raises:
            StartError: it ended, or it did not answer within so many seconds; the message has the end of its log.
        """
        probe = asyncio.ensure_future(self.is_healthy(seconds))
        await asyncio.wait({probe, self.exited}, return_when=asyncio.FIRST_COMPLETED)
        if not self.runs:
            probe.cancel()
            raise StartError(self.failure(f"the inference server stopped with {self.how_it_ended}"))
        if not await probe:
            raise StartError(
                self.failure(
                    f"expected the inference server to be healthy within {seconds:.0f} s, found that it is not"
                )
            )

    async def is_healthy(self, seconds: float) -> bool:
        """Return whether it answers GET / within so many seconds."""
        try:
            timeout = aiohttp.ClientTimeout(total=seconds)
            async with self.session.get(f"{ORIGIN}/", timeout=timeout) as answer:
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send it a request and return its answer.

        Raises:
            LostError: it ended, or closed the connection, before it had answered.
        """
        # A connection of the pool that the server's end has closed is known as such once the loop has looked at it, so it
        # gets the time to: what is sent to it would look like a request that the server ended on.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.in_flight += 1
        try:
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
        """Return its exit status in words: "status 3", "SIGKILL", "signal 35"."""
        status = self.exited.result()
        if status >= 0:
            return f"status {status}"
        # Of the real-time ones, the first and the last alone have names.
        return next((one.name for one in signal.Signals if one == -status), f"signal {-status}")

    def failure(self, text: str) -> str:
        """Return a message with the last lines that this server wrote."""
        lines: list[str] = []
        # Somebody may have removed it, and that is no reason to leave the deployment without a server.
        with contextlib.suppress(OSError), open(self._log, "rb") as log:
            log.seek(max(self._log_start, os.fstat(log.fileno()).st_size - MOST_SHOWN))
            lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return f"{text}. The end of its log:\n" + "\n".join(lines) + f"\nMend what it names (all of it: {self._log})"

    def kill(self) -> None:
        """End it at once, with its workers."""
        self._signal(signal.SIGKILL)

    async def retire(self) -> None:
        """Let workers that outlive their leader finish what they have, and end them."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + RETIRE_SECONDS
        try:
            while self.in_flight and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
        finally:
            await self.session.close()
            self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop it in order; what it still works on is lost."""
        await self.session.close()
        if self.runs:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            await asyncio.wait({self.exited}, timeout=STOP_SECONDS)
        self._signal(signal.SIGKILL)
        await self.exited

    def _signal(self, number: signal.Signals) -> None:
        signal_group(self._process.pid, number)


def _log_of(launch: Launch) -> IO[bytes]:
    """Open the log to write on."""
    if launch.log.exists() and launch.log.stat().st_size > LONGEST_LOG:
        launch.log.replace(launch.older_log)
    log = open(launch.log, "ab")
    log.seek(0, os.SEEK_END)
    log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} the endpoint starts a server\n".encode())
    log.flush()
    return log


_numbers = itertools.count()


class Listener:
    """A socket that listens until it is closed, whatever becomes of the processes that take connections from it."""

    def __init__(self, folder: Path, name: str | None = None) -> None:
        """Listen on a socket of this name, or one of its own, in a folder; raises OSError where that cannot be."""
        for path in folder.glob("server-*.sock"):
            if not path.name.startswith(f"server-{os.getpid()}-"):
                path.unlink(missing_ok=True)  # of a process that was killed
        self._file = folder / (name or f"server-{os.getpid()}-{next(_numbers)}.sock")
        self._file.unlink(missing_ok=True)
        self._folder = _opened(folder)
        self.path = _short(self._folder, self._file.name)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(self.path)
        self.socket.listen(BACKLOG)

    def close(self) -> None:
        """Listen no more; a second time does nothing."""
        if self._folder >= 0:
            self.socket.close()
            self._file.unlink(missing_ok=True)
            os.close(self._folder)
            self._folder = -1


@contextlib.contextmanager
def reachable(folder: Path, name: str) -> Iterator[str]:
    """Return the path by which a socket in a folder can be connected to, however long its own is."""
    descriptor = _opened(folder)
    try:
        yield _short(descriptor, name)
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY)


def _short(descriptor: int, name: str) -> str:
    return f"/proc/self/fd/{descriptor}/{name}"
