"""environment.yaml: what an image of Azure's is built from, or which one is taken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from asset.azure_sdk import refused
from asset.findings import Finding
from asset.yaml_file import Part, YamlFile
from registry.jobs.source import REMOTE, is_file, is_folder
from registry.validate import dockerfile
from registry.validate.asset_folder import AssetFolder
from registry.validate.dockerfile import tag_problem


def check(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check the file, and the Dockerfile that it names."""
    yield from refused(file, "environment")
    yield from check_environment(file.top, file.path.parent, asset)


def check_environment(environment: Part, folder: Path, asset: AssetFolder) -> Iterator[Finding]:
    """Check an environment, in a file of its own or within a deployment in `folder`."""
    if ("build" in environment) == ("image" in environment):
        found = "both" if "build" in environment else "none"
        place = environment.place("image" if found == "both" else "name")
        yield Finding(place, f"expected `build` or `image`, found {found}", "write one of them", "environment-source")
    image = environment.text("image")
    if image and (wrong := tag_problem(image)):
        yield Finding(environment.place("image"), wrong.message, wrong.fix, "image-tag")
    conda = environment.text("conda_file")
    if conda and not REMOTE.match(conda) and not is_file(folder / conda):
        message = f"expected a conda file, found none at {conda}"
        yield Finding(environment.place("conda_file"), message, "name one that is there", "conda-file")
    if "build" in environment:
        yield from _build(environment.part("build"), folder, asset)


def _build(build: Part, folder: Path, asset: AssetFolder) -> Iterator[Finding]:
    path = build.text("path")
    if path is None:
        yield Finding(build.place(), "expected the folder to build from, found none", "write `path: .`", "build-path")
        return
    if re.match(r"https?://|git\+", path):
        return
    if not is_folder(folder / path):
        message = f"expected a folder to build from, found none at {path}"
        yield Finding(build.place("path"), message, "name one that is there", "build-path")
        return
    name = build.text("dockerfile_path") or "Dockerfile"
    if not is_file(folder / path / name):
        place = build.place("dockerfile_path" if "dockerfile_path" in build else "path")
        yield Finding(place, f"expected a Dockerfile, found none at {name}", "write one, or name it", "dockerfile")
        return
    yield from dockerfile.check(folder / path / name, asset)


def check_named(holder: Part, folder: Path, asset: AssetFolder) -> Iterator[Finding]:
    """Check the environment that a deployment in `folder` names or has."""
    named, place = holder.data.get("environment"), holder.place("environment")
    fix = "write `environment: file:…/environment/NAME/environment.yaml`"
    if named is None:
        yield Finding(holder.place("name"), "expected an environment, found none", fix, "no-environment")
    elif isinstance(named, dict):
        yield from check_environment(holder.part("environment"), folder, asset)
    elif not isinstance(named, str):
        yield Finding(place, f"expected an environment, found {named!r}", fix, "environment-prefix")
    elif REMOTE.match(named):
        return
    elif not named.startswith("file:"):
        fix = f"write `environment: file:{named}`" if is_file(folder / named) else fix
        message = f"expected `file:` or `azureml:` before the environment, found {named}"
        yield Finding(place, message, fix, "environment-prefix")
    elif not is_file(folder / named.removeprefix("file:")):
        message = f"expected an environment's file, found none at {named.removeprefix('file:')}"
        yield Finding(place, message, "name one that is there", "environment-file")
