"""A deployment's file: its machine, and the settings that it gives to serving. `asset validate` checks all the rest.

Whether a size of Azure's virtual machines is one of the asset's, large enough, and fast in int8.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asset.checks.doctor.check import Check, Machine, NothingToCheckError, note, ok, wrong
from asset.checks.doctor.cpu_generations import generation
from asset.checks.doctor.environments import check_settings
from asset.checks.doctor.model import BERT_BASE, Size, opened
from asset.checks.doctor.processor import SLOWER
from asset.findings import shown
from asset.tools.sku_lists import SkuList, SkuListsError, SkuSpec, read_sizes, read_sku_lists
from serving.errors import ModelFolderError
from serving.settings import PREFIX


def read(path: Path) -> dict[str, Any]:
    """Read a deployment's file.

    Raises:
        NothingToCheckError: it is not there, no YAML, or no deployment.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        why = getattr(exc, "strerror", None) or "no text"
        raise NothingToCheckError(f"{shown(path)}: expected a deployment's file, found: {why}; name one") from exc
    except yaml.YAMLError as exc:
        said = str(exc).replace("\n", " ")
        raise NothingToCheckError(f"{shown(path)}: expected YAML, found: {said}; correct it") from exc
    if not isinstance(document, dict) or "endpoint_name" not in document:
        raise NothingToCheckError(
            f"{shown(path)}: expected a deployment, found no endpoint_name; name a file as "
            "deployment/online-deployment-blue.yml"
        )
    return document


def deployment(machine: Machine, path: Path, document: dict[str, Any], also: str | None) -> Iterator[Check]:
    """Look at a deployment; `also` is a machine that was asked for by name and stands for that of a batch cluster."""
    size, found = _model(path, document)
    yield from found
    machine_type = document.get("instance_type")
    if isinstance(machine_type, str):
        yield from sku(machine.root, machine_type, size, "inference")
    elif "compute" not in document:
        where = f"{path.name} machine"
        yield wrong(
            where,
            "an instance_type",
            str(machine_type or "none"),
            "write one of sku_lists.yaml, as instance_type: Standard_F4s_v2",
        )
    elif also is None:
        fix = "name its size: --sku Standard_F4s_v2"
        yield note(f"{path.name} machine", "a size that can be checked", f"the cluster {document['compute']}", fix)
    # A batch deployment of a model has them under its settings.
    settings = document.get("settings")
    holder = settings if "environment_variables" not in document and isinstance(settings, dict) else document
    given = holder.get("environment_variables")
    variables = {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    yield check_settings(
        {name: value for name, value in variables.items() if name.startswith(PREFIX)}, f"{path.name} settings"
    )


def _model(path: Path, document: dict[str, Any]) -> tuple[Size, list[Check]]:
    """Return how large the model is that a deployment names: that of a folder here, else BERT-base."""
    named = document.get("model")
    named = named.get("path") if isinstance(named, dict) else named
    if not isinstance(named, str) or ":" in named:
        return Size.of(BERT_BASE), []
    folder = (path.parent / named).resolve()
    try:
        config, task, _ = opened(folder)
    except ModelFolderError as exc:
        title, fix = f"{path.name} model", "name a model folder, or azureml:NAME:VERSION"
        return Size.of(BERT_BASE), [wrong(title, "a model folder that serving can open", str(exc), fix)]
    return Size.of(config, task), []


SYSTEM_MB = 1500
"""Left to the virtual machine's own system and Azure's agents. An allowance, not a measurement."""


@dataclass(frozen=True)
class Lists:
    """The allow-lists and sizes of sku_lists.yaml."""

    scenarios: dict[str, SkuList]
    sizes: dict[str, SkuSpec]

    @classmethod
    def read(cls, root: Path) -> Lists:
        """Read the file of a checkout; raises SkuListsError."""
        path = root / "sku_lists.yaml"
        scenarios = read_sku_lists(path)
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        return cls(scenarios, read_sizes(given, path.name))

    def known(self, name: str) -> str | None:
        """Return a size as the file writes it; Azure takes it in any case."""
        return next((size for size in self.sizes if size.lower() == name.lower()), None)


def sku(root: Path, name: str, size: Size, scenario: str | None = None) -> Iterator[Check]:
    """Look at a machine for a model of this size; for one scenario, as the deployment is for inference, or for any."""
    title = f"sku {name}"
    try:
        lists = Lists.read(root)
    except (OSError, SkuListsError) as exc:
        yield wrong(title, "a sku_lists.yaml that can be read", str(exc), "`git checkout sku_lists.yaml`")
        return
    known = lists.known(name)
    if known is None:
        yield _unknown(title, name, lists)
        return
    yield _allowed(f"{title} lists", known, lists, scenario)
    yield _large_enough(f"{title} size", lists.sizes[known], size)
    yield _processor(f"{title} cpu", known)


def _unknown(title: str, name: str, lists: Lists) -> Check:
    names = {size.lower(): size for size in lists.sizes}
    close = [names[each] for each in difflib.get_close_matches(name.lower(), names, 3, 0.8)]
    fix = f"write one of {', '.join(close)}" if close else "choose one of sku_lists.yaml, as Standard_F4s_v2"
    return wrong(title, "a machine of sku_lists.yaml", f"{name}, which it does not know", fix)


def _allowed(title: str, name: str, lists: Lists, scenario: str | None) -> Check:
    within = [each for each, listed in lists.scenarios.items() if name in listed.allow_list]
    expected = f"in sku_lists.yaml's allow_list for {scenario or 'inference, evaluation or finetune'}"
    found = f"listed for {', '.join(within)}" if within else "in no list"
    if scenario in within or (scenario is None and "inference" in within):
        return ok(title, expected, found)
    if scenario is None and within:
        return note(title, expected, found, "deploy to one that is listed for inference, as Standard_F4s_v2")
    return wrong(title, expected, found, f"choose one listed for {scenario or 'what you do'}, as Standard_DS4_v2")


def _large_enough(title: str, spec: SkuSpec, size: Size) -> Check:
    # fp32 takes the most, and is what a machine without the instructions of int8 gets.
    need = size.start_mb("fp32") + SYSTEM_MB
    has = spec.memory_gb * 1000
    expected = (
        f"{need:,} MB of memory: {size.start_mb('fp32'):,} for a first start, which compiles "
        f"{size.parameters / 1e6:.0f} million parameters (measured), and {SYSTEM_MB:,} for the system (an allowance)"
    )
    found = f"{spec.vcpus} vCPU, {spec.memory_gb} GB, {spec.gpus} GPU"
    if has < need:
        return wrong(title, expected, found, "choose one with more memory")
    if spec.gpus:
        fix = "for serving choose one without, or an image from environment/serving-gpu/requirements.txt"
        return note(title, expected, f"{found}, which environment/serving does not use", fix)
    return ok(title, expected, found)


def _processor(title: str, name: str) -> Check:
    expected = "a processor with AVX512-VNNI or AMX, with which int8 is fast"
    series = generation(name)
    if series is None:
        return note(title, expected, "not known", "the log of a running deployment says which precision it serves in")
    remark = f"; {series.remark}" if series.remark else ""
    if series.fast == "all":
        return ok(title, expected, f"{series.processors}{remark}")
    if series.fast == "some":
        fix = f"nothing: on one without, serving takes fp32, which takes {SLOWER}; its log says which it is"
    else:
        fix = f"for serving rather Standard_F4s_v2: without, serving takes fp32, which takes {SLOWER}"
    has = "some with it" if series.fast == "some" else "without it"
    return note(title, expected, f"{series.processors}: {has}{remark}", fix)
