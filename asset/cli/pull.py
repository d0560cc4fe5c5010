"""`asset pull`: get a model from the Hugging Face hub, package and register it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asset.cli.loop import AsJson, Result, State, perform, state_folder
from asset.cli.package import description, register_asset, sentence
from asset.screen import Screen

if TYPE_CHECKING:
    from asset.models.package import Packaged
    from asset.models.pull import Pulled
    from asset.models.record import Record


def pull(
    model_id: Annotated[
        str | None,
        typer.Option("--model-id", metavar="OWNER/NAME", help="Another model on the hub. Default: bert-base-cased."),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            help="A commit, branch or tag. Default: the commit that spec.yaml pins; for another model, the branch main."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="The model folder. Default: model/NAME in the checkout."),
    ] = None,
    package: Annotated[
        bool, typer.Option("--package/--no-package", help="Make the pulled folder an MLflow model and register it.")
    ] = True,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Get a model from the Hugging Face hub: bert-base-cased, or another BERT or DistilBERT.

    Only safetensors are taken, and each file must have the size and hash that the hub lists. If a pull is cut off or
    killed, the next pull continues from there; the folder gets the whole model at the end, and is unchanged before that.
    Then the model is packaged and registered, as by `asset package`.

    The environment variables HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME, HF_HUB_OFFLINE and HTTPS_PROXY are used. Files that
    are in huggingface_hub's cache are taken from there.

    Exit status: 0 if the model is complete, 1 if the hub, the connection or the disk failed, 2 if the hub has no such model
    or it cannot be served, 130 if it was interrupted. With --json, `code` names the error.

    **Examples**

        asset pull

        HF_ENDPOINT=https://mirror.example.com asset pull

        asset pull --model-id distilbert/distilbert-base-cased --output model/distilbert
    """
    perform(
        lambda screen: _pull(screen, model_id, revision, output, package, state_folder(state)),
        as_json,
        "interrupted; the downloaded part is kept, and the next pull continues from there",
    )


def _pull(
    screen: Screen, model_id: str | None, revision: str | None, output: Path | None, with_package: bool, state: Path
) -> Result:
    from asset.models.hub import Hub
    from asset.models.package import package, packaged
    from asset.models.pull import pull
    from asset.models.registration import name_for, register
    from asset.models.selection import Asset, Wanted

    asset = Asset.read()
    wanted = Wanted.choose(asset, model_id, revision, output)
    own = wanted.repositories == asset.repositories
    name = asset.name if own else wanted.repositories[0].rpartition("/")[2]
    fresh: list[Packaged] = []
    # Notes and the progress bar are on standard error, so that standard output has only the result.
    progress = Screen(screen.errors)

    def prepare(folder: Path, record: Record) -> None:
        progress.note("packaging it for MLflow")
        fresh.append(package(folder, name, record))

    pulled = pull(wanted, Hub.from_environment(progress.note), progress, prepare if with_package else None)
    if not with_package:
        return Result(_answer(pulled), _sentence(pulled))
    model = fresh[0] if fresh else packaged(wanted.folder) or package(wanted.folder, name)
    if own:
        registered = register_asset(screen, asset, wanted.folder, model, state)
    else:
        registered = register(state, wanted.folder, name_for(model.name), None, model.tags, model.note)
    text = _sentence(pulled) + sentence(pulled.folder, model, registered)
    return Result(_answer(pulled) | description(model, registered), text)


def _answer(pulled: Pulled) -> dict[str, Any]:
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


def _sentence(pulled: Pulled) -> str:
    from asset.findings import shown

    model = f"{pulled.record.repository} at {pulled.record.commit}"
    how = f"pulled, {pulled.came / 1e6:,.1f} MB were downloaded" if pulled.fresh else "unchanged"
    return f"{shown(pulled.folder)}: {model} is {how}, and each file is as the hub lists it\n"
