"""What a person should look at after the main stage, a sentence each."""

import math
from typing import Final

import torch
from torch import Tensor

from engine.methods.progressive_radiance.card import Settings
from engine.methods.progressive_radiance.course import ProgressCourse
from engine.models.scene import SurfelScene

RISEN: Final = math.log(2)
"""By how much the log-odds of a progress must grow to count as risen: its odds have doubled."""
WORSE: Final = 1.05
"""The physical image's error over its smallest that counts as having become worse."""
EDGE: Final = 0.02
"""How near 0 or 1 an albedo is saturated."""
SATURATED: Final = 0.1
"""The share of saturated albedo that is too much."""


@torch.no_grad()
def early_warnings(student: SurfelScene, course: ProgressCourse, settings: Settings) -> list[str]:
    """The sentences that hold of a scene after the stage whose course is given."""
    found = []
    learned = student.fixed_progress is None
    if learned and could_rise(settings, course.steps) and rose_nowhere(student.progress, settings.p_init):
        found.append("Progress rose in no patch: the radiance field learns too fast, or the physical image has other colors.")
    if learned and course.top_share_after_a_quarter() > 0.99:
        found.append("Progress was near 1 everywhere after a quarter of the steps; lower push or p_init.")
    errors = course.noted_errors
    if len(errors) and float(errors[-1]) > WORSE * float(errors.min()):
        found.append("The physical image alone became worse again: what it can't show is leaking into material and light.")
    if float(((student.albedo - 0.5).abs() > 0.5 - EDGE).float().mean()) > SATURATED:
        found.append("More than a tenth of the albedo is near 0 or 1: its scale and that of the light run away from each other.")
    return found


def could_rise(settings: Settings, steps: int) -> bool:
    """Whether so many steps of Adam, each of about `progress_rate`, are enough: of a shorter stage a progress that stayed says nothing."""
    return settings.progress_rate * steps > RISEN


@torch.no_grad()
def rose_nowhere(progress: Tensor, p_init: float) -> bool:
    """Whether the odds p / (1 − p) of no patch (patches, 1) have doubled since p_init. Odds, because from 0.5 no progress itself can double."""
    return float(torch.logit(progress).max()) < math.log(p_init / (1 - p_init)) + RISEN
