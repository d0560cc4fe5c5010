"""A model folder is data: nothing in it is run, whatever it has beside its weights."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from pathlib import Path

import pytest

from serving.answering.models import load_model
from serving.errors import ModelFolderError
from serving.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("serving", "deployment", "evaluation", "finetune", "asset", "tables", "score.py")

UNSAFE = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
"""Modules that run what they read."""

CALLS = {("torch", "load"), ("yaml", "load"), ("yaml", "unsafe_load"), ("np", "fromfile"), ("builtins", "eval")}
KEYWORDS = {"trust_remote_code", "allow_pickle"}


class Trap:
    """A pickle that writes a file when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.mark, "opened")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.fixture
def trapped(sharp_checkpoint: Path, tmp_path: Path, mark: Path) -> Path:
    """A checkpoint that has code in each place where some tool would run it."""
    folder = Path(shutil.copytree(sharp_checkpoint, tmp_path / "model", ignore=shutil.ignore_patterns(".compiled")))
    trap, code = pickle.dumps(Trap(mark)), f"open({str(mark)!r}, 'w').write('imported')\n"
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "model.pkl", "python_model.pkl"):
        (folder / name).write_bytes(trap)
    for name in ("modeling_trap.py", "tokenization_trap.py", "conftest.py", "sitecustomize.py", "__init__.py"):
        (folder / name).write_text(code, encoding="utf-8")
    (folder / "code").mkdir()
    (folder / "code/loader.py").write_text(code, encoding="utf-8")
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: loader\n    code: code\n    python_model: python_model.pkl\n",
        encoding="utf-8",
    )
    remote = {"auto_map": {"AutoModel": "modeling_trap.Trap", "AutoModelForMaskedLM": "modeling_trap.Trap"}}
    for name in ("config.json", "tokenizer_config.json"):
        described = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps(described | remote | {"trust_remote_code": True}), encoding="utf-8")
    return folder


def test_code_in_a_model_folder_is_not_run(trapped: Path, mark: Path) -> None:
    model = load_model(trapped, Settings(precision="fp32"))
    assert model.task == "fill-mask"
    model.engine.warm_up()
    assert not mark.exists()
    pickle.loads((trapped / "pytorch_model.bin").read_bytes())
    assert mark.exists(), "the trap is one"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_weights_in_a_pickle_are_refused_whatever_their_name(trapped: Path, mark: Path, name: str) -> None:
    content = (trapped / "pytorch_model.bin").read_bytes()
    (trapped / "model.safetensors").unlink()
    (trapped / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match="is a pickle, which can run code|model.safetensors: cannot be read"):
        load_model(trapped, Settings())
    assert not mark.exists()


def sources() -> list[Path]:
    return [
        path for name in PACKAGES for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
    ]


def test_nothing_that_is_shipped_opens_a_pickle_or_asks_for_remote_code() -> None:
    found = []
    assert len(sources()) > 150
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found += [f"{path.relative_to(ROOT)}:{node.lineno}: {word}" for word in sorted(unsafe(node))]
    assert found == []


def unsafe(node: ast.AST) -> set[str]:
    """Return what a node of a program imports or calls of what runs what it reads."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & UNSAFE
    if isinstance(node, ast.ImportFrom):
        return {node.module or ""} & UNSAFE
    if not isinstance(node, ast.Call):
        return set()
    words = {f"{word.arg}" for word in node.keywords if word.arg in KEYWORDS and not is_false(word.value)}
    if isinstance(node.func, ast.Name):
        return words | ({node.func.id} & {"eval", "exec"})
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        called = (node.func.value.id, node.func.attr)
        return words | ({".".join(called)} if called in CALLS else set())
    return words


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False
