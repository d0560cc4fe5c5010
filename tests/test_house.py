"""The checkout holds together: pins cover what is declared, imports point one way, serving stays light."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.ai.ml._utils._asset_utils import get_ignore_file
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"
ENGINE = {"numpy", "onnx", "onnxruntime", "safetensors", "tokenizers"}
SETS = ("serving", "serving-gpu", "batch", "evaluation", "finetune", "dev", "bench", "bench-azureml")

# Who may import whom; what imports a package is on the left.
ALLOWED = {
    "tables": set(),
    "serving": {"tables"},
    "score": {"serving"},
    "deployment": {"serving", "tables"},
    "evaluation": {"serving", "tables"},
    "finetune": {"evaluation", "serving", "tables"},
    "asset": {"finetune", "evaluation", "serving", "tables"},
    "benchmarks": {"asset", "finetune", "evaluation", "serving", "tables"},
}


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared(name: str) -> dict[str, Requirement]:
    """Return the requirements of a set of pyproject.toml by name."""
    requirements = map(Requirement, project()["optional-dependencies"][name])
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pin_lines(name: str) -> list[str]:
    """Return a package's version and hashes a line, without comments."""
    text = (ROOT / f"environment/{name}/requirements.txt").read_text(encoding="utf-8").replace("\\\n", "")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def pinned(name: str) -> dict[str, str]:
    """Return the version of each package in an environment's pins."""
    pins = (line.split()[0].split("==") for line in pin_lines(name))
    return {canonicalize_name(package): version for package, version in pins}


def test_project_declares_license_holder_and_pythons() -> None:
    declaration = project()
    assert declaration["license"] == "Apache-2.0"
    assert declaration["authors"] == [{"name": "the project's contributors"}]
    pythons = [line.rsplit(" ", 1)[1] for line in declaration["classifiers"] if "Python :: 3." in line]
    assert pythons == ["3.11", "3.12"]
    assert declaration["requires-python"] == ">=3.11,<3.13"


def test_project_version_is_the_top_of_the_changelog() -> None:
    versions = re.findall(r"(?m)^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert project()["version"] == versions[0]


def test_serving_declares_the_engine_and_the_server_only() -> None:
    server = {"azureml-inference-server-http", "azureml-ai-monitoring"}
    # Signatures of model folders; the server's packages need it too, so that it is no package more.
    assert set(declared("serving")) == ENGINE | server | {"cryptography"}


@pytest.mark.parametrize("name", SETS)
def test_every_declared_package_is_pinned_within_its_range(name: str) -> None:
    pins = pinned(name)
    outside = [
        str(requirement)
        for package, requirement in declared(name).items()
        if package not in pins or not requirement.specifier.contains(pins[package], prereleases=True)
    ]
    assert outside == [], "run `make lock`"


@pytest.mark.parametrize("name", SETS)
def test_pins_are_names_and_versions_and_nothing_else(name: str) -> None:
    # What serves is installed by hashes: then pip takes nothing without one, and no other file of the same version.
    hashes = r"(\s+--hash=sha256:[0-9a-f]{64})+" if name == "serving" else ""
    odd = [line for line in pin_lines(name) if not re.fullmatch(rf"[a-z0-9._-]+==[0-9][a-z0-9.]*{hashes}", line)]
    assert odd == []
    text = (ROOT / f"environment/{name}/requirements.txt").read_text(encoding="utf-8")
    assert re.findall(r"://|--(?!hash=)\w|file:/|@", text) == []


@pytest.mark.parametrize("other", ["dev", "batch", "evaluation", "finetune"])
def test_environments_that_run_the_engine_have_the_same_one(other: str) -> None:
    # Azure's batch runtime takes no newer numpy; what computes is the same there.
    same = ENGINE - {"numpy"} if other == "batch" else ENGINE
    serving, pins = pinned("serving"), pinned(other)
    assert {name: serving[name] for name in same} == {name: pins[name] for name in same}
    assert [str(declared("serving")[name]) for name in same] == [str(declared(other)[name]) for name in same]


@pytest.mark.parametrize("other", ["dev", "evaluation", "bench"])
def test_what_fine_tuning_declares_too_has_the_same_version_elsewhere(other: str) -> None:
    shared = set(declared("finetune")) & set(declared(other))
    assert len(shared) > 6
    # What mlflow-skinny is to evaluation, mlflow is here; the benchmark times the newest of it.
    shared -= {"mlflow"} if other == "bench" else set()
    ours, theirs = pinned("finetune"), pinned(other)
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_runs_are_tracked_by_one_mlflow() -> None:
    # A store on this machine is written by the steps' environments and by the command's.
    found = {name: pinned(name)["mlflow-skinny"] for name in ("dev", "evaluation", "finetune")}
    assert len(set(found.values())) == 1, found
    assert pinned("finetune")["mlflow"] == found["finetune"]


def test_peers_are_timed_at_the_versions_that_the_engine_has() -> None:
    serving, bench = pinned("serving"), pinned("bench")
    shared = ENGINE & set(bench)
    assert "onnxruntime" in shared
    assert {name: bench[name] for name in shared} == {name: serving[name] for name in shared}
    server = "azureml-inference-server-http"
    assert pinned("bench-azureml")[server] == serving[server]


def test_the_environment_for_gpus_is_the_serving_one_but_for_onnx_runtime() -> None:
    gpu = {name: str(requirement) for name, requirement in declared("serving-gpu").items()}
    cpu = {name: str(requirement) for name, requirement in declared("serving").items()}
    assert gpu.pop("onnxruntime-gpu") == cpu.pop("onnxruntime").replace("runtime", "runtime-gpu[cuda,cudnn]")
    assert gpu == cpu
    serving, pins = pinned("serving"), pinned("serving-gpu")
    assert pins.pop("onnxruntime-gpu") == serving.pop("onnxruntime")  # one module: never both
    assert {name: pin for name, pin in pins.items() if not name.startswith("nvidia-")} == serving
    assert {"nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-cuda-runtime", "nvidia-curand"} <= set(pins)


def test_server_and_training_packages_are_kept_apart() -> None:
    assert {"torch", "transformers", "mlflow", "mlflow-skinny", "azure-ai-ml"}.isdisjoint(pinned("serving"))
    assert "azureml-inference-server-http" not in pinned("dev")
    assert {"torch", "transformers"}.isdisjoint(pinned("evaluation"))
    assert {"torch", "transformers"}.isdisjoint(pinned("batch"))


def test_score_is_imported_without_torch_or_transformers() -> None:
    code = (
        "import importlib.util, json, sys; import score; heavy = ('torch', 'transformers', 'tensorflow')\n"
        "print(json.dumps({'loaded': [name for name in heavy if name in sys.modules],\n"
        "                  'installed': [name for name in heavy if importlib.util.find_spec(name)]}))"
    )
    assert SERVING_PYTHON.exists(), "expected the serving environment, found none; run `make test`, which sets it up"
    result = subprocess.run([SERVING_PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == {"loaded": [], "installed": []}


def sources() -> Iterator[Path]:
    """Yield the checkout's Python files outside its tests."""
    yield ROOT / "score.py"
    for package in ALLOWED:
        yield from sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # A relative import stays in its own package, or climbs to the root and names the package.
            climbs = node.level > len(path.relative_to(ROOT).parts) - 1
            named = [alias.name for alias in node.names] if climbs and not node.module else [node.module or ""]
            if not node.level or climbs:
                names |= {name.split(".")[0] for name in named}
    return names


def test_imports_point_one_way() -> None:
    wrong = []
    for path in sources():
        package = path.relative_to(ROOT).parts[0].removesuffix(".py")
        against = (imported(path) & set(ALLOWED)) - ALLOWED[package] - {package}
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in sorted(against)]
    assert wrong == []


def test_serving_imports_nothing_that_its_image_lacks() -> None:
    heavy = {"torch", "transformers", "mlflow", "azure", "sklearn", "pandas", "tensorflow"}
    found = [str(path) for path in sources() if path.parts[len(ROOT.parts)] in ("serving", "score.py")]
    assert found
    assert [name for name in found if imported(Path(name)) & heavy] == []


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    tests = (ROOT / "tests").rglob("*.py")
    assert [str(path) for path in (*sources(), *tests) if path.stem in drawers or path.parent.name in drawers] == []


def test_no_root_file_is_shadowed_by_the_inference_server() -> None:
    # The server's own folder precedes ours on the path, and a config.json here would become its configuration.
    assert [
        name for name in ("config.py", "exceptions.py", "config.json", "logging.json") if (ROOT / name).exists()
    ] == []


def test_amlignore_repeats_gitignore() -> None:
    ours = (ROOT / ".amlignore").read_text(encoding="utf-8").splitlines()
    theirs = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in theirs if line.strip() and line not in ours] == []


def test_azure_sends_the_code_and_leaves_the_rest() -> None:
    ignore = get_ignore_file(ROOT)
    sent = (
        "score.py",
        "serving/engine/engine.py",
        "finetune/pretrain/__main__.py",
        "tables/files.py",
        "environment/a/b.yaml",
    )
    left = (
        ".git/HEAD",
        ".venv/dev/bin/python",
        "tests/test_house.py",
        ".ci/run",
        "runs/a/b",
        ".asset/mlflow.db",
        "README.md",
    )
    assert [name for name in sent if ignore.is_file_excluded(ROOT / name)] == []
    assert [name for name in left if not ignore.is_file_excluded(ROOT / name)] == []


def test_sample_input_is_the_request_on_the_card() -> None:
    card = (ROOT / "description.md").read_text(encoding="utf-8")
    first = re.findall(r"(?s)```json\n(.*?)```", card)[0]
    assert json.loads((ROOT / "sample_input.json").read_text(encoding="utf-8")) == json.loads(first)


def test_help_names_every_target() -> None:
    result = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = [line.split()[1] for line in result.stdout.splitlines()]
    phony = re.search(r"(?m)^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert phony is not None
    assert targets == phony[1].split()
    assert targets == ["help", "setup", "score", "serve", "test", "torture", "lint", "bench", "lock"]


def test_another_python_is_refused_with_a_way_out(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\necho 3.9\n", encoding="utf-8")
    old.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    pins = tmp_path / "environment/serving/requirements.txt"
    pins.parent.mkdir(parents=True)
    pins.touch()
    command = ["make", "score", f"PYTHON=python-absent {old}"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert f"Python 3.11 or 3.12 is needed: {old} is 3.9; install one and name it" in result.stderr
    assert not (tmp_path / ".venv").exists()
