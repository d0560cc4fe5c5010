"""A hub on this machine: as much of the Hugging Face hub's HTTP interface as huggingface_hub needs to fetch files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?")
FILE = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """A repository of one commit; `status` answers in place of it, `cuts` connections are cut within a file."""

    files: Mapping[str, bytes]
    kind: str = "models"
    status: int = 200
    token: str | None = None
    cuts: int = 0

    @property
    def commit(self) -> str:
        """The commit: 40 hexadecimal digits that depend on the content."""
        found = hashlib.sha1(usedforsecurity=False)
        for name, data in sorted(self.files.items()):
            found.update(name.encode() + data)
        return found.hexdigest()


@dataclass
class LoopbackHub:
    """The server: `repositories` by name; `requests` are the method and path of each, in their order."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Return the environment of a process that fetches from here, with a cache of its own."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
        proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        return {**ours, **proxies, "HF_ENDPOINT": self.address, "HF_HOME": str(home), **more}


def files_of(folder: Path) -> dict[str, bytes]:
    """Return a folder's files as those of a repository."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        api, file = API.fullmatch(path), FILE.fullmatch(path)
        kind, name = (api[1], api[2]) if api else (file[1] or "models", file[2]) if file else ("", "")
        repository = self.hub.repositories.get(name)
        if repository is None or repository.kind != kind:
            self._error(404, "RepoNotFound", body)
        elif repository.status != 200:
            self._error(repository.status, "RepoNotFound" if repository.status == 401 else "", body)
        elif repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
            self._error(403, "GatedRepo", body)
        elif api:
            self._api(repository, api)
        elif file:
            self._file(repository, file[3], file[4], body)

    def _error(self, status: int, code: str, body: bool) -> None:
        self._send(status, b'{"error": "no"}', body, {"X-Error-Code": code} if code else {})

    def _api(self, repository: Repository, match: re.Match[str]) -> None:
        if match[4] not in (None, "main", repository.commit):
            self._error(404, "RevisionNotFound", True)
            return
        found: Any
        if match[3] == "tree":
            found = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}  # noqa: S324
                for name, data in repository.files.items()
            ]
        else:
            siblings = [{"rfilename": name} for name in repository.files]
            found = {"id": match[2], "sha": repository.commit, "siblings": siblings, "private": False, "tags": []}
        self._send(200, json.dumps(found).encode(), True, {"Content-Type": "application/json"})

    def _file(self, repository: Repository, revision: str, name: str, body: bool) -> None:
        data = repository.files.get(name)
        if data is None or revision not in ("main", repository.commit):
            self._error(404, "EntryNotFound", body)
            return
        about = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": repository.commit}
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["", "0"])[1])
        if start:
            about["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = body and repository.cuts > 0 and name.endswith((".safetensors", ".parquet"))
        repository.cuts -= cut
        self._send(206 if start else 200, data[start:], body, about, cut)

    def _send(self, status: int, data: bytes, body: bool, headers: Mapping[str, str], cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "Accept-Ranges": "bytes", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if cut:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
        elif body:
            self.wfile.write(data)
