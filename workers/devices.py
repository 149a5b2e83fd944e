"""What this worker has to offer: CPU slots and GPUs. The pool is the semaphore: a run is claimed only while what it asks for is free.

GPUs are asked about through `nvidia-smi` and not through torch: any call of CUDA in this process would create a context that takes GPU
memory for as long as the worker lives.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from webapp.runs.doorbell import DeviceKind
from workers import memory

FREE_SHARE = 0.8
"""A GPU is offered only while this share of its memory is free: somebody else may be using it."""


@dataclass(frozen=True)
class Gpu:
    """One GPU by its UUID, which, unlike its index, means the same in each process."""

    uuid: str
    name: str
    free_share: float
    memory_bytes: int = 0

    @property
    def free_bytes(self) -> int:
        return round(self.free_share * self.memory_bytes)


@dataclass(frozen=True)
class Share:
    """What one run gets."""

    kind: DeviceKind
    gpus: tuple[Gpu, ...]
    threads: int
    memory: int
    """Bytes of main memory."""

    @property
    def room(self) -> int:
        """Bytes of the memory in which the run's networks lie: of one GPU, or of main memory."""
        return min((gpu.memory_bytes for gpu in self.gpus), default=self.memory)

    @property
    def name(self) -> str:
        """What people read on the run's page."""
        if not self.gpus:
            return f"CPU, {self.threads} thread{'s' * (self.threads > 1)}"
        return ", ".join(gpu.name for gpu in self.gpus)

    @property
    def environment(self) -> dict[str, str]:
        """What the child sets before CUDA is first used. A run on the CPU sees no GPU."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(gpu.uuid for gpu in self.gpus)}


class Pool:
    """CPU slots and GPUs of this process. Thread-safe."""

    def __init__(self, *, cpu_slots: int, gpus: tuple[Gpu, ...], cores: int) -> None:
        self.cpu_slots, self.gpus = cpu_slots, gpus
        self.size = cpu_slots + len(gpus)
        self.kinds: tuple[DeviceKind, ...] = (*(("cpu",) if cpu_slots else ()), *(("cuda",) if gpus else ()))
        self._threads = max(1, cores // max(1, self.size))
        self.run_memory = memory.allowed(self.size)
        self._free_slots = cpu_slots
        self._free_gpus = list(gpus)
        self._lock = threading.Lock()

    @contextmanager
    def choosing(self) -> Iterator[Mapping[DeviceKind, int]]:
        """How many devices of each kind are free, while nobody else may take any. Asks the GPUs for their memory."""
        with self._lock:
            yield {"cpu": self._free_slots, "cuda": len(self._usable_gpus())}

    def take(self, kind: DeviceKind, count: int) -> Share:
        """Called while choosing."""
        if kind == "cpu":
            assert self._free_slots >= 1, "a CPU slot was taken that nobody had"
            self._free_slots -= 1
            return Share("cpu", (), self._threads, self.run_memory)
        chosen = tuple(self._usable_gpus()[:count])
        assert len(chosen) == count, f"{count} GPUs were taken of {len(chosen)}"
        self._free_gpus = [gpu for gpu in self._free_gpus if gpu not in chosen]
        return Share("cuda", chosen, self._threads * count, self.run_memory)

    def give_back(self, share: Share) -> None:
        with self._lock:
            if share.kind == "cpu":
                self._free_slots += 1
            self._free_gpus.extend(share.gpus)

    def has_room(self) -> bool:
        with self._lock:
            return self._free_slots > 0 or bool(self._free_gpus)

    def _usable_gpus(self) -> list[Gpu]:
        if not self._free_gpus:
            return []
        free = {gpu.uuid for gpu in list_gpus() if gpu.free_share >= FREE_SHARE}
        return [gpu for gpu in self._free_gpus if gpu.uuid in free]


def list_gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may use, with how much of their memory is free; none where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=index,uuid,name,memory.free,memory.total", "--format=csv,noheader,nounits"]
    listed = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    if listed.returncode != 0:
        return ()
    return parse_gpus(listed.stdout, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))


def parse_gpus(table: str, *, visible: str | None) -> tuple[Gpu, ...]:
    """GPUs from nvidia-smi's lines `index, uuid, name, free MiB, total MiB`; `visible` is CUDA_VISIBLE_DEVICES (None: all)."""
    gpus = []
    allowed = None if visible is None else {word.strip() for word in visible.split(",")}
    for line in table.splitlines():
        index, uuid, name, free, total = (word.strip() for word in line.split(","))
        if allowed is None or index in allowed or uuid in allowed:
            gpus.append(Gpu(uuid, name, float(free) / float(total), round(float(total) * 2**20)))
    return tuple(gpus)


def _own_pool() -> Pool:
    cores = len(os.sched_getaffinity(0))
    slots = int(os.environ.get("STILLHOUSE_CPU_SLOTS", min(4, cores)))
    return Pool(cpu_slots=slots, gpus=list_gpus(), cores=cores)


POOL = _own_pool()
"""This process's devices."""
