"""What the fault tests share: short leases, and programs that are stopped when the test ends."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import processes
from tests.processes import Program
from tests.waiting import wait_for

Start = Callable[[Program], Program]
StartWith = Callable[..., Program]


@pytest.fixture
def environment(process_environment: dict[str, str]) -> dict[str, str]:
    """Seconds, not minutes, until a loss is noticed."""
    return process_environment | {
        "STILLHOUSE_LEASE_SECONDS": "3",
        "STILLHOUSE_SILENT_SECONDS": "1.5",
        "STILLHOUSE_HEARTBEAT_SECONDS": "0.3",
        "STILLHOUSE_WATCHDOG_SECONDS": "0.5",
    }


@pytest.fixture
def start(transactional_db: None) -> Iterator[Start]:
    """Keeps a program until the test ends, and then stops it: before the database is emptied. All end at once, for an end takes seconds."""
    programs: list[Program] = []

    def begin(program: Program) -> Program:
        programs.append(program)
        return program

    yield begin
    with ThreadPoolExecutor() as stopping:
        list(stopping.map(Program.end, programs))


@pytest.fixture
def start_worker(environment: dict[str, str], start: Start) -> Callable[..., Program]:
    """Starts a worker, and returns when it listens."""

    def begin(slots: int = 2, *, wait: bool = True) -> Program:
        worker = start(processes.worker(environment, slots=slots))
        if wait:
            wait_for(lambda: "ready." in worker.output or not worker.is_running(), seconds=60, what="the worker to listen")
            assert worker.is_running(), worker.output
        return worker

    return begin


@pytest.fixture
def start_with(environment: dict[str, str], start: Start) -> StartWith:
    """Starts a worker with one slot and more in its environment, and returns when it listens."""

    def begin(**more: str) -> Program:
        worker = start(processes.worker(environment | more, slots=1))
        wait_for(lambda: "ready." in worker.output or not worker.is_running(), seconds=60, what="the worker to listen")
        assert worker.is_running(), worker.output
        return worker

    return begin


@pytest.fixture
def start_beat(environment: dict[str, str], start: Start) -> Callable[[], Program]:
    return lambda: start(processes.beat(environment))
