"""The load generator against a small real server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import load
from benchmarks.load import Client, due_times, main, quantile


class Handler(BaseHTTPRequestHandler):
    """Answers with the body's length; {"sleep": s} sleeps, {"status": n} answers with it, {"hang up": 1} closes."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body.get("hang up"):
            self.close_connection = True
            return
        with self.lock if body.get("alone") else threading.Lock():
            time.sleep(body.get("sleep", 0))
        self.send_response(body.get("status", 200))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/score"
        server.shutdown()


def run(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], bodies: list[object], *args: str) -> dict:
    path = tmp_path / "bodies.jsonl"
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
    assert main(["--url", url, "--bodies", str(path), *args]) == 0
    return json.loads(capsys.readouterr().out)


def test_due_times_come_at_the_rate_and_are_the_same_in_every_run() -> None:
    due = list(due_times(500, 10))
    assert due == list(due_times(500, 10))
    assert due == sorted(due)
    assert len(due) == pytest.approx(5000, rel=0.1)


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_quantile_is_a_value_that_the_share_does_not_exceed(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_open_loop_counts_answers_by_status(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bodies = [{"status": 200}, {"status": 429}, {"hang up": 1}]
    found = run(url, tmp_path, capsys, bodies, "--rate", "200", "--seconds", "1")
    sent = len(list(due_times(200, 1)))
    assert sum(found["statuses"].values()) == sent
    assert found["statuses"]["200"] == found["requests_per_second"] == pytest.approx(sent / 3, abs=1)
    assert found["statuses"]["429"] == pytest.approx(sent / 3, abs=1)
    assert found["statuses"]["IncompleteReadError"] == pytest.approx(sent / 3, abs=1)


def test_a_server_that_stalls_is_charged_for_all_who_waited(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One at a time, 20 ms each, asked 100 times a second: the line grows, and the last waited for those before it.
    bodies = [{"sleep": 0.02, "alone": True}]
    found = run(url, tmp_path, capsys, bodies, "--rate", "100", "--seconds", "1")
    assert found["ms"]["p50"] > 200
    assert found["ms"]["p100"] > 500


def test_closed_loop_keeps_so_many_requests_on_the_way(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(url, tmp_path, capsys, [{"sleep": 0.05}], "--connections", "4", "--seconds", "1")
    assert 40 <= found["requests_per_second"] <= 81
    assert found["ms"]["p50"] >= 50


def test_a_server_that_is_not_there_is_counted_not_raised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("http://127.0.0.1:9/score", tmp_path, capsys, [{}], "--rate", "20", "--seconds", "0.5")
    assert set(found["statuses"]) == {"ConnectionRefusedError"}
    assert found["ms"]["p99"] is None


def test_where_there_is_no_wrk_the_own_generator_gives_the_same_figures(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bodies.jsonl"
    path.write_text('{"status": 200}\n{"status": 429}\n', encoding="utf-8")
    monkeypatch.setattr(load, "wrk_command", lambda: None)
    found = load.closed_loop(url, path, 2, 0.5)
    assert "Python" in load.generator()
    assert found["requests_per_second"] > 0
    assert found["failed"] > 0
    assert {"p50", "p99"} <= set(found)


@pytest.mark.skipif(load.wrk_command() is None, reason="no wrk here")
def test_wrk_counts_what_is_not_2xx_as_failed(url: str, tmp_path: Path) -> None:
    path = tmp_path / "bodies.jsonl"
    path.write_text('{"status": 200}\n{"status": 429}\n', encoding="utf-8")
    found = load.closed_loop(url, path, 2, 1)
    assert found["failed"] == pytest.approx(found["requests_per_second"], rel=0.1, abs=3)


def test_requests_carry_their_body_and_length() -> None:
    client = Client("http://127.0.0.1:80/score", ['{"a": "é"}'])
    head, _, content = client._requests[0].partition(b"\r\n\r\n")
    assert f"Content-Length: {len(content)}".encode() in head
    assert content == '{"a": "é"}'.encode()
