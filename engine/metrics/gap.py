"""Gap closed: how much of what the teacher knows better the student has gained. No torch: the web computes it too, over several runs."""

NO_TEACHER = "supervised"
"""The method that the gap begins at, whatever a method's own baseline is: the same student, trained on labels alone."""

LEAST_GAP = 0.005
"""Below this difference of accuracies there is no gap to close, and the quotient is noise."""


def gap_closed(*, student: float, teacher: float, baseline: float) -> float | None:
    """(student − baseline) / (teacher − baseline) in accuracy: 0 is no better than the baseline, 1 as good as the teacher.

    May be negative or above 1. None when the teacher is less than 0.005 above the baseline: there is no gap to close.
    """
    gap = teacher - baseline
    return None if gap < LEAST_GAP else (student - baseline) / gap
