"""`asset validate`'s way through files: which of them are checked, by which rules, and the findings of all of them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from asset import azure_sdk
from asset.checks.kinds import (
    FILE_NAMES,
    KINDS_BY_SCHEMA,
    SCHEMAS,
    YAML,
    Kind,
    schema_name,
    text_kind,
    yaml_kind,
)
from asset.checks.validate import (
    asset_files,
    deployments,
    endpoints,
    evaluation_files,
    images,
    microsoft_validator,
    mlflow_model,
    model_spec,
    pipelines,
)
from asset.checks.validate.asset_folder import AssetFolder, asset_root
from asset.findings import ELSEWHERE, ERROR, Finding, InvalidFileError, Place
from asset.yaml_file import YamlFile

YAML_CHECKS: dict[Kind, Callable[[YamlFile, AssetFolder], Iterator[Finding]]] = {
    Kind.PIPELINE_JOB: pipelines.check_job,
    Kind.COMMAND_COMPONENT: pipelines.check_component_file,
    Kind.PIPELINE_COMPONENT: pipelines.check_component_file,
    Kind.ENVIRONMENT: images.check_environment_file,
    Kind.ONLINE_ENDPOINT: endpoints.check_online,
    Kind.ONLINE_DEPLOYMENT: deployments.check_online,
    Kind.BATCH_ENDPOINT: endpoints.check_batch,
    Kind.BATCH_DEPLOYMENT: deployments.check_batch,
    Kind.MODEL_BATCH_DEPLOYMENT: deployments.check_batch,
    Kind.MODEL: model_spec.check,
    Kind.TABLE: evaluation_files.check_table,
    Kind.PACKAGED_MODEL: mlflow_model.check,
    Kind.REGISTRY_ASSET: asset_files.check_asset,
    Kind.REGISTRY_MODEL: asset_files.check_model,
    Kind.SKU_LISTS: asset_files.check_sku_lists,
}

TEXT_CHECKS: dict[Kind, Callable[[Path, AssetFolder], Iterator[Finding]]] = {
    Kind.DOCKERFILE: images.check_dockerfile,
    Kind.REQUIREMENTS: images.check_requirements,
    Kind.EVALUATION_CONFIG: evaluation_files.check_evaluation_config,
    Kind.MODEL_CARD: asset_files.check_card,
}

UNCHECKED_SCHEMAS = re.compile(
    r"(command|sweep|parallel|spark|autoML\w*|finetuning\w*)(Job|Component)|data|schedule|workspace|registry|\w*[cC]ompute"
    r"|computeInstance|pipelineComponentBatchDeployment|\w*[dD]atastore|\w*[cC]onnection"
    r"|featureSet|featureStore\w*|\w*Monitor\w*|import\w*|index|attachedKubernetes\w*|virtualMachine\w*"
)
"""The names of Azure's schemas that have no checks here."""

THEIRS = (azure_sdk.RULE, microsoft_validator.RULE, images.HADOLINT)
"""The rules of other programs. If a rule of ours has a finding on the same line, theirs is left out: ours says what to do."""

FAULT = "fault"

MOST = 200
"""The most findings that are shown for one file; a file with thousands has the same finding thousands of times."""


@dataclass
class Report:
    """The files that were checked and what is wrong in them; `others` are the files that have nothing to check."""

    files: list[Path] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def validate(paths: Iterable[Path]) -> Report:
    """Check files, and those of folders."""
    report, found = Report(), list[Finding]()
    assets: dict[Path, AssetFolder] = {}
    for path in find(paths):
        root = asset_root(path)
        asset = assets.setdefault(root, AssetFolder(root))
        one = _check(path, asset)
        if one is None:
            report.others.append(path)
            continue
        report.files.append(path)
        found += _not_too_many(path, one)
    found = [_elsewhere(one) if one.rule == ELSEWHERE else one for one in _once(found)]
    report.findings = _sorted(_ours_first([one for one in found if one.severity == ERROR]))
    report.notes = _sorted([one for one in found if one.severity != ERROR])
    return report


def _check(path: Path, asset: AssetFolder) -> list[Finding] | None:
    """Return what is wrong in a file; None if it is of no kind that is checked."""
    findings: list[Finding] = []
    try:
        if (kind := text_kind(path)) is not None:
            findings.extend(TEXT_CHECKS[kind](path, asset))
        elif path.suffix in YAML or path.name in FILE_NAMES:
            findings.extend(_check_yaml(asset.read(path), asset))
        elif (file := _recognized(path, asset)) is not None:
            findings.extend(_check_yaml(file, asset))
        else:
            return None
    except InvalidFileError as exc:
        findings += exc.findings
    except Exception as exc:
        # A mistake of this command must not hide what is wrong in other files.
        message = f"a fault of `asset validate` itself: {type(exc).__name__}: {exc}"
        findings.append(Finding(Place.in_file(path, 1), message, "report it, with this file", FAULT))
    return findings


def _recognized(path: Path, asset: AssetFolder) -> YamlFile | None:
    """Return a file that has no name of a YAML file, if its content is that of a kind that is checked."""
    try:
        file = asset.read(path)
    except InvalidFileError:
        return None
    return file if yaml_kind(file) is not None else None


def _check_yaml(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    kind = yaml_kind(file)
    if (name := schema_name(file)) and name.lower() not in KINDS_BY_SCHEMA:
        yield _unknown_schema(file, name, kind)
    if kind is not None:
        yield from YAML_CHECKS[kind](file, asset)


def _unknown_schema(file: YamlFile, name: str, kind: Kind | None) -> Finding:
    """Say that a `$schema` is misspelled or of another kind than the file; a note if it is a kind without checks."""
    close = difflib.get_close_matches(name, SCHEMAS, n=1, cutoff=0.8)
    place = file.place("$schema")
    if kind is not None:
        meant = close or [schema for schema, of in SCHEMAS.items() if of is kind][:1]
    elif close and not UNCHECKED_SCHEMAS.fullmatch(name):
        meant = close
    else:
        message = f"only checked as YAML: there are no rules here for Azure's {name}"
        return Finding(place, message, "check it in Azure", "schema-unknown").as_note()
    message = f"{name} is not the schema of this file ({kind})" if kind else f"Azure has no schema {name}"
    return Finding(place, message, f"write {meant[0]}.schema.json", "schema-name")


def _not_too_many(path: Path, found: list[Finding]) -> list[Finding]:
    if len(found) <= MOST:
        return found
    message = f"{len(found) - MOST:,} more findings are left out"
    return [*found[:MOST], Finding(Place.in_file(path, 1), message, "correct these, and check again", "too-many")]


def _once(findings: list[Finding]) -> list[Finding]:
    """Leave out what is said twice: a component is checked by itself, and again under another name in each job that uses it."""
    first: dict[tuple[Place, str, str], Finding] = {}
    for one in findings:
        first.setdefault((one.place, one.rule, one.fix), one)
    return list(first.values())


def _elsewhere(one: Finding) -> Finding:
    """Turn a finding about what only this machine refuses into a note."""
    return replace(one.as_note(), message=f"Azure may run this, and `asset run` does not: {one.message}")


def _ours_first(findings: list[Finding]) -> list[Finding]:
    """Leave out findings of other programs on a line that has one of ours, or on a whole file that has findings."""
    ours = {(one.place.where, one.place.line) for one in findings if one.rule not in THEIRS}
    files = {where for where, _ in ours}
    kept = []
    for one in findings:
        of_all = one.place.line == 1 and one.place.where in files
        if one.rule not in THEIRS or not (of_all or (one.place.where, one.place.line) in ours):
            kept.append(one)
    return kept


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda one: (one.place.where, one.place.line or 0))


SKIPPED = re.compile(r"\..*|__pycache__|node_modules|runs|.*\.egg-info")
"""Folders of tools, environments and results, whose files nobody corrects. Such a folder is searched if it is named."""


def find(paths: Iterable[Path]) -> list[Path]:
    """Return the files to check among files and folders, each once, those of a folder in the order of their names."""
    found: dict[Path, None] = {}
    for path in paths:
        for file in _below(path) if path.is_dir() else [path]:
            found.setdefault(file.resolve())
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not SKIPPED.fullmatch(name))
        for name in sorted(names):
            if _is_checked(Path(name), names):
                yield Path(where) / name


def _is_checked(name: Path, beside: list[str]) -> bool:
    """Decide if a file of a folder is checked, by its name and the names of the files beside it."""
    match text_kind(name):
        case None:
            return name.suffix in YAML or name.name in FILE_NAMES
        case Kind.MODEL_CARD:
            return "asset.yaml" in beside
        case Kind.REQUIREMENTS:
            return "Dockerfile" in beside or "environment.yaml" in beside
        case _:
            return True
