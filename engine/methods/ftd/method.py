"""Flat trajectory distillation: Du, Jiang, Tan, Zhou & Li (2023), arXiv:2211.11004. Matching training trajectories with other experts.

A network that learns from the set does not start a segment where the expert did: its errors so far are carried on, and grow with the curvature
of the loss there. So the experts' steps look for flat regions (GSAM), and the pictures are a moving average over the outer iterations.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from engine import charts
from engine.distilled_sets.experts import ExpertGradient, flat_gradient
from engine.method import Diagnostics
from engine.methods.ftd.card import Settings, card
from engine.methods.mtt.method import MTT

LOW_COSINE = 0.5


class FTD(MTT):
    card = card
    settings: Settings

    def expert_gradient(self, loss_at: Callable[[Tensor], Tensor], theta: Tensor) -> ExpertGradient:
        s = self.settings
        return flat_gradient(loss_at, theta, rho=s.rho, alpha=s.alpha, adaptive=s.adaptive)

    def diagnostics(self) -> Diagnostics:
        found = super().diagnostics()
        return Diagnostics(
            {**found.metrics, "expert_cosine": float(self.cosines.mean())}, {**found.tables, "expert_cosines": self.cosine_view()}
        )

    def cosine_view(self) -> dict[str, Any]:
        """Cosine of the two gradients by epoch, a curve for each expert."""
        epochs = list(range(1, self.cosines.shape[1] + 1))
        series = {f"seed {seed}": (epochs, self.cosines[at].tolist()) for at, seed in enumerate(self.seeds[:8])}
        return charts.lines(
            "Gradient against perturbed gradient",
            series,
            x="expert epoch",
            y="cosine",
            note="Mean over the epoch's batches; low is too large a radius.",
        )

    def warnings(self) -> list[str]:
        found = super().warnings()
        if float(self.cosines.mean()) < LOW_COSINE:
            found.append(f"Gradient and perturbed gradient have a mean cosine of {float(self.cosines.mean()):.2f}: rho is too large.")
        return found
