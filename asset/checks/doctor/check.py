"""What the doctor's checks look at, and the findings that they give: a finding's rule is the name of its check.

ValueError
└── NothingToCheckError    the file is missing or is not a deployment's; nothing was checked
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asset.environments import ROOT
from asset.findings import ERROR, NOTE, NOWHERE, OK, Finding
from asset.local.server import SERVE_PORT
from serving.engine.machine import cpu_flags
from serving.errors import SettingsError
from serving.settings import Settings


class NothingToCheckError(ValueError):
    """The file is missing or is not a deployment's."""


def ok(name: str, found: str) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(NOWHERE, found, rule=name, severity=OK)


def note(name: str, found: str, fix: str) -> Finding:
    """Return a finding about something that works and is worth knowing."""
    return Finding(NOWHERE, found, fix, name, NOTE)


def wrong(name: str, expected: str, found: str, fix: str) -> Finding:
    """Return a finding about something that fails, or does something else than is meant."""
    return Finding(NOWHERE, f"{found}; expected {expected}", fix, name, ERROR)


@dataclass(frozen=True)
class Machine:
    """A machine and a checkout on it.

    `proc` and `cgroup` are the folders /proc and /sys/fs/cgroup; a server would listen on `port` of 127.0.0.1.
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
        """Return the CPU's flags that Linux lists; none if it lists none."""
        return cpu_flags(self.proc / "cpuinfo")

    @property
    def settings(self) -> Settings:
        """Return the settings of serving; the defaults if the settings are wrong, which another check says."""
        try:
            return Settings.from_env(self.environ)
        except SettingsError:
            return Settings()
