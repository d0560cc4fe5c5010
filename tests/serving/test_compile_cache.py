"""What is kept of a compilation survives damage, kills and other processes that compile at the same time."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import serving.engine.compile
from serving.answering.text_classification import Pair, TextClassification
from serving.engine.compile import compiled
from serving.engine.compile_cache import UNFINISHED, Entry
from serving.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(sharp_classifier: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharp_classifier, tmp_path / "model", ignore=shutil.ignore_patterns(".compiled")))


def made(entry: Entry, place: Path, content: bytes) -> Path:
    with entry.kept(place) as file:
        file.file.write_bytes(content)
    return file.file


@given(content=st.binary(min_size=1, max_size=200), where=st.integers(0), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_file_is_not_taken_and_the_next_one_stands_in_for_it(
    content: bytes, where: int, bit: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place, entry, other = tmp_path_factory.mktemp("cache"), Entry("int8-12", "onnx"), Entry("fp32-12", "onnx")
    beside, kept = made(other, place, b"another model"), made(entry, place, content)
    assert entry.found(place) == kept
    where %= len(content)
    flipped = content[:where] + bytes([content[where] ^ 1 << bit]) + content[where + 1 :]
    kept.write_bytes(content[:where] if cut else flipped)
    assert entry.found(place) is None
    assert made(entry, place, content) == kept
    assert entry.found(place) == kept
    assert sorted(place.iterdir()) == sorted([beside, kept])


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_graph_is_compiled_anew_and_answers_as_before(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(precision="fp32")
    expected = TextClassification.load(folder, settings=settings).classify([Pair("the red cat")], None)
    [kept] = (folder / ".compiled").iterdir()
    content = bytearray(kept.read_bytes())
    content[len(content) * 3 // 4] ^= 0x40  # in the weights, where the engine itself sees nothing wrong
    kept.write_bytes({"cut": content[:-1000], "flipped": bytes(content), "empty": b""}[damage])
    assert TextClassification.load(folder, settings=settings).classify([Pair("the red cat")], None) == expected
    assert f"{kept} is not used and the model is compiled again" in caplog.text
    assert [path.name for path in (folder / ".compiled").iterdir()] == [kept.name]


def test_damage_where_nothing_can_be_written_is_made_good_in_the_users_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = compiled(folder, "fp32")
    assert isinstance(kept, Path)
    kept.write_bytes(b"")
    really = os.open

    def read_only(path: object, flags: int, *args: object, **more: object) -> int:
        if Path(str(path)) == kept.parent:
            raise OSError(30, "Read-only file system")
        return really(path, flags, *args, **more)

    monkeypatch.setattr(os, "open", read_only)
    again = compiled(folder, "fp32")
    assert again == tmp_path / "cache/bert-serving" / kept.name
    assert compiled(folder, "fp32") == again


def test_what_killed_processes_left_goes_and_what_others_still_write_stays(tmp_path: Path) -> None:
    entry, left = Entry("int8-12", "onnx"), tmp_path / f"{UNFINISHED}abc"
    left.mkdir()
    (left / "half").write_bytes(b"half")
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_SH)
    made(entry, tmp_path, b"one")
    assert (left / "half").exists()
    os.close(other)
    made(entry, tmp_path, b"one")
    assert [path.name.partition(".")[0] for path in tmp_path.iterdir()] == ["int8-12"]


COMPILE = [sys.executable, "-m", "serving.engine.compile", "--precision", "fp32"]

SLOW = """
import runpy, sys, time
import serving.engine.compile_cache as cache
written = sys.argv.pop()
def slow(*arguments):
    open(written, "w").close()
    time.sleep(60)
cache.Entry._named = slow
runpy.run_module("serving.engine.compile", run_name="__main__")
"""


def test_two_processes_at_once_make_one_whole_file(folder: Path) -> None:
    both = [
        subprocess.Popen([*COMPILE, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert [str(path) for path in (folder / ".compiled").iterdir()] == [said[0][0].strip()]
    assert compiled(folder, "fp32") == Path(said[0][0].strip())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_compilation_that_is_stopped_leaves_nothing_or_the_next_one_removes_it(
    folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    written = tmp_path / "written"
    command = [sys.executable, "-c", SLOW, "--precision", "fp32", str(folder), str(written)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not written.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    left = list((folder / ".compiled").iterdir())
    if number == signal.SIGKILL:
        assert [path.name.startswith(UNFINISHED) for path in left] == [True]
    else:
        assert (process.returncode, left) == (130, [])
        assert errors.splitlines()[-1] == "compile: interrupted; no file is left"
        assert "Traceback" not in errors
    kept = serving.engine.compile.compiled(folder, "fp32")
    assert list((folder / ".compiled").iterdir()) == [kept]
