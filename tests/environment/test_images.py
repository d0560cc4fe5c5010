"""The images are built from what the Makefile installs, and run as nobody special. No Docker is needed to tell."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from azure.ai.ml import load_environment

from asset.local.server import REQUEST_THREADS, SERVE_PORT

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("batch", "evaluation", "finetune", "serving")

# What each is built with a compiler for: the int8 kernels in C, and in training what a DeepSpeed configuration may ask for in C++.
COMPILERS = {"batch": "gcc", "evaluation": "gcc", "finetune": "g++", "serving": "gcc"}


class Instruction(NamedTuple):
    name: str
    rest: str


def dockerfile(image: str) -> list[Instruction]:
    """Return the instructions of an image's Dockerfile; one that goes on in the next line is one."""
    text = (ROOT / "environment" / image / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def rests(image: str, name: str) -> list[str]:
    return [instruction.rest for instruction in dockerfile(image) if instruction.name == name]


def pip_install(image: str) -> list[str]:
    """Return the arguments of an image's one `pip install`."""
    commands = [command.strip() for run in rests(image, "RUN") for command in run.split("&&")]
    (found,) = [shlex.split(command) for command in commands if command.startswith("pip install")]
    return found


def test_every_dockerfile_is_known_here() -> None:
    assert sorted(path.parent.name for path in ROOT.glob("environment/*/Dockerfile")) == list(IMAGES)


@pytest.mark.parametrize("image", IMAGES)
def test_the_linter_of_dockerfiles_has_nothing_to_say(image: str) -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert linter, "expected hadolint beside this Python, found none; run `make test`, which sets it up"
    command = [linter, "--failure-threshold", "style", f"environment/{image}/Dockerfile"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("image", IMAGES)
def test_azure_reads_the_environment(image: str) -> None:
    environment = load_environment(ROOT / "environment" / image / "environment.yaml")
    assert environment.name == f"bert-base-cased-{image}"
    assert (environment.build.path, environment.build.dockerfile_path) == (".", "Dockerfile")


@pytest.mark.parametrize("image", IMAGES)
def test_it_is_built_on_python_by_a_tag_that_stays(image: str) -> None:
    assert dockerfile(image)[0] == ("FROM", "python:3.11-slim-bookworm")
    assert len(rests(image, "FROM")) == 1
    # A digest that nobody here could look up would be an invented one.
    assert "@sha256" not in (ROOT / f"environment/{image}/Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_is_in_the_context(image: str) -> None:
    expected = {"requirements.txt"} | ({"start-server"} if image == "serving" else set())
    assert {rest.split()[0] for rest in rests(image, "COPY")} == expected
    assert rests(image, "ADD") == []
    assert all((ROOT / "environment" / image / name).is_file() for name in expected)


@pytest.mark.parametrize("image", IMAGES)
def test_it_installs_the_pins_beside_it_as_the_makefile_does(image: str) -> None:
    options = pip_install(image)[2:]
    assert options[-2:] == ["--requirement", "/tmp/requirements.txt"]
    assert "requirements.txt /tmp/requirements.txt" in rests(image, "COPY")
    assert ("--require-hashes" in options) == (image == "serving")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    from_source = re.findall(r"--only-binary=:all: --no-binary=(\S+) --requirement", makefile)[0].split(",")
    assert "--only-binary=:all:" in options
    named = [option.removeprefix("--no-binary=") for option in options if option.startswith("--no-binary=")]
    pins = (ROOT / f"environment/{image}/requirements.txt").read_text(encoding="utf-8")
    assert named == [package for package in from_source if re.search(rf"(?m)^{package}==", pins)]


@pytest.mark.parametrize("image", IMAGES)
def test_it_runs_as_nobody_special(image: str) -> None:
    found = dockerfile(image)
    users = [index for index, instruction in enumerate(found) if instruction.name == "USER"]
    assert [found[index].rest for index in users] == ["1000"]
    assert any("useradd" in rest and "--uid 1000" in rest for rest in rests(image, "RUN"))
    # What is after it needs no root.
    assert {instruction.name for instruction in found[users[0] + 1 :]} <= {"EXPOSE", "CMD"}


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_secret_is_in_it(image: str) -> None:
    text = (ROOT / f"environment/{image}/Dockerfile").read_text(encoding="utf-8")
    assert (
        re.findall(r"(?i)password|passwd|secret|token|credential|api.?key|BEGIN [A-Z ]*KEY|https?://[^/\s]*@", text)
        == []
    )
    # What is given to a build stays in the image's history; and what is fetched is what is pinned.
    assert rests(image, "ARG") == []
    assert re.findall(r"\b(?:curl|wget|git clone|--extra-index-url|--index-url|--trusted-host)\b", text) == []
    # What is built from is the folder beside the Dockerfile alone.
    files = {path.name for path in (ROOT / "environment" / image).iterdir() if path.is_file()} - {"sbom.cdx.json"}
    known = {"Dockerfile", "environment.yaml", "requirements.txt"}
    assert files == known | ({"start-server"} if image == "serving" else set())


@pytest.mark.parametrize("image", IMAGES)
def test_it_has_the_compiler_of_the_kernels_and_no_lists_of_packages(image: str) -> None:
    (line,) = [rest for rest in rests(image, "RUN") if "apt-get install" in rest]
    assert COMPILERS[image] in line.split()
    assert "--no-install-recommends" in line
    assert line.endswith("rm -rf /var/lib/apt/lists/*")


def test_the_serving_image_starts_the_inference_server_where_azure_looks_for_it() -> None:
    assert rests("serving", "CMD") == ['["sh", "/usr/local/bin/start-server"]']
    assert "start-server /usr/local/bin/start-server" in rests("serving", "COPY")
    assert rests("serving", "EXPOSE") == [str(SERVE_PORT)]
    (variables,) = rests("serving", "ENV")
    assert f'GUNICORN_CMD_ARGS="--threads {REQUEST_THREADS}"' in variables
    routes = load_environment(ROOT / "environment/serving/environment.yaml").inference_config
    assert {name: (route["path"], route["port"]) for name, route in routes.as_dict().items()} == {
        "livenessRoute": ("/", SERVE_PORT),
        "readinessRoute": ("/", SERVE_PORT),
        "scoringRoute": ("/score", SERVE_PORT),
    }
