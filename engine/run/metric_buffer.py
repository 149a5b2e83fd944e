"""From a step's loss terms to the Metrics events, with every term of every step checked for NaN and infinity.

On the CPU a term is read at once. On a GPU reading waits for all work that was queued before it, so terms are collected and read
together, a few times a second, and always before a checkpoint is written: what is on the disk has been checked.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from engine.errors import NonFiniteError
from engine.events import Event, Metrics
from engine.method import Logs

READ_SECONDS = 0.25
READ_STEPS = 512


class MetricBuffer:
    """Collects each step's terms and emits every `every`-th step's, as numbers. Raises NonFiniteError at the first bad term of the first bad step."""

    def __init__(self, emit: Callable[[Event], None], *, every: int, waits: bool, seconds: float = READ_SECONDS) -> None:
        self._emit, self._every, self._waits, self._seconds = emit, every, waits, seconds
        self._pending: list[tuple[int, Logs]] = []
        self._read_at = time.perf_counter()

    def add(self, step: int, terms: Logs) -> None:
        """The terms of a step (counted from 1)."""
        if not self._waits:
            self._check_and_emit(step, {name: term.item() for name, term in terms.items()})
            return
        self._pending.append((step, {name: term.detach() for name, term in terms.items()}))
        if len(self._pending) >= READ_STEPS or time.perf_counter() - self._read_at >= self._seconds:
            self.flush()

    @property
    def waiting(self) -> bool:
        """Whether steps were added that are not checked yet."""
        return bool(self._pending)

    def flush(self) -> None:
        """Reads, checks and emits all that was added, in one transfer."""
        pending, self._pending = self._pending, []
        tensors: list[Tensor] = [term.float() for _, terms in pending for term in terms.values()]
        numbers = iter(torch.stack(tensors).tolist() if tensors else ())
        for step, terms in pending:
            self._check_and_emit(step, {name: next(numbers) for name in terms})
        self._read_at = time.perf_counter()

    def _check_and_emit(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteError(term=name, step=step, value=value)
        if step % self._every == 0 or step == 1:
            self._emit(Metrics(step, values))
