"""What goes from one part of the on-policy loop to the next: prompts, completions, and what was said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, Self

import torch
from torch import Tensor

Source = Literal["student", "teacher", "data"]
SOURCES: tuple[Source, ...] = ("student", "teacher", "data")
"""Who wrote a completion; `RolloutBatch.source` holds places in this tuple."""


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """B prompts of P tokens, padded on the left, with completions of C tokens, padded on the right. Masks are 1 at real tokens, else 0.

    A completion's mask includes its first end-of-text token and is 0 after it. Everything after `policy_version` is optional.

    prompt_ids, prompt_mask              (B, P) int64
    completion_ids, completion_mask      (B, C) int64
    source                               (B,) int64, places in SOURCES
    policy_version                       (B,) int64: how many updates the policy that sampled had behind it
    behavior_log_probs                   (B, C) of the sampled tokens under the policy that sampled them, at the sampling temperature
    teacher_logits                       (B, C, V): never for a long-lived cache
    teacher_top_ids, teacher_top_log_probs   (B, C, k): the teacher's k most probable tokens
    teacher_log_probs                    (B, C) of the completion's tokens under the teacher
    reward                               (B,)
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    source: Tensor
    policy_version: Tensor
    behavior_log_probs: Tensor | None = None
    teacher_logits: Tensor | None = None
    teacher_top_ids: Tensor | None = None
    teacher_top_log_probs: Tensor | None = None
    teacher_log_probs: Tensor | None = None
    reward: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompt_ids)

    @property
    def ids(self) -> Tensor:
        """[prompt | completion], (B, P + C)."""
        return torch.cat([self.prompt_ids, self.completion_ids], dim=1)

    @property
    def mask(self) -> Tensor:
        """[prompt mask | completion mask], (B, P + C)."""
        return torch.cat([self.prompt_mask, self.completion_mask], dim=1)

    @property
    def completion_width(self) -> int:
        """C."""
        return self.completion_ids.shape[1]

    @property
    def tokens(self) -> Tensor:
        """The number of real completion tokens, a scalar."""
        return self.completion_mask.sum()

    @property
    def labels(self) -> Tensor:
        """(B, P + C): the token where the completion's mask is 1, −100 elsewhere."""
        of_completion = self.completion_ids.masked_fill(self.completion_mask == 0, -100)
        return torch.cat([torch.full_like(self.prompt_ids, -100), of_completion], dim=1)

    def take(self, rows: Tensor | slice) -> Self:
        """These rows, by number (n,) int64, by flags (B,), or as a slice."""
        return type(self)(**{name: tensor[rows] for name, tensor in self.to_tensors().items()})

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(**{name: tensor.to(device) for name, tensor in self.to_tensors().items()})

    def to_tensors(self) -> dict[str, Tensor]:
        """The fields that are there, by name: what a method keeps on itself, and `save_tensors` takes."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in values.items() if tensor is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The reverse of `to_tensors`."""
        return cls(**tensors)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of several batches, one after the other. Narrower ones are padded: prompts on the left, completions on the right, with
        token 0 and mask 0. All must have the same fields."""
        prompt = max(part.prompt_ids.shape[1] for part in parts)
        completion = max(part.completion_width for part in parts)
        grown = [_padded(part.to_tensors(), prompt, completion) for part in parts]
        return cls(**{name: torch.cat([part[name] for part in grown]) for name in grown[0]})


def completion_mask_of(ids: Tensor, eos_id: int | None) -> Tensor:
    """ids (B, C) of completions that were read and not sampled → mask (B, C) int64: 1 up to the first end-of-text token and at it, then 0."""
    if eos_id is None:
        return torch.ones_like(ids)
    ends = (ids == eos_id).long()
    return (ends.cumsum(dim=1) - ends == 0).long()


def new_batch(
    *, prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor, source: Source, policy_version: int = 0
) -> RolloutBatch:
    """A batch of one source. Shapes as in RolloutBatch."""
    rows, device = len(prompt_ids), prompt_ids.device
    return RolloutBatch(
        prompt_ids=prompt_ids,
        prompt_mask=prompt_mask,
        completion_ids=completion_ids,
        completion_mask=completion_mask,
        source=torch.full((rows,), SOURCES.index(source), device=device),
        policy_version=torch.full((rows,), policy_version, device=device),
    )


def _padded(tensors: dict[str, Tensor], prompt: int, completion: int) -> dict[str, Tensor]:
    grown = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 1:
            grown[name] = tensor
            continue
        left = name.startswith("prompt")
        missing = (prompt if left else completion) - tensor.shape[1]
        filler = tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])
        grown[name] = torch.cat([filler, tensor] if left else [tensor, filler], dim=1)
    return grown
