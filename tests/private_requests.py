"""Requests of every dialect and error with a marked word wherever a client can put one, and what to look for after them."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from serving.answering.models import model_class
from serving.errors import INTERNAL_ERROR, BadCode, LargeCode
from serving.requests.schema import DIALECTS
from serving.tasks import Task

ROOT = Path(__file__).resolve().parents[1]
CODES = {*get_args(BadCode), *get_args(LargeCode), "queue_full", "deadline_exceeded", INTERNAL_ERROR["error"]["code"]}
FIELDS = {
    *("time", "pid", "request_id", "client_request_id", "method", "path", "task", "rows", "tokens"),
    *("queue_ms", "tokenize_ms", "compute_ms", "total_ms", "status", "code"),
}

# A script around the real one: some words make the model fail, or slow.
SCRIPT = """
import time
import score
from score import run

def init():
    score.init()
    model, answer_request = score._service.model, score._service.model.answer_request
    def answer(request):
        texts = str(request.rows)
        if "fail now" in texts:
            raise ValueError("cannot read " + texts)
        if "be slow" in texts:
            time.sleep(1.2)
        return answer_request(request)
    object.__setattr__(model, "answer_request", answer)
"""


@dataclass
class Client:
    """Sends requests, each with a marked word of its own, and keeps what was answered."""

    url: str
    task: Task
    answers: list[tuple[str, int, dict[str, str], bytes]] = field(default_factory=list)

    def mark(self) -> str:
        """Return a new word; it has letters that WordPiece, JSON, HTML and percent-encoding leave as they are."""
        return f"zqx{len(self.answers)}xqz"

    def send(self, body: bytes, word: str, target: str = "/score", method: str = "POST", **headers: str) -> Any:  # noqa: ANN401
        """Send a request with the word in all headers that a client may fill, and return the answer's JSON."""
        named = {"Content-Type": "application/json", "User-Agent": word, "Referer": f"http://{word}/{word}"}
        named |= {"Cookie": f"{word}={word}", "Authorization": f"Bearer {word}", "X-Api-Key": word, "TraceId": word}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)) as connection:
            connection.request(method, target, body, named)
            reply = connection.getresponse()
            content = reply.read()
        self.answers.append((word, reply.status, {key.lower(): value for key, value in reply.headers.items()}, content))
        return json.loads(content) if content.startswith((b"{", b"[", b'"')) else content

    def raw(self, content: bytes, word: str) -> None:
        """Send bytes that are no request."""
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(content)
            with contextlib.suppress(ConnectionResetError):
                self.answers.append((word, 0, {}, b"".join(iter(lambda: connection.recv(65536), b""))))


def row(task: Task, text: str) -> Any:  # noqa: ANN401
    """Return a row that the model of the task answers, with the text in it."""
    if task == "question-answering":
        return {"question": f"who {text}?", "context": f"the cat {text} sat on the mat"}
    return f"the [MASK] {text} sat" if task == "fill-mask" else f"the cat {text} sat"


def bodies(task: Task, text: str) -> Iterator[dict[str, Any]]:
    """Yield a request in every dialect, and one with each kind of mistake that the task has."""
    good, bare = row(task, text), {"fill-mask": text, "text-classification": 7}.get(task, {"question": text})
    for dialect in DIALECTS:
        if dialect.serves(model_class(task).input.fields):
            yield {dialect.key: dialect.write(good)}
            yield {dialect.key: dialect.write(bare)}
        yield {dialect.key: {"columns": [text], "data": [[text]], text: text}}
    yield {"input_data": [good], text: text}
    yield {"input_data": [good], "inputs": good}
    yield {text: good}
    yield {"input_data": text, "parameters": text}
    yield {"input_data": [good], "parameters": {text: text}}
    yield {"input_data": [good], "parameters": {"top_k": text}}
    yield {"input_data": [good, {text: [text]}]}
    yield {"input_data": [*(model_class(other).input.sample for other in ("question-answering", "fill-mask")), text]}
    yield {"input_data": [good] * 2000}
    yield from of_task(task, text)


def of_task(task: Task, text: str) -> Iterator[dict[str, Any]]:
    """Yield the mistakes of one task."""
    if task == "fill-mask":
        yield {"X": [text]}
        yield {"input_data": [f"[MASK] {text}" * 65]}
        yield {"input_data": [row(task, text)], "parameters": {"targets": [f"{text}\u20ac"]}}
        spelled = {"targets": [f"moon{n}" for n in range(10)]}  # in several pieces each, which are scored one by one
        yield {"input_data": [row(task, text)] * 600, "parameters": spelled}
        yield {"input_data": [row(task, text * 200)] * 1000, "parameters": {"top_k": 90}}
    elif task == "text-classification":
        yield {"prompt": text}
        yield {"inputs": text, "parameters": {"function_to_apply": text}}
    else:
        yield {"input_data": [{"question": " ", "context": text}]}
        yield {"input_data": [{"question": text, "context": " "}]}
        yield {"input_data": [{"question": f"cat {text} " * 60, "context": text}]}


def other_requests(client: Client) -> None:
    """Send what never reaches the model: other paths and methods, ids that are none, and bytes that are no request."""
    for target, method in (
        ("/{}", "GET"),
        ("/{}?{}={}", "POST"),
        ("/score/{}", "POST"),
        ("/?{}", "GET"),
        ("/", "POST"),
    ):
        word = client.mark()
        client.send(b"", word, target.replace("{}", word), method)
    for method in ("GET", "PUT", "OPTIONS"):
        word = client.mark()
        client.send(b"", word, f"/score?inputs={word}&{word}={word}", method)
    for content in (
        b'{"input_data": ["%s',
        b"\xff%s",
        b"%s",
        b'"%s"',
        b"[" * 9999 + b"%s",
        b'{"input_data": ["%s\xc3"]}',
    ):
        word = client.mark()
        client.send(content.replace(b"%s", word.encode()), word)
    word = client.mark()
    client.send(b"input_data=" + word.encode(), word, Content_Type="application/x-www-form-urlencoded")
    for header in ("x_request_id", "x_ms_request_id", "x_ms_client_request_id", "traceparent"):
        for value in ("{} is not an id", "/{}", "{}" * 20, '"{}"'):
            word = client.mark()
            client.send(b'{"input_data": []}', word, **{header: value.replace("{}", word)})
    for garbage in (
        b"%s\r\n\r\n",
        b"%s / HTTP/1.1\r\n\r\n",
        b"GET /%s HTTP/7.7\r\n\r\n",
        b"GET /%s HTTP/1.1\r\n%s\r\n\r\n",
    ):
        word = client.mark()
        client.raw(garbage.replace(b"%s", word.encode()), word)
    word = client.mark()
    client.raw(b"GET /%s" % word.encode() * 9000 + b" HTTP/1.1\r\n\r\n", word)


def check_log(log: str, client: Client) -> None:
    """Assert that a log has none of the words, and one line for each request, that tells what was answered."""
    found = re.findall(r"zqx\d+xqz.{,80}", log, re.IGNORECASE)
    assert found == []
    lines = [json.loads(line) for line in log.splitlines() if line.startswith('{"time"')]
    by_id = {line["request_id"]: line for line in lines}
    assert len(by_id) == len(lines)
    ours = [answer for answer in client.answers if "x-request-id" in answer[2]]
    assert len(ours) > 50
    for _, status, headers, content in ours:
        line = by_id.get(headers["x-request-id"])
        if line is None:
            assert content == b"Healthy"
            continue
        assert set(line) <= FIELDS
        error = json.loads(content).get("error", {}) if status != 200 and content[:1] == b"{" else {}
        assert (line["status"], line.get("code")) == (status, error.get("code"))
        assert line["task"] == client.task


def check_answers(client: Client) -> None:
    """Assert that no answer has another client's word, and no error a path or a trace of the program."""
    for word, status, headers, content in client.answers:
        text = content.decode() + json.dumps(headers)
        assert set(re.findall(r"zqx\d+xqz", text)) <= {word}
        if status != 200:
            assert status == 0 or headers["x-request-id"]
            inside = re.findall(rf"{ROOT}|/(?:tmp|home|usr|var)/|site-packages|\.py\b|Traceback|line \d+, in", text)
            assert inside == [], content


def codes(client: Client) -> set[str]:
    """Return the codes of the errors that were answered."""
    errors = [json.loads(content) for _, status, _, content in client.answers if status >= 400 and content[:1] == b"{"]
    return {error["error"]["code"] for error in errors if "error" in error}
