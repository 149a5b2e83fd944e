"""Divergences between two categorical distributions, per example, from log-probabilities.

p is the teacher's distribution and q the student's. All take log-probabilities (batch, classes) by keyword, since two tensors of one shape,
swapped, train without complaint and are wrong, and give (batch,) in nats. No temperature in here: the caller softens the logits before, and
multiplies by T² after where its paper does.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.losses.precision import full_precision


def softened_log_probs(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """log softmax(z / T) over the last axis. T > 0."""
    return F.log_softmax(full_precision(logits) / temperature, dim=-1)


def averaged_log_probs(logits: Sequence[Tensor], temperature: float, weights: Sequence[float] = ()) -> Tensor:
    """log Σ_k w_k softmax(z^k / T): an average of probabilities, not of logits. `weights` sum to 1; empty for equal ones."""
    if len(logits) == 1:
        return softened_log_probs(logits[0], temperature)
    shares = torch.tensor(list(weights) or [1 / len(logits)] * len(logits), dtype=torch.float64)
    stacked = torch.stack([softened_log_probs(each, temperature) for each in logits])
    # log(w) + log(p) in place of w·p: the sum of tiny probabilities stays exact, and a weight of 0 is −inf, which logsumexp ignores.
    return torch.logsumexp(stacked + shares.log().to(stacked).view(-1, *[1] * (stacked.ndim - 1)), dim=0)


def entropy(log_probs: Tensor) -> Tensor:
    """H(p) = −Σ_c p_c log p_c, (batch, classes) → (batch,) in nats, between 0 and log(classes)."""
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def forward_kl(*, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """KL(p ‖ q), the teacher first."""
    return F.kl_div(student_log_probs, teacher_log_probs, reduction="none", log_target=True).sum(dim=-1)


def reverse_kl(*, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """KL(q ‖ p), the student first."""
    return F.kl_div(teacher_log_probs, student_log_probs, reduction="none", log_target=True).sum(dim=-1)


def jeffreys(*, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """½ [KL(p ‖ q) + KL(q ‖ p)]."""
    return ((teacher_log_probs.exp() - student_log_probs.exp()) * (teacher_log_probs - student_log_probs)).sum(dim=-1) / 2


def jensen_shannon(*, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """½ KL(p ‖ m) + ½ KL(q ‖ m) with m = ½ (p + q); at most log 2."""
    mixture = torch.logaddexp(teacher_log_probs, student_log_probs) - math.log(2)
    halves = (
        forward_kl(teacher_log_probs=teacher_log_probs, student_log_probs=mixture),
        forward_kl(teacher_log_probs=student_log_probs, student_log_probs=mixture),
    )
    return (halves[0] + halves[1]) / 2


def soft_cross_entropy(*, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """−Σ_c p_c log q_c = KL(p ‖ q) + H(p)."""
    return -(teacher_log_probs.exp() * student_log_probs).sum(dim=-1)


BY_NAME: dict[str, Callable[..., Tensor]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jeffreys": jeffreys,
    "js": jensen_shannon,
    "soft_ce": soft_cross_entropy,
}
