"""A hub on this machine: as much of the Hugging Face hub's HTTP interface as huggingface_hub needs to fetch files.

As the hub does, it keeps large files apart (Git LFS: they have a SHA-256, and are answered with a redirect to another
host, which gets no token), and leads the old names without an owner to the new ones. It fails as a hub may, if told so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mmap import mmap
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

NAME = r"([^/]+(?:/[^/]+)?)"
API = re.compile(rf"/api/(models|datasets)/{NAME}(?:/(revision|tree)/([^/]+))?")
FILE = re.compile(rf"/(?:(datasets)/)?{NAME}/resolve/([^/]+)/(.+)")
STORE = re.compile(r"/store/([0-9a-f]{64})")
LARGE = (".safetensors", ".bin", ".parquet", ".h5", ".msgpack")
BLOCK = 1 << 18

Files = Mapping[str, bytes | mmap]


@dataclass
class Repository:
    """A repository of one commit, and of those in `history`; what follows `token` are faults.

    `status` answers in place of it. `failures` are answered first, a status and headers each, and `file_failures` by
    files alone. `cuts` connections are cut within a large file, in the middle of what is asked for. Large files come
    with one byte `altered`, with `extra` bytes at their end, or with less than none. `blobs`: whether sizes and hashes
    are listed; `ranges`: whether a part of a file can be had; `rate`: bytes of a large file in a second; `silent`: seconds
    without any before they come.
    """

    files: Files
    kind: str = "models"
    status: int = 200
    token: str | None = None
    at: str | None = None
    history: Mapping[str, Files] = field(default_factory=dict)
    failures: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    file_failures: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    cuts: int = 0
    altered: int = 0
    extra: int = 0
    blobs: bool = True
    ranges: bool = True
    rate: float | None = None
    silent: float = 0

    @cached_property
    def commit(self) -> str:
        """The commit: `at`, or 40 hexadecimal digits that depend on the content."""
        found = hashlib.sha1(usedforsecurity=False)
        for name, data in sorted(self.files.items()):
            found.update(name.encode())
            found.update(data)
        return self.at or found.hexdigest()

    def commit_of(self, revision: str | None) -> str | None:
        """Return the commit that a branch or commit names."""
        if revision in (None, "main", self.commit):
            return self.commit
        return revision if revision in self.history else None

    def files_of(self, commit: str) -> Files:
        """Return the files of a commit."""
        return self.files if commit == self.commit else self.history[commit]

    @cached_property
    def hashes(self) -> dict[tuple[str, str], str]:
        """By commit and name, a large file's SHA-256, and for others the SHA-1 of git's blob."""
        found = {}
        for commit in (self.commit, *self.history):
            for name, data in self.files_of(commit).items():
                found[commit, name] = sha256(data) if name.endswith(LARGE) else blob_sha1(data)
        return found

    def described(self, commit: str, name: str, blobs: bool) -> dict[str, Any]:
        """Return what the hub's pages of a repository say of a file."""
        if not (blobs and self.blobs):
            return {"rfilename": name}
        size, found = len(self.files_of(commit)[name]), self.hashes[commit, name]
        if not name.endswith(LARGE):
            return {"rfilename": name, "size": size, "blobId": found}
        pointer = {"sha256": found, "size": size, "pointerSize": 134}
        return {"rfilename": name, "size": size, "blobId": "0" * 40, "lfs": pointer}


@dataclass
class LoopbackHub:
    """The server: `repositories` by name; `requests` are the method and path of each, in their order.

    `moved` are old names -> new ones. `elsewhere` is given as the host of large files. `sent` counts the bytes that went
    out.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    elsewhere: str | None = None
    requests: list[str] = field(default_factory=list)
    sent: int = 0

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._servers = [_Server(("127.0.0.1", 0), Handler) for _ in range(2)]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def address(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._servers[0].server_address[1]}"

    @property
    def store(self) -> str:
        """The host of large files."""
        return self.elsewhere or f"http://127.0.0.1:{self._servers[1].server_address[1]}"

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Return the environment of a process that fetches from here, with a cache of its own."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
        proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        return {**ours, **proxies, "HF_ENDPOINT": self.address, "HF_HOME": str(home), **more}

    def files_gotten(self) -> list[str]:
        """Return the names of the files whose content was asked for, in their order."""
        return [path.rsplit("/", 1)[1] for path in self.requests if path.startswith("GET ") and "/resolve/" in path]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return a folder's files as those of a repository, which has none that were compiled on a machine."""
    files = [file for file in folder.rglob("*") if file.is_file() and ".compiled" not in file.parts]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def sha256(data: bytes | mmap) -> str:
    """Return the SHA-256 of a large file."""
    return hashlib.sha256(data).hexdigest()


def blob_sha1(data: bytes | mmap) -> str:
    """Return the name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + bytes(data), usedforsecurity=False).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Write nothing: whoever asked was killed."""


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each small answer waits 40 ms for the other side

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""

    def _answer(self, body: bool) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        self.hub.requests.append(f"{self.command} {path}")
        if stored := STORE.fullmatch(path):
            self._stored(stored[1], query["of"][0], body)
            return
        api, file = API.fullmatch(path), FILE.fullmatch(path)
        kind, name = (api[1], api[2]) if api else (file[1] or "models", file[2]) if file else ("", "")
        if name in self.hub.moved:
            self._send(307, b"", body, {"Location": self.path.replace(name, self.hub.moved[name], 1)})
            return
        repository = self.hub.repositories.get(name)
        if repository is None or repository.kind != kind:
            self._error(404, body, {"X-Error-Code": "RepoNotFound"})
        elif repository.status != 200:
            self._error(repository.status, body, {"X-Error-Code": "RepoNotFound"} if repository.status == 401 else {})
        elif repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
            self._error(403, body, {"X-Error-Code": "GatedRepo"})
        elif repository.failures or (file and body and repository.file_failures):
            status, headers = (repository.failures or repository.file_failures).pop(0)
            self._error(status, body, headers)
        elif api:
            self._api(repository, api, "blobs" in query)
        elif file:
            self._file(name, repository, file[3], file[4], body)

    def _error(self, status: int, body: bool, headers: Mapping[str, str]) -> None:
        self._send(status, b'{"error": "no"}', body, headers)

    def _api(self, repository: Repository, match: re.Match[str], blobs: bool) -> None:
        commit = repository.commit_of(match[4])
        if commit is None:
            self._error(404, True, {"X-Error-Code": "RevisionNotFound"})
            return
        found: Any
        described = [
            repository.described(commit, name, blobs or match[3] == "tree") for name in repository.files_of(commit)
        ]
        if match[3] == "tree":
            found = [
                {"type": "file", "path": file["rfilename"], "size": file["size"], "oid": file["blobId"]}
                | ({"lfs": {**file["lfs"], "oid": file["lfs"]["sha256"]}} if "lfs" in file else {})
                for file in described
            ]
        else:
            found = {"id": match[2], "sha": commit, "siblings": described, "private": False, "tags": []}
        self._send(200, json.dumps(found).encode(), True, {"Content-Type": "application/json"})

    def _file(self, of: str, repository: Repository, revision: str, name: str, body: bool) -> None:
        commit = repository.commit_of(revision)
        if commit is None or name not in repository.files_of(commit):
            self._error(404, body, {"X-Error-Code": "EntryNotFound"})
            return
        data, found = repository.files_of(commit)[name], repository.hashes[commit, name]
        about = {"ETag": f'"{found}"', "X-Repo-Commit": commit}
        if name.endswith(LARGE):
            about = {**about, "X-Linked-Etag": f'"{found}"', "X-Linked-Size": str(len(data))}
            self._send(302, b"", body, {**about, "Location": f"{self.hub.store}/store/{found}?of={of}"})
        else:
            self._content(repository, data, body, about)

    def _stored(self, found: str, of: str, body: bool) -> None:
        """Answer as the host of large files, which is given a signed address and no token."""
        if self.headers.get("Authorization"):
            self._error(400, body, {})
            return
        repository = self.hub.repositories[of]
        commit, name = next(key for key, value in repository.hashes.items() if value == found)
        self._content(repository, repository.files_of(commit)[name], body, {"ETag": f'"{found}"'}, large=True)

    def _content(
        self, repository: Repository, data: bytes | mmap, body: bool, about: dict[str, str], large: bool = False
    ) -> None:
        view = memoryview(data)
        if large and (repository.altered or repository.extra):
            changed = bytearray(data) + b"\0" * repository.extra
            changed[len(data) // 2] ^= repository.altered
            view = memoryview(changed)[: len(data) + repository.extra]
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) if repository.ranges else None
        start = int(asked[1]) if asked else 0
        if start >= len(view) > 0:
            self._error(416, body, {"Content-Range": f"bytes */{len(view)}"})
            return
        if asked:
            about = {**about, "Content-Range": f"bytes {start}-{len(view) - 1}/{len(view)}"}
        cut = body and large and repository.cuts > 0
        repository.cuts -= cut
        time.sleep(repository.silent if body and large else 0)
        self._send(206 if asked else 200, view[start:], body, about, cut, repository.rate if large else None)

    def _send(
        self,
        status: int,
        data: bytes | memoryview,
        body: bool,
        headers: Mapping[str, str],
        cut: bool = False,
        rate: float | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "Accept-Ranges": "bytes", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        end = len(data) // 2 if cut else len(data)
        block = min(BLOCK, max(int((rate or BLOCK) / 100), 1)) if rate else BLOCK
        with contextlib.suppress(OSError):  # whoever asked may be gone
            for place in range(0, end, block):
                self.wfile.write(data[place : min(place + block, end)])
                self.hub.sent += min(block, end - place)
                if rate:
                    time.sleep(block / rate)
            self.wfile.flush()
        if cut:
            self.connection.close()
            self.close_connection = True
