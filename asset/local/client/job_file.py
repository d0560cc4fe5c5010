"""Write a pipeline job, loaded from YAML or built in Python, to files that `asset run` reads.

A job that equals its file is run from that file. Any other job is written to a new file: its inputs get absolute paths, and
each step names the file of its component, which is written too if the component has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from azure.ai.ml import Input, load_component, load_job
from azure.ai.ml.entities import Component, PipelineJob

from asset.azure_sdk import quiet
from asset.checks.pipeline.data import ASSET
from asset.checks.pipeline.source import REMOTE
from asset.environments import VirtualEnvironment, environment_file
from asset.local.client.assets import plain
from asset.local.client.errors import invalid

KEPT = (
    "$schema",
    "type",
    "display_name",
    "experiment_name",
    "description",
    "tags",
    "settings",
    "inputs",
    "outputs",
    "jobs",
)


@dataclass(frozen=True)
class JobWriter:
    """Writes jobs; its functions look up registered assets.

    data: returns the path of a data asset or model (azureml:NAME:VERSION), or None if it is not registered.
    component: returns a registered component.
    environment: returns the virtual environment for an environment of Azure.
    """

    data: Callable[[str], str | None]
    component: Callable[[str], Component]
    environment: Callable[[Any], VirtualEnvironment]

    def file_of(self, job: PipelineJob, folder: Path, changed: Mapping[str, Any]) -> Path:
        """Return the file of a job: its own, or a new one.

        Args:
            job: the job.
            folder: the folder for new files; it is made if there are any.
            changed: keys of the job that get another value, such as "tags".
        """
        with quiet():
            content = plain(job._to_dict())
            source = Path(str(job._source_path)) if job._source_path else None
            names_assets = any(isinstance(node.component, str) for node in job.jobs.values()) or any(
                (reference := _reference(data, job)) and self.data(reference) for data in _data(job)
            )
            if source and source.is_file() and not changed and not names_assets:
                if content == plain(load_job(str(source))._to_dict()):
                    return source.resolve()
            return self._write(job, content, folder, changed)

    def _write(self, job: PipelineJob, content: dict[str, Any], folder: Path, changed: Mapping[str, Any]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        content = {key: content[key] for key in KEPT if key in content} | dict(changed)
        content["inputs"] = {name: self._input(port._data, job) for name, port in job.inputs.items()}
        content["jobs"] = self._nodes(job.jobs, content["jobs"], job, folder)
        return _save(folder / "job.yml", content)

    def _nodes(
        self, nodes: Mapping[str, Any], written: dict[str, Any], job: PipelineJob, folder: Path
    ) -> dict[str, Any]:
        """Return the steps of a job or a pipeline component as YAML, with the files of their components."""
        steps = {}
        for name, node in nodes.items():
            step = dict(written[name])
            step["component"] = str(self._component(node.component, name, job, folder))
            inputs = {
                port: self._bound(node.inputs[port]._data, value, job) for port, value in step.get("inputs", {}).items()
            }
            outputs = {port: _binding(value) for port, value in step.get("outputs", {}).items()}
            steps[name] = step | {"inputs": inputs, "outputs": outputs}
        return steps

    def _component(self, component: Component | str, name: str, job: PipelineJob, folder: Path) -> Path:
        if isinstance(component, str):
            component = self.component(component)
        content = plain(component._to_dict())
        source = Path(str(component._source_path)) if component._source_path else None
        if (
            source
            and source.is_file()
            and _nameless(content) == _nameless(plain(load_component(str(source))._to_dict()))
        ):
            return source.resolve()
        if content["type"] == "pipeline":
            content["jobs"] = self._nodes(component.jobs, content["jobs"], job, folder / name)
        else:
            file = environment_file(component.environment) or self.environment(component.environment).file
            content["environment"] = f"file:{file}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        return _save(folder / name / "component.yml", content)

    def _bound(self, data: Any, written: Any, job: PipelineJob) -> Any:  # noqa: ANN401
        """Return an input of a step for YAML: its data, or its binding."""
        return self._input(data, job) if isinstance(data, Input) and "${{" not in str(data.path) else _binding(written)

    def _input(self, data: Any, job: PipelineJob) -> Any:  # noqa: ANN401
        if not isinstance(data, Input):
            return data
        if data.path is None:
            return data.default
        path = str(data.path)
        if reference := _reference(data, job):
            path = self.data(reference) or reference
        elif not REMOTE.match(path):
            path = str(Path(job.base_path or ".", path.removeprefix("file:")).resolve())
        return {"type": data.type, "path": path} | ({"mode": data.mode} if data.mode else {})


def _reference(data: Input, job: PipelineJob) -> str | None:
    """Return azureml:NAME:VERSION, which the SDK shortens, if an input names an asset; None if it names a path."""
    text = str(data.path).removeprefix("azureml:")
    match = ASSET.fullmatch(f"azureml:{text}")
    if match is None or not (match["version"] or match["label"]) or Path(job.base_path or ".", text).exists():
        return None
    return f"azureml:{text}"


def _data(job: PipelineJob) -> list[Input]:
    """Return the inputs of a job and its steps that are data."""
    holders = [job, *job.jobs.values()]
    return [port._data for holder in holders for port in holder.inputs.values() if isinstance(port._data, Input)]


def _nameless(component: dict[str, Any]) -> dict[str, Any]:
    """Return a component without name and version, which a component within a job's file loses."""
    return {key: value for key, value in component.items() if key not in ("name", "version")}


def _binding(written: Any) -> Any:  # noqa: ANN401
    """Return a binding as the text ${{…}}; the SDK may write {"path": "${{…}}"}."""
    whole = isinstance(written, dict) and set(written) <= {"path", "type", "mode"} and "${{" in str(written.get("path"))
    return written["path"] if whole else written


def _save(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(plain(content), sort_keys=False), encoding="utf-8")
    return path


def require_pipeline(job: object) -> PipelineJob:
    """Return the job if it is a pipeline job.

    Raises:
        ValidationException: the job is of another kind.
    """
    if not isinstance(job, PipelineJob):
        raise invalid(
            f"a {type(job).__name__} cannot run here; make it a step of a PipelineJob: of a function with @dsl.pipeline, or of "
            "YAML with `type: pipeline`"
        )
    return job
