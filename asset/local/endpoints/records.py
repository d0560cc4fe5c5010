"""The folder of an endpoint: .asset/endpoints/bert-base-cased/. Only its owner may enter it.

endpoint.json               the endpoint (class EndpointRecord)
keys.json                   its two keys
deployments/<name>/
    deployment.json         the deployment (class DeploymentRecord)
    log.txt                 the log of its servers; log.old.txt is the log before that one grew too long
    model/                  links to its models, for AZUREML_MODEL_DIR
    server-….sock           the socket of its server
daemon.json                 the endpoint's process (class DaemonRecord), while it runs
daemon.log                  the log of that process
daemon.lock                 a lock that the process holds
control.sock                the socket on which the process takes commands

A command that starts or removes the endpoint holds the lock .bert-base-cased.lock beside the folder.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from asset.local.endpoints.errors import InvalidEndpointError, NotFoundError
from asset.local.processes import ProcessId
from tables.disk import write_json

NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]")
"""Azure's rule for the name of an endpoint or a deployment."""

MISSING, WRONG = "key_auth_bad_header_forbidden", "key_auth_access_denied"
"""Azure's answers, as plain text with status 401, to a request without a key and to a request with a wrong key."""


@dataclass(frozen=True)
class Probe:
    """When a server is asked if it is alive. Times are in seconds; the defaults are Azure's."""

    initial_delay: int = 10
    period: int = 10
    timeout: int = 2
    failure_threshold: int = 30

    @property
    def startup_seconds(self) -> int:
        """Return how long a server may take to its first answer: as on Azure, until too many probes have failed."""
        return self.initial_delay + self.period * self.failure_threshold


@dataclass(frozen=True)
class DeploymentRecord:
    """A deployment: how its server is started, and how requests reach it. `resource` is its JSON in Azure's form.

    python: the interpreter of the environment to serve from.
    app_root, script: the folder of the code, and the scoring script in it.
    model: the value of AZUREML_MODEL_DIR; None for a deployment without a model.
    request_timeout: seconds until a request is answered 408.
    max_concurrent: requests that the server gets at once. As many again wait; one more is answered 429.
    """

    name: str
    python: str
    app_root: str
    script: str
    model: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    request_timeout: float = 5.0
    max_concurrent: int = 1
    probe: Probe = Probe()
    resource: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Read the output of `asdict`."""
        return cls(**{**raw, "probe": Probe(**raw["probe"])})


@dataclass(frozen=True)
class EndpointRecord:
    """An endpoint: its traffic and its last port. `resource` is its JSON in Azure's form."""

    name: str
    traffic: dict[str, int] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)
    port: int = 0


@dataclass(frozen=True)
class DaemonRecord:
    """The process of an endpoint, and its port."""

    process: ProcessId
    port: int

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Keys:
    """The two keys of an endpoint; clients can use one while the other is replaced.

    They are secrets: only their owner may read their file, and no log and no message has them.
    """

    primary: str
    secondary: str

    @classmethod
    def fresh(cls) -> Self:
        """Return new keys."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the keys of a file; raises OSError or ValueError if it has none."""
        return cls(**json.loads(path.read_bytes()))

    def __repr__(self) -> str:
        return "Keys(…)"

    def write(self, path: Path) -> None:
        """Write the keys to a file that only its owner may read."""
        write_json(path, asdict(self))

    def exchanged(self, which: str) -> Self:
        """Return the keys with a new "primary" or "secondary" key."""
        return replace(self, **{which: secrets.token_urlsafe(24)})

    def refusal(self, authorization: str | None) -> str | None:
        """Return why a request with this Authorization header is refused; None if its key is right.

        The comparison takes the same time for a nearly right key as for a wholly wrong key.
        """
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            return MISSING
        key = text.strip().encode(errors="surrogateescape")
        matches = [hmac.compare_digest(key, known.encode()) for known in (self.primary, self.secondary)]
        return None if any(matches) else WRONG


@dataclass(frozen=True)
class DeploymentFolder:
    """The folder of a deployment."""

    path: Path

    @property
    def record(self) -> Path:
        """Return the file of its record."""
        return self.path / "deployment.json"

    @property
    def log(self) -> Path:
        """Return the log of its servers."""
        return self.path / "log.txt"

    @property
    def older_log(self) -> Path:
        """Return the log before the current one."""
        return self.path / "log.old.txt"

    @property
    def model(self) -> Path:
        """Return the folder of links to its models."""
        return self.path / "model"

    def read(self) -> DeploymentRecord:
        """Return its record; raises OSError if there is none."""
        return DeploymentRecord.from_json(json.loads(self.record.read_bytes()))

    def write(self, record: DeploymentRecord) -> None:
        """Write its record."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.record, asdict(record))


@dataclass(frozen=True)
class EndpointFolder:
    """The folder of an endpoint."""

    path: Path

    @classmethod
    def of(cls, state: Path, name: str) -> Self:
        """Return the folder of an endpoint in a folder of local state.

        Raises:
            InvalidEndpointError: the name is not valid.
        """
        return cls((state / "endpoints" / checked_name(name, "endpoint")).absolute())

    @property
    def name(self) -> str:
        """Return the endpoint's name."""
        return self.path.name

    @property
    def keys(self) -> Path:
        """Return the file of the keys."""
        return self.path / "keys.json"

    @property
    def daemon_log(self) -> Path:
        """Return the log of the endpoint's process."""
        return self.path / "daemon.log"

    @property
    def lock(self) -> Path:
        """Return the file that a command locks; it is beside the folder, because the command may remove the folder."""
        return self.path.parent / f".{self.name}.lock"

    @property
    def exists(self) -> bool:
        """Return whether the endpoint exists."""
        return (self.path / "endpoint.json").is_file()

    def read(self) -> EndpointRecord:
        """Return the endpoint's record.

        Raises:
            NotFoundError: the endpoint does not exist.
            InvalidEndpointError: its record cannot be read.
        """
        try:
            return EndpointRecord(**json.loads((self.path / "endpoint.json").read_bytes()))
        except FileNotFoundError as exc:
            known = ", ".join(folder.name for folder in endpoints(self.path.parents[1])) or "none"
            raise NotFoundError(
                f"there is no endpoint {self.name} on this machine (there are: {known}); deploy it first"
            ) from exc
        except (ValueError, TypeError) as exc:
            raise InvalidEndpointError(
                f"the record of endpoint {self.name} cannot be read: {self.path / 'endpoint.json'}: {exc}; remove the folder "
                f"{self.path} and deploy the endpoint again"
            ) from exc

    def write(self, record: EndpointRecord) -> None:
        """Write the endpoint's record."""
        self.make()
        write_json(self.path / "endpoint.json", asdict(record))

    def make(self) -> None:
        """Make the folder and close it to other users, because it has the keys and the control socket."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def daemon(self) -> DaemonRecord | None:
        """Return the recorded process of the endpoint, which may have ended since; None if there is no record."""
        try:
            raw = json.loads((self.path / "daemon.json").read_bytes())
            return DaemonRecord(ProcessId(**raw["process"]), raw["port"])
        except FileNotFoundError:
            return None

    def write_daemon(self, record: DaemonRecord | None) -> None:
        """Record the process of the endpoint; None removes the record."""
        if record is None:
            (self.path / "daemon.json").unlink(missing_ok=True)
        else:
            write_json(self.path / "daemon.json", asdict(record))

    def deployment(self, name: str) -> DeploymentFolder:
        """Return the folder of a deployment.

        Raises:
            InvalidEndpointError: the name is not valid.
        """
        return DeploymentFolder(self.path / "deployments" / checked_name(name, "deployment"))

    def deployments(self) -> dict[str, DeploymentRecord]:
        """Return the records of its deployments by name."""
        folders = sorted(path.parent for path in self.path.glob("deployments/*/deployment.json"))
        return {folder.name: DeploymentFolder(folder).read() for folder in folders}


def endpoints(state: Path) -> Iterator[EndpointFolder]:
    """Yield the endpoints in a folder of local state."""
    for path in sorted((state / "endpoints").glob("*/endpoint.json")):
        yield EndpointFolder(path.parent.absolute())


def checked_name(name: str, kind: str) -> str:
    """Return the name of an endpoint or a deployment in small letters: for Azure "Blue" and "blue" are the same.

    Raises:
        InvalidEndpointError: Azure would refuse the name.
    """
    if not NAME.fullmatch(name):
        raise InvalidEndpointError(
            f"{name!r} is not a valid name of {'an' if kind[0] in 'aeiou' else 'a'} {kind}; use 3 to 32 letters, digits and "
            "hyphens, with a letter first"
        )
    return name.lower()
