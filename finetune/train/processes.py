"""How a training run uses this machine: its processes, their threads and memory, and the number format.

The rank of a process is the one that torchrun, Azure ML or the local runner set.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
from torch import distributed

from finetune.errors import FinetuneError
from serving.engine.machine import usable_cpus

NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The environment variables that each of several processes needs."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Processes:
    """The rank of this process, overall and on its machine, and the number of processes of each."""

    rank: int = 0
    local_rank: int = 0
    count: int = 1
    local_count: int = 1

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Processes:
        """Read the environment; without these variables, the process is alone. Raises FinetuneError if some are missing.

        Azure ML may leave LOCAL_WORLD_SIZE out; its AZUREML_NODE_COUNT is the number of machines.
        """
        if "WORLD_SIZE" not in environ and "RANK" not in environ:
            return cls()
        try:
            rank, local_rank, count = (int(environ[name]) for name in NAMES[:3])
            nodes = int(environ.get("AZUREML_NODE_COUNT", "1"))
            local_count = int(environ.get("LOCAL_WORLD_SIZE", max(1, count // nodes)))
        except (KeyError, ValueError, ZeroDivisionError) as exc:
            raise FinetuneError(
                f"environment: expected numbers in {', '.join(NAMES[:3])}, found: {exc}; start it with torchrun, or "
                "unset them to train in one process"
            ) from exc
        missing = [name for name in NAMES[3:] if count > 1 and not environ.get(name)]
        if missing or not 0 <= rank < count or not 0 <= local_rank < local_count <= count:
            raise FinetuneError(
                f"environment: expected {', '.join(NAMES)} of one of several processes, found rank {rank} of {count}, "
                f"local rank {local_rank} of {local_count}" + (f" and no {', '.join(missing)}" if missing else "")
            )
        return cls(rank, local_rank, count, local_count)

    @property
    def first(self) -> bool:
        """True if this process writes the files and the messages."""
        return self.rank == 0

    def set_up(self, environ: MutableMapping[str, str], deepspeed: bool) -> None:
        """Share the CPUs between the processes of this machine, and connect with the others.

        DeepSpeed reads the addresses from the environment, even if there is only one process.
        """
        torch.set_num_threads(self._threads(environ))
        if deepspeed:
            environ["LOCAL_WORLD_SIZE"] = str(self.local_count)
            if self.count == 1:
                environ.update(
                    RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port()
                )
        if self.count == 1:
            return
        if torch.cuda.is_available():
            torch.cuda.set_device(self.local_rank)
        distributed.init_process_group(backend(), timeout=timedelta(hours=1))

    def _threads(self, environ: Mapping[str, str]) -> int:
        """Return the user's OMP_NUM_THREADS, else this process's share of the CPUs; torchrun's default of 1 does not count."""
        wanted = environ.get("OMP_NUM_THREADS", "")
        if wanted.isdecimal() and int(wanted) and "TORCHELASTIC_RUN_ID" not in environ:
            return int(wanted)
        return max(1, usable_cpus() // self.local_count)

    def agree(self, find: Callable[[], Found]) -> Found:
        """Call `find` in the first process, and return its result, or raise its FinetuneError, in every process."""
        found: list[Found | FinetuneError | None] = [None]
        if self.first:
            try:
                found[0] = find()
            except FinetuneError as exc:
                found[0] = exc
        if self.count > 1:
            distributed.broadcast_object_list(found)
        if isinstance(found[0], FinetuneError):
            raise found[0]
        return found[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()


def backend() -> str:
    """The backend through which the processes communicate."""
    return "nccl" if torch.cuda.is_available() else "gloo"


def free_port() -> str:
    """Return a free port of this machine; DeepSpeed needs one even for a single process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def keep_freed_memory() -> None:
    """Make glibc reuse the large buffers of a step instead of returning them to the system: a fifth off a CPU step."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**29)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(parameter, value)


Precision = Literal["fp32", "bf16", "fp16"]


def has_bf16() -> bool:
    """Return whether this machine computes in bf16; an AVX-512 CPU without it only imitates bf16, slower than fp32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def precision_of(bits: int) -> Precision:
    """Return the format of so many bits on this machine; raises FinetuneError for 16 bits if the machine has no such format."""
    if bits == 32:
        return "fp32"
    if has_bf16():
        return "bf16"
    if torch.cuda.is_available():
        return "fp16"
    raise FinetuneError("precision 16: expected a GPU or a CPU with bf16, found neither; set precision to 32")
