"""Batch endpoints and deployments of the client of this machine; `invoke` starts a job (see `batch_runs`).

.asset/batch_endpoints/NAME/
    endpoint.json               the endpoint as Azure stores it
    deployments/NAME.json       a deployment as Azure stores it, and the settings of its runs
    models/                     the folders that AZUREML_MODEL_DIR points into
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.ai.ml import Input
from azure.ai.ml.entities import BatchDeployment, BatchEndpoint, PipelineComponentBatchDeployment
from azure.core.exceptions import ResourceNotFoundError

from asset.checks.pipeline.source import REMOTE
from asset.local.batch.settings import BatchSettings
from asset.local.client.assets import require_entity
from asset.local.client.batch_runs import all_batch_runs, new_batch_run
from asset.local.client.deployment_parts import DeploymentParts
from asset.local.client.errors import UnsupportedError, invalid, translated
from asset.local.client.operations import Operations, begin, logger
from asset.local.client.resources import Resource, batch_deployment, batch_endpoint, batch_endpoint_resource
from asset.local.endpoints.records import checked_name
from tables.disk import write_json

if TYPE_CHECKING:
    from azure.ai.ml.entities import BatchJob
    from azure.core.polling import LROPoller


@dataclass(frozen=True)
class BatchFolder:
    """The folder of a batch endpoint."""

    path: Path

    @classmethod
    def of(cls, state: Path, name: str) -> BatchFolder:
        """Return the folder of the endpoint `name`."""
        with translated():
            return cls(state / "batch_endpoints" / checked_name(name, "endpoint"))

    @property
    def file(self) -> Path:
        """Return the file with the endpoint."""
        return self.path / "endpoint.json"

    @property
    def links(self) -> Path:
        """Return the folder with the models, for AZUREML_MODEL_DIR."""
        return self.path / "models"

    def require(self) -> BatchFolder:
        """Return this folder; raises ResourceNotFoundError if there is no such endpoint."""
        if not self.file.is_file():
            known = ", ".join(sorted(path.parent.name for path in self.path.parent.glob("*/endpoint.json"))) or "none"
            raise ResourceNotFoundError(
                f"there is no batch endpoint {self.path.name} on this machine (there are: {known}); name one of those, or "
                "create it"
            )
        return self

    def deployments(self) -> dict[str, dict[str, Any]]:
        """Return the deployments by name: `settings` of their runs, and `resource`, the deployment as Azure stores it."""
        return {path.stem: json.loads(path.read_bytes()) for path in sorted(self.path.glob("deployments/*.json"))}

    def write(self, name: str, settings: BatchSettings, resource: Resource) -> None:
        """Write down a deployment."""
        (self.path / "deployments").mkdir(parents=True, exist_ok=True)
        content = {"settings": settings.to_json(), "resource": resource}
        write_json(self.path / f"deployments/{name}.json", content)


class LocalBatchDeployments(Operations):
    """Batch deployments."""

    named = "batch_deployments"

    def __init__(self, state: Path, parts: DeploymentParts) -> None:
        super().__init__(state)
        self._parts = parts

    def begin_create_or_update(
        self,
        deployment: BatchDeployment,
        *,
        skip_script_validation: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> LROPoller[BatchDeployment]:
        """Check all that a deployment names, and write it down. Its compute is for Azure alone."""
        self._refuse("begin_create_or_update", **kwargs)
        if isinstance(deployment, PipelineComponentBatchDeployment):
            raise UnsupportedError(
                "only Azure runs a batch deployment of a pipeline component; run its job with jobs.create_or_update"
            )
        require_entity(deployment, BatchDeployment)
        with translated():
            name = checked_name(str(deployment.name), "deployment")
        folder = BatchFolder.of(self._state, str(deployment.endpoint_name)).require()
        parts = self._parts.of(deployment, skip_script_validation)
        if deployment.resources and (deployment.resources.instance_count or 1) > 1:
            logger.warning(
                "%s: instance_count %s has no effect: this is one machine", name, deployment.resources.instance_count
            )
        model = parts.model.link_in(folder.links) if parts.model else None
        settings = BatchSettings.of(deployment, parts.code, parts.script, parts.python, model)

        def keep() -> BatchDeployment:
            folder.write(name, settings, parts.resource)
            return self.get(name, folder.path.name)

        return begin(keep)

    def get(self, name: str, endpoint_name: str) -> BatchDeployment:
        """Return a deployment."""
        deployments = self._folder(endpoint_name).deployments()
        if name.lower() not in deployments:
            raise ResourceNotFoundError(
                f"{endpoint_name} has no deployment {name} (it has: {', '.join(deployments) or 'none'}); name one of those"
            )
        return batch_deployment(endpoint_name, name.lower(), deployments[name.lower()]["resource"])

    def list(self, endpoint_name: str) -> Iterator[BatchDeployment]:
        """Yield the deployments of an endpoint."""
        return (self.get(name, endpoint_name) for name in self._folder(endpoint_name).deployments())

    def list_jobs(self, endpoint_name: str, *, name: str | None = None) -> Iterator[BatchJob]:
        """Yield the jobs of an endpoint, or of its deployment `name`, the newest first."""
        endpoint = self._folder(endpoint_name).path.name
        for run in all_batch_runs(self._state):
            if run.request["endpoint"] == endpoint and (name is None or name.lower() == run.request["deployment"]):
                yield run.batch_job()

    def begin_delete(self, name: str, endpoint_name: str) -> LROPoller[None]:
        """Remove a deployment; its jobs and their outputs stay."""
        self.get(name, endpoint_name)
        file = self._folder(endpoint_name).path / f"deployments/{name.lower()}.json"
        return begin(file.unlink)

    def _folder(self, endpoint_name: str) -> BatchFolder:
        return BatchFolder.of(self._state, endpoint_name).require()


class LocalBatchEndpoints(Operations):
    """Batch endpoints. They have no keys, as only processes of their owner can reach them."""

    named = "batch_endpoints"

    def __init__(self, state: Path, deployments: LocalBatchDeployments, data: Callable[[str], str | None]) -> None:
        super().__init__(state)
        self._deployments, self._data = deployments, data

    def begin_create_or_update(self, endpoint: BatchEndpoint) -> LROPoller[BatchEndpoint]:
        """Write down an endpoint and the name of its default deployment."""
        require_entity(endpoint, BatchEndpoint)
        resource = batch_endpoint_resource(endpoint)
        folder = BatchFolder.of(self._state, str(endpoint.name))

        def keep() -> BatchEndpoint:
            folder.path.mkdir(parents=True, exist_ok=True)
            write_json(folder.file, resource)
            return self.get(str(endpoint.name))

        return begin(keep)

    def begin_delete(self, name: str) -> LROPoller[None]:
        """Remove an endpoint and its deployments; its jobs and their outputs stay."""
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
        """Start a job on a file or a folder; `jobs.stream` follows it, and `jobs.download` copies its output `score`."""
        options = {key: kwargs.pop(key, None) for key in ("input", "job_name", "experiment_name")}
        self._refuse("invoke", **kwargs)
        folder = BatchFolder.of(self._state, endpoint_name).require()
        name = deployment_name or self._default(folder)
        deployments = folder.deployments()
        if name.lower() not in deployments:
            raise invalid(f"Deployment name {name} not found for this endpoint")
        request = {
            "endpoint": folder.path.name,
            "deployment": name.lower(),
            "experiment": options["experiment_name"],
            "settings": deployments[name.lower()]["settings"],
            "input": str(self._input(options["input"], inputs)),
        }
        run = new_batch_run(self._state, options["job_name"], request)
        run.start()
        return run.batch_job()

    def _default(self, folder: BatchFolder) -> str:
        defaults = json.loads(folder.file.read_bytes())["properties"].get("defaults") or {}
        if not defaults.get("deploymentName"):
            raise invalid(
                f"{folder.path.name} has no default deployment; pass deployment_name, one of "
                f"{', '.join(folder.deployments()) or 'none'}"
            )
        return str(defaults["deploymentName"])

    def _input(self, single: object, inputs: Mapping[str, Input] | None) -> Path:
        """Return the file or folder that a job reads."""
        given = [single] if single is not None else list((inputs or {}).values())
        if len(given) != 1 or not isinstance(given[0], Input):
            raise invalid(
                f"a batch job takes one Input of azure.ai.ml, and {len(given)} were passed; pass a file or a folder"
            )
        text = str(given[0].path)
        text = (self._data(text) if text.startswith("azureml:") else None) or text
        if REMOTE.match(text):
            raise invalid(f"{text} is not on this machine; pass a file, a folder or a registered data asset")
        path = Path(text.removeprefix("file:")).resolve()
        if not path.exists():
            raise invalid(f"there is no file or folder {path}; correct the path of the Input")
        return path
