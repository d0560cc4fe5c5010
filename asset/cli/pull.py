"""`asset pull` and `asset package`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from asset.environments import ROOT
from asset.findings import shown
from asset.models.errors import NotServable, PullError, RequestError
from asset.models.hub import Hub
from asset.models.package import Packaged, package, packaged
from asset.models.pull import Pulled, pull
from asset.models.record import Record
from asset.models.registration import Registered, check_name, name_for, register
from asset.models.selection import Asset, Wanted
from asset.screen import SafeStream, interrupt_on_signals, safe_console
from serving.model.model_folder import has_weights

INVALID, INTERRUPTED = 2, 130


@dataclass(frozen=True)
class PullOptions:
    """What `asset pull` was asked for; None for what was left out."""

    model_id: str | None = None
    revision: str | None = None
    output: Path | None = None
    package: bool = True
    state: Path | None = None
    as_json: bool = False


@dataclass(frozen=True)
class PackageOptions:
    """What `asset package` was asked for; None for what was left out."""

    model: Path | None = None
    name: str | None = None
    version: int | None = None
    state: Path | None = None
    as_json: bool = False


class Screen:
    """Notes, and a bar where there is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def note(self, text: str) -> None:
        """Show a line."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, total: int, came: int) -> Iterator[Callable[[int], None]]:
        """Show bytes as they come."""
        columns = (TextColumn("pulling"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        hidden = not self._console.is_terminal
        if hidden:
            self.note(f"pulling {(total - came) / 1e6:,.1f} MB of {total / 1e6:,.1f} MB")
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as bar:
            task = bar.add_task("pulling", total=total, completed=came)
            yield lambda size: bar.advance(task, size)


def pull_command(options: PullOptions) -> int:
    """Pull a model, package and register it; return the exit status."""

    def act(screen: Screen) -> dict[str, Any]:
        asset = Asset.read()
        wanted = Wanted.choose(asset, options.model_id, options.revision, options.output)
        own = wanted.repositories == asset.repositories
        name = asset.name if own else wanted.repositories[0].rpartition("/")[2]
        made: list[Packaged] = []

        def prepare(folder: Path, record: Record) -> None:
            screen.note("packaging it for MLflow")
            made.append(package(folder, name, record))

        pulled = pull(wanted, Hub.from_environment(screen.note), screen, prepare if options.package else None)
        told = _of_pull(pulled)
        if options.package:
            model = made[0] if made else packaged(wanted.folder) or package(wanted.folder, name)
            state = _state(options.state)
            if own:
                registered = _register_asset(asset, wanted.folder, model, state, screen)
            else:
                registered = register(state, wanted.folder, name_for(model.name), None, model.tags, model.note)
            told |= _of_package(model, registered)
        return told

    return _run(
        act, _pulled_line, options.as_json, "interrupted; what came is kept, and the next pull goes on from there"
    )


def package_command(options: PackageOptions) -> int:
    """Package a model folder and register it; return the exit status."""

    def act(screen: Screen) -> dict[str, Any]:
        asset = Asset.read()
        folder = (options.model or asset.folder).absolute().resolve()
        if options.model is None and not has_weights(folder):
            raise NotServable(f"{shown(folder)}: expected a model, found no weights; get them with `asset pull`")
        if options.version is not None and options.version < 1:
            raise RequestError(
                f"--version: expected a number from 1 on, found {options.version}; leave it out for the next"
            )
        if options.name is not None:
            check_name(options.name)
        record = Record.read(folder)
        own = folder == asset.folder.resolve() or bool(record and record.asked_repository in asset.repositories)
        model = package(folder, asset.name if own else None, record)
        if options.version is None and options.name is None and own:
            registered = _register_asset(asset, folder, model, _state(options.state), screen)
        else:
            name = options.name or name_for(model.name)
            registered = register(_state(options.state), folder, name, options.version, model.tags, model.note)
        return {"status": "packaged", "folder": str(folder)} | _of_package(model, registered)

    return _run(act, _packaged_line, options.as_json, "interrupted; the folder is as it was, or packaged")


def _register_asset(asset: Asset, folder: Path, model: Packaged, state: Path, screen: Screen) -> Registered:
    """Register at the name and version of spec.yaml, or at the next version where another folder has that."""
    try:
        return register(state, folder, asset.name, asset.version, model.tags, model.note)
    except RequestError as exc:
        screen.note(f"{exc}: it becomes the next one")
        return register(state, folder, asset.name, None, model.tags, model.note)


def _state(given: Path | None) -> Path:
    return (given or ROOT / ".asset").absolute()


def _of_pull(pulled: Pulled) -> dict[str, Any]:
    record = pulled.record
    return {
        "status": "pulled" if pulled.fresh else "unchanged",
        "folder": str(pulled.folder),
        "repository": record.repository,
        "commit": record.commit,
        "asked": {"repository": record.asked_repository, "revision": record.asked_revision},
        "note": record.note,
        "bytes": pulled.came,
        "files": dict(record.files),
    }


def _of_package(model: Packaged, registered: Registered) -> dict[str, Any]:
    where = {"name": registered.name, "version": registered.version, "uri": registered.uri}
    return {"task": model.task, "model": where, "metadata": dict(model.metadata)}


def _pulled_line(told: dict[str, Any]) -> str:
    folder = shown(Path(told["folder"]))
    how = (
        "is there already, unchanged"
        if told["status"] == "unchanged"
        else f"is there: {told['bytes'] / 1e6:,.1f} MB came"
    )
    return f"{folder}: {told['repository']} at {told['commit']} {how}, and each file is as the hub lists it\n" + (
        _packaged_line(told) if "model" in told else ""
    )


def _packaged_line(told: dict[str, Any]) -> str:
    folder = shown(Path(told["folder"]))
    return f"{folder}: an MLflow model for {told['task']}, registered as {told['model']['uri']}\n"


def _run(
    act: Callable[[Screen], dict[str, Any]], line: Callable[[dict[str, Any]], str], as_json: bool, interrupted: str
) -> int:
    """Do a command's work and tell what came of it: one object with --json, else lines."""
    errors, output = safe_console(sys.stderr), SafeStream(sys.stdout)
    restore = interrupt_on_signals()
    status = 0
    try:
        told = act(Screen(errors))
    except KeyboardInterrupt:
        errors.print(interrupted, style="bold red")
        told, status = {"status": "interrupted", "message": interrupted}, INTERRUPTED
    except PullError as exc:
        errors.print(str(exc), markup=False, soft_wrap=True)
        status = exc.status
        told = {"status": "invalid" if status == INVALID else "failed", "code": exc.code, "message": str(exc)}
    finally:
        restore()
    if as_json:
        output.write(json.dumps(told, ensure_ascii=False) + "\n")
    elif not status:
        output.write(line(told))
    output.flush()
    return status
