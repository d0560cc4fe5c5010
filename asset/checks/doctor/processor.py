"""Python, the CPU, the compiler, the GPU and the port: which precision and engine will serve on this machine."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import tomllib

import psutil
from packaging.specifiers import SpecifierSet

from asset.checks.doctor.check import Machine, note, ok, wrong
from asset.findings import Finding
from serving.engine.machine import has_int8_products, usable_cpus
from serving.native import library

FLAGS = ("avx2", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
"""The flags of a CPU that are shown: vectors, int8 products, bf16."""

SLOWER = "5 to 12 times as long as int8 takes (docs/benchmark.md)"


def python(machine: Machine) -> Finding:
    """Compare the running Python with the versions that pyproject.toml allows."""
    declared = tomllib.loads((machine.root / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = declared["project"]["requires-python"]
    found = ".".join(map(str, machine.python))
    if SpecifierSet(wanted).contains(found):
        return ok("python", found)
    return wrong("python", wanted, found, "install 3.11 or 3.12 and name it: make PYTHON=/path/to/python3.12 score")


def instructions(machine: Machine) -> Finding:
    """Say which instructions the CPU has, and which precision and engine serving takes with them."""
    flags = machine.flags
    shown = ", ".join(name for name in FLAGS if name in flags)
    if not flags:
        fix = "look up the CPU; without instructions for int8, serving takes fp32, which is slower"
        return note("cpu instructions", "Linux lists none", fix)
    precision, engine = served_by(machine)
    found = f"{shown or 'none of ' + ', '.join(FLAGS)}; serving takes {precision} on {engine}"
    if machine.settings.precision not in ("auto", precision):
        fix = "fp16 is for GPUs: set BERT_SERVING_PRECISION to auto"
        return note("cpu instructions", found, fix)
    if has_int8_products(machine.proc / "cpuinfo"):
        return ok("cpu instructions", found)
    if precision == "int8":
        fix = "set BERT_SERVING_PRECISION to auto: without these instructions int8 is slower than fp32"
        return note("cpu instructions", found, fix)
    fix = (
        f"nothing to do: fp32 works and takes {SLOWER}; Intel CPUs since Cascade Lake and AMD CPUs since Zen 4 have "
        "instructions for int8"
    )
    return note("cpu instructions", found, fix)


def served_by(machine: Machine) -> tuple[str, str]:
    """Return the precision and the engine that serving.engine.backend takes here, for a model that the kernels can run."""
    settings = machine.settings
    fast = has_int8_products(machine.proc / "cpuinfo")
    precision = "int8" if settings.precision == "int8" or (settings.precision == "auto" and fast) else "fp32"
    target = kernels(machine)
    if precision == "int8" and settings.engine != "onnxruntime" and target is not None:
        return precision, f"our own kernels ({target.name})"
    return precision, "ONNX Runtime"


def kernels(machine: Machine) -> library.Target | None:
    """Return the best kernels for this CPU; None if it can run none."""
    flags = machine.flags
    return next((target for target in library.TARGETS if target.needs <= flags), None)


def compiler(machine: Machine) -> Finding:
    """Check that the kernels are built or can be built."""
    target = kernels(machine)
    forced = machine.settings.engine == "native"
    if target is None and forced:
        expected = "a CPU that has them, as BERT_SERVING_ENGINE is native"
        return wrong("kernels", expected, "none for this CPU", "set BERT_SERVING_ENGINE to auto")
    if target is None:
        return ok("kernels", "none for this CPU; ONNX Runtime serves")
    if library.kept(target):
        return ok("kernels", f"{target.name}, built")
    command = library.find_compiler(machine.environ)
    program = shlex.split(command)[0] if command else None
    if program and shutil.which(program, path=machine.environ.get("PATH")):
        return ok("kernels", f"{command}; the first start builds them ({target.name})")
    found = f"neither built nor a C compiler to build them (CC is {command or 'not set'})"
    fix = "install gcc, or correct CC"
    if forced:
        return wrong("kernels", "the kernels for this CPU, as BERT_SERVING_ENGINE is native", found, fix)
    return note("kernels", found, f"{fix}; until then ONNX Runtime serves, slower")


def cpus(machine: Machine) -> Finding:
    """Compare the CPUs that this process may use with the number of threads in the settings."""
    limits = (machine.cgroup / "cpu.max", machine.cgroup / "cpu/cpu.cfs_quota_us")
    usable, free = usable_cpus(limits), usable_cpus((machine.cgroup / "none", machine.cgroup / "none"))
    threads = machine.settings.threads
    found = f"{usable}" + (f" of {free}: the container's quota (cpu.max)" if usable < free else "")
    if threads > usable:
        fix = "set BERT_SERVING_THREADS to 0, which takes as many threads as CPUs may be used"
        return note("cpus", f"{found}; the {threads} threads of BERT_SERVING_THREADS wait for each other", fix)
    return ok("cpus", found)


def gpu(machine: Machine) -> Finding:
    """Say if there is an NVIDIA driver and if serving would use it; no GPU is tried."""
    name = "gpu"
    driver = (machine.proc / "driver/nvidia/version").exists()
    if driver:
        fix = "`make serve GPU=1` serves with it, once .venv/serving-gpu is set up"
        return note(name, "there is an NVIDIA driver; .venv/serving does not use the GPU", fix)
    if machine.settings.device == "cuda":
        return note(name, "there is no NVIDIA driver: the CPU will serve", "unset BERT_SERVING_DEVICE")
    return ok(name, "none")


def port(machine: Machine) -> Finding:
    """Check that a server can listen on the port of 127.0.0.1, as `make serve` does."""
    name, expected = "port", f"port {machine.port} of 127.0.0.1 to be free"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", machine.port))
            listener.listen(1)
        except OSError as exc:
            who = holder(machine.port)
            found = f"{exc.strerror}{', by ' + who if who else ''}"
            return wrong(
                name, expected, found, f"end it, or take another port: PORT={machine.port % 65535 + 1} make serve"
            )
    return ok(name, "free")


def holder(port: int) -> str | None:
    """Return the process that listens on a port, such as "python3 (pid 4711)"; None if the system does not list it.

    The process's arguments are left out: passwords may stand there.
    """
    listening = [
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    ]
    for pid in filter(None, listening):
        with contextlib.suppress(psutil.NoSuchProcess):
            return f"{psutil.Process(pid).name()} (pid {pid})"
    return "a process of another user" if listening else None
