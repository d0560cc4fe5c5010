"""How every verb of `asset` runs and ends: its output, its signals, its errors and its exit status.

A verb's function has the options; it gives its work to `perform`. The work takes a screen and returns a `Result`.
Without `--json`, the screen and the result's text are on standard output. With `--json`, standard output is one JSON
object, and the screen is on standard error. Errors are always on standard error.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from asset.environments import ROOT
from asset.screen import SafeStream, Screen, interrupt_on_signals, safe_console

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from asset.local.client.client import LocalClient

DONE, FAILED, INVALID, INTERRUPTED = 0, 1, 2, 130
STATUS_NAMES = {DONE: "done", FAILED: "failed", INVALID: "invalid", INTERRUPTED: "interrupted"}

STATUS_OF_ERROR: Mapping[str, int] = {
    # By name, so that no verb imports what another verb needs. The most specific class of an error counts.
    "builtins.FileNotFoundError": INVALID,
    "builtins.OSError": FAILED,
    "builtins.ValueError": INVALID,
    "asset.findings.JobError": INVALID,
    "asset.findings.InvalidFileError": INVALID,
    "asset.local.client.errors.ClientError": INVALID,
    "asset.local.endpoints.errors.EndpointError": FAILED,
    "asset.local.endpoints.errors.InvalidEndpointError": INVALID,
    "asset.local.endpoints.errors.NotFoundError": INVALID,
    "asset.models.errors.ModelError": FAILED,
    "asset.models.errors.RequestError": INVALID,
    "asset.tools.notebooks.NotebookError": FAILED,
    "asset.tools.sbom.BillError": FAILED,
    "asset.tools.sku_lists.SkuListsError": FAILED,
    "azure.ai.ml.exceptions.JobException": FAILED,
    "azure.ai.ml.exceptions.ValidationException": INVALID,
    "azure.core.exceptions.AzureError": FAILED,
    "azure.core.exceptions.ResourceNotFoundError": INVALID,
    "marshmallow.exceptions.ValidationError": INVALID,
}
"""The exit status for each kind of error that is no fault of the command's own."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and all else on standard error.")]
State = Annotated[
    Path | None,
    typer.Option("--asset-dir", envvar="ASSET_DIR", help="The folder of local state. Default: .asset in the checkout."),
]
Azure = Annotated[bool, typer.Option("--azure", help="Work in an Azure ML workspace, not on this machine.")]
Subscription = Annotated[str | None, typer.Option("--subscription", help="The subscription of the workspace.")]
ResourceGroup = Annotated[str | None, typer.Option("--resource-group", help="The resource group of the workspace.")]
Workspace = Annotated[
    str | None,
    typer.Option(
        "--workspace", help="The name of the workspace. Default: environment variables, else a file config.json."
    ),
]


@dataclass(frozen=True)
class Result:
    """The end of a verb: an object for `--json`, a text for people, and the exit status.

    The object gets "status" ("done" or "failed") if it has none.
    """

    answer: dict[str, Any]
    text: str = ""
    status: int = DONE


def perform(work: Callable[[Screen], Result], as_json: bool = False, interrupted: str = "interrupted") -> NoReturn:
    """Do the work of a verb, print its result or its error, and end with the exit status.

    Args:
        work: does the work, and shows on the screen how far it is.
        as_json: print one JSON object on standard output, and all else on standard error.
        interrupted: the message if the work is stopped by Ctrl-C or a signal.
    """
    errors = safe_console(sys.stderr)
    screen = Screen(errors if as_json else safe_console(sys.stdout), errors)
    with _stopped_by_signals(), _warnings_shown():
        try:
            result = work(screen)
        except KeyboardInterrupt:
            screen.errors.print(interrupted, markup=False, soft_wrap=True)
            result = Result({"message": interrupted}, status=INTERRUPTED)
        except Exception as exc:
            status = exit_status(exc)
            if status is None:
                raise
            message = _message(exc)
            errors.print(message, markup=False, soft_wrap=True)
            result = Result({**_details(exc), "message": message}, status=status)
    output = SafeStream(sys.stdout)
    if as_json:
        answer = {"status": STATUS_NAMES[result.status]} | result.answer
        output.write(json.dumps(answer, ensure_ascii=False) + "\n")
    else:
        output.write(result.text)
    output.flush()
    raise typer.Exit(result.status)


def exit_status(error: Exception) -> int | None:
    """Return the exit status for an error; None if the error is a fault of the command itself."""
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    return next((STATUS_OF_ERROR[name] for name in names if name in STATUS_OF_ERROR), None)


def _message(error: Exception) -> str:
    """Return the message of an error; Azure's errors have it in an attribute, without the details of the HTTP answer."""
    azure = type(error).__module__.startswith("azure.")
    return str((azure and getattr(error, "message", None)) or error)


def _details(error: Exception) -> dict[str, Any]:
    """Return what `--json` says of an error beside its message: its code, its findings, the files that differ."""
    if not type(error).__module__.startswith("asset."):
        return {}
    details = {name: getattr(error, name) for name in ("code", "differences") if hasattr(error, name)}
    if hasattr(error, "findings"):
        details["findings"] = [finding.as_dict() for finding in error.findings]
    return details


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    restore = interrupt_on_signals()
    try:
        yield
    finally:
        restore()


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """Show warnings of the client as plain lines on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logging.getLogger("asset").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("asset").removeHandler(handler)


def state_folder(state: Path | None) -> Path:
    """Return the folder of local state: the one that `--asset-dir` names, else .asset in the checkout."""
    return (state or ROOT / ".asset").absolute()


@dataclass(frozen=True)
class Where:
    """The place where a verb works: this machine with a folder of local state, or an Azure ML workspace."""

    azure: bool = False
    state: Path | None = None
    subscription: str | None = None
    resource_group: str | None = None
    workspace: str | None = None

    def client(self) -> LocalClient | MLClient:
        """Return the client for this place."""
        from asset import client

        if not self.azure:
            return client(local=True, asset_dir=self.state)
        return client(
            local=False,
            subscription_id=self.subscription,
            resource_group_name=self.resource_group,
            workspace_name=self.workspace,
        )

    @property
    def options(self) -> list[str]:
        """Return the options with which another verb works in the same place."""
        if not self.azure:
            return [] if self.state is None else ["--asset-dir", str(self.state)]
        names = {
            "--subscription": self.subscription,
            "--resource-group": self.resource_group,
            "--workspace": self.workspace,
        }
        return ["--azure", *(part for option, name in names.items() if name for part in (option, name))]
