"""A deployment's file: its machine and the settings that it gives to serving. `asset validate` checks all the rest.

A machine is checked against sku_lists.yaml: for what it is listed, and if its memory is enough for the model.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from asset.checks.doctor.check import Machine, NothingToCheckError, note, ok, wrong
from asset.checks.doctor.environments import check_settings
from asset.checks.doctor.model import BERT_BASE, Size, opened
from asset.checks.kinds import DEPLOYMENTS, yaml_kind
from asset.findings import Finding, InvalidFileError, shown
from asset.tools.sku_lists import SkuList, SkuListsError, SkuSpec, read_sizes, read_sku_lists
from asset.yaml_file import YamlFile
from serving.errors import ModelFolderError
from serving.settings import PREFIX


def read(path: Path) -> YamlFile:
    """Read a deployment's file.

    Raises:
        NothingToCheckError: the file is missing, is not YAML, or is not a deployment's.
    """
    try:
        file = YamlFile(path)
    except InvalidFileError as exc:
        raise NothingToCheckError(str(exc)) from exc
    if yaml_kind(file) not in DEPLOYMENTS:
        raise NothingToCheckError(
            f"{shown(path)} is not a deployment's file; name one, such as deployment/online-deployment-blue.yml"
        )
    return file


def deployment(machine: Machine, file: YamlFile, sku_name: str | None) -> Iterator[Finding]:
    """Check a deployment; `sku_name` is the size of the machines of a batch deployment's cluster, if the user named one."""
    name = file.path.name
    size, findings = _model(file)
    yield from findings
    machine_type = file.top.text("instance_type")
    if machine_type is not None:
        yield from sku(machine.root, machine_type, size, "inference")
    elif "compute" not in file.top:
        fix = "write one of sku_lists.yaml, such as `instance_type: Standard_F4s_v2`"
        yield wrong(f"{name} machine", "an instance_type", str(file.data.get("instance_type") or "none"), fix)
    elif sku_name is None:
        found = f"the cluster {file.data['compute']}, whose machines this file does not name"
        yield note(f"{name} machine", found, "name their size: --sku Standard_F4s_v2")
    # A batch deployment of a model may have the variables under its settings.
    holder = file.top if "environment_variables" in file.top else file.top.part("settings")
    variables = {str(key): str(value) for key, value in holder.part("environment_variables").data.items()}
    own = {key: value for key, value in variables.items() if key.startswith(PREFIX)}
    yield check_settings(own, f"{name} settings")


def _model(file: YamlFile) -> tuple[Size, list[Finding]]:
    """Return the size of the model that a deployment names: of a folder on this machine, else of BERT-base."""
    path = file.top.part("model").text("path") or file.top.text("model")
    if path is None or ":" in path:
        return Size.of(BERT_BASE), []
    try:
        config, task, _ = opened((file.path.parent / path).resolve())
    except ModelFolderError as exc:
        title, fix = f"{file.path.name} model", "name a model folder, or azureml:NAME:VERSION"
        return Size.of(BERT_BASE), [wrong(title, "a model folder that serving can open", str(exc), fix)]
    return Size.of(config, task), []


SYSTEM_MB = 1500
"""Memory left to the virtual machine's own system and to Azure's agents. An allowance, not a measurement."""


def sku(root: Path, name: str, size: Size, scenario: str | None = None) -> Iterator[Finding]:
    """Check a machine for a model of this size, for one scenario (a deployment is for inference) or for any."""
    title = f"sku {name}"
    try:
        lists, sizes = read_sku_lists(root / "sku_lists.yaml"), read_sizes(root / "sku_lists.yaml")
    except (OSError, SkuListsError) as exc:
        yield wrong(title, "a sku_lists.yaml that can be read", str(exc), "`git checkout sku_lists.yaml`")
        return
    # Azure takes a name in any case.
    names = {known.lower(): known for known in sizes}
    known = names.get(name.lower())
    if known is None:
        close = [names[match] for match in difflib.get_close_matches(name.lower(), names, 3, 0.8)]
        fix = f"write one of {', '.join(close)}" if close else "choose one of sku_lists.yaml, such as Standard_F4s_v2"
        yield wrong(title, "a machine of sku_lists.yaml", f"sku_lists.yaml has no {name}", fix)
        return
    yield _allowed(f"{title} lists", known, lists, scenario)
    yield _large_enough(f"{title} size", sizes[known], size)


def _allowed(title: str, name: str, lists: dict[str, SkuList], scenario: str | None) -> Finding:
    within = [key for key, listed in lists.items() if name in listed.allow_list]
    found = f"listed for {', '.join(within)}" if within else "in no list"
    if scenario in within or (scenario is None and "inference" in within):
        return ok(title, found)
    if scenario is None and within:
        return note(title, found, "deploy to a machine that is listed for inference, such as Standard_F4s_v2")
    expected = f"a machine in the allow_list of sku_lists.yaml for {scenario or 'inference, evaluation or finetune'}"
    return wrong(
        title, expected, found, f"choose a machine listed for {scenario or 'your use'}, such as Standard_DS4_v2"
    )


def _large_enough(title: str, spec: SkuSpec, size: Size) -> Finding:
    # fp32 takes the most memory, and a machine without instructions for int8 serves in it.
    need = size.start_mb("fp32") + SYSTEM_MB
    found = f"{spec.vcpus} vCPU, {spec.memory_gb} GB, {spec.gpus} GPU"
    if spec.memory_gb * 1000 < need:
        expected = (
            f"{need:,} MB of memory: {size.start_mb('fp32'):,} for a first start, which compiles "
            f"{size.parameters / 1e6:.0f} million parameters (measured), and {SYSTEM_MB:,} for the system (an allowance)"
        )
        return wrong(title, expected, found, "choose a machine with more memory")
    if spec.gpus:
        fix = "for serving choose a machine without, or an image from environment/serving-gpu/requirements.txt"
        return note(title, f"{found}; environment/serving does not use the GPU", fix)
    return ok(title, found)
