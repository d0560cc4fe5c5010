"""Build the kernels with the machine's C compiler, once, and load them.

    python -m serving.native.library

builds the kernels for every kind of CPU ahead of time, for an image whose machines have no compiler.

A library is code, so it is only loaded from folders that this user alone can write: beside the source, or the user's
cache. It is never loaded from a model folder.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from serving.engine.machine import cpu_flags
from serving.model.trust import is_ours

logger = logging.getLogger("serving.native")

SOURCE = Path(__file__).parent
BUILD_SECONDS = 120.0

_FLAGS = "-O3 -std=gnu11 -shared -fPIC -pthread -mfma -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
_VNNI = {"fma", "bmi2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}


class Target(NamedTuple):
    """A kind of CPU: the flags that /proc/cpuinfo must list, and the compiler's options."""

    name: str
    needs: frozenset[str]
    options: tuple[str, ...]


TARGETS = (
    Target(
        "amx",
        frozenset(_VNNI | {"amx_tile", "amx_int8", "amx_bf16", "avx512_bf16"}),
        (*_FLAGS.split(), "-mavx512bf16", "-mamx-tile", "-mamx-int8", "-mamx-bf16"),
    ),
    Target("vnni", frozenset(_VNNI), tuple(_FLAGS.split())),
)
"""Best first: Intel from Sapphire Rapids (2023) on; Intel from Cascade Lake (2019) and AMD from Zen 4 (2022) on."""


class NotAvailable(Exception):  # noqa: N818 - not an error: another engine serves
    """The kernels cannot be used here; the message says why and what would help."""


@functools.cache
def load() -> ctypes.CDLL:
    """Return the library for this CPU, building it if needed; raises NotAvailable."""
    reasons = []
    for target in TARGETS:
        missing = sorted(target.needs - cpu_flags())
        if missing:
            reasons.append(f"this CPU has no {missing[0]}")
            continue
        try:
            library = _declare(ctypes.CDLL(str(built(target))))
        except OSError as exc:
            reasons.append(f"{target.name} cannot be loaded: {exc}")
        except NotAvailable as exc:
            reasons.append(str(exc))
        else:
            if library.cpu_ready():
                return library
            reasons.append("the system does not let this process use AMX")
    raise NotAvailable("; ".join(dict.fromkeys(reasons)))


def built(target: Target) -> Path:
    """Return the library of a target, building it if needed; raises NotAvailable."""
    name = _file_name(target)
    library = kept(target)
    if library is not None:
        return library
    for place in _places():
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=place) as folder:
                made = Path(folder) / name
                _compile(target, made)
                made.replace(place / name)
        except OSError as exc:
            logger.info("cannot keep the kernels in %s: %s", place, exc.strerror)
        else:
            return place / name
    raise NotAvailable("no folder to keep the kernels in can be written to; set XDG_CACHE_HOME to a folder that can")


def kept(target: Target) -> Path | None:
    """Return the library of a target if it was built before, else None."""
    return next(filter(is_ours, (place / _file_name(target) for place in _places())), None)


def find_compiler(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the command that compiles C: CC, else a compiler on the PATH; None if there is none."""
    search = environ.get("PATH", os.defpath)
    return environ.get("CC") or next(
        filter(None, (shutil.which(name, path=search) for name in ("cc", "gcc", "clang"))), None
    )


def _compile(target: Target, to: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        raise NotAvailable("there is no C compiler to build the kernels with; install gcc")
    logger.info("building the %s kernels with %s, once", target.name, compiler)
    command = [*shlex.split(compiler), *target.options, "-o", str(to), str(SOURCE / "bert.c"), "-lm"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_SECONDS)
    except subprocess.CalledProcessError as exc:
        lines = exc.stderr.strip().splitlines() or ["no message"]
        raise NotAvailable(f"{compiler} cannot build the {target.name} kernels: {lines[0]}") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotAvailable(f"{compiler} cannot be run: {exc}") from exc


def _places() -> list[Path]:
    return [SOURCE / ".built", *_cache_dir()]


def _file_name(target: Target) -> str:
    return f"{target.name}-{_source_hash(target)}.so"


def _source_hash(target: Target) -> str:
    digest = hashlib.sha256(" ".join(target.options).encode())
    for path in sorted([*SOURCE.glob("*.c"), *SOURCE.glob("*.h")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _cache_dir() -> list[Path]:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [Path(cache) / "bert-serving" / "native"] if os.path.isabs(cache) else []


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer = ctypes.c_void_p
    library.engine_open.argtypes, library.engine_open.restype = [pointer, ctypes.c_int], pointer
    library.engine_run.argtypes, library.engine_run.restype = [pointer, pointer], ctypes.c_int
    library.engine_close.argtypes, library.engine_close.restype = [pointer], None
    return library


def main() -> int:
    """Build the kernels of every target and print their paths; exit with status 1 and one line if that fails."""
    try:
        for target in TARGETS:
            sys.stdout.write(f"{built(target)}\n")
    except NotAvailable as exc:
        sys.stderr.write(f"kernels: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
