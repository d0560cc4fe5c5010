"""asset/local knows the rest of the product by a short list of names, so that it could leave as a package of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCAL = "asset.local"
PRODUCT = ("asset", "benchmarks", "deployment", "evaluation", "finetune", "score", "serving", "tables")

KNOWN = [
    "asset.azure_sdk.quiet",
    "asset.checks.pipeline.command.ESCAPED",
    "asset.checks.pipeline.command.ends_quotation",
    "asset.checks.pipeline.command.resolve",
    "asset.checks.pipeline.data.ASSET",
    "asset.checks.pipeline.data.OwnModel",
    "asset.checks.pipeline.data.local_path",
    "asset.checks.pipeline.job.checked_job",
    "asset.checks.pipeline.references",
    "asset.checks.pipeline.source.JobSource",
    "asset.checks.pipeline.source.REMOTE",
    "asset.checks.pipeline.source.StepSource",
    "asset.checks.pipeline.steps.order",
    "asset.checks.pipeline.steps.processes",
    "asset.checks.pipeline.steps.timeout",
    "asset.checks.pipeline.steps.variables",
    "asset.checks.pipeline.values.is_absent",
    "asset.environments.VirtualEnvironment",
    "asset.environments.environment_file",
    "asset.environments.environment_of",
    "asset.findings.Finding",
    "asset.findings.InvalidFileError",
    "asset.findings.JobError",
    "asset.findings.shown",
    "asset.screen.Screen",
    "asset.screen.interrupt_on_signals",
    "evaluation.errors.MetricsFileError",
    "evaluation.report.metrics_file.Metric",
    "evaluation.report.metrics_file.metric_name",
    "evaluation.report.metrics_file.parse",
    "evaluation.report.metrics_file.read",
    "evaluation.report.number_format.interval",
    "evaluation.report.number_format.quantity",
    "serving.http.request_log",
    "tables.disk.ANYONE",
    "tables.disk.write_json",
    "tables.disk.write_whole",
]


def imported(source: str) -> Iterator[str]:
    """Yield what a file imports: the module and, after `from`, the name in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def is_beyond_the_border(name: str) -> bool:
    """Return whether a name is the product's and not of asset/local."""
    return name.split(".")[0] in PRODUCT and not f"{name}.".startswith(f"{LOCAL}.")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import os, tables.disk", ["tables.disk"]),
        ("def f():\n    from asset.findings import Finding, shown", ["asset.findings.Finding", "asset.findings.shown"]),
        ("from asset.local.server import main\nimport yaml", []),
    ],
)
def test_imports_beyond_the_border_are_found(line: str, names: list[str]) -> None:
    assert [name for name in imported(line) if is_beyond_the_border(name)] == names


def test_local_knows_the_rest_of_the_product_by_these_names() -> None:
    files = (ROOT / "asset/local").rglob("*.py")
    names = {name for file in files for name in imported(file.read_text(encoding="utf-8"))}
    assert sorted(filter(is_beyond_the_border, names)) == KNOWN


def test_the_list_is_short() -> None:
    assert len(KNOWN) < 40
