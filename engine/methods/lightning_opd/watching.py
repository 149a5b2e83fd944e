"""What is looked at while the student learns from a cache: a step's terms, whether the cache still fits, and early warnings."""

from collections.abc import Callable

import torch
from torch import Tensor

from engine.losses.divergences import reverse_kl, softened_log_probs
from engine.methods.lightning_opd.cache import Tensors
from engine.methods.lightning_opd.card import Settings
from engine.methods.lightning_opd.losses import clipped, drift, mean_of_tokens
from engine.models.language import CausalLM
from engine.rollout.generate import evaluating
from engine.rollout.record import RolloutBatch
from engine.rollout.scoring import logits_of

WATCHED_ROWS = 64  # fresh completions for the warning that the student got worse while the stored loss fell
SHOWN_ROWS = 512  # of the cache, for the numbers and pictures of an evaluation
WIDE_WEIGHTS = 0.3


def distill_terms(
    inputs: Tensors, settings: Settings, *, loss: Tensor, gap: Tensor, advantage: Tensor, before: Tensor, now: Tensor
) -> Tensors:
    """What a step of the last phase reports. `gap` is A before clipping; `before` and `now` are log π_θ at the batch's start and at its last
    update; (rows, C) each, without gradient."""
    mask = inputs["completion_mask"]
    terms = {
        "loss": loss,
        "advantage": mean_of_tokens(advantage, mask),
        "advantage_squared": mean_of_tokens(gap.square(), mask),
        # J of the paper, up to its sign: on text of the student itself an estimate of the sequences' KL(student ‖ teacher)
        "sequence_gap": -torch.where(mask.bool(), gap, 0.0).sum(dim=1).mean(),
    }
    if settings.advantage_clip is not None:
        terms["advantage_clipped"] = mean_of_tokens((gap.abs() >= settings.advantage_clip).to(gap.dtype), mask)
    if settings.updates_per_batch > 1:
        stopped = clipped(now, before=before, advantage=advantage, clip_low=settings.clip_low, clip_high=settings.clip_high)
        terms["ratio_clipped"] = mean_of_tokens(stopped.to(gap.dtype), mask)
    if settings.mode == "offline":
        found = drift(log_probs=before, start_log_probs=inputs["start_log_probs"], mask=mask)
        terms |= {f"drift/{name}": value for name, value in found.items()}
    return terms


def fit(rows: Tensors) -> float:
    """Mean of A² before clipping over stored rows with `now`, the student's log-probabilities as they are: what the last phase makes smaller."""
    return float(mean_of_tokens((rows["teacher_log_probs"] - rows["now"]).square(), rows["completion_mask"]))


@torch.no_grad()
def kl_on(rollouts: RolloutBatch, *, student: CausalLM, teacher: CausalLM) -> float:
    """KL(student ‖ teacher) in nats a token, exact at each position of completions that the student wrote. Asks the teacher."""
    with evaluating(student):
        log_probs = [softened_log_probs(logits_of(model, rollouts), 1.0) for model in (student, teacher)]
    per_token = reverse_kl(student_log_probs=log_probs[0], teacher_log_probs=log_probs[1])
    return float(mean_of_tokens(per_token, rollouts.completion_mask))


def cache_warnings(rows: Tensors, *, clip: float | None, begin_fit: float, begin_kl: float, kl_now: Callable[[], float]) -> list[str]:
    """What is likely to go wrong, in sentences, from stored rows with `now`. `begin_fit` and `begin_kl` are from before the first step of the
    last phase; `kl_now` is asked only where the fit got better."""
    found = []
    now, start, mask = rows["now"], rows["start_log_probs"], rows["completion_mask"]
    spread = float(drift(log_probs=now, start_log_probs=start, mask=mask)["weight_std"])
    if spread > WIDE_WEIGHTS:
        found.append(f"The weights π_θ/π_ref have a standard deviation of {spread:.2f}, above {WIDE_WEIGHTS}: the cache has grown old.")
    if clip is not None:
        before, after = (float(mean_of_tokens(((rows["teacher_log_probs"] - whose).abs() >= clip).float(), mask)) for whose in (start, now))
        if after > before:
            found.append(f"{after:.2%} of the stored tokens are at the advantage's limit; at the start {before:.2%} were.")
    if fit(rows) < begin_fit and (kl := kl_now()) > begin_kl:
        found.append(f"KL on fresh text rose from {begin_kl:.3f} to {kl:.3f} nats, while the fit to the cache got better.")
    return found
