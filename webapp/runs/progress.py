"""A run's state as a person sees it at a glance: one word, one color, how far, how long still."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from webapp.fleet.models import Worker
from webapp.fleet.waiting import why_nobody
from webapp.runs import quotas
from webapp.runs.models import ENDED, HELD, Attempt, Run, State


@dataclass(frozen=True)
class Status:
    """`word` is the state, or what matters more at the moment: stopping, silent, stalled. `tone` names its color. Times are in seconds.

    `unserved` says of a waiting run why no worker would take it, even an idle one; empty when one would.
    """

    state: str
    word: str
    tone: str
    reason: str
    phase: str
    phase_index: int | None
    phase_count: int | None
    step: int
    total: int
    rate: float | None
    left: float | None
    trained: float
    silent_since: datetime | None
    unserved: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def held(self) -> bool:
        return self.state in HELD

    @property
    def percent(self) -> float:
        return 100 * self.step / self.total if self.total else 0.0

    @property
    def activity(self) -> str:
        """`Phase 2 of 3 (distill)`, or the name alone where there is one phase; empty before the first."""
        index, count = self.phase_index, self.phase_count
        if index is None or count == 1 or (count is None and index == 0):
            return self.phase[:1].upper() + self.phase[1:]
        return f"Phase {index + 1}{f' of {count}' if count else ''} ({self.phase})"

    @property
    def started(self) -> bool:
        return self.step > 0 or self.held


def newest_attempt(run: Run) -> Attempt | None:
    return Attempt.objects.told().filter(run=run).order_by("-number").first()


@dataclass(frozen=True)
class Supply:
    """What decides whether a waiting run is taken: the workers that live, and whose quotas are used up."""

    workers: Sequence[Worker]
    used_up: quotas.UsedUp


def supply_for(runs: Iterable[Run]) -> Supply | None:
    """For `status_of` of any number of runs: at most four statements, none where no run waits."""
    return Supply(list(Worker.objects.live()), quotas.used_up()) if any(run.state == State.QUEUED for run in runs) else None


def status_of(run: Run, attempt: Attempt | None = None, supply: Supply | None = None) -> Status:
    """`attempt` is the run's newest; without it silence is not known. Without a `supply` it is not known why the run waits."""
    held = attempt if attempt is not None and run.state in HELD else None
    silent = (held.quiet_since or held.silent_since) if held is not None else None
    word = _word(run, silent=silent is not None, stalled=held is not None and held.stalled_since is not None)
    moves = run.state == State.RUNNING and word not in ("silent", "stalled")
    unserved = _why_unserved(run, attempt, supply)
    return Status(
        state=str(run.state),
        word=word,
        tone=word,
        reason=" ".join(filter(None, (unserved, _reason(run, attempt, silent=silent is not None)))),
        phase=run.phase,
        phase_index=run.phase_index,
        phase_count=run.phase_count,
        step=run.step,
        total=run.total_steps,
        rate=run.steps_per_second if moves and silent is None else None,
        left=_seconds_left(run) if moves and silent is None else None,
        trained=run.train_seconds,
        silent_since=silent,
        unserved=unserved,
    )


def _word(run: Run, *, silent: bool, stalled: bool) -> str:
    if run.state in HELD and run.stop_requested_at is not None:
        return "stopping"
    return "silent" if silent else "stalled" if stalled else str(run.state)


def _why_unserved(run: Run, attempt: Attempt | None, supply: Supply | None) -> str:
    if run.state != State.QUEUED or supply is None:
        return ""
    refused = attempt.refused_by if attempt is not None else ()
    return why_nobody(run.device_kind, run.device_count, supply.workers, refused=refused) or supply.used_up.why(run)


def _reason(run: Run, attempt: Attempt | None, *, silent: bool) -> str:
    if silent and attempt is not None:
        return f"Nothing was heard from {attempt.worker} for a while. If it stays quiet, another worker goes on from the last checkpoint."
    if run.state in HELD and attempt is not None and attempt.stalled_since is not None:
        return attempt.stall
    if run.state == State.QUEUED and attempt is not None and attempt.exit in {"lost", "crashed"}:
        return f"Attempt {attempt.number} on {attempt.worker} was {attempt.exit}; the run waits for a worker to go on from its last checkpoint."
    return run.reason


def _seconds_left(run: Run) -> float | None:
    if not run.steps_per_second or run.total_steps <= run.step:
        return None
    return (run.total_steps - run.step) / run.steps_per_second
