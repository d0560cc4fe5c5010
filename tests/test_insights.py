"""With Application Insights on, a request is told of there as the server offers it: with ids and times, and no text."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from asset.local.server import SERVING_PYTHON, LocalServer, local_server

KEY = "00000000-1111-2222-3333-444444444444"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TEXT = "the [MASK] sat beside a secret"


class Ingestion(ThreadingHTTPServer):
    """Application Insights' ingestion endpoint on loopback: keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Track)
        self.items: list[dict[str, Any]] = []

    def wait(self, *kinds: str, seconds: float = 60.0) -> None:
        """Wait until items of all these kinds have come."""
        deadline = time.monotonic() + seconds
        while not set(kinds) <= {item["data"]["baseType"] for item in list(self.items)}:
            assert time.monotonic() < deadline, self.items
            time.sleep(0.05)


class _Track(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Ingestion

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        items = json.loads(body)
        self.server.items += items
        answer = json.dumps({"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ingestion() -> Iterator[Ingestion]:
    with Ingestion() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def environment(ingestion: Ingestion, **more: str) -> dict[str, str]:
    """Return what turns it on, and sends it here and nothing elsewhere."""
    url = f"http://127.0.0.1:{ingestion.server_port}/"
    return {
        "AML_APP_INSIGHTS_ENABLED": "true",
        "AML_APP_INSIGHTS_KEY": KEY,
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={url}",
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "NO_PROXY": "127.0.0.1",
        **more,
    }


def post(server: LocalServer, body: object, **headers: str) -> int:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request("POST", "/score", json.dumps(body), named)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_a_request_is_found_there_in_its_callers_trace_and_without_its_text(
    ingestion: Ingestion, sharp_checkpoint: Path
) -> None:
    with local_server(sharp_checkpoint, python=SERVING_PYTHON, env=environment(ingestion)) as server:
        sent = {"x_request_id": "mine", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        assert post(server, {"inputs": TEXT}, **sent) == 200
        assert post(server, {"input_data": ["a secret"]}, x_request_id="bad", x_ms_client_request_id="theirs") == 400
        ingestion.wait("RequestData", "MessageData")
        log = server.log.read_text(encoding="utf-8")
    requests = {item["data"]["baseData"]["properties"]["Request Id"]: item for item in of(ingestion, "RequestData")}
    assert requests["mine"]["tags"]["ai.operation.id"] == TRACE
    assert requests["bad"]["data"]["baseData"]["properties"]["resultCode"] == "400"
    assert requests["bad"]["data"]["baseData"]["properties"]["Client Request Id"] == "theirs"
    lines = [item["data"]["baseData"] for item in of(ingestion, "MessageData")]
    told = {
        line["properties"]["request_id"]: line["properties"] for line in lines if "request_id" in line["properties"]
    }
    assert (told["mine"]["status"], told["mine"]["rows"], told["mine"]["task"]) == ("200", "1", "fill-mask")
    assert told["bad"]["code"] == "missing_mask"
    everything = json.dumps(ingestion.items)
    assert "secret" not in everything and "sat" not in everything
    assert KEY not in log


def test_answers_are_sent_only_to_who_asks_for_them(ingestion: Ingestion, sharp_checkpoint: Path) -> None:
    asked = environment(ingestion, APP_INSIGHTS_LOG_RESPONSE_ENABLED="true")
    with local_server(sharp_checkpoint, python=SERVING_PYTHON, env=asked) as server:
        assert post(server, {"inputs": TEXT}) == 200
        ingestion.wait("RequestData")
        log = server.log.read_text(encoding="utf-8")
    [request] = of(ingestion, "RequestData")
    assert "beside a secret" in request["data"]["baseData"]["properties"]["Response Value"]
    assert "Application Insights gets every answer, with the texts in it" in log


def of(ingestion: Ingestion, kind: str) -> list[dict[str, Any]]:
    return [item for item in ingestion.items if item["data"]["baseType"] == kind]
