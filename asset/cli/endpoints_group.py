"""The commands `asset endpoints …`: wiring only."""

from __future__ import annotations

from typing import Annotated

import typer

from asset.cli.options import AsJson, State

endpoints_app = typer.Typer(
    help="The online endpoints of this machine: list, logs, keys, start, stop, delete.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
Endpoint = Annotated[str, typer.Argument(help="The endpoint's name.")]


@endpoints_app.command("list")
def endpoints_list(as_json: AsJson = False, state: State = None) -> None:
    """Show the endpoints, their deployments, processes and traffic."""
    from asset.cli.endpoints import list_endpoints

    raise typer.Exit(list_endpoints(state, as_json))


@endpoints_app.command("logs")
def endpoints_logs(
    endpoint: Endpoint,
    deployment: Annotated[
        str | None, typer.Argument(help="The deployment. Default: the log of the endpoint itself.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", min=1, help="How many, from the end.")] = 100,
    state: State = None,
) -> None:
    """Print the end of a log, which goes on over restarts; a deployment's begins anew at a start after 32 MiB.

    **Example**

        asset endpoints logs bert-base-cased blue --lines 20
    """
    from asset.cli.endpoints import show_logs

    raise typer.Exit(show_logs(state, endpoint, deployment, lines))


@endpoints_app.command("keys")
def endpoints_keys(endpoint: Endpoint, as_json: AsJson = False, state: State = None) -> None:
    """Print the endpoint's keys: one is sent as `Authorization: Bearer KEY`."""
    from asset.cli.endpoints import show_keys

    raise typer.Exit(show_keys(state, endpoint, as_json))


@endpoints_app.command("start")
def endpoints_start(endpoint: Endpoint, as_json: AsJson = False, state: State = None) -> None:
    """Start an endpoint again, with its deployments, as after a restart of the machine."""
    from asset.cli.endpoints import start

    raise typer.Exit(start(state, endpoint, as_json))


@endpoints_app.command("stop")
def endpoints_stop(endpoint: Endpoint, as_json: AsJson = False, state: State = None) -> None:
    """Stop an endpoint when it has answered what it was asked; its deployments and keys are kept."""
    from asset.cli.endpoints import stop

    raise typer.Exit(stop(state, endpoint, as_json))


@endpoints_app.command("delete")
def endpoints_delete(
    endpoint: Endpoint,
    deployment: Annotated[str | None, typer.Option("--deployment", help="This one alone; it has no traffic.")] = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Delete an endpoint with all that belongs to it, or one of its deployments."""
    from asset.cli.endpoints import delete

    raise typer.Exit(delete(state, endpoint, deployment, as_json))
