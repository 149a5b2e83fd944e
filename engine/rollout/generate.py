"""Sampling completions, many at once, with a cache of what the model made of the tokens before.

One prefill of the left-padded prompts, then one token a row and step. Positions count real tokens, so padding shifts nothing. Anything with
`decode` and `new_cache` of `engine.models.language.CausalLM` samples here, whatever its cache holds.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engine.losses.precision import full_precision
from engine.rollout.record import RolloutBatch, Source, completion_mask_of, new_batch

ASK_EVERY = 8  # tokens between two looks at whether all rows are finished: each look makes a GPU wait


class Decoder(Protocol):
    """What is sampled from."""

    def decode(self, ids: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
        """Logits (batch, vocabulary) after the last of the new tokens ids (batch, new); mask (batch, all tokens so far), None for no padding."""

    def new_cache(self) -> Any:
        """An empty cache."""

    def modules(self) -> Iterator[nn.Module]:
        """The modules whose mode is set."""


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. `eos_id` ends one, `pad_id` fills what is after it; without `eos_id` all have `max_new_tokens` tokens.

    `temperature` > 0 divides the logits; all tokens may be drawn. `greedy` takes the most probable token and draws nothing.
    """

    max_new_tokens: int
    temperature: float = 1.0
    eos_id: int | None = None
    pad_id: int = 0
    greedy: bool = False


@torch.no_grad()
def generate(
    model: Decoder,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    sampling: Sampling,
    generator: torch.Generator | None,
    *,
    source: Source = "student",
    policy_version: int = 0,
    log_probs: bool = False,
) -> RolloutBatch:
    """One completion for each row of prompt_ids (B, P) with prompt_mask (B, P), both int64 and padded on the left.

    Runs in eval mode; the model is left in the modes it came in. `generator` is on the prompts' device, and the only source of chance.
    With `log_probs` the batch has `behavior_log_probs`. C is the length of the longest completion, at most `max_new_tokens`.
    """
    rows, width = prompt_ids.shape
    mask = None
    if not bool(prompt_mask.all()):
        mask = torch.cat([prompt_mask, prompt_mask.new_ones(rows, sampling.max_new_tokens)], dim=1)
    finished = torch.zeros(rows, dtype=torch.bool, device=prompt_ids.device)
    drawn, chances = [], []
    with evaluating(model):
        cache, new = model.new_cache(), prompt_ids
        for length in range(width, width + sampling.max_new_tokens):
            logits = full_precision(model.decode(new, None if mask is None else mask[:, :length], cache)) / sampling.temperature
            token = logits.argmax(dim=-1) if sampling.greedy else draw(logits, generator)
            if log_probs:
                chance = logits.log_softmax(dim=-1).gather(1, token[:, None]).squeeze(1)
                chances.append(chance.masked_fill(finished, 0.0))
            if sampling.eos_id is not None:
                token = token.masked_fill(finished, sampling.pad_id)
                finished = finished | (token == sampling.eos_id)
            drawn.append(token)
            if sampling.eos_id is not None and len(drawn) % ASK_EVERY == 0 and bool(finished.all()):
                break
            new = token[:, None]
    completion_ids = torch.stack(drawn, dim=1)
    completion_mask = completion_mask_of(completion_ids, sampling.eos_id)
    longest = len(drawn) if sampling.eos_id is None else int(completion_mask.sum(dim=1).max())
    batch = new_batch(
        prompt_ids=prompt_ids,
        prompt_mask=prompt_mask,
        completion_ids=completion_ids[:, :longest],
        completion_mask=completion_mask[:, :longest],
        source=source,
        policy_version=policy_version,
    )
    return replace(batch, behavior_log_probs=torch.stack(chances, dim=1)[:, :longest]) if log_probs else batch


def draw(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """One token a row with the chances p = softmax(logits), (B, V) → (B,): argmax p / e with every e ~ Exp(1).

    e / p ~ Exp(p), and of independent waiting times the one with rate p_i is the first with probability p_i / Σ p. `torch.multinomial` draws a
    single sample in this same way, so the tokens are those it would draw; but it makes a GPU wait, to look whether p is a distribution.
    """
    chances = logits.softmax(dim=-1)
    return (chances / torch.empty_like(chances).exponential_(generator=generator)).argmax(dim=-1)


def left_padded(prompts: Sequence[Tensor], pad_id: int = 0) -> tuple[Tensor, Tensor]:
    """Prompts (length,) int64 of any lengths ≥ 1 → ids and mask (B, longest), padded on the left."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.stack([torch.cat([prompt.new_full((longest - len(prompt),), pad_id), prompt]) for prompt in prompts])
    mask = torch.stack([torch.cat([prompt.new_zeros(longest - len(prompt)), torch.ones_like(prompt)]) for prompt in prompts])
    return ids, mask


@contextmanager
def evaluating(model: Decoder | nn.Module) -> Iterator[None]:
    """Eval mode inside: no dropout. Afterwards each module has the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode
