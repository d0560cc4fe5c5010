"""A port that is taken is told, with who has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from asset.checks.doctor.check import Machine
from asset.checks.doctor.processor import holder, port


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, ""), (socket.AF_INET6, "::")])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """Listen on a port: of loopback, of all addresses, and of all addresses of both kinds."""
    family, host = request.param
    try:
        listener = socket.create_server((host, 0), family=family, dualstack_ipv6=family == socket.AF_INET6)
    except (OSError, ValueError):
        pytest.skip("this machine has no IPv6")
    with listener:
        yield listener.getsockname()[1]


def test_who_holds_a_port_is_told(machine: Machine, taken: int) -> None:
    check = port(replace(machine, port=taken, proc=Path("/proc")))
    name = Path("/proc/self/comm").read_text().strip()
    assert check.status == "wrong"
    assert check.found == f"Address already in use, by {name} (pid {os.getpid()})"
    assert check.fix.endswith(f"PORT={taken + 1} make serve") or taken == 65535


def test_a_port_is_taken_also_where_proc_does_not_tell_by_whom(machine: Machine, taken: int) -> None:
    check = port(replace(machine, port=taken))
    assert (check.status, check.found) == ("wrong", "Address already in use")


def test_a_holder_whose_files_cannot_be_read_is_another_user(machine: Machine) -> None:
    (machine.proc / "net").mkdir()
    row = "   0: 0100007F:1389 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1"
    (machine.proc / "net/tcp").write_text(f"  sl  local_address rem_address   st\n{row}\n")
    (machine.proc / "1").mkdir()
    assert holder(machine.proc, 5001) == "a process of another user"
    assert holder(machine.proc, 5002) is None


def test_a_free_port_is_left_free(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    assert port(replace(machine, port=free)).status == "ok"
    socket.create_server(("127.0.0.1", free)).close()
