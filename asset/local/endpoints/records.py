"""The folder of an endpoint: .asset/endpoints/bert-base-cased/, which its owner alone may enter.

endpoint.json               what it is (class EndpointRecord)
keys.json                   its two keys
deployments/<name>/
    deployment.json         what it is (class DeploymentRecord)
    log.txt                 what its servers wrote, one after the other; log.old.txt what stood there before it grew too long
    model/                  what AZUREML_MODEL_DIR points into
    server-….sock           where its server listens
daemon.json                 the process that serves the endpoint (class DaemonRecord), while it does
daemon.log                  what that process wrote
daemon.lock                 held by that process
control.sock                where commands reach it

Beside it, .bert-base-cased.lock is held by a command that starts or removes the endpoint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from asset.local.endpoints.errors import InvalidEndpointError, NotFoundError
from asset.local.processes import ProcessId
from tables.whole_file import write_json

NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]")
"""What Azure takes as the name of an endpoint or a deployment."""


@dataclass(frozen=True)
class Probe:
    """How a server is asked whether it is alive. Times are seconds; the defaults are Azure's."""

    initial_delay: int = 10
    period: int = 10
    timeout: int = 2
    failure_threshold: int = 30

    @property
    def startup_seconds(self) -> int:
        """Return how long a server may take until its first answer, as on Azure: until it had failed too often."""
        return self.initial_delay + self.period * self.failure_threshold


@dataclass(frozen=True)
class DeploymentRecord:
    """A deployment: what its server is started with and how requests reach it. `resource` is the whole as Azure has it.

    python: the interpreter of the environment to serve from.
    app_root, script: the folder of the code, and the scoring script in it.
    model: what the environment variable AZUREML_MODEL_DIR points to; None for a deployment without a model.
    request_timeout: seconds until a request is answered 408; max_concurrent: requests that its server gets at once, the
        next that many wait, and one more is answered 429.
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
        """Read what `asdict` makes of it."""
        return cls(**{**raw, "probe": Probe(**raw["probe"])})


@dataclass(frozen=True)
class EndpointRecord:
    """An endpoint: its deployments' shares of the traffic, and the port that it had last. `resource` is as Azure has it."""

    name: str
    traffic: dict[str, int] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)
    port: int = 0


@dataclass(frozen=True)
class DaemonRecord:
    """The process that serves an endpoint, and where."""

    process: ProcessId
    port: int

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class DeploymentFolder:
    """The folder of a deployment."""

    path: Path

    @property
    def record(self) -> Path:
        """Return the file with what it is."""
        return self.path / "deployment.json"

    @property
    def log(self) -> Path:
        """Return the file with what its servers wrote."""
        return self.path / "log.txt"

    @property
    def older_log(self) -> Path:
        """Return the file with what they wrote before that."""
        return self.path / "log.old.txt"

    @property
    def model(self) -> Path:
        """Return the folder that AZUREML_MODEL_DIR points into."""
        return self.path / "model"

    def read(self) -> DeploymentRecord:
        """Return what it is; raises OSError where that is nowhere written."""
        return DeploymentRecord.from_json(json.loads(self.record.read_bytes()))

    def write(self, record: DeploymentRecord) -> None:
        """Keep what it is."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.record, asdict(record))


@dataclass(frozen=True)
class EndpointFolder:
    """The folder of an endpoint."""

    path: Path

    @classmethod
    def of(cls, state: Path, name: str) -> Self:
        """Return the folder of the endpoint `name` in the folder of local state.

        Raises:
            InvalidEndpointError: that is no name of an endpoint.
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
        """Return the file with what the endpoint's process wrote."""
        return self.path / "daemon.log"

    @property
    def lock(self) -> Path:
        """Return the file that a command holds: outside of the folder, which it may remove."""
        return self.path.parent / f".{self.name}.lock"

    @property
    def exists(self) -> bool:
        """Return whether there is such an endpoint."""
        return (self.path / "endpoint.json").is_file()

    def read(self) -> EndpointRecord:
        """Return what it is.

        Raises:
            NotFoundError: there is no such endpoint.
            InvalidEndpointError: what is written of it cannot be read.
        """
        try:
            return EndpointRecord(**json.loads((self.path / "endpoint.json").read_bytes()))
        except FileNotFoundError as exc:
            known = ", ".join(folder.name for folder in endpoints(self.path.parents[1])) or "none"
            raise NotFoundError(
                f"expected one of the endpoints here ({known}), found the name {self.name}; name one of those, or deploy it"
            ) from exc
        except (ValueError, TypeError) as exc:
            raise InvalidEndpointError(
                f"expected what the endpoint {self.name} is in {self.path / 'endpoint.json'}, found: {exc}; remove the folder "
                f"{self.path} and deploy it again"
            ) from exc

    def write(self, record: EndpointRecord) -> None:
        """Keep what it is."""
        self.make()
        write_json(self.path / "endpoint.json", asdict(record))

    def make(self) -> None:
        """Make the folder, closed to others: the keys and the control socket are in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def daemon(self) -> DaemonRecord | None:
        """Return the process that serves it, as far as is written; it may have ended since."""
        try:
            raw = json.loads((self.path / "daemon.json").read_bytes())
            return DaemonRecord(ProcessId(**raw["process"]), raw["port"])
        except FileNotFoundError:
            return None

    def write_daemon(self, record: DaemonRecord | None) -> None:
        """Keep which process serves it; None: none does."""
        if record is None:
            (self.path / "daemon.json").unlink(missing_ok=True)
        else:
            write_json(self.path / "daemon.json", asdict(record))

    def deployment(self, name: str) -> DeploymentFolder:
        """Return the folder of a deployment.

        Raises:
            InvalidEndpointError: that is no name of a deployment.
        """
        return DeploymentFolder(self.path / "deployments" / checked_name(name, "deployment"))

    def deployments(self) -> dict[str, DeploymentRecord]:
        """Return its deployments by name."""
        folders = sorted(path.parent for path in self.path.glob("deployments/*/deployment.json"))
        return {folder.name: DeploymentFolder(folder).read() for folder in folders}


def endpoints(state: Path) -> Iterator[EndpointFolder]:
    """Yield the endpoints that a folder of local state has."""
    for path in sorted((state / "endpoints").glob("*/endpoint.json")):
        yield EndpointFolder(path.parent.absolute())


def checked_name(name: str, what: str) -> str:
    """Return the name of an endpoint or a deployment as Azure has it, in small letters however it is written.

    Raises:
        InvalidEndpointError: Azure would not take it.
    """
    if not NAME.fullmatch(name):
        raise InvalidEndpointError(
            f"expected the name of the {what} to be 3 to 32 letters, digits and hyphens, a letter first, found {name!r}; "
            "rename it"
        )
    return name.lower()
