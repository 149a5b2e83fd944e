"""Starts child processes, one a run, from a forkserver that has torch in memory: a start costs milliseconds, and CUDA is never forked.

The forkserver is one process of its own. It never uses CUDA or runs an operation, so what it forks is clean. It ends when the worker ends,
however that happens, and its children are killed with it.
"""

import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing import connection
from pathlib import Path
from typing import Any

import psutil

from workers import child, wire

LAST_BYTES = 20_000
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["workers.preload"])

# multiprocessing looks after all children whenever one is started, and its bookkeeping is not made for threads: a child's exit code can be
# read only once, by whoever comes first.
_BOOKKEEPING = threading.Lock()


@dataclass(frozen=True)
class Order:
    """What a child is started with: absolute paths as text, the spec as JSON-like data, on how many devices (a process each) it trains.

    A run that needs more than `room` bytes for its networks is refused; `data_limit` is where its allocations in main memory fail.
    """

    spec: Mapping[str, Any]
    workdir: str
    output: str
    resume: str | None
    from_step: int
    models: Mapping[str, str]
    environment: Mapping[str, str]
    threads: int
    devices: int = 1
    room: int | None = None
    data_limit: int | None = None


class Child:
    """One child process, as its supervisor sees it.

    A run on several devices has followers: processes that train along and are not heard. When one of them dies (`lost_a_follower`), what the
    child says of its end is only that it missed somebody.
    """

    def __init__(self, order: Order) -> None:
        """Starts it."""
        self._output = Path(order.output)
        self.lost_a_follower = False
        self._pipe, its_end = _CONTEXT.Pipe(duplex=True)
        order_json = json.dumps(asdict(_with_meeting_place(order)))
        self._process = _CONTEXT.Process(target=child.main, args=(its_end, order_json), daemon=True)
        self._followers = [_CONTEXT.Process(target=child.follow, args=(order_json, rank), daemon=True) for rank in range(1, order.devices)]
        with _BOOKKEEPING:
            for process in (self._process, *self._followers):
                process.start()
        its_end.close()  # else the pipe would never end
        self.pids = [process.pid for process in (self._process, *self._followers) if process.pid is not None]
        """Of the child and its followers."""
        self.pid = self.pids[0]

    def receive(self, *, within: float) -> wire.Message | None:
        """The next message, or None when there is none yet. Raises EOFError when the child has ended and all it said was received."""
        if not self.lost_a_follower and self._one_follower_died():
            self.lost_a_follower = True
            self.kill()  # the others would wait for it
        if not self._pipe.poll(within):
            return None
        try:
            data = self._pipe.recv_bytes()
        except OSError as error:  # it died in the middle of a message
            raise EOFError from error
        return wire.decode(data)

    def stop(self) -> None:
        """Asks it to stop after its step, with a checkpoint."""
        with suppress(OSError):
            self._pipe.send_bytes(wire.STOP)

    def kill(self) -> None:
        """Ends it now, whatever it does. May be called from any thread, and more than once."""
        with _BOOKKEEPING:
            for process in (self._process, *self._followers):
                with suppress(OSError, ValueError):
                    process.kill()

    def processor_seconds(self) -> float:
        """How much processor time it has used, with all that trains along and all that they started."""
        total = 0.0
        for process in (self._process, *self._followers):
            with suppress(psutil.Error):
                one = psutil.Process(process.pid)
                for each in (one, *one.children(recursive=True)):
                    with suppress(psutil.Error):
                        times = each.cpu_times()
                        total += times.user + times.system
        return total

    def _one_follower_died(self) -> bool:
        with _BOOKKEEPING:
            return any(follower.exitcode not in (None, 0) for follower in self._followers)

    def end(self) -> int:
        """Waits for its end, at most a few seconds after the end of its pipe, and returns its exit code: negative for a signal."""
        self.lost_a_follower = self.lost_a_follower or self._one_follower_died()
        if not connection.wait([self._process.sentinel], timeout=5):
            self.kill()
            connection.wait([self._process.sentinel], timeout=5)
        with _BOOKKEEPING:
            code = self._process.exitcode
        waiting_until = time.monotonic() + 5
        for follower in self._followers:
            if not connection.wait([follower.sentinel], timeout=max(0.0, waiting_until - time.monotonic())):
                self.kill()
        self._pipe.close()
        return 255 if code is None else code

    def last_lines(self) -> str:
        """The end of what it printed."""
        with suppress(OSError), self._output.open("rb") as file:
            file.seek(max(0, self._output.stat().st_size - LAST_BYTES))
            return file.read().decode(errors="replace")
        return ""


def _with_meeting_place(order: Order) -> Order:
    """On several devices, where the processes find each other: what torchrun would have put into the environment."""
    if order.devices == 1:
        return order
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(order.devices), "RANK": "0", "LOCAL_RANK": "0"}
    return replace(order, environment={**order.environment, **meeting})


def warm() -> None:
    """Starts the forkserver and waits until it forks, so that no run waits for torch's import."""
    with _BOOKKEEPING:
        first = _CONTEXT.Process(target=child.nothing, daemon=True)
        first.start()
        first.join()
