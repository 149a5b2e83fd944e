"""Networks that teach one another: the loss of a generation, and how a network is made new in place."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import SpecError
from engine.losses.precision import full_precision
from engine.seeds import undisturbed


def generation_loss(*, logits: Tensor, labels: Tensor, teacher_probs: Tensor | None, alpha: float) -> Tensor:
    """α·MSE(softmax(z), onehot(y)) + (1 − α)·MSE(softmax(z), p), means over batch and classes, temperature 1 → a scalar.

    logits (batch, classes), labels (batch,), teacher_probs p (batch, classes) of the generation before; None, or α = 1, for labels alone.
    """
    probs = full_precision(logits).softmax(dim=-1)
    if teacher_probs is None or alpha == 1:
        return F.mse_loss(probs, F.one_hot(labels, logits.shape[1]).to(probs.dtype))
    taught = F.mse_loss(probs, teacher_probs)
    if alpha == 0:
        return taught
    return alpha * F.mse_loss(probs, F.one_hot(labels, logits.shape[1]).to(probs.dtype)) + (1 - alpha) * taught


def penalty(parameters: Iterable[nn.Parameter], *, kind: str) -> Tensor:
    """Σ_p ‖θ_p‖₂, or with kind "squared" Σ_p ‖θ_p‖², over tensors that are trained, biases included. A zero tensor has gradient 0."""
    norms = torch.stack([torch.linalg.vector_norm(each) for each in parameters if each.requires_grad])
    return norms.square().sum() if kind == "squared" else norms.sum()


def agreement(network: nn.Module, other: nn.Module, inputs: Tensor) -> float:
    """The share of rows, inputs (rows, …), for which both say the same class: `network` in eval mode, `other` as it is."""
    training = network.training
    own = network.eval()(inputs).argmax(dim=1)
    network.train(training)
    return float((own == other(inputs).argmax(dim=1)).double().mean())


def check_renewable(network: nn.Module) -> None:
    """Raises SpecError for a network with a layer that can't draw its weights again."""
    for name, part in network.named_modules():
        if any(True for _ in part.parameters(recurse=False)) and not hasattr(part, "reset_parameters"):
            raise SpecError.at("student", f"its layer {name or type(part).__name__} can't be made new, and every generation starts anew.")


def renew(network: nn.Module, seed: int, device: torch.device) -> None:
    """New random weights in place, from `seed` alone: those that the architecture would be built with."""
    with undisturbed(device):
        torch.manual_seed(seed)
        _reset(network)


def _reset(part: nn.Module) -> None:
    """A part that draws its own weights anew draws those of the parts in it as well."""
    reset = getattr(part, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for each in part.children():
        _reset(each)
