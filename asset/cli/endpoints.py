"""`asset endpoints`: what runs on this machine, its logs and keys; start, stop and delete it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from asset.cli.loop import run
from asset.environments import ROOT
from asset.local.endpoints.deployment import FAILING
from asset.local.endpoints.link import LocalEndpoint
from asset.local.endpoints.records import EndpointFolder, endpoints


def list_endpoints(state: Path | None, as_json: bool) -> int:
    """Print the endpoints with their deployments; return the exit status."""
    return run(lambda console: _list(_state(state), console), as_json)


def show_logs(state: Path | None, name: str, deployment: str | None, lines: int) -> int:
    """Print the end of a deployment's log, or of the endpoint's own; return the exit status."""

    def show(console: Console) -> dict[str, Any]:
        folder = _endpoint(state, name).folder
        log = folder.deployment(deployment).log if deployment else folder.daemon_log
        if not log.is_file():
            known = ", ".join(folder.deployments()) or "none"
            raise FileNotFoundError(
                f"expected the log of one of the deployments ({known}), found none of {deployment}; name one of those"
            )
        sys.stdout.write("".join(f"{line}\n" for line in _tail(log, lines)))
        return {}

    return run(show, as_json=False)


def show_keys(state: Path | None, name: str, as_json: bool) -> int:
    """Print the two keys; return the exit status."""

    def show(console: Console) -> dict[str, Any]:
        keys = _endpoint(state, name).keys()
        console.print(f"primary   {keys.primary}\nsecondary {keys.secondary}", markup=False)
        return {"primary": keys.primary, "secondary": keys.secondary}

    return run(show, as_json)


def start(state: Path | None, name: str, as_json: bool) -> int:
    """Start an endpoint that was stopped; return the exit status."""

    def act(console: Console) -> dict[str, Any]:
        endpoint = _endpoint(state, name)
        endpoint.start()
        url = endpoint.require_running().url
        console.print(f"{name} serves at {url}/score")
        return {"endpoint": name, "scoring_uri": f"{url}/score"}

    return run(act, as_json)


def stop(state: Path | None, name: str, as_json: bool) -> int:
    """Stop an endpoint; it keeps its deployments and keys. Return the exit status."""

    def act(console: Console) -> dict[str, Any]:
        _endpoint(state, name).stop()
        console.print(f"{name} is stopped; start it again with `asset endpoints start {name}`")
        return {"endpoint": name}

    return run(act, as_json)


def delete(state: Path | None, name: str, deployment: str | None, as_json: bool) -> int:
    """Delete an endpoint, or one of its deployments; return the exit status."""

    def act(console: Console) -> dict[str, Any]:
        endpoint = _endpoint(state, name)
        if deployment:
            endpoint.delete_deployment(deployment.lower())
        else:
            endpoint.delete()
        console.print(f"deleted {f'{deployment} of ' if deployment else ''}{name}")
        return {"endpoint": name, "deployment": deployment}

    return run(act, as_json)


def _list(state: Path, console: Console) -> dict[str, Any]:
    found = []
    for folder in endpoints(state):
        endpoint = LocalEndpoint(folder)
        daemon = endpoint.running()
        told = endpoint.describe()
        address = f"{daemon.url}/score" if daemon else None
        found.append({"name": folder.name, "scoring_uri": address, **told})
        console.print(f"{folder.name}: {address or 'stopped'}", style="bold", soft_wrap=True)
        for name, one in told["deployments"].items():
            process = f", process {one['pid']}, {one['restarts']} restarts" if one["pid"] else ""
            share = told["traffic"].get(name, 0)
            console.print(f"  {name}: {share} % of the traffic, {one['status']}{process}", soft_wrap=True)
            if one["status"] == FAILING:
                console.print(f"    {one['error'].splitlines()[0]}", style="red", markup=False, soft_wrap=True)
                console.print(f"    see `asset endpoints logs {folder.name} {name}`", soft_wrap=True)
    if not found:
        console.print(
            "no endpoints here; make one with `asset deploy -f deployment/online-deployment-blue.yml`", soft_wrap=True
        )
    return {"endpoints": found}


def _endpoint(state: Path | None, name: str) -> LocalEndpoint:
    found = LocalEndpoint(EndpointFolder.of(_state(state), name))
    found.folder.read()
    return found


def _state(state: Path | None) -> Path:
    return (state or ROOT / ".asset").absolute()


def _tail(log: Path, lines: int) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
