"""What went wrong in a distillation, as far as its numbers show."""

from typing import TYPE_CHECKING

from engine.methods.mtt.course import LOWEST_RATE
from engine.methods.mtt.diagnostics import course_numbers

if TYPE_CHECKING:
    from engine.methods.mtt.method import MTT

NEAR_ONE = 0.9
FAR = 0.05
"""Share of pixels far from the real ones above which a set is remarked on."""


def of(method: "MTT") -> list[str]:
    """A sentence for each thing; none before the first iteration."""
    if not method.course.iterations:
        return []
    numbers, found = course_numbers(method), []
    if numbers["image_gradient"] == 0:
        found.append("The gradient of the pictures is exactly 0: nothing reaches them.")
    elif (numbers["outer_loss_end"] or 0) > NEAR_ONE:
        found.append(
            f"The outer loss ends at {numbers['outer_loss_end']:.2f}, near 1: training on the set hardly comes closer to the experts."
        )
    if float(method.rate().detach()) <= LOWEST_RATE * (1 + 1e-6):
        found.append(f"The learned rate is at its lowest, {LOWEST_RATE:g}.")
    if (numbers["far_pixels"] or 0) > FAR:
        found.append(
            f"{numbers['far_pixels']:.0%} of the set's pixels are farther than 2.5 standard deviations from the real pixels' mean."
        )
    if method.set.last is not None:
        average, last = ((images - method.initial).norm() for images in (method.set.images.detach(), method.set.last.detach()))
        if average < 0.5 * last:
            found.append("The averaged pictures have gone less than half of the way of those before averaging: ema_decay is too near 1.")
    return found
