"""Clients that stop in the middle of a request or of its answer do not hold the server's threads for good."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asset.local.server import REQUEST_THREADS, LocalServer, local_server
from serving.http.stalled_clients import LINGER_SECONDS

ROOT = Path(__file__).resolve().parents[1]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"
PARIS = b'{"input_data": ["Paris is the [MASK] of France."]}'
HEAD = b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
MORE_THAN_THREADS = REQUEST_THREADS + 44
STALL_SECONDS = 1.0
FAILED = r'" 5\d\d |"status": ?5\d\d'
"""A line of the log, of any kind, on a request that was answered with a fault of the server's."""

WHOLE_ANSWER = 10 * 1000 * 1800


def request(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.fixture(scope="module", params=["loaded by the worker", "preloaded"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    settings = {"BERT_SERVING_STALL_MS": str(int(1000 * STALL_SECONDS))}
    settings |= {"WORKER_PRELOAD": "true"} if request.param == "preloaded" else {}
    with local_server(ROOT / "model/embedded", python=SERVING_PYTHON, env=settings) as server:
        assert server.post(PARIS).status == 200
        yield server
        log = server.log.read_text(encoding="utf-8")
        assert "BlockingIOError" not in log and "Socket error" not in log


@contextlib.contextmanager
def clients(server: LocalServer, sent: bytes, count: int) -> Iterator[list[socket.socket]]:
    """Connect so many, each of which sends something and then nothing more."""
    port = int(server.url.rpartition(":")[2])
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
        for one in found:
            one.sendall(sent)
        yield found


@pytest.mark.parametrize(
    "sent", [HEAD[:30], HEAD, request(PARIS)[:-10]], ids=["half a line", "half a head", "half a body"]
)
def test_more_stalled_clients_than_threads_stop_nobody_for_long(server: LocalServer, sent: bytes) -> None:
    with clients(server, sent, MORE_THAN_THREADS) as stalled:
        began = time.monotonic()
        reply = server.post(PARIS, timeout=60)
        assert (reply.status, reply.body) == (200, b'["capital"]')
        # Those that had no thread yet take a second turn.
        assert time.monotonic() - began < 2 * STALL_SECONDS + 5
        stalled[0].settimeout(10)
        assert stalled[0].recv(1000) == b""
    log = server.log.read_text(encoding="utf-8")
    assert "closed the connection of a client that stalled" in log


def test_a_client_that_goes_on_slowly_is_answered(server: LocalServer) -> None:
    with clients(server, b"", 1) as [slow]:
        whole = request(PARIS)
        for start in range(0, len(whole), 40):
            slow.sendall(whole[start : start + 40])
            time.sleep(STALL_SECONDS * 0.6)
        slow.settimeout(10)
        assert slow.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_take_its_answer_is_let_go(server: LocalServer) -> None:
    # A long text in each of the candidates: more than the system takes off the server's hands.
    text = "The [MASK] sat. " + "We walked through the old streets and looked at the houses. " * 30
    body = json.dumps({"inputs": [text] * 10, "parameters": {"top_k": 1000}}).encode()
    with clients(server, request(body), 1) as [reader]:
        before = server.log.read_text(encoding="utf-8").count("closed the connection of a client that stalled")
        deadline = time.monotonic() + 30
        while server.log.read_text(encoding="utf-8").count("closed the connection of a client that stalled") == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        reader.settimeout(10)
        came = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := reader.recv(1 << 16):
                came += len(piece)
        assert came < WHOLE_ANSWER


def test_clients_that_vanish_are_no_error_of_the_servers(server: LocalServer) -> None:
    errors = len(re.findall(FAILED, server.log.read_text(encoding="utf-8")))
    for sent in (HEAD[:30], HEAD, request(PARIS)[:-10], request(PARIS)):
        with clients(server, sent, 20) as gone:
            time.sleep(0.05)
            for one in gone:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert server.post(PARIS).status == 200
    log = server.log.read_text(encoding="utf-8")
    assert len(re.findall(FAILED, log)) == errors


def test_who_closes_late_stops_nobody(server: LocalServer) -> None:
    closing = request(PARIS).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with clients(server, closing, 10) as late:
        for one in late:
            one.settimeout(10)
            assert one.recv(1000).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        assert [server.post(PARIS).status for _ in range(20)] == [200] * 20
        # It would take twice as long if the server waited for one of the ten after the other.
        assert time.monotonic() - began < 5 * LINGER_SECONDS
        # Their connections are closed in the end, whether they do or not: what is left is the system's, without an inode.
        port = f":{int(server.url.rpartition(':')[2]):04X}"
        deadline = time.monotonic() + 20
        while any(row[1].endswith(port) and row[3] == "05" and row[9] != "0" for row in map(str.split, tcp())):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def tcp() -> list[str]:
    return Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]


def test_an_answer_arrives_whole_though_its_request_was_not_read(server: LocalServer) -> None:
    # What is refused early is answered before its body is read, and a reset would take the answer away.
    port = int(server.url.rpartition(":")[2])
    body = b"x" * 60_000
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(
                b"POST /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n" + body
            )
            client.settimeout(10)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 404")
