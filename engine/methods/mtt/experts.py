"""What a run makes of its experts once they are trained: how good and how sharp they are, and where they are left for others."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.distilled_sets.experts import loss_rise
from engine.distilled_sets.flat import FlatNetwork
from engine.errors import StorageError
from engine.methods.mtt import charts
from engine.methods.mtt.selection import share_right
from engine.tasks.task import Split

if TYPE_CHECKING:
    from engine.methods.mtt.method import MTT

DIRECTIONS, RADIUS = 20, 0.2
"""How sharpness is measured; the directions are the same for all experts of all runs."""
SHOWN_EXPERTS, SHOWN_EPOCHS = 4, 21
"""Of the buffer, whose course its page shows."""


def matched(method: "MTT", of_experts: Tensor) -> Tensor:
    """What belongs to the experts that are matched: all but the held-out one, which comes last. of_experts (experts, …)."""
    return of_experts[: method.settings.experts]


def judge(method: "MTT") -> None:
    """Accuracy of all experts on the validation rows, and the sharpness of the first ones on the training rows."""
    for at, trajectory in enumerate(method.experts.trajectories):
        method.expert_accuracy[at] = share_right(method.network, trajectory[-1], method.task.splits["validation"])
    for at in range(len(method.sharpness)):
        for place, epoch in enumerate(method.settings.flatness_epochs):
            method.sharpness[at, place] = sharpness_at(method.network, method.experts.trajectories[at, epoch], method.train_split)


def sharpness_at(network: FlatNetwork, theta: Tensor, real: Split) -> Tensor:
    """Loss on the real rows at theta (parameters,), and the mean and the largest of its rises along random directions, (3,)."""
    assert real.targets is not None, "experts learn from labels"
    directions = torch.randn(DIRECTIONS, network.size, generator=torch.Generator().manual_seed(0)).to(theta.device)
    return loss_rise(network, theta, real.inputs, real.targets, directions=directions, radius=RADIUS)


def leave(method: "MTT") -> None:
    """The buffer as an artifact of the run and, where buffers are kept, as a file for later runs."""
    experts, accuracy = method.experts, float(matched(method, method.expert_accuracy).mean())
    facts = {"seeds": method.seeds, "names": list(method.network.names), "recipe": experts.recipe_hash}
    method.save_tensors("experts", {"trajectories": experts.trajectories}, facts, charts=experts_charts(method))
    method.log(f"The experts get {accuracy:.1%} of the validation rows right after {method.settings.expert_epochs} epochs.")
    try:
        experts.keep()
    except StorageError as error:
        method.log(f"The experts are not kept for later runs: {error} The run goes on.")


def experts_charts(method: "MTT") -> dict[str, Any]:
    """Charts of a few experts over a few epochs, the first and the last among them."""
    last, rows = method.settings.expert_epochs, method.task.splits["validation"]
    epochs = sorted({round(at * last / (SHOWN_EPOCHS - 1)) for at in range(SHOWN_EPOCHS)})
    snapshots = method.experts.trajectories[:SHOWN_EXPERTS, epochs]
    accuracies = torch.stack([torch.stack([share_right(method.network, theta, rows) for theta in expert]) for expert in snapshots])
    return charts.experts_course(accuracies, snapshots, epochs=epochs, seeds=method.seeds[:SHOWN_EXPERTS])
