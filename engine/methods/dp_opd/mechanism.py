"""The noisy, clipped sum: Abadi et al. (2016), arXiv:1607.00133, algorithm 1, with the constants of Opacus.

Gradients of single records are dicts of tensors (records, *shape of the parameter) by the parameter's name.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

PARTS_PER_MILLION = 1e-6  # added to a norm before dividing by it, as in Opacus

Gradients = dict[str, Tensor]


def per_record_gradients(loss: Callable[..., Tensor], parameters: Mapping[str, Tensor], *rows: Tensor) -> tuple[Gradients, Tensor]:
    """∇ loss(parameters, row of each of `rows`) for every row: (records, …) by name, and the losses (records,).

    `loss` returns a scalar and sees one record: nothing that it computes can depend on another one. A tied parameter has one entry, which
    is the sum over its uses. Dropout draws anew for each record.
    """
    gradients, losses = vmap(grad_and_value(loss), in_dims=(None, *[0] * len(rows)), randomness="different")(dict(parameters), *rows)
    return gradients, losses


def norms_of(gradients: Mapping[str, Tensor]) -> Tensor:
    """‖g_i‖₂ over all parameters together, (records,)."""
    each = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients.values()])
    norms: Tensor = each.norm(dim=0)
    return norms


def clip_factors(norms: Tensor, clip_norm: float) -> Tensor:
    """f_i = min(1, C / (‖g_i‖ + 1e-6)), (records,) → (records,)."""
    factors: Tensor = (clip_norm / (norms + PARTS_PER_MILLION)).clamp(max=1.0)
    return factors


def clipped_share(norms: Tensor, clip_norm: float) -> Tensor:
    """The share of norms (records,), at least one, that are cut."""
    return (clip_factors(norms, clip_norm) < 1).float().mean()


def clipped_sum(gradients: Mapping[str, Tensor], clip_norm: float) -> tuple[Gradients, Tensor]:
    """Σ_i f_i g_i by name, and the norms ‖g_i‖ before clipping (records,). Adding or removing a record changes the sum by at most C."""
    norms = norms_of(gradients)
    factors = clip_factors(norms, clip_norm)
    return {name: torch.einsum("i,i...->...", factors, gradient) for name, gradient in gradients.items()}, norms


def noised_mean(
    sums: Mapping[str, Tensor], *, noise_multiplier: float, clip_norm: float, expected_batch: float, generator: torch.Generator
) -> Gradients:
    """(sum + N(0, σ²C² I)) / B with the EXPECTED batch B: called once a step, whatever the batch was, also when it was empty."""
    std = noise_multiplier * clip_norm
    return {
        name: (total + std * torch.randn(total.shape, generator=generator, dtype=total.dtype, device=total.device)) / expected_batch
        for name, total in sums.items()
    }


def signal_to_noise(sums: Mapping[str, Tensor], noise_multiplier: float, clip_norm: float) -> Tensor:
    """‖Σ f_i g_i‖ / (σ C √d) with d trained numbers: the length of what is learned over the noise's expected length."""
    numbers = sum(total.numel() for total in sums.values())
    signal = torch.stack([total.norm() for total in sums.values()]).norm()
    ratio: Tensor = signal / (noise_multiplier * clip_norm * math.sqrt(numbers))
    return ratio


def zeros_like_parameters(module: nn.Module) -> Gradients:
    """The sum over no record, by the name of each trained parameter."""
    return {name: torch.zeros_like(parameter) for name, parameter in module.named_parameters() if parameter.requires_grad}
