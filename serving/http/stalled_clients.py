"""Let go of clients that stop: in the middle of their request, of taking their answer, or after it.

gunicorn's threads wait for a client without a limit, in two places that a single client should not hold:

- A request has a thread from its first byte on. A client whose network is gone, or whose process hangs, keeps that thread
  for good, and as many of them as there are threads are the end of the service. The system can end such a wait: Linux hands
  SO_RCVTIMEO and SO_SNDTIMEO of a socket that listens on to the connections that it accepts.
- At the end of a connection, the one thread that accepts all others waits for the client to close its side too, up to two
  seconds (RFC 9112, section 9.6). A client that asks for `Connection: close` and takes its time stops everybody for as
  long. A thread of our own does that waiting, for all such connections at once.

A client that goes on, however slowly, is served: that is for a proxy to judge, as Azure's does, and the local endpoint's.
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
"""Bytes of a request that nobody reads any more; a client that sends on gets a reset, as from gunicorn."""


def let_go_of_stalled_clients(milliseconds: int) -> None:
    """Bound each wait for a client of this process's server, and of the processes that are forked from it."""
    bound_waits(milliseconds)
    # A preloaded application is there before there is a socket.
    os.register_at_fork(after_in_child=lambda: bound_waits(milliseconds))
    log = logging.getLogger(SERVERS_LOG)
    if not any(isinstance(one, _Stalls) for one in log.filters):
        log.addFilter(_Stalls())
    closing: Any = sys.modules.get(SERVERS_CLOSING)
    if hasattr(closing, "close_graceful") and not isinstance(closing.close_graceful, Lingering):
        closing.close_graceful = Lingering()


def bound_waits(milliseconds: int) -> None:
    """Set the time that a connection's peer may stall, on all sockets of this process that listen for TCP connections."""
    limit = struct.pack("ll", milliseconds // 1000, milliseconds % 1000 * 1000)
    for descriptor in map(int, os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ()):
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as opened:
                if opened.family != socket.AF_UNIX and opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        except OSError:  # it was closed meanwhile, as the one that the folder was read with
            continue


class Lingering:
    """Closes connections: says that nothing more comes, waits for the client to close too, and does not hold its caller."""

    def __init__(self) -> None:
        """Wait for nothing yet; the thread is made at the first connection, in the process that has it."""
        self._process = 0
        self._starting = threading.Lock()
        self._new: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()

    def __call__(self, sock: socket.socket) -> None:
        """Close a connection, now or when its client has closed it or LINGER_SECONDS are over."""
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
        with contextlib.suppress(BlockingIOError):  # it is awake
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
                        if sock in waiting or sock.fileno() < 0:  # gunicorn may close one twice
                            continue
                        waiting[sock] = _Ending(time.monotonic() + LINGER_SECONDS)
                        selector.register(sock, selectors.EVENT_READ)
                for sock, ending in list(waiting.items()):
                    if (sock in ready and ending.drain(sock)) or ending.until <= time.monotonic():
                        del waiting[sock]
                        selector.unregister(sock)
                        sock.close()


class _Ending:
    """A connection that is closed on our side."""

    def __init__(self, until: float) -> None:
        self.until = until
        self._left = MOST_DRAINED

    def drain(self, sock: socket.socket) -> bool:
        """Drop what came; return whether that was the end of it."""
        try:
            piece = sock.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._left -= len(piece)
        return not piece or self._left <= 0


class _Stalls(logging.Filter):
    """Says in a line what the server would call an error of its own, with a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
            logger.info("a client that stalled was let go")
            return False
        return True
