"""`asset endpoints`: the online endpoints of this machine, their logs and keys; start, stop and delete them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asset.cli.loop import AsJson, Result, State, perform, state_folder
from asset.screen import Screen

if TYPE_CHECKING:
    from asset.local.endpoints.link import LocalEndpoint

Endpoint = Annotated[str, typer.Argument(help="The endpoint's name.")]

app = typer.Typer(
    help="List, start, stop and delete the online endpoints of this machine; show their logs and keys.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command("list")
def list_endpoints(as_json: AsJson = False, state: State = None) -> None:
    """Show the endpoints, their deployments, processes and traffic."""
    perform(lambda screen: _list(screen, state_folder(state)), as_json)


def _list(screen: Screen, state: Path) -> Result:
    from asset.local.endpoints.link import LocalEndpoint
    from asset.local.endpoints.records import endpoints

    listed = []
    for folder in endpoints(state):
        endpoint = LocalEndpoint(folder)
        daemon = endpoint.running()
        description = endpoint.describe()
        address = f"{daemon.url}/score" if daemon else None
        listed.append({"name": folder.name, "scoring_uri": address, **description})
        screen.say(f"{folder.name}: {address or 'stopped'}", "bold")
        for name, deployment in description["deployments"].items():
            share = description["traffic"].get(name, 0)
            _show_deployment(screen, folder.name, name, deployment, share)
    if not listed:
        screen.say("there are no endpoints; make one with `asset deploy -f deployment/online-deployment-blue.yml`")
    return Result({"endpoints": listed})


def _show_deployment(screen: Screen, endpoint: str, name: str, deployment: dict[str, Any], share: int) -> None:
    from asset.local.endpoints.deployment import FAILING

    process = f", process {deployment['pid']}, {deployment['restarts']} restarts" if deployment["pid"] else ""
    screen.say(f"  {name}: {share} % of the traffic, {deployment['status']}{process}")
    if deployment["status"] == FAILING:
        screen.say(f"    {deployment['error'].splitlines()[0]}", "red")
        screen.say(f"    see `asset endpoints logs {endpoint} {name}`")


@app.command()
def logs(
    endpoint: Endpoint,
    deployment: Annotated[
        str | None, typer.Argument(help="The deployment. Default: the log of the endpoint itself.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", min=1, help="The number of lines, from the end.")] = 100,
    state: State = None,
) -> None:
    """Print the end of a log.

    A log continues when its process restarts. A deployment's log begins anew if it has more than 32 MiB at a start.

    **Example**

        asset endpoints logs bert-base-cased blue --lines 20
    """

    def work(screen: Screen) -> Result:
        folder = _endpoint(state, endpoint).folder
        log = folder.deployment(deployment).log if deployment else folder.daemon_log
        if not log.is_file():
            known = ", ".join(folder.deployments()) or "none"
            raise FileNotFoundError(
                f"there is no log of deployment {deployment}; name one of the deployments ({known})"
            )
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return Result({}, "".join(f"{line}\n" for line in last))

    perform(work)


@app.command()
def keys(endpoint: Endpoint, as_json: AsJson = False, state: State = None) -> None:
    """Print the two keys of an endpoint. Send one of them as `Authorization: Bearer KEY`."""

    def work(screen: Screen) -> Result:
        keys = _endpoint(state, endpoint).keys()
        text = f"primary   {keys.primary}\nsecondary {keys.secondary}\n"
        return Result({"primary": keys.primary, "secondary": keys.secondary}, text)

    perform(work, as_json)


@app.command()
def start(endpoint: Endpoint, as_json: AsJson = False, state: State = None) -> None:
    """Start a stopped endpoint with its deployments, such as after a restart of the machine."""

    def work(screen: Screen) -> Result:
        started = _endpoint(state, endpoint)
        started.start()
        address = f"{started.require_running().url}/score"
        screen.say(f"{endpoint} serves at {address}")
        return Result({"endpoint": endpoint, "scoring_uri": address})

    perform(work, as_json)


@app.command()
def stop(endpoint: Endpoint, as_json: AsJson = False, state: State = None) -> None:
    """Stop an endpoint after it has answered the requests that it has; its deployments and keys are kept."""

    def work(screen: Screen) -> Result:
        _endpoint(state, endpoint).stop()
        screen.say(f"{endpoint} is stopped; start it again with `asset endpoints start {endpoint}`")
        return Result({"endpoint": endpoint})

    perform(work, as_json)


@app.command()
def delete(
    endpoint: Endpoint,
    deployment: Annotated[
        str | None, typer.Option("--deployment", help="Delete only this deployment, which must have no traffic.")
    ] = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Delete an endpoint and all that belongs to it, or one of its deployments."""

    def work(screen: Screen) -> Result:
        local = _endpoint(state, endpoint)
        if deployment:
            local.delete_deployment(deployment.lower())
        else:
            local.delete()
        screen.say(f"deleted {f'{deployment} of ' if deployment else ''}{endpoint}")
        return Result({"endpoint": endpoint, "deployment": deployment})

    perform(work, as_json)


def _endpoint(state: Path | None, name: str) -> LocalEndpoint:
    """Return an endpoint of this machine; raises NotFoundError if there is none of that name."""
    from asset.local.endpoints.link import LocalEndpoint
    from asset.local.endpoints.records import EndpointFolder

    endpoint = LocalEndpoint(EndpointFolder.of(state_folder(state), name))
    endpoint.folder.read()
    return endpoint
