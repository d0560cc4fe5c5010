"""What the commands that use the client have in common: where they work, how they end, what they print."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from asset.screen import SafeStream, interrupt_on_signals, safe_console

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from asset.local.client.client import LocalClient

DONE, FAILED, NOTHING_DONE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Where:
    """On this machine, in a folder of local state (None: the checkout's own), or in a workspace of Azure's."""

    azure: bool = False
    state: Path | None = None
    subscription: str | None = None
    resource_group: str | None = None
    workspace: str | None = None

    def client(self) -> LocalClient | MLClient:
        """Return the client that works there."""
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
        """Return the options that another command needs to work in the same place."""
        if self.azure:
            given = {
                "--subscription": self.subscription,
                "--resource-group": self.resource_group,
                "--workspace": self.workspace,
            }
            return ["--azure", *(part for option, name in given.items() if name for part in (option, name))]
        return [] if self.state is None else ["--asset-dir", str(self.state)]


def run(act: Callable[[Console], dict[str, Any]], as_json: bool) -> int:
    """Do what a command does, and print what came of it; return the exit status.

    Args:
        act: does it; it gets a console for what people read, and returns what `--json` prints. "exit" in that is the exit
            status, where it is not 0.
        as_json: standard output is the one object, and people read on standard error.
    """
    errors = safe_console(sys.stderr)
    # What the client warns of is told plainly.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logging.getLogger("asset").addHandler(handler)
    restore = interrupt_on_signals()
    try:
        told = act(errors if as_json else safe_console(sys.stdout))
        status = told.pop("exit", DONE)
        if as_json:
            _print_json({"status": "done" if status == DONE else "failed"} | told)
        return status
    except KeyboardInterrupt:
        errors.print("interrupted")
        status, message = INTERRUPTED, "interrupted"
    except Exception as exc:
        status = _status(exc)
        if status is None:
            raise
        message = str(getattr(exc, "message", None) or exc)
        errors.print(message, markup=False, soft_wrap=True)
    finally:
        restore()
        logging.getLogger("asset").removeHandler(handler)
    if as_json:
        names = {FAILED: "failed", NOTHING_DONE: "invalid", INTERRUPTED: "interrupted"}
        _print_json({"status": names[status], "message": message})
    return status


def _status(error: Exception) -> int | None:
    """Return the exit status for an error that is no fault of ours."""
    from azure.ai.ml.exceptions import JobException, ValidationException
    from azure.core.exceptions import AzureError, ResourceNotFoundError
    from marshmallow import ValidationError

    from asset.checks.pipeline.errors import JobError
    from asset.findings import InvalidFileError
    from asset.local.client.errors import ClientError
    from asset.local.endpoints.errors import EndpointError, InvalidEndpointError, NotFoundError

    if isinstance(error, JobException):
        return FAILED
    wrong_input = (
        ValidationException,
        ResourceNotFoundError,
        ValidationError,
        ClientError,
        JobError,
        InvalidFileError,
        ValueError,
    )
    if isinstance(error, (*wrong_input, InvalidEndpointError, NotFoundError, FileNotFoundError)):
        return NOTHING_DONE
    return FAILED if isinstance(error, AzureError | EndpointError | OSError) else None


def _print_json(content: dict[str, Any]) -> None:
    output = SafeStream(sys.stdout)
    output.write(json.dumps(content, ensure_ascii=False) + "\n")
    output.flush()
