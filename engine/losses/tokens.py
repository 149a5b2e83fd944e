"""Losses of language models, token by token. They return (batch, completion) unreduced: how tokens are summed up belongs to the loop.

Rows are [prompt | completion]; logits at position i are of token i + 1. p_S and p_T are the student's and the teacher's softmax(z / τ).
Equations are of Agarwal et al. (2024), arXiv:2306.13649, with β weighing the teacher in the mixture as in TRL.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from engine.losses.divergences import forward_kl, reverse_kl, softened_log_probs

Reduction = Literal["none", "sum", "batchmean", "mean"]


def completion_logits(logits: Tensor, width: int) -> Tensor:
    """The logits of the completion's tokens: (B, at least `width` + 1, V) for the last positions of [prompt | completion] → (B, width, V)."""
    return logits[:, -width - 1 : -1]


def completion_log_probs(logits: Tensor, completion_ids: Tensor, *, temperature: float = 1.0) -> Tensor:
    """log p(token) at temperature τ. logits (B, C, V) of the completion's tokens, completion_ids (B, C) → (B, C), in nats."""
    return softened_log_probs(logits, temperature).gather(-1, completion_ids[..., None]).squeeze(-1)


def token_divergence(*, student_logits: Tensor, teacher_logits: Tensor, beta: float, temperature: float = 1.0) -> Tensor:
    """D_β of each position, summed over the vocabulary. Logits (B, C, V) → (B, C) in nats, at least 0; β in [0, 1].

    β = 0: KL(p_T ‖ p_S). β = 1: KL(p_S ‖ p_T). Between: β KL(p_T ‖ M) + (1 − β) KL(p_S ‖ M) with M = β p_T + (1 − β) p_S, which is at most
    −β log β − (1 − β) log(1 − β) and vanishes towards both ends: these are special cases, no limits. No gradient is stopped here.
    """
    return divergence_of_log_probs(
        student_log_probs=softened_log_probs(student_logits, temperature),
        teacher_log_probs=softened_log_probs(teacher_logits, temperature),
        beta=beta,
    )


def divergence_of_log_probs(*, student_log_probs: Tensor, teacher_log_probs: Tensor, beta: float) -> Tensor:
    """D_β from log-probabilities (…, V) → (…), see `token_divergence`."""
    if beta == 0:
        return forward_kl(teacher_log_probs=teacher_log_probs, student_log_probs=student_log_probs)
    if beta == 1:
        return reverse_kl(teacher_log_probs=teacher_log_probs, student_log_probs=student_log_probs)
    mixture = torch.logaddexp(teacher_log_probs + math.log(beta), student_log_probs + math.log1p(-beta))
    of_teacher = forward_kl(teacher_log_probs=teacher_log_probs, student_log_probs=mixture)
    of_student = forward_kl(teacher_log_probs=student_log_probs, student_log_probs=mixture)
    return beta * of_teacher + (1 - beta) * of_student


def reduce_tokens(
    per_token: Tensor, mask: Tensor, how: Reduction = "batchmean", *, tokens: Tensor | None = None, vocabulary: int = 1
) -> Tensor:
    """per_token (B, C) with mask (B, C) → a scalar, or (B, C) as it is for "none".

    sum: Σ m d. batchmean: Σ m d / Σ m. mean: Σ m d / (V Σ m), a quirk of TRL. `tokens`: another Σ m to divide by, that of a whole batch of
    which this is a piece. The divisor is at least 1, so that a batch with no real token has the loss 0, with a graph.
    """
    if how == "none":
        return per_token
    # where, not a product: a masked position may hold anything, infinity too.
    total = torch.where(mask.bool(), per_token, 0.0).sum()
    if how == "sum":
        return total
    count = (mask.sum() if tokens is None else tokens).clamp(min=1)
    return total / (count * vocabulary if how == "mean" else count)
