"""The standardization and the losses of the four methods that it is put before. All per example unless said; teacher first in each KL."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.losses.divergences import forward_kl, softened_log_probs
from engine.losses.precision import full_precision

SMALLEST_STD = 1e-6


def standardized(logits: Tensor, *, epsilon: float = 1e-7) -> Tensor:
    """Z(z) = (z − mean) / (std + ε) over the classes, with divisor classes − 1 in std. (batch, classes) → (batch, classes).

    The gradient flows through mean and std. Rows with a std below 1e-6, whose gradient would be of the order 1/ε, must be taken out before.
    """
    z = full_precision(logits)
    return (z - z.mean(dim=-1, keepdim=True)) / (z.std(dim=-1, keepdim=True) + epsilon)


def rows_with_spread(*logits: Tensor) -> Tensor:
    """(batch,) bool: whether a row's logits differ enough, std at least 1e-6, in every one of the tensors."""
    keep = [full_precision(each).detach().std(dim=-1) >= SMALLEST_STD for each in logits]
    return torch.stack(keep).all(dim=0)


def with_safe_rows(logits: Tensor, keep: Tensor) -> Tensor:
    """The logits, with 0, 1, 2, … in the rows that are not kept: finite there, no gradient, and no shape that depends on the data."""
    return torch.where(keep[:, None], logits, torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype))


def mean_of_kept(rows: Tensor, keep: Tensor) -> Tensor:
    """Mean over the kept rows (batch,) → scalar; 0 with a graph when none is kept."""
    return (rows * keep).sum() / keep.sum().clamp(min=1)


def softened_kl(*, student_z: Tensor, teacher_z: Tensor, temperature: float | Tensor) -> Tensor:
    """T² · KL(teacher ‖ student) at temperature T, (batch, classes) → (batch,) in nats."""
    p, q = softened_log_probs(teacher_z, temperature), softened_log_probs(student_z, temperature)
    return temperature**2 * forward_kl(teacher_log_probs=p, student_log_probs=q)


def decoupled_kl(*, student_z: Tensor, teacher_z: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD of Zhao et al. (2022), arXiv:2203.08679, equation 7, times T²; (batch, classes), labels (batch,) → (batch,) each.

    TCKD compares (p_target, 1 − p_target), NCKD the softmax over the other classes alone.
    """
    student_target, student_others = _target_and_others(student_z / temperature, labels)
    teacher_target, teacher_others = _target_and_others(teacher_z / temperature, labels)
    target_part = forward_kl(teacher_log_probs=teacher_target, student_log_probs=student_target)
    others_part = forward_kl(teacher_log_probs=teacher_others, student_log_probs=student_others)
    return temperature**2 * target_part, temperature**2 * others_part


def _target_and_others(u: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """log (p_target, 1 − p_target) (batch, 2), and log softmax over the other classes (batch, classes − 1)."""
    before_target = torch.arange(u.shape[-1] - 1, device=u.device) < labels[:, None]
    columns = torch.arange(u.shape[-1] - 1, device=u.device) + (~before_target).long()
    target, others = u.gather(1, labels[:, None]), u.gather(1, columns)
    pair = torch.cat([target, others.logsumexp(dim=-1, keepdim=True)], dim=-1)
    return F.log_softmax(pair, dim=-1), F.log_softmax(others, dim=-1)


def class_correlation(*, student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """‖P_tᵀP_t − P_sᵀP_s‖²_F / classes of the whole batch, P = softmax(z / τ) (batch, classes) → scalar. No τ²."""
    p, q = (softened_log_probs(z, temperature).exp() for z in (teacher_logits, student_logits))
    return (_gram(p.T) - _gram(q.T)).square().sum() / p.shape[1]


def batch_correlation(*, student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """‖P_tP_tᵀ − P_sP_sᵀ‖²_F / batch of the whole batch, P = softmax(z / τ) (batch, classes) → scalar. No τ²."""
    p, q = (softened_log_probs(z, temperature).exp() for z in (teacher_logits, student_logits))
    return (_gram(p) - _gram(q)).square().sum() / p.shape[0]


def _gram(rows: Tensor) -> Tensor:
    """rows · rowsᵀ, in the precision of `rows` also where matrix products are autocast to half of it."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ rows.T


def shares_below_the_median(teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """(m, c) of multi-level distillation: the share of rows whose confidence, and the share of classes whose summed probability, is at
    most the median. Scalars of about one half; (batch, classes) of the weak view."""
    probs = softened_log_probs(teacher_logits, 1.0).exp()
    confidence, by_class = probs.amax(dim=1), probs.sum(dim=0)
    return (confidence <= confidence.quantile(0.5)).to(probs).mean(), (by_class <= by_class.quantile(0.5)).to(probs).mean()


def multi_level_temperatures(base: float) -> Sequence[float]:
    """(T, 2, 3, 5, 6): 2 counts twice when T is 2."""
    return (base, 2.0, 3.0, 5.0, 6.0)
