"""A small stand-in for Azure's service on loopback: it stores what the real client sends, and refuses what Azure would refuse.

    with fake_azure() as azure:
        ml_client = azure.client()
        ml_client.models.create_or_update(…)
        azure.bodies["models/NAME/versions/1"]      # what arrived

Resources are what Azure Resource Manager calls them; artifacts arrive through the routes of blob storage. Nothing that the
client sends leaves this machine: each request goes to this server, whatever host it is for.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import azure.storage.blob._shared.base_client as storage_client
from azure.ai.ml import MLClient
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

from tests.asset.local.client.resource_rules import RefusedError, check

SUBSCRIPTION, GROUP, WORKSPACE = "00000000-0000-0000-0000-000000000001", "group", "workspace"
ROOT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
CONTAINER = "azureml-blobstore"
KEY = "a-key-of-the-endpoint"
HOST = "x-original-host"


class Credential:
    """A credential of a signed-in user; its token names the user, as Azure's tokens do."""

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        person = {"oid": "a-person", "tid": "a-tenant", "aud": scopes[0].removesuffix("/.default")}
        parts = ({"alg": "none"}, person, "a signature")
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        return AccessToken(".".join(encoded), 2**31)


class LoopbackTransport(RequestsTransport):
    """A transport that sends every request to one server, with the intended host in a header."""

    address = ""

    def send(self, request: HttpRequest, **kwargs: Any) -> Any:  # noqa: ANN401
        parts = urllib.parse.urlsplit(request.url)
        request.headers[HOST] = parts.netloc
        request.url = parts._replace(scheme="http", netloc=self.address).geturl()
        return super().send(request, **kwargs)


class FakeAzure:
    """The state of the service: the body of each resource as it arrived, the blobs, and the scoring requests."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.bodies: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.requests: list[tuple[str, str]] = []
        self.scored: list[tuple[dict[str, str], Any]] = []
        self.unknown: list[str] = []
        self.answer: Callable[[Any], tuple[int, Any]] = lambda content: (200, ["capital", "beautiful"])

    def client(self) -> MLClient:
        transport = type("Transport", (LoopbackTransport,), {"address": self.address})()
        return MLClient(Credential(), SUBSCRIPTION, GROUP, WORKSPACE, transport=transport, enable_telemetry=False)

    def resource(self, path: str) -> dict[str, Any]:
        """Return a resource in the form of the service's answers."""
        body = self.bodies[path]
        properties = {"provisioningState": "Succeeded", **body["properties"]}
        kind = path.split("/")[0]
        if kind in ("onlineEndpoints", "batchEndpoints") and path.count("/") == 1:
            properties["scoringUri"] = (
                f"https://{path.split('/')[1]}.inference.ml.azure.com/{'score' if kind == 'onlineEndpoints' else 'jobs'}"
            )
        if kind == "onlineEndpoints" and path.count("/") == 3:
            properties.setdefault("scaleSettings", {"scaleType": "Default"})
        if kind == "models":
            properties.setdefault("flavors", {})
        if kind == "jobs":
            properties.setdefault("status", "Starting")
            properties.setdefault("services", {})
        return {
            "location": "westeurope",
            **body,
            "id": f"{ROOT}/{path}",
            "name": path.split("/")[-1],
            "properties": properties,
        }


class Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    protocol_version = "HTTP/1.1"
    azure: FakeAzure

    def log_message(self, *_: object) -> None:
        """Log nothing: the test knows what it sends."""

    def _handle(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host = self.headers.get(HOST, "")
        self.azure.requests.append((self.command, f"{host}{parts.path}"))
        try:
            if ".blob." in host:
                self._blob(parts, body)
            elif host.endswith(".inference.ml.azure.com"):
                self._score(json.loads(body))
            elif parts.path.lower().startswith(ROOT.lower()):
                self._resource(parts.path[len(ROOT) :].strip("/"), body)
            else:
                self._unknown(host)
        except RefusedError as exc:
            self._json(400, {"error": {"code": "UserError", "message": str(exc)}})

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _handle

    def _resource(self, path: str, body: bytes) -> None:
        azure = self.azure
        if fixed := _fixed(path, self.command):
            self._json(200, fixed)
        elif self.command == "PUT":
            sent = json.loads(body)
            check(path, sent, set(azure.bodies), ROOT)
            azure.bodies[path] = sent
            self._json(200 if "versions" in path else 201, azure.resource(path))
        elif self.command == "POST":
            self._act(*path.rpartition("/")[::2])
        elif self.command == "DELETE" and path in azure.bodies:
            for one in [path, *_below(path, azure.bodies)]:
                del azure.bodies[one]
            self._answer(200, b"")
        elif self.command == "GET":
            self._get(path)
        else:
            self._json(404, {"error": {"code": "ResourceNotFound", "message": f"there is no {path}"}})

    def _get(self, path: str) -> None:
        azure = self.azure
        if path in azure.bodies:
            self._json(200, azure.resource(path))
        elif path.count("/") % 2 == 0:  # a collection, as "models/NAME/versions"
            self._json(200, {"value": [azure.resource(one) for one in _under(path, azure.bodies)]})
        else:
            self._json(404, {"error": {"code": "ResourceNotFound", "message": f"there is no {path}"}})

    def _act(self, path: str, action: str) -> None:
        if action == "startPendingUpload":
            url = f"https://account.blob.core.windows.net/{CONTAINER}/pending/{path.split('/')[1]}"
            credential = {"credentialType": "SAS", "sasUri": f"{url}?sig=x"}
            self._json(200, {"blobReferenceForConsumption": {"blobUri": url, "credential": credential}})
        elif action == "listKeys":
            self._json(200, {"primaryKey": KEY, "secondaryKey": "another"})
        elif action == "getLogs":
            self._json(200, {"content": "a line\n"})
        else:
            self._unknown(f"{path}/{action}")

    def _score(self, content: Any) -> None:  # noqa: ANN401
        headers = {key.lower(): value for key, value in self.headers.items()}
        if self.path == "/score" and headers.get("authorization") != f"Bearer {KEY}":
            return self._answer(401, b"key_auth_access_denied", "text/plain")
        self.azure.scored.append((headers, content))
        if self.path == "/jobs":
            check("batch invoke", content, set(), ROOT)
            job = {
                "id": f"{ROOT}/jobs/batch-1",
                "name": "batch-1",
                "type": "BatchJob",
                "properties": {"status": "Running"},
            }
            return self._json(201, job)
        status, answer = self.azure.answer(content)
        deployment = headers.get("azureml-model-deployment", "blue")
        body = json.dumps(answer).encode()
        return self._answer(status, body, "application/json", {"azureml-model-deployment": deployment})

    def _blob(self, parts: urllib.parse.SplitResult, body: bytes) -> None:
        name = urllib.parse.unquote(parts.path)
        query = urllib.parse.parse_qs(parts.query)
        if self.command == "PUT" and query.get("comp") == ["metadata"]:
            prefix = "x-ms-meta-"
            given = {k[len(prefix) :].lower(): v for k, v in self.headers.items() if k.lower().startswith(prefix)}
            self.azure.metadata[name] = given
            self._answer(200, b"")
        elif self.command == "PUT":
            self.azure.blobs[name] = body
            self._answer(201, b"", headers={"ETag": '"1"', "Last-Modified": "Sun, 22 Nov 2026 00:00:00 GMT"})
        elif self.command == "HEAD" and name in self.azure.blobs:
            metadata = {f"x-ms-meta-{key}": value for key, value in self.azure.metadata.get(name, {}).items()}
            self._answer(200, b"", headers=metadata)
        elif self.command == "GET" and query.get("comp") == ["list"]:
            listing = '<?xml version="1.0"?><EnumerationResults><Blobs></Blobs><NextMarker /></EnumerationResults>'
            self._answer(200, listing.encode(), "application/xml")
        else:
            self._answer(404, b"", headers={"x-ms-error-code": "BlobNotFound"})

    def _unknown(self, what: str) -> None:
        self.azure.unknown.append(f"{self.command} {what} {self.path}")
        self._json(404, {"error": {"code": "NotFound", "message": f"no route for {self.command} {what} {self.path}"}})

    def _json(self, status: int, content: object) -> None:
        self._answer(status, json.dumps(content).encode(), "application/json")

    def _answer(
        self, status: int, body: bytes, kind: str = "application/octet-stream", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _fixed(path: str, command: str) -> dict[str, Any] | None:
    """Return the resources that every workspace has."""
    datastore = {
        "datastoreType": "AzureBlob",
        "accountName": "account",
        "containerName": CONTAINER,
        "endpoint": "core.windows.net",
        "protocol": "https",
        "isDefault": True,
        "credentials": {"credentialsType": "Sas"},
    }
    found: dict[tuple[str, str], dict[str, Any]] = {
        ("GET", ""): {
            "id": ROOT,
            "name": WORKSPACE,
            "location": "westeurope",
            "properties": {"discoveryUrl": "https://westeurope.api.azureml.ms/discovery"},
        },
        ("GET", "datastores/workspaceblobstore"): {
            "id": f"{ROOT}/datastores/workspaceblobstore",
            "name": "workspaceblobstore",
            "properties": datastore,
        },
        ("POST", "datastores/workspaceblobstore/listSecrets"): {"secretsType": "Sas", "sasToken": "sig=x"},
        ("GET", "computes/cpu-cluster"): {
            "id": f"{ROOT}/computes/cpu-cluster",
            "name": "cpu-cluster",
            "location": "westeurope",
            "properties": {"computeType": "AmlCompute", "provisioningState": "Succeeded"},
        },
    }
    listing = {"value": [found["GET", "datastores/workspaceblobstore"]]}
    return listing if (command, path) == ("GET", "datastores") else found.get((command, path))


def _under(path: str, bodies: dict[str, Any]) -> list[str]:
    return [one for one in bodies if one.rpartition("/")[0] == path]


def _below(path: str, bodies: dict[str, Any]) -> list[str]:
    return [one for one in bodies if one.startswith(f"{path}/")]


@contextlib.contextmanager
def fake_azure() -> Iterator[FakeAzure]:
    """Run the service, and redirect the requests of the clients of blob storage to it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    azure = FakeAzure(server.server_port)
    server.RequestHandlerClass = type("OurHandler", (Handler,), {"azure": azure})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = storage_client.RequestsTransport
    storage_client.RequestsTransport = type("Transport", (LoopbackTransport,), {"address": azure.address})
    try:
        yield azure
    finally:
        storage_client.RequestsTransport = before
        server.shutdown()
        server.server_close()
