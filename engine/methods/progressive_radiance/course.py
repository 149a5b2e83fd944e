"""The course of the main stage: how far the physical image has taken over, and how well it does by itself."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from engine.charts import ChartSpec, histogram, lines

BINS: Final = 10
NOTED: Final = 20
"""Bins of the progress, and how often it is noted after the start, at most."""


class ProgressCourse:
    """Counts of the patches' progress in bins and the physical image's error, at the start of `steps` steps and at even distances after it."""

    def __init__(self, steps: int, device: torch.device) -> None:
        self.steps, self.every = steps, -(-steps // NOTED)
        self.counts = torch.zeros(NOTED + 1, BINS, device=device)
        self.errors = torch.zeros(NOTED + 1, device=device)

    @torch.no_grad()
    def note(self, done: int, *, progress: Tensor, physical: Tensor) -> None:
        """After `done` steps: p of all patches (patches, 1), and the physical image's mean absolute error, a scalar."""
        if done % self.every == 0:
            bins = (progress * BINS).long().clamp(max=BINS - 1).flatten()
            self.counts[done // self.every] = torch.bincount(bins, minlength=BINS).float()
            self.errors[done // self.every] = physical

    def lengthen(self, before: int) -> None:
        """What was noted of a stage of `before` steps, at the distances of a longer one: at each the nearest."""
        nearest = (torch.arange(NOTED + 1) * self.every / -(-before // NOTED)).round().long()
        for noted in (self.counts, self.errors):
            known = noted[nearest[nearest <= NOTED]]
            noted.zero_()
            noted[: len(known)] = known

    @property
    def noted(self) -> Tensor:
        """The counts so far, (times, BINS)."""
        return self.counts[self.counts.sum(dim=1) > 0]

    @property
    def noted_errors(self) -> Tensor:
        """The physical image's errors so far, (times,)."""
        return self.errors[self.counts.sum(dim=1) > 0]

    def top_share_after_a_quarter(self) -> float:
        """The share of patches in the highest bin a quarter into the stage; 0 before that."""
        counts = self.counts[-(-self.steps // (4 * self.every))]
        return float(counts[-1] / counts.sum().clamp(min=1))

    def charts(self) -> dict[str, ChartSpec]:
        """The progress of all patches at the start and now, and its course; nothing before the start."""
        counts = self.noted.tolist()
        if not counts:
            return {}
        edges = [at / BINS for at in range(BINS + 1)]
        times = [self.every * at for at in range(len(counts))]
        shares = {f"{low:.1f} to {low + 1 / BINS:.1f}": [row[at] / sum(row) for row in counts] for at, low in enumerate(edges[:-1])}
        return {
            "progress_histogram": histogram(
                "Progress of the patches",
                edges,
                {"at the start": [int(count) for count in counts[0]], "now": [int(count) for count in counts[-1]]},
                x="progress",
                y="patches",
            ),
            "progress_course": lines(
                "Course of the progress",
                {name: (times, values) for name, values in shares.items()},
                x="step of the stage",
                y="share of patches",
            ),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts, "errors": self.errors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts.copy_(state["counts"])
        self.errors.copy_(state["errors"])
