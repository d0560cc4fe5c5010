"""Connections are closed without holding their caller, each once, whoever closes it how often."""

from __future__ import annotations

import socket
import threading
import time

import pytest

import serving.http.stalled_clients
from serving.http.stalled_clients import Lingering


def is_closed(sock: socket.socket, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while sock.fileno() >= 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    return sock.fileno() < 0


def test_a_connection_closes_when_its_client_does_and_the_caller_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving.http.stalled_clients, "LINGER_SECONDS", 60.0)
    close = Lingering()
    ours, client = socket.socketpair()
    start = time.perf_counter()
    close(ours)
    assert time.perf_counter() - start < 20
    assert client.recv(1) == b""
    assert not is_closed(ours, 0.1)
    client.close()
    assert is_closed(ours)


def test_one_that_is_closed_twice_stops_no_other() -> None:
    close = Lingering()
    pairs = [socket.socketpair() for _ in range(8)]
    for ours, _ in pairs:
        close(ours)
        close(ours)
    for _, client in pairs:
        client.close()
    assert all(is_closed(ours) for ours, _ in pairs)
    ours, client = socket.socketpair()
    client.close()
    close(ours)
    assert is_closed(ours)
    close(ours)


def test_threads_that_close_at_the_same_time_lose_none() -> None:
    close, ready = Lingering(), threading.Barrier(16)
    pairs = [socket.socketpair() for _ in range(16)]

    def at_once(ours: socket.socket) -> None:
        ready.wait()
        close(ours)

    threads = [threading.Thread(target=at_once, args=(ours,)) for ours, _ in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _, client in pairs:
        client.close()
    assert all(is_closed(ours) for ours, _ in pairs)
