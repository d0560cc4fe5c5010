"""Requests as bytes on a socket, to Microsoft's inference server on score.py: paths, headers, framing and bodies.

The embedded model answers. A request that is cut off or wrongly framed may be answered with nothing but a closed connection.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from asset.local.server import LocalServer, local_server
from tests.torture import raw_bodies
from tests.torture.answers import CODES, error_code
from tests.torture.attack import BrokenPromise, drawing, shown
from tests.torture.mutations import mutated

ROOT = Path(__file__).resolve().parents[2]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"

OTHERS = {400, 403, 404, 405, 408, 411, 413, 414, 415, 417, 424, 426, 431}
"""Statuses of the server and of gunicorn, for requests that never reach the model."""

ANSWER_SECONDS = 10.0
HEALTH_EVERY = 50

HEADERS = (
    *(
        "Content-Type: application/json",
        "Content-Type: text/plain; charset=utf-16",
        "Content-Type: multipart/form-data",
    ),
    *(
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Encoding: gzip",
        "Accept: text/html",
        "Expect: 100-continue",
    ),
    *("x-request-id: 1", "x-ms-request-id: \x01", "x-ms-client-request-id: ü", "traceparent: 00-" + "a" * 32 + "-1-01"),
    *("Transfer-Encoding: chunked", "Content-Length: 5", "Content-Length: -1", "Content-Length: 99999999999999999999"),
    *(
        "Connection: keep-alive",
        "Upgrade: h2c",
        "Host: a\x00b",
        "Cookie: a=b",
        "Range: bytes=0-1",
        "Authorization: Bearer x",
    ),
    *(
        "X-Forwarded-Proto: https",
        "SCRIPT_NAME: /x",
        "Origin: null",
        "x-aml-cors: *",
        "Content-Type",
        ": no name",
        "a b: c",
    ),
)
PATHS = (
    "/score",
    "/score",
    "/score",
    "/score",
    "/",
    "/swagger.json",
    "/swagger.json?version=9",
    "/score?inputs=%ff",
    "/%00",
)
PATHS += ("/../score", "/score/", "*", "http://elsewhere/score", "/score#x", "/" + "a" * 9000, "//score", "/scöre", "")
METHODS = ("POST", "POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW", "post", "")


class Sent(NamedTuple):
    """What goes on the socket; `framed` says that a request was sent whole, which has to be answered."""

    data: bytes
    framed: bool


def request(draw: random.Random) -> Sent:
    """Draw a request: for the most part a whole one with odd headers or a hostile body, else one that is broken."""
    content = raw_bodies.body(draw, draw.choice(("fill-mask", "text-classification", "question-answering")))
    whole = draw.random() < 0.6
    method, path = ("POST", "/score") if whole else (draw.choice(METHODS), draw.choice(PATHS))
    lines = [f"{method} {path} HTTP/{'1.1' if whole else draw.choice(['1.1', '1.0', '2.0', '9', 'x'])}", "Host: here"]
    lines += ["Content-Type: application/json", "Connection: close"]
    chunked = draw.random() < 0.2
    lines += ["Transfer-Encoding: chunked"] if chunked else [f"Content-Length: {len(content)}"]
    if not whole:
        lines += draw.sample(HEADERS, draw.randrange(4))
        lines += [f"x-{'a' * draw.choice([1, 8000, 70_000])}: {'b' * draw.choice([0, 9000])}"] * (draw.random() < 0.1)
        lines += ["x: y"] * draw.choice([0, 0, 0, 200])
    head = "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n"
    data = head + (_chunked(content, draw) if chunked else content)
    if not whole and draw.random() < 0.5:
        data = mutated(data[:2000], draw) + data[2000:]
    return Sent(data, whole)


def _chunked(content: bytes, draw: random.Random) -> bytes:
    size = draw.choice([1, 7, 4096]) if len(content) < 2000 else 65536
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def exchange(port: int, data: bytes) -> bytes:
    """Send bytes, say that there are no more, and return what comes back; raises TimeoutError where it does not end."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
        with contextlib.suppress(OSError):  # refused before it was whole
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        parts = []
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                parts.append(part)
        return b"".join(parts)


class OverHttp:
    """Sends them to a server of its own, and reads the server's log at the end."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._seed = seed
        self._stack = contextlib.ExitStack()
        starting = local_server(ROOT / "model/embedded", python=SERVING_PYTHON)
        self._server: LocalServer = self._stack.enter_context(starting)
        self._port = int(self._server.url.rsplit(":", 1)[1])
        children = Path(f"/proc/{self._server.process.pid}/task/{self._server.process.pid}/children")
        self._worker = int(children.read_text(encoding="utf-8").split()[0])
        self._server.post((ROOT / "sample_input.json").read_bytes())
        self._read = self._server.log.stat().st_size  # its start is not what is attacked

    def watched(self) -> int:
        """Return gunicorn's worker, which runs the model."""
        return self._worker

    def case(self, number: int) -> Counter[str]:
        """Send one request."""
        sent = request(drawing("http", self._seed, number))
        try:
            came = exchange(self._port, sent.data)
        except TimeoutError as exc:
            raise BrokenPromise(f"no end of the answer in {ANSWER_SECONDS:.0f} s for {shown(sent.data)}") from exc
        if number % HEALTH_EVERY == 0:
            self._healthy()
        return Counter([_outcome(sent, came)])

    def close(self) -> None:
        """See that the server still answers and its log has no traceback, and stop it."""
        with self._stack:
            self._healthy()

    def _healthy(self) -> None:
        if self._server.process.poll() is not None or not Path(f"/proc/{self._worker}").exists():
            raise BrokenPromise("the server, or its worker, is gone")
        reply = self._server.post(b'{"inputs": "Paris is the [MASK] of France."}')
        if reply.status != 200:
            raise BrokenPromise(f"expected the server to be well, found {reply.status} {shown(reply.body)}")
        with self._server.log.open("rb") as log:
            log.seek(self._read)
            new = log.read().decode("utf-8", "replace")
            self._read = log.tell()
        if "Traceback" in new:
            raise BrokenPromise(f"a traceback in the server's log: {new[new.index('Traceback') :][:3000]}")


def _outcome(sent: Sent, came: bytes) -> str:
    if not came:
        if sent.framed:
            raise BrokenPromise(f"no answer to {shown(sent.data)}")
        return "closed"
    head, content = _first(came)
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    if found is None:
        raise BrokenPromise(f"expected HTTP, found {shown(came)} for {shown(sent.data)}")
    status = int(found[1])
    if b"Traceback" in came or str(ROOT).encode() in came:
        raise BrokenPromise(f"a traceback or a path in the answer {shown(came)} to {shown(sent.data)}")
    ours = b"x-model-name" in head.lower()
    if status == 200 and ours and b"transfer-encoding" not in head.lower() and content:
        json.loads(content, parse_constant=_no_number)
    if ours and status in CODES and content:
        return error_code(status, json.loads(content), sent.data)
    if status not in {100, 200, 204} | OTHERS | set(CODES):
        raise BrokenPromise(f"status {status}, {shown(came)}, for {shown(sent.data)}")
    return f"{status}" if ours else f"{status} of the server's own"


def _first(came: bytes) -> tuple[bytes, bytes]:
    """Return the head and the body of the first answer: what is sent behind a request's end is answered as one more."""
    head, _, content = came.partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: (\d+)", head)
    return head, content[: int(length[1])] if length else content


def _no_number(name: str) -> float:
    raise BrokenPromise(f"{name} in an answer is no JSON")
