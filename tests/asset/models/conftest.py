"""A hub on this machine that has tiny models, and a way to pull from it in this process."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import huggingface_hub
import pytest

from asset.local.jobs.tracking import database
from asset.models.hub import Hub
from asset.models.hub_problems import Patience
from asset.models.pull import Pulled, pull
from asset.models.selection import Wanted
from tests.loopback_hub import LoopbackHub, Repository, files_of

REPOSITORY = "some/tiny-bert"
QUICK = Patience(tries=3, first=0.01, longest=0.02, longest_asked=2)


@dataclass
class Notes:
    """A screen that keeps what it is to show."""

    lines: list[str] = field(default_factory=list)
    shown: int = 0

    def note(self, text: str) -> None:
        self.lines.append(text)

    @contextlib.contextmanager
    def progress(self, total: int, came: int) -> Iterator[Callable[[int], None]]:
        self.shown = came

        def advance(size: int) -> None:
            self.shown += size

        yield advance


@dataclass
class Puller:
    """Pulls the repository into a folder; the screen is that of the last pull."""

    loopback: LoopbackHub
    folder: Path
    home: Path
    screen: Notes = field(default_factory=Notes)

    def __call__(
        self, repository: str = REPOSITORY, revision: str = "main", offline: bool = False, **more: object
    ) -> Pulled:
        self.screen = Notes()
        return pull(self.wanted(repository, revision), self.hub(offline, **more), self.screen)

    def wanted(self, repository: str = REPOSITORY, revision: str = "main") -> Wanted:
        return Wanted((repository,), revision, self.folder)

    def hub(self, offline: bool = False, **more: object) -> Hub:
        cache = self.home / "hub"
        options = {"endpoint": self.loopback.address, "timeout": 2.0, "patience": QUICK, **more}
        return Hub(cache=cache, offline=offline, note=self.screen.note, **options)  # type: ignore[arg-type]

    @property
    def staging(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}.pull")

    def require_nothing(self) -> None:
        """See that no folder is there that could be taken for a model."""
        assert not self.folder.exists() or not {"config.json", "model.safetensors"} & set(names(self.folder))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def require_same(folder: Path, files: dict[str, bytes]) -> None:
    """See that a folder has the files of a repository, bit for bit, but for weights in other forms."""
    wanted = {name: data for name, data in files.items() if not name.endswith((".bin", ".h5", ".msgpack"))}
    assert {name: (folder / name).read_bytes() for name in wanted} == wanted


@pytest.fixture(scope="session")
def tiny(checkpoint: Path) -> dict[str, bytes]:
    """The files of a repository: a tiny BERT in three forms, and its card."""
    files = files_of(checkpoint) | {"README.md": b"# a card\n", "LICENSE": b"as you like\n"}
    return files | {"pytorch_model.bin": b"a pickle", "tf_model.h5": b"other weights"}


@pytest.fixture
def loopback(tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    huggingface_hub.close_session()  # it has read the environment of its first use
    with LoopbackHub({REPOSITORY: Repository(tiny)}) as found:
        yield found
    huggingface_hub.close_session()


@pytest.fixture
def puller(loopback: LoopbackHub, tmp_path: Path) -> Puller:
    (tmp_path / "model").mkdir()
    return Puller(loopback, tmp_path / "model" / "tiny-bert", tmp_path / "home")


@pytest.fixture
def state(store: Path, tmp_path: Path) -> Path:
    """A folder of local state with an empty store."""
    folder = tmp_path / "state"
    folder.mkdir()
    shutil.copy(store, database(folder))
    return folder
