"""Whatever a file holds, it is answered with findings: nothing raises, and no check is lost to a fault."""

from __future__ import annotations

import copy
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asset.checks.validate.collect import FAULT, MOST, validate
from tests.asset.checks.validate.mistakes import (
    BATCH,
    BATCH_ENDPOINT,
    BLUE,
    COMPONENT,
    CONFIG,
    DOCKERFILE,
    ENDPOINT,
    ENVIRONMENT,
    JOB,
    MLMODEL,
    PIPELINE,
    REQUIREMENTS,
    TABLE,
)

FILES = (
    *(JOB, COMPONENT, PIPELINE, ENVIRONMENT, ENDPOINT, BLUE, BATCH_ENDPOINT, BATCH, MLMODEL, TABLE),
    *("spec.yaml", "asset.yaml", "model.yaml", "sku_lists.yaml"),
)
TEXTS = (DOCKERFILE, REQUIREMENTS, CONFIG, "description.md", ENVIRONMENT, JOB, "spec.yaml")
EXAMPLES = int(os.environ.get("VALIDATE_EXAMPLES", "6"))
CALM = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="VALIDATE_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

# What people and editors leave behind, and what Python's own types stumble over.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.sampled_from(
        ["", "~", "..", "/", "\0", "${{parent.inputs.x}}", "${{", "azureml:", "file:", "a" * 5000, "$[[", "{}"]
    ),
    st.text(max_size=12),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=4)), max_size=3),
    st.dictionaries(st.one_of(st.text(max_size=6), st.integers(), st.none()), st.text(max_size=4), max_size=3),
    st.dates(),
)


@pytest.fixture(scope="module")
def folder(pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("arbitrary") / "asset"
    shutil.copytree(pattern, root)
    return root


def places(data: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401  what YAML holds
    """Yield the keys that lead to each part of a document."""
    parts = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in parts:
        yield (*above, key)
        yield from places(value, (*above, key))


def changed(data: Any, keys: tuple[Any, ...], how: str, value: Any) -> Any:  # noqa: ANN401
    """Return a document with one part removed, renamed or of another value."""
    data = copy.deepcopy(data)
    holder = data
    for key in keys[:-1]:
        holder = holder[key]
    if how == "value" or isinstance(holder, list):
        holder[keys[-1]] = value
    elif how == "remove":
        del holder[keys[-1]]
    else:
        holder[value if isinstance(value, (str, int, float, type(None))) else str(value)] = holder.pop(keys[-1])
    return data


def check(folder: Path, name: str, content: bytes) -> None:
    """Check a file with other content, and put it back."""
    path = folder / name
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        report = validate([path])
    finally:
        path.write_bytes(before)
    found = [*report.findings, *report.notes]
    assert [str(one) for one in found if one.rule == FAULT] == []
    assert all(one.message and one.fix and one.rule and (one.place.line or 0) >= 1 for one in found)


@pytest.mark.parametrize("name", FILES)
@CALM
@given(data=st.data())
def test_a_document_with_a_part_changed_is_answered(folder: Path, name: str, data: st.DataObject) -> None:
    document = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 2))):
        keys = data.draw(st.sampled_from(sorted(places(document), key=str)))
        document = changed(
            document, keys, data.draw(st.sampled_from(["value", "value", "remove", "rename"])), data.draw(ODD)
        )
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    check(folder, name, text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", sorted({*FILES, *TEXTS}))
@CALM
@given(data=st.data())
def test_a_text_with_a_part_changed_is_answered(folder: Path, name: str, data: st.DataObject) -> None:
    raw = (folder / name).read_bytes()
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 40)))
    put = data.draw(
        st.one_of(st.binary(max_size=8), st.text(max_size=8).map(lambda one: one.encode("utf-8", "replace")))
    )
    check(folder, name, raw[:start] + put + raw[end:])


@pytest.mark.parametrize("name", sorted({*FILES, *TEXTS}))
@CALM
@given(
    content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda one: one.encode("utf-8", "replace")))
)
def test_any_bytes_are_answered(folder: Path, name: str, content: bytes) -> None:
    check(folder, name, content)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 5000,
        "a: " * 300,
        "{" * 2000 + "}" * 2000,
        "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 30))]),
        "a: &a {b: *a}",
        "? [a]\n: b",
        "? {a: b}\n: c",
        "!!python/object/apply:os.system [ls]",
        "a: !!int x",
        "a: !!timestamp x",
        "a: !!binary x",
        "<<: 1",
        "<<: *none",
        "%YAML 9.9\n---\na: b",
        "null",
        "- a",
        "1",
        "",
        "\ufeff$schema: x",
        "a: \x01",
    ],
)
@pytest.mark.parametrize("name", [BLUE, JOB, "spec.yaml", TABLE])
def test_what_parsers_stumble_over_is_answered(folder: Path, name: str, content: str) -> None:
    check(folder, name, content.encode("utf-8"))


@pytest.mark.parametrize("name", ["a.yml", "Dockerfile", "requirements.txt", "MLTable", "evaluation-config.json"])
@pytest.mark.parametrize("kind", ["pipe", "holes"])
def test_what_is_no_file_of_that_kind_is_told_and_not_read(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.touch()
        os.truncate(path, 1 << 36)
    [found] = validate([path]).findings
    assert found.rule != FAULT
    assert "which is no file" in found.message or "bytes that such a file may have" in found.message


@pytest.mark.parametrize("number", ["0x" + "f" * 4000, "9" * 5000, "1" + ":30" * 3000], ids=["16", "10", "60"])
def test_a_number_of_thousands_of_digits_is_told(folder: Path, number: str) -> None:
    path = folder / "spec.yaml"
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(before.replace("version: 17", f"version: {number}"), encoding="utf-8")
        [found] = validate([path]).findings
    finally:
        path.write_text(before, encoding="utf-8")
    assert "a number of " in found.message and "more than 1,000" in found.message
    assert found.rule == "yaml-syntax" and (found.place.line or 0) > 1


@pytest.mark.parametrize("kind", ["{}", "[]", "1"])
def test_an_inputs_type_may_be_anything(folder: Path, kind: str) -> None:
    text = f"inputs:\n  odd:\n    type: {kind}\n    path: {(folder / JOB).name}\n"
    check(folder, JOB, (folder / JOB).read_bytes().replace(b"inputs:\n", text.encode(), 1))


def test_a_value_that_its_tag_does_not_have_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("x: !!bool maybe\n", encoding="utf-8")
    assert [one.rule for one in validate([tmp_path / "a.yml"]).findings] == ["yaml-value"]


def test_findings_of_a_file_have_an_end(tmp_path: Path) -> None:
    (tmp_path / "asset.yaml").write_text("".join(f"k{n}: 1\n" for n in range(3000)), encoding="utf-8")
    found = validate([tmp_path / "asset.yaml"]).findings
    assert len(found) == MOST + 1
    assert any(one.rule == "too-many" and "2,80" in one.message for one in found)


def test_what_a_file_has_in_a_names_place_is_not_repeated_at_length(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(f"type: pipeline\njobs: {{a: {{type: {'x' * 50_000}}}}}\n", encoding="utf-8")
    found = validate([tmp_path / "a.yml"]).findings
    assert found
    assert max(len(one.message) for one in found) < 1100


def test_a_job_of_a_thousand_unknown_keys_is_refused_in_seconds(folder: Path) -> None:
    keys = "\n".join(f"k{n}: {n}" for n in range(1_000))
    start = time.perf_counter()
    check(folder, JOB, (folder / JOB).read_bytes() + f"\n{keys}\n".encode())
    assert time.perf_counter() - start < 30
