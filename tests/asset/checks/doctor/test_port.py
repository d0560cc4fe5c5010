"""A port that is taken is told, with who has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
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
    check = port(replace(machine, port=taken))
    name = Path("/proc/self/comm").read_text().strip()
    assert check.severity == "error"
    assert check.message.startswith(f"Address already in use, by {name} (pid {os.getpid()}); ")
    assert check.fix.endswith(f"PORT={taken + 1} make serve") or taken == 65535


def test_a_port_is_taken_also_if_the_system_does_not_list_it(
    machine: Machine, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [])
    check = port(replace(machine, port=taken))
    assert (check.severity, check.message.split("; expected ")[0]) == ("error", "Address already in use")


def test_a_holder_that_cannot_be_looked_into_is_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    listening = SimpleNamespace(status=psutil.CONN_LISTEN, laddr=SimpleNamespace(port=5001), pid=None)
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [listening])
    assert holder(5001) == "a process of another user"
    assert holder(5002) is None


def test_a_free_port_is_left_free(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    assert port(replace(machine, port=free)).severity == "ok"
    socket.create_server(("127.0.0.1", free)).close()
