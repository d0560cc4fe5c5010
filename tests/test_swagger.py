"""GET /swagger.json describes the real requests and answers: a fuzzer that reads it finds none outside of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asset.local.server import LocalServer, local_server

ROOT = Path(__file__).resolve().parents[1]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"

# positive_data_acceptance is left out: that a text is of the served model's task, or that two columns are as long, no
# schema says. unsupported_method too: the inference server answers GET /score, reading the query as the body, and its
# 405 to TRACE has no Allow.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
# What refuses a body or header outside of the schema; schemathesis itself does not count the last two.
REFUSALS = "[checks.negative_data_rejection]\nexpected-statuses = [400, 404, 413, 431]\n"


@pytest.fixture(scope="module")
def embedded() -> Iterator[LocalServer]:
    with local_server(ROOT / "model" / "embedded", python=SERVING_PYTHON) as running:
        yield running


def fuzz(server: LocalServer, document: dict[str, Any], phases: str, folder: Path) -> Counter[tuple[str, int]]:
    """Run schemathesis on all that a document describes; return how often which operation answered which status."""
    (folder / "schemathesis.toml").write_text(REFUSALS, encoding="utf-8")
    (folder / "swagger.json").write_text(json.dumps(document), encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", "swagger.json"]
    command += ["--url", server.url, "--checks", ",".join(CHECKS), "--phases", phases, "--seed", "17"]
    command += ["--max-examples", "30", "--no-color", "--report", "har", "--report-har-path", "run.har"]
    environment = os.environ | {"NO_PROXY": "127.0.0.1", "COLUMNS": "120"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    entries = json.loads((folder / "run.har").read_text(encoding="utf-8"))["log"]["entries"]
    return Counter(
        (entry["request"]["url"].removeprefix(server.url).split("?")[0], entry["response"]["status"])
        for entry in entries
    )


def read(file: str) -> dict[str, Any]:
    return json.loads((ROOT / file).read_text(encoding="utf-8"))


def of_task(document: dict[str, Any], task: str) -> dict[str, Any]:
    """Leave of a description what a model of a task takes and answers."""
    for name in ("ServiceInput", "ServiceOutput"):
        whole = document["components"]["schemas"][name]
        whole["anyOf"] = [form for form in whole["anyOf"] if form["$ref"].split("/")[-1].startswith(task)]
        assert whole["anyOf"]
    content = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]
    content["examples"] = {name: example for name, example in content["examples"].items() if name.startswith(task)}
    return document


def test_the_server_gives_the_committed_description_in_every_version(embedded: LocalServer) -> None:
    files = {"": "swagger2.json", "?version=2.0": "swagger2.json", "?version=3": "swagger3.json"}
    for query, file in (files | {"?version=3.0": "swagger3.json", "?version=3.1": "swagger3.1.json"}).items():
        with urllib.request.urlopen(f"{embedded.url}/swagger.json{query}") as answer:
            assert json.load(answer) == read(file), query


@pytest.mark.parametrize("file", ["swagger2.json", "swagger3.json"])
def test_the_embedded_model_answers_within_the_description(embedded: LocalServer, file: str, tmp_path: Path) -> None:
    answered = fuzz(embedded, read(file), "examples,fuzzing", tmp_path)
    assert all(answered[operation] for operation in (("/score", 200), ("/score", 400), ("/", 200))), answered
    assert answered["/swagger.json", 200], answered


@pytest.mark.parametrize(
    ("task", "model", "file", "phases"),
    [
        # The phase `coverage` goes through every keyword of the schema, a thousand rows among them: once is enough.
        ("fill-mask", "sharp_checkpoint", "swagger3.json", "coverage"),
        ("text-classification", "sharp_classifier", "swagger3.1.json", "examples,fuzzing"),
        ("question-answering", "sharp_reader", "swagger3.json", "examples,fuzzing"),
    ],
)
def test_a_model_answers_within_what_is_described_of_its_task(
    task: str, model: str, file: str, phases: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with local_server(request.getfixturevalue(model), python=SERVING_PYTHON) as server:
        answered = fuzz(server, of_task(read(file), task), phases, tmp_path)
    assert answered["/score", 200] >= 5 and answered["/score", 400] >= 5, answered
    if phases == "coverage":
        assert answered["/score", 413] and answered["/score", 431] and answered["/swagger.json", 404], answered
