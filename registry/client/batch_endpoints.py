"""Batch endpoints of the client of this machine: what they are asked for becomes a job, in a process of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.ai.ml import Input
from azure.ai.ml.entities import BatchEndpoint

from asset.checks.pipeline.source import REMOTE
from registry.client.batch_deployments import BatchFolder, LocalBatchDeployments
from registry.client.batch_runs import new_batch_run
from registry.client.errors import invalid
from registry.client.operations import Operations
from registry.client.poller import begin
from registry.client.resources import batch_endpoint, batch_endpoint_resource
from tables.whole_file import write_json

if TYPE_CHECKING:
    from azure.ai.ml.entities import BatchJob
    from azure.core.polling import LROPoller


class LocalBatchEndpoints(Operations):
    """Batch endpoints. Nobody but their owner's processes can ask them for anything, so no sign-in is checked."""

    named = "batch_endpoints"

    def __init__(self, state: Path, deployments: LocalBatchDeployments, data: Callable[[str], str | None]) -> None:
        super().__init__(state)
        self._deployments, self._data = deployments, data

    def begin_create_or_update(self, endpoint: BatchEndpoint) -> LROPoller[BatchEndpoint]:
        """Keep an endpoint, and which of its deployments is the default one."""
        if not isinstance(endpoint, BatchEndpoint):
            raise invalid(
                f"expected a BatchEndpoint of azure.ai.ml.entities, found {type(endpoint).__name__}; load or build one"
            )
        resource = batch_endpoint_resource(endpoint)
        folder = BatchFolder.of(self._state, str(endpoint.name))

        def keep() -> BatchEndpoint:
            folder.path.mkdir(parents=True, exist_ok=True)
            write_json(folder.file, resource)
            return self.get(str(endpoint.name))

        return begin(keep)

    def begin_delete(self, name: str) -> LROPoller[None]:
        """Remove an endpoint and its deployments; its jobs and what they wrote stay."""
        folder = BatchFolder.of(self._state, name).require()
        return begin(lambda: shutil.rmtree(folder.path))

    def get(self, name: str) -> BatchEndpoint:
        """Return an endpoint."""
        return batch_endpoint(name, json.loads(BatchFolder.of(self._state, name).require().file.read_bytes()))

    def list(self) -> Iterator[BatchEndpoint]:
        """Yield the batch endpoints of this machine."""
        names = sorted(path.parent.name for path in (self._state / "batch_endpoints").glob("*/endpoint.json"))
        return (self.get(name) for name in names)

    def list_jobs(self, endpoint_name: str) -> Iterator[BatchJob]:
        """Yield an endpoint's jobs, the newest first."""
        return self._deployments.list_jobs(endpoint_name)

    def invoke(
        self,
        endpoint_name: str,
        *,
        deployment_name: str | None = None,
        inputs: Mapping[str, Input] | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> BatchJob:
        """Start a job on a file or a folder; `jobs.stream` follows it, and `jobs.download` gets its output `score`."""
        given = {key: kwargs.pop(key, None) for key in ("input", "job_name", "experiment_name")}
        self._refuse("invoke", **kwargs)
        folder = BatchFolder.of(self._state, endpoint_name).require()
        name = deployment_name or self._default(folder)
        deployments = folder.deployments()
        if name.lower() not in deployments:
            raise invalid(f"Deployment name {name} not found for this endpoint")
        request = deployments[name.lower()]["run"] | {"input": str(self._input(given["input"], inputs))}
        about = {"endpoint": folder.path.name, "deployment": name.lower(), "experiment": given["experiment_name"]}
        run = new_batch_run(self._state, given["job_name"], about | {"run": request})
        run.start()
        return run.batch_job()

    def _default(self, folder: BatchFolder) -> str:
        defaults = json.loads(folder.file.read_bytes())["properties"].get("defaults") or {}
        if not defaults.get("deploymentName"):
            raise invalid(
                f"expected deployment_name, as {folder.path.name} has no default deployment, found none; name one of "
                f"{', '.join(folder.deployments()) or 'none'}"
            )
        return str(defaults["deploymentName"])

    def _input(self, single: object, inputs: Mapping[str, Input] | None) -> Path:
        """Return the one file or folder that a job is to read."""
        found = [single] if single is not None else list((inputs or {}).values())
        if len(found) != 1 or not isinstance(found[0], Input):
            raise invalid(f"expected one Input of azure.ai.ml, found {len(found)}; name a file or a folder with it")
        text = str(found[0].path)
        text = (self._data(text) if text.startswith("azureml:") else None) or text
        if REMOTE.match(text):
            raise invalid(
                f"expected data of this machine, or a registered data asset, found {text}; name a file or a folder"
            )
        path = Path(text.removeprefix("file:")).resolve()
        if not path.exists():
            raise invalid(f"expected data at {path}, found nothing there; name a file or a folder")
        return path
