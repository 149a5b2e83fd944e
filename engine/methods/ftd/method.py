"""Flat trajectory distillation: Du, Jiang, Tan, Zhou & Li (2023), arXiv:2211.11004. Matching training trajectories with other experts.

A network that learns from the set does not start a segment where the expert did: its errors so far are carried on, and grow with the curvature
of the loss there. So the experts' steps look for flat regions (GSAM), and the pictures are a moving average over the outer iterations.
"""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from engine.distilled_sets.experts import ExpertGradient, flat_gradient
from engine.method import Diagnostics
from engine.methods.ftd import charts
from engine.methods.ftd.card import Settings, card
from engine.methods.mtt.experts import matched
from engine.methods.mtt.method import MTT

LOW_COSINE = 0.5


class FTD(MTT):
    card = card
    settings: Settings
    EXPERT_SETTINGS: ClassVar[tuple[str, ...]] = ("rho", "alpha", "adaptive")

    def expert_gradient(self, loss_at: Callable[[Tensor], Tensor], theta: Tensor) -> ExpertGradient:
        s = self.settings
        return flat_gradient(loss_at, theta, rho=s.rho, alpha=s.alpha, adaptive=s.adaptive)

    def cosine(self) -> float:
        """Mean cosine of gradient and perturbed gradient, over all steps of the experts that are matched."""
        return float(matched(self, self.experts.cosines).mean())

    def diagnostics(self) -> Diagnostics:
        found = super().diagnostics()
        cosines = charts.cosines(self.experts.cosines, self.seeds)
        return Diagnostics({**found.metrics, "expert_cosine": self.cosine()}, {**found.tables, "expert_cosines": cosines})

    def warnings(self) -> list[str]:
        found = super().warnings()
        if self.cosine() < LOW_COSINE:
            found.append(f"Gradient and perturbed gradient have a mean cosine of {self.cosine():.2f}: rho is too large.")
        return found
