"""Why a run waits though nobody is before it: no worker that runs would take it."""

from collections.abc import Collection, Sequence
from uuid import UUID

from webapp.fleet.models import Worker


def why_nobody(kind: str, count: int, workers: Sequence[Worker], *, refused: Collection[UUID] = ()) -> str:
    """One sentence; empty when one of the `workers`, all that live, would take a run for so many devices of the kind, now or when it is free.

    `refused` are those that had the run and gave it away.
    """
    if not workers:
        return "No worker is running."
    fitting = [worker for worker in workers if worker.fits(kind, count)]
    if not fitting:
        return _what_is_lacking(kind, count, workers)
    others = [worker for worker in fitting if worker.pk not in refused]
    if any(worker.may_claim for worker in others):
        return ""
    return _why_not(others) if others else "No other running worker fits."


def _what_is_lacking(kind: str, count: int, workers: Sequence[Worker]) -> str:
    most = max(worker.gpu_count for worker in workers)
    if kind == "cpu":
        return "No running worker trains on the CPU."
    return f"No running worker has {count} GPUs; the most that one has is {most}." if most else "No running worker has a GPU."


def _why_not(workers: Sequence[Worker]) -> str:
    """Of those that fit and don't take runs, the first one's reason."""
    first, more = workers[0], len(workers) - 1
    if first.store_problem:
        reason = first.store_problem
    else:
        assert first.set_aside_until is not None, "who takes no runs has a reason"
        reason = f"it is set aside until {first.set_aside_until:%H:%M:%S} UTC: {first.set_aside_reason.rstrip('.')}"
    return f"{first.name} would fit, but {reason}{f' ({more} more take no runs)' if more else ''}."
