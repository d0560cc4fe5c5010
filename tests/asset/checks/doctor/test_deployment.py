"""A deployment's file: its machine, its model and the settings that it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from asset.checks.doctor.check import Machine, NothingToCheckError
from asset.checks.doctor.deployment import deployment, read
from asset.findings import Finding

ROOT = Path(__file__).resolve().parents[4]


def look(machine: Machine, path: Path, also: str | None = None) -> list[Finding]:
    return list(deployment(machine, read(path), also))


def changed(tmp_path: Path, old: str, new: str, of: str = "online-deployment-blue.yml") -> Path:
    text = (ROOT / "deployment" / of).read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / of
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


@pytest.mark.parametrize("color", ["blue", "green"])
def test_our_deployments_are_well(machine: Machine, color: str) -> None:
    found = look(machine, ROOT / f"deployment/online-deployment-{color}.yml")
    assert len(found) == 3
    assert [check for check in found if check.severity == "error"] == []


def test_a_machine_that_is_not_listed_is_wrong(machine: Machine, tmp_path: Path) -> None:
    (check, _) = look(machine, changed(tmp_path, "Standard_F4s_v2", "Standard_A1_v2"))
    assert (check.rule, check.severity) == ("sku Standard_A1_v2", "error")


def test_a_deployment_without_a_machine_is_wrong(machine: Machine, tmp_path: Path) -> None:
    check, *_ = look(machine, changed(tmp_path, "instance_type: Standard_F4s_v2\n", ""))
    assert (check.rule, check.severity) == ("online-deployment-blue.yml machine", "error")


def test_settings_that_serving_would_refuse_are_wrong(machine: Machine, tmp_path: Path) -> None:
    check = look(machine, changed(tmp_path, "BERT_SERVING_MAX_QUEUE:", "BERT_SERVING_MAX_QUEU:"))[-1]
    assert (check.severity, check.fix) == ("error", "write BERT_SERVING_MAX_QUEUE for BERT_SERVING_MAX_QUEU")
    assert look(machine, changed(tmp_path, '"128"', '"many"'))[-1].severity == "error"


def test_the_settings_of_a_batch_deployment_are_found(machine: Machine, tmp_path: Path) -> None:
    path = ROOT / "deployment/batch-deployment.yml"
    cluster, settings = look(machine, path)
    assert (cluster.severity, "--sku" in cluster.fix, settings.severity) == ("note", True, "ok")
    assert len(look(machine, path, "Standard_F4s_v2")) == 1
    old, new = 'BATCH_SCORING_PART_SECONDS: "10"', "BERT_SERVING_PRECISION: int4"
    assert look(machine, changed(tmp_path, old, new, path.name))[-1].severity == "error"


def test_a_model_of_this_machine_is_opened(machine: Machine, tmp_path: Path) -> None:
    path = changed(tmp_path, "model: azureml:bert-base-cased:17", "model:\n  path: checkpoint/model/embedded")
    check, *_ = look(machine, path)
    assert (check.rule, check.severity) == ("online-deployment-blue.yml model", "error")
    path.write_text(path.read_text().replace("checkpoint/", "checkout/"))
    assert [check for check in look(machine, path) if check.severity == "error"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory; name one"),
        (b"\xff\xfe\xff", "expected UTF-8"),
        (b"a: [", "expected YAML, found"),
        (b"name: an endpoint", "is not a deployment's file; name one, such as"),
        (b"- 1", "expected keys and values"),
    ],
)
def test_what_is_no_deployment_cannot_be_checked(tmp_path: Path, text: bytes | None, message: str) -> None:
    path = tmp_path / "deployment.yml"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(NothingToCheckError, match=message):
        read(path)
