"""Several devices: one process each, started by torchrun or by a worker. Each takes its share of every batch; `Method.prepare` averages their gradients.

The main process, that of rank 0, alone emits, judges, writes files, and decides when to stop. The others only train along.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed

from engine.errors import SpecError


@dataclass(frozen=True)
class ProcessGroup:
    """This process's place among those of the run. `control` carries decisions between their CPUs."""

    rank: int = 0
    size: int = 1
    control: "distributed.ProcessGroup | None" = None

    @property
    def is_main_process(self) -> bool:
        """Whether this process emits, judges and writes files."""
        return self.rank == 0

    def broadcast(self, decision: bool) -> bool:
        """The main process's decision, in every process. Each must call this in the same step."""
        if self.size == 1:
            return decision
        sent = torch.tensor(decision)
        distributed.broadcast(sent, src=0, group=self.control)
        return bool(sent)


def is_main_process() -> bool:
    """Whether this process emits, judges and writes files: it is alone, or the first of its process group."""
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def process_group_of(devices: int) -> ProcessGroup:
    """The process group of the run. Raises SpecError when it has not as many processes as the run asks for devices."""
    joined = distributed.is_available() and distributed.is_initialized()
    size = distributed.get_world_size() if joined else 1
    if size != devices:
        command = f"torchrun --nproc-per-node {devices} -m engine run" if devices > 1 else "python -m engine run"
        raise SpecError.at(
            "devices", f"the run asks for {devices}, but {size} {'process was' if size == 1 else 'processes were'} started; use {command}."
        )
    return ProcessGroup(distributed.get_rank(), size, distributed.new_group(backend="gloo")) if size > 1 else ProcessGroup()


@contextmanager
def joined_process_group() -> Iterator[None]:
    """Joins the processes that torchrun, or a worker, started beside this one, if any, for the time inside."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()
