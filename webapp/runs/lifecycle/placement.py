"""Which waiting run a machine takes next: reservation with backfill. Pure, so every machine that looks at the same rows sees the same plan.

The queue is walked in its order. A run that the asking machine can start now is the answer. One that another machine can start is left to
that machine. One that no machine can start gets a reservation on the machine that can have it soonest, and from then on nothing is
started there that would make it wait longer: only what ends before the reserved devices are free, or what uses devices beyond them.
So a run on eight GPUs is not passed for ever by runs on one, and short runs still use what would stand idle until then.

A reservation is not stored. Nothing but an end changes who can have a run soonest, and each end brings its start nearer.

Source: EASY backfill (Lifka 1995, "The ANL/IBM SP scheduling system"), with one reservation for each machine and kind instead of one in all.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Generic, TypeVar

from webapp.runs.doorbell import DeviceKind

Key = TypeVar("Key")


@dataclass(frozen=True)
class Waiting(Generic[Key]):
    """A run in the queue: the kinds of device that it takes, the preferred one first, how many, and the most seconds that it can last.

    `seconds` is infinite where nobody said; then it starts beside a reservation only on devices beyond it.
    """

    run: Key
    kinds: tuple[DeviceKind, ...]
    count: int
    seconds: float = math.inf


@dataclass(frozen=True)
class Held:
    """Devices of one run, and in how many seconds they are expected back; infinite where nobody knows."""

    kind: DeviceKind
    count: int
    seconds: float = math.inf


@dataclass(frozen=True)
class Machine:
    """One worker's devices by kind: how many are free, and those in use, the longest used first. A device in neither is not to be counted on."""

    name: str
    free: Mapping[DeviceKind, int]
    held: Sequence[Held] = ()


def choose(asking: str, machines: Iterable[Machine], queue: Iterable[Waiting[Key]]) -> tuple[Key, DeviceKind] | None:
    """The run that the machine named `asking` starts now, and the kind of its devices; None when it should start none.

    `queue` is in order, the first to be served first, and is read only as far as needed.
    """
    sides = [side for machine in machines for side in _sides_of(machine)]
    own = [side for side in sides if side.machine == asking]
    others = [side for side in sides if side.machine != asking]
    passed = set()  # what could neither start nor be reserved: the plan only gets tighter, so its like can't either
    for run in queue:
        if not any(side.free for side in own):
            return None
        like = (run.kinds, run.count, run.seconds)
        if like in passed:
            continue
        if here := _startable(run, own):
            return run.run, here.kind
        if there := _startable(run, others):
            there.start(run.count, run.seconds)
        elif soonest := _soonest(run, sides):
            soonest.reserve(run.count)
        else:
            passed.add(like)
    return None


@dataclass
class _Side:
    """The devices of one kind in one machine, while the queue is walked. `ends`: (seconds from now, devices) of what is in use, the oldest first."""

    machine: str
    kind: DeviceKind
    free: int
    ends: list[tuple[float, int]]
    reserved: int = field(default=0, init=False)
    reserved_at: float = field(default=math.inf, init=False)
    spare: int = field(default=0, init=False)

    def can_start(self, count: int, seconds: float) -> bool:
        if count > self.free:
            return False
        ends_before = seconds <= self.reserved_at < math.inf
        return not self.reserved or ends_before or count <= self.spare

    def start(self, count: int, seconds: float) -> None:
        if self.reserved and not seconds <= self.reserved_at < math.inf:
            self.spare -= count
        self.free -= count
        self.ends.append((seconds, count))

    def can_be_reserved(self, count: int) -> bool:
        return not self.reserved and self.free + sum(held for _, held in self.ends) >= count

    def reserve(self, count: int) -> None:
        self.reserved = count
        self.reserved_at, then_free = self.ready_for(count)
        self.spare = then_free - count

    def ready_for(self, count: int) -> tuple[float, int]:
        """In how many seconds so many are free, and how many are free then.

        Where the known ends do not suffice, infinite: then those that have run longest are waited for, known or not. Whatever is started
        meanwhile is younger, so it is never among them, and what waits is not passed again and again.
        """
        known = sorted(end for end in self.ends if end[0] < math.inf)
        free = self.free
        for seconds, group in itertools.groupby([(0.0, 0), *known], key=itemgetter(0)):
            free += sum(held for _, held in group)
            if free >= count:
                return seconds, free
        free = self.free
        for _, held in self.ends:
            if free >= count:
                break
            free += held
        return math.inf, free


def _sides_of(machine: Machine) -> Iterable[_Side]:
    for kind, free in machine.free.items():
        yield _Side(machine.name, kind, free, [(held.seconds, held.count) for held in machine.held if held.kind == kind])


def _startable(run: Waiting[Key], sides: Sequence[_Side]) -> _Side | None:
    """Where the run can start now: on its preferred kind, and there where the fewest devices are left over."""
    for kind in run.kinds:
        fitting = [side for side in sides if side.kind == kind and side.can_start(run.count, run.seconds)]
        if fitting:
            return min(fitting, key=lambda side: (side.free, side.machine))
    return None


def _soonest(run: Waiting[Key], sides: Sequence[_Side]) -> _Side | None:
    """Where the run can start soonest, among those that no run before it waits for."""
    able = [side for side in sides if side.kind in run.kinds and side.can_be_reserved(run.count)]
    return min(able, key=lambda side: (side.ready_for(run.count)[0], -side.free, side.machine), default=None)
