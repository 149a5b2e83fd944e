"""Whether a child stands still. Its heart may beat on while its training thread waits for ever: for a lock, a disk, a GPU.

While it makes steps, each step is news, and one that takes very much longer than its slowest is none. What has no steps (the preparation, an
evaluation) brings no news for as long as it takes, and neither does a phase's first step, of which nobody knows how long it should take;
there a child stands still when it uses no processor. Looks that come late, because this worker slept, count little.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.events import STEPS, Activity, Event, PhaseStarted, Progress
from webapp.runs.templatetags.shown import duration

LONGEST_LOOK = 5.0
"""A time without looks counts as so many seconds."""

BUSY_SHARE = 0.005
"""Of one processor. A child that only waits takes less: it looks a few times a second whether there is something to send."""

CPU_SECONDS = 5.0
"""How often the processor's time is asked for."""


@dataclass(frozen=True)
class Limits:
    """Seconds, multiples of the slowest step, and how many times that until the child is ended. No seconds: nobody looks."""

    seconds: float
    steps: float
    patience: float


class Watch:
    """Watches one child. `clock` is in seconds, `used` is the processor time of the child so far."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float], used: Callable[[], float]) -> None:
        self.stalled = False
        self._limits, self._clock, self._used = limits, clock, used
        self._doing = "the preparation"
        self._slowest: float | None = None
        self._looked = clock()
        self._move()

    def hear(self, events: Sequence[Event], *, metrics: bool) -> float:
        """What the child said, with or without `metrics`. Returns for how long it had stood still."""
        still = self._count()
        if self._doing == STEPS and (metrics or any(isinstance(event, Progress) for event in events)):
            self._slowest = max(self._slowest or 0.0, still)
        for event in events:
            if isinstance(event, PhaseStarted):
                self._slowest = None  # another phase has another pace
            elif isinstance(event, Activity):
                self._doing = event.name
        self._move()
        return still

    def look(self) -> str:
        """Nothing was said. How the child stands still, in one sentence; empty while that is not for long."""
        if not self._limits.seconds:
            return ""
        self._count()
        if not self._makes_steps and self._is_busy():
            self._move()
        return self._sentence() if self._still >= self._limit else ""

    def pause(self) -> None:
        """What was done since the last look was not the child's time."""
        self._looked = self._clock()

    @property
    def is_over(self) -> bool:
        """It has stood still for so long that it is to be ended."""
        return self._still >= self._longest

    @property
    def ends_after(self) -> str:
        """How long it may stand still, in words."""
        return duration(self._longest)

    @property
    def _longest(self) -> float:
        return self._limits.patience * self._limit

    @property
    def _limit(self) -> float:
        return max(self._limits.seconds, self._limits.steps * self._slowest if self._makes_steps and self._slowest else 0.0)

    @property
    def _makes_steps(self) -> bool:
        """And has made one in this phase."""
        return self._doing == STEPS and self._slowest is not None

    def _sentence(self) -> str:
        if self._makes_steps:
            return f"Made no step for {duration(self._still)}; its slowest took {duration(self._slowest)}."
        doing = "its first step" if self._doing == STEPS else self._doing
        return f"Stood still in {doing} for {duration(self._still)}, using no processor."

    def _count(self) -> float:
        now = self._clock()
        self._still += min(now - self._looked, LONGEST_LOOK)
        self._looked = now
        return self._still

    def _move(self) -> None:
        self._still = self._asked = 0.0
        self._used_then: float | None = None

    def _is_busy(self) -> bool:
        """Whether the child has used its processor since this was last asked."""
        seconds = self._still - self._asked
        if seconds < CPU_SECONDS:
            return False
        used, before = self._used(), self._used_then
        self._asked, self._used_then = self._still, used
        return before is not None and used - before >= BUSY_SHARE * seconds
