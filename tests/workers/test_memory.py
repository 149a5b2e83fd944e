"""How much memory a run's process may have, and what holds it there. Real processes that take real memory."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.waiting import wait_for
from workers import memory
from workers.memory import Group

MB = 10**6
HOG = """
import sys
taken = []
print("ready", flush=True)
for line in sys.stdin:
    taken.append(b"x" * int(line))
    print("taken", flush=True)
"""


class Hog:
    """A process that takes as much memory as it is told."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process, self.pid = process, process.pid

    def take(self, count: int) -> str:
        """What it answers: `taken`, or nothing when it died of it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextmanager
def hog(before: str = "") -> Iterator[Hog]:
    program = [sys.executable, "-c", before + HOG]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield Hog(process)
        process.kill()


def test_what_a_process_takes_is_seen_and_so_is_what_it_gives_back_by_ending() -> None:
    with hog() as process:
        before = memory.used(process.pid)
        process.take(100 * MB)
        after = memory.used(process.pid)

    assert 100 * MB <= after - before < 110 * MB
    assert memory.used(process.pid) == 0


def test_what_a_processes_children_take_counts_too() -> None:
    parent = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {'x = bytes(range(256)) * 400_000; input()'!r}])\n"
    with hog(parent) as process:
        wait_for(lambda: memory.used(process.pid) > 100 * MB, what="the child to take a hundred megabytes")

        own = psutil.Process(process.pid).memory_info()

        assert memory.used(process.pid) - (own.rss - own.shared) > 90 * MB
        for child in psutil.Process(process.pid).children():
            child.kill()


def test_what_a_runs_processes_take_counts_together() -> None:
    with hog() as first, hog() as second:
        before = memory.used(first.pid, second.pid)
        first.take(60 * MB)
        second.take(70 * MB)

        assert 130 * MB <= memory.used(first.pid, second.pid) - before < 150 * MB


def test_runs_share_a_worker_equally_and_an_operator_may_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STILLHOUSE_RUN_MEMORY", raising=False)
    alone, fourth = memory.allowed(1), memory.allowed(4)
    monkeypatch.setenv("STILLHOUSE_RUN_MEMORY", "2.5e9")

    assert fourth == alone // 4
    assert 0 < alone < psutil.virtual_memory().total
    assert memory.allowed(4) == 2_500_000_000


def test_beyond_the_limit_an_allocation_fails_in_the_process_that_asks_for_it() -> None:
    limit = f"from workers.memory import limit_own_data\nlimit_own_data({100 * MB})\n"
    with hog(limit) as process:
        assert process.take(200 * MB) == "taken"

        assert process.take(memory.SLACK) == ""
        assert process.process.wait(10) == 1


def test_a_child_in_a_group_of_its_own_is_ended_by_the_kernel_and_nobody_else_is() -> None:
    with hog() as process, hog() as neighbor:
        group = Group.for_processes([process.pid], 100 * MB)
        if group is None:  # this account may make none: then no folder can be made there either
            with pytest.raises(OSError, match=r"(?i)permission|read-only|no such file"):
                (memory._own_groups()[0][0] / "stillhouse-probe").mkdir()
            return

        assert process.take(400 * MB) == ""

        assert process.process.wait(10) == -signal.SIGKILL
        assert group.killed()
        assert neighbor.take(200 * MB) == "taken"
        group.remove()
        assert not group._folder.exists()


def test_the_processes_of_a_run_share_the_room_of_their_group() -> None:
    with hog() as first, hog() as second:
        group = Group.for_processes([first.pid, second.pid], 100 * MB)
        if group is None:  # told apart above
            return
        first.take(60 * MB)
        second.take(60 * MB)

        wait_for(group.killed, what="the kernel to end one of them")
        for each in (first, second):
            each.process.kill()
            each.process.wait()
        group.remove()


def test_a_group_whose_child_ended_by_itself_says_so() -> None:
    with hog() as process:
        group = Group.for_processes([process.pid], 100 * MB)

        process.take(1 * MB)
        process.process.kill()
        process.process.wait()

        assert group is None or not group.killed()
        if group is not None:
            group.remove()
