"""What a model says of completions that are there already: one parallel forward pass over [prompt | completion]."""

from torch import Tensor

from engine.losses.tokens import completion_log_probs, completion_logits
from engine.models.language import CausalLM
from engine.rollout.record import RolloutBatch


def logits_of(model: CausalLM, rollouts: RolloutBatch) -> Tensor:
    """The logits of the completions' tokens, (B, C, V), with gradient. Padding changes nothing at real tokens."""
    width = rollouts.completion_width
    return completion_logits(model(rollouts.ids, rollouts.mask, keep=width + 1), width)


def log_probs_of(model: CausalLM, rollouts: RolloutBatch) -> Tensor:
    """log π(a_t | s_t) of the completions' tokens at temperature 1, (B, C), with gradient; anything where the mask is 0."""
    return completion_log_probs(logits_of(model, rollouts), rollouts.completion_ids)
