"""Pull a model: ask the hub for the files of a commit, bring and check them, and put the folder in its place as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from asset.findings import shown
from asset.models.errors import RequestError, disk_error
from asset.models.hub import COMMIT, Hub, Listing, RemoteFile
from asset.models.package import UNFINISHED
from asset.models.record import Record, file_sha256
from asset.models.selection import CARD, Wanted, choose, find_listing, known_names
from asset.models.staging import Staging, place
from asset.models.transfer import obtain
from finetune.checkpoint_files import INDEX, WHOLE, build_tokenizer, check_tensors, tensor_files, write_weights
from serving.errors import ModelFolderError
from serving.model.checkpoint import BertConfig, read_config
from serving.model.tokenizer import open_tokenizer

Prepare = Callable[[Path, Record], None]
"""The last work on a folder before it takes its place."""


class Screen(Protocol):
    """The display of a pull's progress."""

    def note(self, text: str) -> None:
        """Show a line."""

    def progress(self, total: int, came: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show bytes that come, of a total; the function is called with the number of bytes."""


@dataclass(frozen=True)
class Pulled:
    """A pulled model: the folder, its record, the bytes that came over the network; `fresh` if the folder is new."""

    folder: Path
    record: Record
    came: int
    fresh: bool


def pull(wanted: Wanted, hub: Hub, screen: Screen, prepare: Prepare | None = None) -> Pulled:
    """Pull a model into its folder, which keeps its old content until all of the new one is there; raises ModelError.

    Bytes that came are kept if the pull fails, and the next call goes on from them.
    """
    staging = Staging(wanted.folder)
    try:
        with staging.lock():
            return _Pull(wanted, hub, screen, staging).run(prepare)
    except OSError as exc:
        raise disk_error(exc, wanted.folder, "give another --output") from exc


class _Pull:
    """A pull that holds the lock of its staging folder."""

    def __init__(self, wanted: Wanted, hub: Hub, screen: Screen, staging: Staging) -> None:
        self._wanted, self._hub, self._screen, self._staging = wanted, hub, screen, staging
        self._before = Record.read(wanted.folder)
        self._changed = self._before.changed(wanted.folder) if self._before else []
        self._came = 0

    def run(self, prepare: Prepare | None) -> Pulled:
        """Do the whole pull."""
        before, wanted, staging = self._before, self._wanted, self._staging
        settled = COMMIT.fullmatch(wanted.revision) or self._hub.offline
        if before and not self._changed and settled and before.answers(wanted):
            return self._unchanged(before)
        listing, note = find_listing(self._hub, wanted)
        if before and (before.repository, before.commit) == (listing.repository, listing.commit):
            if not self._changed:
                return self._unchanged(before)
            self._screen.note(f"{', '.join(self._changed)} changed since the last pull: pulling it again")
        if note:
            self._screen.note(note)
        keep_card = (wanted.folder / CARD).exists() and not (before and CARD in before.files)
        files = [self._hub.file(listing, name) for name in choose(listing, card=not keep_card)]
        self._check_folder(files)
        self._fetch(listing, files)
        record = self._assemble(listing, files, note, keep_card)
        if prepare is not None:
            prepare(staging.folder, record)
        staging.publish()
        return Pulled(wanted.folder, record, self._came, fresh=True)

    def _unchanged(self, record: Record) -> Pulled:
        self._staging.remove()
        return Pulled(self._wanted.folder, record, 0, fresh=False)

    def _check_folder(self, files: list[RemoteFile]) -> None:
        """Raise RequestError if the final folder has something that no pull put there."""
        folder = self._wanted.folder
        if not folder.exists():
            return
        known = set(known_names(self._before.files if self._before else ()))
        there = [path for path in folder.iterdir() if not path.name.startswith(UNFINISHED)]
        others = sorted(path.name for path in there if path.name not in known)
        if others:
            raise self._taken(", ".join(others[:5]))
        mine = {file.name: file for file in files}
        models = [path for path in there if path.name == "config.json" or path.suffix == ".safetensors"]
        foreign = [path.name for path in models if path.name not in mine or not mine[path.name].is_at(path)]
        if foreign and self._before is None:
            names = ", ".join(sorted(foreign))
            which = f"which no pull put there and {self._wanted.repositories[0]} has not"
            raise self._taken(f"{names}, {which}")

    def _taken(self, found: str) -> RequestError:
        return RequestError(
            "folder_taken",
            f"{shown(self._wanted.folder)}: expected an empty folder, or an earlier pull, found {found}; move that away, or give "
            "another --output",
        )

    def _fetch(self, listing: Listing, files: list[RemoteFile]) -> None:
        """Bring all files to the staging folder, checked; config.json is examined before the others come."""
        self._staging.forget({file.name for file in files})
        missing = [file for file in files if not self._take(listing, file)]
        size = sum(file.size for file in files)
        left = sum(file.size - self._staging.came(file) for file in missing)
        joined = sum(file.size for file in files if file.name != WHOLE and file.name.endswith(".safetensors"))
        self._staging.require_room(left + joined)
        if not missing:
            _check_family(self._staging.fetched, listing)
            return
        with self._screen.progress(size, size - left) as came:
            for file in files:
                if file in missing:
                    self._obtain(listing, file, came)
                if file.name == "config.json":
                    _check_family(self._staging.fetched, listing)

    def _take(self, listing: Listing, file: RemoteFile) -> bool:
        """Take a file from a place on this machine that has it; returns False if none has."""
        target = self._staging.fetched / file.name
        if file.is_at(target):
            return True
        for source in self._sources(listing, file):
            if file.is_at(source):
                place(source, target)
                return True
        return False

    def _sources(self, listing: Listing, file: RemoteFile) -> Iterator[Path]:
        yield self._wanted.folder / file.name
        yield from self._hub.places_in_cache(self._wanted.repositories, listing, file.name)

    def _obtain(self, listing: Listing, file: RemoteFile, came: Callable[[int], None]) -> None:
        """Bring a file over the network."""
        if self._hub.offline:
            raise self._hub.offline_error(listing.repository, listing.commit, listing.names)

        def count(size: int) -> None:
            self._came += max(size, 0)
            came(size)

        obtain(self._hub, listing, file, self._staging.part(file), count)
        self._staging.keep(file)

    def _assemble(self, listing: Listing, files: list[RemoteFile], note: str | None, keep_card: bool) -> Record:
        """Make the folder of the files, with the weights in one file, and check that it can be served; returns its record."""
        staging, final = self._staging, self._wanted.folder
        staging.begin_folder()
        parts = [file for file in files if file.name != WHOLE and file.name.endswith(".safetensors")]
        for file in files:
            if file not in parts and file.name != INDEX:
                place(staging.fetched / file.name, staging.folder / file.name)
        try:
            tensors = tensor_files(staging.fetched)
            config = BertConfig.from_json(read_config(staging.folder))
            check_tensors(listing.repository, tensors, config)
            if parts:
                write_weights(tensors, staging.folder / WHOLE)
            if not (staging.folder / "tokenizer.json").is_file():
                build_tokenizer(staging.folder)
            open_tokenizer(staging.folder / "tokenizer.json", config.vocab_size)
        except ModelFolderError as exc:
            raise _not_servable(listing, exc) from exc
        hashes = {path.name: file_sha256(path) or "" for path in sorted(staging.folder.iterdir())}
        asked = self._wanted.repositories[0], self._wanted.revision
        joined = {file.name: file.key for file in parts}
        record = Record(listing.repository, listing.commit, *asked, note, hashes, joined)
        record.write(staging.folder)
        if keep_card:
            shutil.copyfile(final / CARD, staging.folder / CARD)
        # The MLmodel in git fits any commit; an MLmodel that was made by packaging describes another pull.
        if (final / "MLmodel").is_file() and not (final / "input_example.json").exists():
            shutil.copyfile(final / "MLmodel", staging.folder / "MLmodel")
        return record


def _check_family(folder: Path, listing: Listing) -> None:
    try:
        BertConfig.from_json(read_config(folder))
    except ModelFolderError as exc:
        raise _not_servable(listing, exc) from exc


def _not_servable(listing: Listing, reason: ModelFolderError) -> RequestError:
    return RequestError("not_servable", f"{listing.repository}: {reason}; choose a BERT or DistilBERT")
