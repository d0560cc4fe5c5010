"""What a check found, and the errors of the doctor itself.

ValueError
└── NothingToCheckError    what was asked for cannot be looked at; the message says expected, found and what to do

What the checks look at: a checkout, the variables of the environment, and where Linux tells about itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from asset.environments import ROOT
from asset.local.server import SERVE_PORT
from serving.engine.machine import cpu_flags
from serving.errors import SettingsError
from serving.settings import Settings

Status = Literal["ok", "note", "wrong"]


class NothingToCheckError(ValueError):
    """What was asked for cannot be looked at."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    A note is what works, and is worth to know; what is wrong will fail, or do something else than is meant. Of both,
    `fix` says what to do.
    """

    name: str
    status: Status
    expected: str
    found: str
    fix: str = ""


def ok(name: str, expected: str, found: str) -> Check:
    """Return that all is well."""
    return Check(name, "ok", expected, found)


def note(name: str, expected: str, found: str, fix: str) -> Check:
    """Return what works, and is worth to know."""
    return Check(name, "note", expected, found, fix)


def wrong(name: str, expected: str, found: str, fix: str) -> Check:
    """Return what will not work."""
    return Check(name, "wrong", expected, found, fix)


@dataclass(frozen=True)
class Machine:
    """A machine and a checkout on it.

    `proc` and `cgroup` are where /proc and /sys/fs/cgroup are; `port` of 127.0.0.1 is where a server would listen.
    """

    root: Path = ROOT
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    python: tuple[int, ...] = sys.version_info[:3]
    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")
    port: int = SERVE_PORT
    home: Path = field(default_factory=Path.home)

    @property
    def flags(self) -> frozenset[str]:
        """Return what the CPU can do, as Linux lists it; nothing where it does not."""
        return cpu_flags(self.proc / "cpuinfo")

    @property
    def settings(self) -> Settings:
        """Return the settings that serving would have; the defaults where they are wrong, which has a check of its own."""
        try:
            return Settings.from_env(self.environ)
        except SettingsError:
            return Settings()
