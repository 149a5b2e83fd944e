"""The student's completions and what both models said of them: kept once, read again at every step.

A cache is a dict of tensors with rows first: the four of a rollout (`prompt_ids`, `prompt_mask`, `completion_ids`, `completion_mask`), and of
the completions' tokens `teacher_log_probs` and `start_log_probs` (rows, C) at temperature 1, in float32 because it lives long.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.models.language import CausalLM
from engine.rollout.generate import evaluating
from engine.rollout.record import RolloutBatch, new_batch
from engine.rollout.scoring import log_probs_of
from engine.seeds import derived_seed

Tensors = dict[str, Tensor]
CORE = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")


def core_of(rollouts: RolloutBatch) -> Tensors:
    """Prompts and completions with their masks, by name."""
    return {name: getattr(rollouts, name) for name in CORE}


def rollouts_of(rows: Mapping[str, Tensor]) -> RolloutBatch:
    """Stored rows as what the student wrote."""
    return new_batch(
        prompt_ids=rows["prompt_ids"],
        prompt_mask=rows["prompt_mask"],
        completion_ids=rows["completion_ids"],
        completion_mask=rows["completion_mask"],
        source="student",
    )


def log_probs(model: CausalLM, rows: Mapping[str, Tensor]) -> Tensor:
    """log π(a_t|s_t) of the completions' tokens, (rows, C), with gradient."""
    return log_probs_of(model, rollouts_of(rows))


@torch.no_grad()
def scored(model: CausalLM, rows: Mapping[str, Tensor]) -> Tensor:
    """The same by a model in eval mode, without gradient and in float32."""
    with evaluating(model):
        return log_probs(model, rows).float()


def store(cache: Tensors, rows: Mapping[str, Tensor], index: Tensor, *, size: int, width: int) -> None:
    """Writes rows into a cache of `size` rows at the places `index`. An empty cache gets its tensors now, with room for completions of `width`
    tokens: others may be longer than these."""
    if not cache:
        cache.update({name: _room(name, tensor, size, width) for name, tensor in rows.items()})
    for name, tensor in rows.items():
        cache[name][index, : tensor.shape[1]] = tensor


def _room(name: str, tensor: Tensor, size: int, width: int) -> Tensor:
    return tensor.new_zeros(size, tensor.shape[1] if name.startswith("prompt") else width)


def rows_of_step(step: int, *, rows: int, batch_size: int, seed: int, what: str) -> Tensor:
    """The rows of a step, (batch,) on the CPU: all once before any comes again, in another order each time. A pure function of what it is given."""
    epoch, within = divmod(step, -(-rows // batch_size))
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(derived_seed(seed, what, epoch)))
    return order[within * batch_size : (within + 1) * batch_size]
