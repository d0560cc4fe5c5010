"""A step's processes end together, leave nothing behind, and are told to stop before they are killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asset.local.jobs.step import Launch, StepProcess
from tests.asset.local.jobs.processes import alive, wait_for

QUICK = ((signal.SIGINT, 0.5), (signal.SIGTERM, 0.5))


class Heard:
    """What the processes wrote, by number."""

    def __init__(self) -> None:
        self.bytes: dict[int, bytes] = {}
        self.closed: set[int] = set()

    def __call__(self, rank: int) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        def feed(piece: bytes) -> None:
            self.bytes[rank] = self.bytes.get(rank, b"") + piece

        return feed, lambda: self.closed.add(rank)


def start(command: str, folder: Path, processes: int | None = None, **variables: str) -> tuple[StepProcess, Heard]:
    heard = Heard()
    return StepProcess(Launch(command, folder, os.environ | variables, processes), heard), heard


def test_a_command_runs_in_its_folder_with_its_variables(tmp_path: Path) -> None:
    process, heard = start('echo "$PWD $WHAT"; echo wrong >&2', tmp_path, WHAT="x")
    assert process.wait() == 0
    assert heard.bytes[0].decode() == f"{tmp_path} x\nwrong\n"
    assert heard.closed == {0}


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 3", 3), ("false; echo on", 1), ("false | cat", 1), ("kill -9 $$", 137), ("no-such-x", 127)],
)
def test_a_command_stops_at_the_first_part_that_fails(tmp_path: Path, command: str, status: int) -> None:
    process, heard = start(command, tmp_path)
    assert process.wait() == status
    assert b"on\n" not in heard.bytes.get(0, b"")


def test_what_a_step_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    process, _ = start("sleep 300 & echo $! > pid", tmp_path)
    assert process.wait() == 0
    wait_for(lambda: not alive(int((tmp_path / "pid").read_text(encoding="utf-8"))))


def test_each_process_of_a_distributed_step_finds_its_rank(tmp_path: Path) -> None:
    process, heard = start(
        'echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR ${MASTER_PORT:+port}"', tmp_path, processes=2
    )
    assert process.wait() == 0
    assert heard.bytes == {0: b"0 0 2 127.0.0.1 port\n", 1: b"1 1 2 127.0.0.1 port\n"}


def test_one_process_that_fails_ends_the_others(tmp_path: Path) -> None:
    process, _ = start('[ "$RANK" = 1 ] && exit 4; exec sleep 300', tmp_path, processes=2)
    started = time.monotonic()
    assert process.wait() == 4
    assert time.monotonic() - started < 60
    assert not any(alive(pid) for pid in process.pids)


def test_a_step_may_end_in_order_when_it_is_told(tmp_path: Path) -> None:
    process, heard = start("trap 'echo saved; exit 0' INT; echo up; while true; do sleep 0.05; done", tmp_path)
    wait_for(lambda: heard.bytes)
    process.stop()
    assert heard.bytes[0] == b"up\nsaved\n"


def test_a_step_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    process, heard = start("trap '' INT TERM; echo up; while true; do sleep 0.05; done", tmp_path)
    wait_for(lambda: heard.bytes)
    process.stop(QUICK)
    assert not any(alive(pid) for pid in process.pids)
    assert heard.closed == {0}
