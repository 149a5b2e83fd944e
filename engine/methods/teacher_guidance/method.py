"""Even your teacher needs guidance: Borup & Andersen (2021), arXiv:2102.13088.

A model is fitted, then a new one to a mix of the ground truth and the first one's outputs, and so on. In kernel ridge regression all of it is
closed form (`kernel_chain`): without ground truth every step smooths further, and the best share of it on held-out rows has a formula. Networks
do the same by gradient steps, each generation from random weights (`network_chain`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from engine.method import Diagnostics, Phase
from engine.methods.teacher_guidance.card import Settings, card
from engine.methods.teacher_guidance.kernel_chain import KernelChain
from engine.methods.teacher_guidance.network_chain import NetworkChain


class TeacherGuidance(KernelChain, NetworkChain):
    """One of the two chains, chosen when it is built. Each is a method by itself; their state has the same owner, so that checkpoints name it
    alike."""

    card = card
    settings: Settings

    def build(self) -> None:
        self.chain: type[KernelChain | NetworkChain] = KernelChain if self.settings.variant == "kernel" else NetworkChain
        vars(self).update(kernel=None, ridge=None)  # networks have neither, but their checkpoints name both
        self.chain.build(self)

    def phases(self) -> Iterator[Phase]:
        return self.chain.phases(self)

    def product(self) -> nn.Module:
        return self.chain.product(self)

    def blueprint(self) -> Mapping[str, Any] | None:
        return self.chain.blueprint(self)

    def diagnostics(self) -> Diagnostics:
        return self.chain.diagnostics(self)

    def finish(self) -> None:
        self.chain.finish(self)
