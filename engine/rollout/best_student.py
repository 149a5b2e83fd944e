"""The best of the students that a run has had, beside the last one."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from engine.metrics.cards import HEADLINE, METRICS

METRIC = HEADLINE["causal-lm"][0]
"""What a language model is judged by first: KL(student ‖ teacher) on its own text."""


class BestStudent:
    """A copy of the weights that were best on the validation rows by `METRIC`, the first of equals, on the device that they came from.

    `value` is None and `weights` is empty until a model with a finite value was seen.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.value: float | None = None
        self.step = 0

    def see(self, model: nn.Module, metrics: Mapping[str, float | None], *, step: int) -> None:
        """Keeps the model as it is now, with `step` updates behind it, if it is the best so far."""
        value = metrics.get(METRIC)
        if value is None or not math.isfinite(value) or (self.value is not None and not self._better(value, self.value)):
            return
        self.value, self.step = value, step
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @staticmethod
    def _better(value: float, than: float) -> bool:
        return value < than if METRICS[METRIC].better == "lower" else value > than

    def facts(self) -> dict[str, Any]:
        """What was kept, as JSON."""
        return {"metric": f"validation/{METRIC}", "value": self.value, "step": self.step}

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights, "value": self.value, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights, self.value, self.step = dict(state["weights"]), state["value"], state["step"]
