"""A file is there whole or not at all, and nothing is left beside it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tables.disk import whole_file, write_json, write_whole


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "text", "é\n")
    write_whole(tmp_path / "bytes", b"\0")
    assert (tmp_path / "text").read_bytes() == "é\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\0"
    assert sorted(os.listdir(tmp_path)) == ["bytes", "text"]


def test_a_write_that_fails_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    write_whole(path, "old")
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write(b"half of the new")
        assert path.read_text(encoding="utf-8") == "old"
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["answers"]


def test_json_is_for_its_owner_alone_unless_it_is_not(tmp_path: Path) -> None:
    write_json(tmp_path / "keys.json", {"key": "é"})
    write_json(tmp_path / "run.json", [1], mode=0o644)
    assert json.loads((tmp_path / "keys.json").read_bytes()) == {"key": "é"}
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o644


def test_a_file_is_written_in_another_folder_until_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    with whole_file(tmp_path / "answers", unfinished=tmp_path / "parts") as file:
        file.write(b"1")
        assert len(os.listdir(tmp_path / "parts")) == 1
        assert not (tmp_path / "answers").exists()
    assert os.listdir(tmp_path / "parts") == []
    assert (tmp_path / "answers").read_bytes() == b"1"
