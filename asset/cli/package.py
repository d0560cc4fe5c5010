"""`asset package`: make a checkpoint folder an MLflow model and register it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asset.cli.loop import AsJson, Result, State, perform, state_folder
from asset.screen import Screen

if TYPE_CHECKING:
    from asset.models.package import Packaged
    from asset.models.registration import Registered
    from asset.models.selection import Asset


def package(
    model: Annotated[
        Path | None, typer.Option("--model", metavar="DIR", help="The model folder. Default: model/bert-base-cased.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The name of the registered model. Default: the model's own name.")
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(help="The version's number. Default: the next; for bert-base-cased, the number in spec.yaml."),
    ] = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Make a checkpoint folder an MLflow model, in place, and register it in this checkout's MLflow store.

    The folder must have config.json, model.safetensors and tokenizer.json of a BERT or DistilBERT that score.py serves.
    Added are MLmodel (flavors transformers and python_function, signature, input example, commit and hashes), conda.yaml,
    python_env.yaml, requirements.txt and components/tokenizer. The weights are not copied: the registered version points to
    the folder.

    Exit status: 0 if it is registered, 1 if the store or the disk failed, 2 if the folder has no such model, 130 if it was
    interrupted.

    **Examples**

        asset package

        asset package --model runs/notes/model --name notes-bert

        MLFLOW_TRACKING_URI=sqlite:///.asset/mlflow.db mlflow models serve -m models:/bert-base-cased/17 --env-manager local
    """
    perform(
        lambda screen: _package(screen, model, name, version, state_folder(state)),
        as_json,
        "interrupted; the folder is as it was, or packaged",
    )


def _package(screen: Screen, model: Path | None, name: str | None, version: int | None, state: Path) -> Result:
    from asset.findings import shown
    from asset.models.errors import RequestError
    from asset.models.package import package
    from asset.models.record import Record
    from asset.models.registration import check_name, name_for, register
    from asset.models.selection import Asset
    from serving.model.model_folder import has_weights

    asset = Asset.read()
    folder = (model or asset.folder).absolute().resolve()
    if model is None and not has_weights(folder):
        raise RequestError("not_servable", f"{shown(folder)} has no weights; get them with `asset pull`")
    if version is not None and version < 1:
        raise RequestError("invalid", f"--version: {version} is less than 1; leave it out for the next version")
    if name is not None:
        check_name(name)
    record = Record.read(folder)
    own = folder == asset.folder.resolve() or bool(record and record.asked_repository in asset.repositories)
    packaged = package(folder, asset.name if own else None, record)
    if version is None and name is None and own:
        registered = register_asset(screen, asset, folder, packaged, state)
    else:
        registered = register(state, folder, name or name_for(packaged.name), version, packaged.tags, packaged.note)
    answer = {"status": "packaged", "folder": str(folder)} | description(packaged, registered)
    return Result(answer, sentence(folder, packaged, registered))


def register_asset(screen: Screen, asset: Asset, folder: Path, packaged: Packaged, state: Path) -> Registered:
    """Register a folder at the name and version of spec.yaml, or at the next version if another folder has that version."""
    from asset.models.errors import RequestError
    from asset.models.registration import register

    try:
        return register(state, folder, asset.name, asset.version, packaged.tags, packaged.note)
    except RequestError as exc:
        screen.errors.print(f"{exc}: registering it as the next version", markup=False, soft_wrap=True)
        return register(state, folder, asset.name, None, packaged.tags, packaged.note)


def description(packaged: Packaged, registered: Registered) -> dict[str, Any]:
    """Return what `--json` says of a packaged model."""
    model = {"name": registered.name, "version": registered.version, "uri": registered.uri}
    return {"task": packaged.task, "model": model, "metadata": dict(packaged.metadata)}


def sentence(folder: Path, packaged: Packaged, registered: Registered) -> str:
    """Return the line about a packaged model."""
    from asset.findings import shown

    return f"{shown(folder)}: an MLflow model for {packaged.task}, registered as {registered.uri}\n"
