"""The child's end: trains one run and reports what happens. Knows the engine and nothing of Django or the database.

Three threads. The main one trains; `emit` there only puts the event into a list. One sends what has gathered, reading tensors where nobody
waits for it. One listens: "stop" is passed to the engine, and the end of the pipe is the supervisor's death, after which there is nobody to train for.
"""

import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from engine.errors import SpecError
from engine.events import Event, Outcome
from engine.spec.run_spec import RunSpec
from workers import wire
from workers.memory import limit_own_data

SEND_SECONDS, IDLE_SECONDS = 0.02, 0.2
"""How often there is a look for what is to be sent: while there is something, and after a while in which there was nothing. A child that waits
uses no processor, which is how its supervisor knows it."""

BUFFERED = 100_000
"""Events that may wait to be sent. When the database is away for longer than that, training waits for it."""

BATCH = 10_000
PR_SET_PDEATHSIG = 1


def main(pipe: Connection, order_json: str) -> None:
    """The process: trains what the order says (see launcher.Order) and ends, never returning to the forkserver's code."""
    order = json.loads(order_json)
    _die_with_the_worker()
    _write_output_to(Path(order["output"]))
    os.environ.update(order["environment"])
    stop = threading.Event()
    sender = EventSender(pipe)
    threading.Thread(target=_listen, args=(pipe, stop), daemon=True, name="listener").start()
    sender.start()
    try:
        if (data_limit := order["data_limit"]) is not None:
            limit_own_data(data_limit)
        _train(order, sender.emit, stop)
        sender.close()
    except BaseException:
        # Not the run's failure, which the engine turns into an Outcome: this child is broken, and the supervisor tries again.
        traceback.print_exc()
        _leave(1)
    _leave(0)


def follow(order_json: str, rank: int) -> None:
    """One of the further processes of a run on several devices: trains along with the first one, which alone is heard. It ends with the run."""
    order = json.loads(order_json)
    _die_with_the_worker()
    _write_output_to(Path(order["output"]))
    os.environ.update(order["environment"] | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    try:
        _train(order, lambda event: None, threading.Event())
    except BaseException:
        traceback.print_exc()
        _leave(1)
    _leave(0)


def nothing() -> None:
    """What the first process of a worker does: when it has been done, the forkserver is warm."""


class EventSender:
    """Sends events to the supervisor, in batches, from a thread of its own."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._waiting: deque[tuple[float, Event]] = deque()
        self._room = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._send_all, daemon=True, name="sender")

    def start(self) -> None:
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Takes an event on the training thread: an append (a deque's is atomic), unless the supervisor is far behind."""
        self._waiting.append((time.monotonic(), event))
        if len(self._waiting) >= BUFFERED:
            with self._room:
                self._room.wait_for(lambda: len(self._waiting) < BUFFERED)

    def close(self) -> None:
        """Returns when everything has been sent."""
        self._closing.set()
        self._thread.join()
        self._pipe.close()

    def _send_all(self) -> None:
        pause = SEND_SECONDS
        try:
            while True:
                last = self._closing.is_set()
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]
                with self._room:
                    self._room.notify_all()
                if batch:
                    self._pipe.send_bytes(wire.encode([event for _, event in batch], since=batch[0][0]))
                if last and not self._waiting:
                    return
                pause = SEND_SECONDS if batch else min(1.2 * pause, IDLE_SECONDS)
                if len(batch) < BATCH:
                    self._closing.wait(pause)
        except OSError:
            _leave(2)  # the supervisor has gone
        except BaseException:
            traceback.print_exc()
            _leave(1)


def _train(order: dict[str, object], emit: Callable[[Event], None], stop: threading.Event) -> None:
    import torch

    from engine.run.process_group import joined_process_group
    from engine.run.runner import execute

    try:
        spec = RunSpec.parse(order["spec"])
    except SpecError as error:
        emit(Outcome("failed", int(str(order["from_step"])), f"This worker can't run the spec: {str(error).splitlines()[0]}", "spec"))
        return
    if os.environ.get("CUDA_VISIBLE_DEVICES") and not torch.cuda.is_available():
        emit(
            Outcome(
                "failed", int(str(order["from_step"])), "This worker's GPU can't be used: torch finds no CUDA device there.", machine=True
            )
        )
        return
    torch.set_num_threads(spec.threads or int(str(order["threads"])))
    models = order["models"]
    assert isinstance(models, dict)
    resume = order["resume"]
    with joined_process_group():
        execute(
            spec,
            emit,
            Path(str(order["workdir"])),
            models={reference: Path(path) for reference, path in models.items()},
            resume=Path(str(resume)) if resume else None,
            stop=stop.is_set,
            memory_limit=int(str(order["room"])) if order["room"] else None,
        )


def _listen(pipe: Connection, stop: threading.Event) -> None:
    try:
        while True:
            if pipe.recv_bytes() == wire.STOP:
                stop.set()
    except (EOFError, OSError):
        _leave(2)


def _die_with_the_worker() -> None:
    """Killed at once when the forkserver dies, which dies with the worker. The pipe's end says the same, on any system, if more slowly."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the worker's terminal is the worker's affair
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):  # when memory runs out, this process goes and not the worker, which would take its other children along
            Path("/proc/self/oom_score_adj").write_text("500")


def _write_output_to(path: Path) -> None:
    """Standard output and error go to a file: its last lines are kept with the attempt, a crash's traceback among them."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable()


def _leave(code: int) -> None:
    """Ends the process now: the interpreter's own end would wait for threads and run torch's teardown, with nothing left to gain."""
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
