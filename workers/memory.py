"""How much memory a run's process may have, and what holds it there.

A control group of its own, where this process may make one: then the kernel ends the child alone, whatever it does. Elsewhere a limit on the
child's data, which its allocations run into, and the supervisor, which looks at what it uses. The former is for runs on the CPU only: CUDA
reserves far more addresses than it uses.
"""

import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

SHARE = 0.9
"""Of a machine's memory, for all runs of a worker together; the rest is the worker's own and the system's."""

SLACK = 2 * 10**9
"""Bytes of data beyond the limit after which an allocation fails: what was reserved and not used counts there, and not for the supervisor."""

GROUPS = Path("/sys/fs/cgroup")


def allowed(runs_at_once: int) -> int:
    """Bytes that one run may have: STILLHOUSE_RUN_MEMORY, else an equal share of what this process may use of the machine."""
    given = os.environ.get("STILLHOUSE_RUN_MEMORY")
    return int(float(given)) if given else int(SHARE * available()) // max(1, runs_at_once)


def available() -> int:
    """Bytes of memory that this process and its children may use: the machine's, or its control group's where that has less."""
    limits = [psutil.virtual_memory().total]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int((GROUPS / name).read_text()))
    return min(limits)


def used(*pids: int) -> int:
    """Bytes that the processes and their children have for themselves alone; what they share with others, such as code, does not count."""
    total = 0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for each in [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    info = each.memory_info()
                    total += info.rss - info.shared
    return total


def limit_own_data(limit: int) -> None:
    """Called in the child: its allocations fail a little beyond the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = limit + SLACK
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


class Group:
    """A control group with one run's processes in it. Version 2 where the machine has it, else version 1."""

    def __init__(self, folder: Path, *, limit_file: str, events_file: str) -> None:
        self._folder, self._limit_file, self._events = folder, limit_file, folder / events_file

    @classmethod
    def for_processes(cls, pids: Sequence[int], limit: int) -> Self | None:
        """A new group below this process's own with the processes in it; None where this process may not make one."""
        for parent, limit_file, events_file in _own_groups():
            group = cls(parent / f"stillhouse-{pids[0]}", limit_file=limit_file, events_file=events_file)
            if group._hold(pids, limit):
                return group
        return None

    def killed(self) -> bool:
        """Whether the kernel ended a process of the group because it was full."""
        with suppress(OSError):
            words = [line.split() for line in self._events.read_text().splitlines()]
            return any(word == "oom_kill" and int(count) > 0 for word, count in words)
        return False

    def remove(self) -> None:
        """Once its processes have ended."""
        with suppress(OSError):
            self._folder.rmdir()

    def _hold(self, pids: Sequence[int], limit: int) -> bool:
        try:
            self._folder.mkdir()
            (self._folder / self._limit_file).write_text(str(limit))
            for pid in pids:
                (self._folder / "cgroup.procs").write_text(str(pid))
        except OSError:
            self.remove()
            return False
        return True


def _own_groups() -> list[tuple[Path, str, str]]:
    """Folders of this process's control groups for memory, each with the names of its files for the limit and for what happened."""
    groups = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            below = path.lstrip("/")
            if not controllers:
                groups.append((GROUPS / below, "memory.max", "memory.events"))
            elif "memory" in controllers.split(","):
                groups.append((GROUPS / "memory" / below, "memory.limit_in_bytes", "memory.oom_control"))
    return groups
