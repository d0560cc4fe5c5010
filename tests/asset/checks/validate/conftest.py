"""A small asset: the files of this one that are checked, with deployments of the tests' own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from asset.checks.validate.collect import Report, validate
from asset.findings import Finding
from tests.asset.checks.validate.deployment_files import FILES

ROOT = Path(__file__).resolve().parents[4]
COPIED = (
    *("spec.yaml", "asset.yaml", "model.yaml", "sku_lists.yaml", "description.md", "sample_input.json"),
    *("CHANGELOG.md", "pyproject.toml", "model/bert-base-cased/MLmodel", "model/embedded/MLmodel"),
    *("environment/evaluation", "environment/finetune", "evaluation/components", "evaluation/sample_data"),
    *("evaluation/test_set", "evaluation/evaluation-config.json", "evaluation/evaluate-model-fill-mask.yml"),
    *("finetune/components", "finetune/sample_data", "finetune/finetune-topics.yml"),
)


@dataclass(frozen=True)
class SmallAsset:
    """A folder that a test may break."""

    root: Path

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text, which is there once, in a file."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def line(self, name: str, mark: str) -> int:
        """Return the line on which a text, which is there once, begins; from 1."""
        text = (self.root / name).read_text(encoding="utf-8")
        assert text.count(mark) == 1, f"{mark!r} is {text.count(mark)} times in {name}"
        return text[: text.index(mark)].count("\n") + 1

    def validate(self, *names: str) -> Report:
        return validate([self.root / name for name in names or ("",)])

    def findings(self, *names: str) -> list[Finding]:
        return self.validate(*names).findings


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the asset once."""
    root = tmp_path_factory.mktemp("pattern") / "asset"
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def small(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallAsset:
    """Return a copy of it, in which the test runs."""
    root = tmp_path / "asset"
    shutil.copytree(pattern, root)
    monkeypatch.chdir(root)
    return SmallAsset(root)
