"""Every command that takes files sees the same kind of file, whatever the file is called and with or without `$schema`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asset.checks.kinds import DEPLOYMENTS, ENDPOINTS, FILE_NAMES, SCHEMAS, YAML, Kind, yaml_kind
from asset.checks.pipeline import sdk
from asset.checks.pipeline.source import read_job
from asset.checks.validate import collect
from asset.cli.loop import Where
from asset.cli.main import app
from asset.findings import InvalidFileError
from asset.yaml_file import YamlFile
from tests.asset.checks.validate.conftest import COPIED
from tests.asset.checks.validate.deployment_files import FILES
from tests.asset.checks.validate.mistakes import BLUE

ROOT = Path(__file__).resolve().parents[3]
REACHED = "the client is asked for"
NAMES = ("renamed.yml", "renamed.txt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the asset with a file of each kind."""
    root = tmp_path_factory.mktemp("kinds") / "asset"
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    plain = FILES[BLUE].replace("managedOnlineDeployment", "batchDeployment").replace("name: blue", "name: plain")
    lines = [line for line in plain.splitlines() if not line.startswith("instance_")]
    for name, text in {**FILES, "deployment/plain.yml": "\n".join([*lines, "compute: azureml:cpu\n"])}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in YAML or path.name in FILE_NAMES)


def variants(path: Path) -> Iterator[Path]:
    """Write the file with and without its `$schema`, under its own name and under others."""
    text = path.read_text(encoding="utf-8")
    bare = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("$schema"))
    for content in (text, bare):
        for name in (path.name, *NAMES):
            variant = path.with_name(name)
            variant.write_text(content, encoding="utf-8")
            yield variant
            variant.unlink()
    path.write_text(text, encoding="utf-8")


def validated(path: Path, monkeypatch: pytest.MonkeyPatch) -> Kind | None:
    """Return the kind by whose rules `asset validate` checks a file."""
    kinds: list[Kind] = []
    checks = {kind: lambda *_, kind=kind: [kinds.append(kind)][:0] for kind in Kind}
    with monkeypatch.context() as patch:
        patch.setattr(collect, "YAML_CHECKS", checks)
        collect.validate([path])
    return kinds[0] if kinds else None


def takes(path: Path, verb: str) -> bool:
    """Decide if a command takes a file, so far that it asks for its client."""
    result = CliRunner().invoke(app, [verb, "-f", str(path)])
    return REACHED in result.output


def runs(path: Path) -> bool:
    """Decide if `asset run` takes a file as a pipeline job."""
    try:
        read_job(path)
    except InvalidFileError as exc:
        return all(finding.rule != "job-type" for finding in exc.findings)
    return True


def test_the_commands_agree_on_every_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def client(_: Where) -> None:
        raise ValueError(REACHED)

    monkeypatch.setattr(Where, "client", client)
    monkeypatch.setattr(sdk, "load", lambda *_: None)  # slow, and comes after a job is recognized
    seen = set()
    for path in files(folder):
        original = yaml_kind(YamlFile(path))
        for variant in variants(path):
            kind = validated(variant, monkeypatch)
            told_by_name = original in FILE_NAMES.values() and original is not Kind.MODEL
            assert kind is original or (told_by_name and variant.name != path.name), variant
            is_job = kind is Kind.PIPELINE_JOB
            if original in seen:
                continue  # the commands need a second for each file, and have seen one of this kind
            assert takes(variant, "deploy") == (kind in (*ENDPOINTS, *DEPLOYMENTS)), variant
            assert (takes(variant, "submit"), runs(variant)) == (is_job, is_job), variant
        seen.add(original)
    assert seen >= {*SCHEMAS.values(), *FILE_NAMES.values()}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("endpoint_name: a\ntype: kubernetes\n", Kind.ONLINE_DEPLOYMENT),
        ("endpoint_name: a\ncompute: c\nretry_settings: {max_retries: 1}\n", Kind.BATCH_DEPLOYMENT),
        ("endpoint_name: a\ntype: model\ncompute: c\n", Kind.MODEL_BATCH_DEPLOYMENT),
        ("endpoint_name: a\ntype: pipeline\njob_definition: {}\n", None),
        ("name: a\ntraffic: {blue: 100}\n", Kind.ONLINE_ENDPOINT),
        ("type: pipeline\ncomponent: ./a.yml\n", Kind.PIPELINE_JOB),
        ("type: command\ncommand: echo\n", None),
        ("$schema: https://azuremlschemas.azureedge.net/latest/PIPELINEJOB.schema.json\n", Kind.PIPELINE_JOB),
        ("$schema: https://example.org/pipelineJob.schema.json\na: b\n", None),
    ],
)
def test_a_file_without_a_known_schema_is_told_by_its_keys(tmp_path: Path, text: str, kind: Kind | None) -> None:
    (tmp_path / "a.yml").write_text(text, encoding="utf-8")
    assert yaml_kind(YamlFile(tmp_path / "a.yml")) is kind
