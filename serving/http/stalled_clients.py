"""Close the connections of clients that stop: while sending a request, while taking an answer, or after it.

gunicorn's threads wait for a client without a limit in two places that a single client should not block:

- A request has a thread from its first byte on. A client whose network fails, or whose process hangs, keeps the thread for
  good, and enough such clients stop the service. Linux can end these waits: it copies SO_RCVTIMEO and SO_SNDTIMEO of a
  listening socket to the connections that it accepts.
- At the end of a connection, the thread that accepts all connections waits up to two seconds for the client to close its
  side too (RFC 9112, section 9.6). A client that asks for `Connection: close` and then waits stops everybody for that time.
  A thread of our own does this waiting, for all such connections at once.

A slow client that goes on is served; a proxy may have stricter limits, as Azure's and the local endpoint's do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import selectors
import socket
import stat
import struct
import sys
import threading
import time
from typing import Any

logger = logging.getLogger("serving.http.stalled_clients")

SERVERS_LOG, SERVERS_CLOSING = "gunicorn.error", "gunicorn.util"
LINGER_SECONDS = 2.0
MOST_DRAINED = 1 << 16
"""Bytes that are still read and dropped after the answer; a client that sends more gets a reset, as from gunicorn."""


def let_go_of_stalled_clients(milliseconds: int) -> None:
    """Limit each wait for a client, in this process's server and in the processes that it forks."""
    bound_waits(milliseconds)
    # With WORKER_PRELOAD, the application is loaded before there is a socket.
    os.register_at_fork(after_in_child=lambda: bound_waits(milliseconds))
    log = logging.getLogger(SERVERS_LOG)
    if not any(isinstance(filter_, _Stalls) for filter_ in log.filters):
        log.addFilter(_Stalls())
    closing: Any = sys.modules.get(SERVERS_CLOSING)
    if hasattr(closing, "close_graceful") and not isinstance(closing.close_graceful, Lingering):
        closing.close_graceful = Lingering()


def bound_waits(milliseconds: int) -> None:
    """Set the time that a client may stall, on all sockets of this process that listen for TCP connections."""
    limit = struct.pack("ll", milliseconds // 1000, milliseconds % 1000 * 1000)
    for descriptor in map(int, os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ()):
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as opened:
                if opened.family != socket.AF_UNIX and opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        except OSError:  # closed meanwhile, such as the descriptor that listed the folder
            continue


class Lingering:
    """Closes connections without blocking the caller: ends the sending side, then waits for the client to close too."""

    def __init__(self) -> None:
        """Start with no connections; each process starts its thread at its first connection."""
        self._process = 0
        self._starting = threading.Lock()
        self._new: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()

    def __call__(self, sock: socket.socket) -> None:
        """Close a connection when its client has closed it or LINGER_SECONDS are over; at once if it is broken."""
        try:
            sock.shutdown(socket.SHUT_WR)
            sock.setblocking(False)
        except OSError:
            sock.close()
            return
        with self._starting:
            if self._process != os.getpid():
                self._process, self._new = os.getpid(), queue.SimpleQueue()
                self._wake, woken = socket.socketpair()
                threading.Thread(target=self._run, args=(self._new, woken), name="lingering", daemon=True).start()
        self._new.put(sock)
        with contextlib.suppress(BlockingIOError):  # the thread is already awake
            self._wake.send(b"\0", socket.MSG_DONTWAIT)

    def _run(self, new: queue.SimpleQueue[socket.socket], woken: socket.socket) -> None:
        waiting: dict[socket.socket, _Ending] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ)
            while True:
                ends = [ending.until for ending in waiting.values()]
                ready = {
                    key.fileobj for key, _ in selector.select(max(0.0, min(ends) - time.monotonic()) if ends else None)
                }
                if woken in ready:
                    woken.recv(4096)
                    while not new.empty():
                        sock = new.get()
                        if sock in waiting or sock.fileno() < 0:  # gunicorn may close a connection twice
                            continue
                        waiting[sock] = _Ending(time.monotonic() + LINGER_SECONDS)
                        selector.register(sock, selectors.EVENT_READ)
                for sock, ending in list(waiting.items()):
                    if (sock in ready and ending.drain(sock)) or ending.until <= time.monotonic():
                        del waiting[sock]
                        selector.unregister(sock)
                        sock.close()


class _Ending:
    """A connection that is closed on our side and waits for its client."""

    def __init__(self, until: float) -> None:
        self.until = until
        self._left = MOST_DRAINED

    def drain(self, sock: socket.socket) -> bool:
        """Drop the bytes that came; return whether the connection has ended."""
        try:
            piece = sock.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._left -= len(piece)
        return not piece or self._left <= 0


class _Stalls(logging.Filter):
    """Logs a stalled client in one line, instead of the server's error with a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
            logger.info("closed the connection of a client that stalled")
            return False
        return True
