"""How a language model writes and how close it is to a teacher, token by token. Logits are (rows, tokens, vocabulary), results (rows, tokens).

All divergences are exact sums over the vocabulary, at temperature 1, in nats.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from engine.losses.divergences import entropy, forward_kl, reverse_kl, softened_log_probs
from engine.losses.tokens import completion_log_probs, completion_logits
from engine.metrics.cost import device_name
from engine.models.language import CausalLM
from engine.rollout.generate import Sampling, evaluating, generate
from engine.rollout.record import RolloutBatch

NUMBERS_AT_ONCE = 2**24  # of one tensor of logits
TIMED_TOKENS = 16
Metrics = dict[str, float | None]


def overlap(*, student_log_probs: Tensor, teacher_log_probs: Tensor) -> Tensor:
    """Σ_v min(p_S, p_T) = 1 − TVD, in 0…1: the chance that speculative decoding accepts the student's token (Leviathan et al. 2023)."""
    return torch.minimum(student_log_probs, teacher_log_probs).exp().sum(dim=-1)


@torch.no_grad()
def held_out_report(model: CausalLM, inputs: Tensor, targets: Tensor, *, teacher: CausalLM | None = None) -> Metrics:
    """On real text: inputs and targets (rows, tokens) int64, the targets one token later.

    nll: mean −log p(target). perplexity: its exponential. token_accuracy: share of targets that are the most probable token. With a teacher,
    on the same inputs: text_kl_teacher_student, mean KL(p_T ‖ p_S); text_agreement, share of positions with the same most probable token.
    """
    sums: dict[str, float] = {}
    with evaluating(model):
        for rows in _pieces(len(inputs), inputs.shape[1] * model.vocabulary):
            ours = softened_log_probs(model(inputs[rows]), 1.0)
            found = {"nll": -ours.gather(-1, targets[rows][..., None]), "token_accuracy": ours.argmax(dim=-1) == targets[rows]}
            if teacher is not None:
                theirs = softened_log_probs(teacher(inputs[rows]), 1.0)
                found["text_kl_teacher_student"] = forward_kl(teacher_log_probs=theirs, student_log_probs=ours)
                found["text_agreement"] = ours.argmax(dim=-1) == theirs.argmax(dim=-1)
            for name, values in found.items():
                sums[name] = sums.get(name, 0.0) + float(values.double().sum())
    means: Metrics = {name: total / inputs.numel() for name, total in sums.items()}
    nll = means["nll"]
    assert nll is not None
    return {**means, "perplexity": float(torch.tensor(nll, dtype=torch.float64).exp())}


@torch.no_grad()
def tokens_of_rollouts(model: CausalLM, rollouts: RolloutBatch, *, teacher: CausalLM | None = None) -> dict[str, Tensor]:
    """What both models say at each position of the model's own completions, (rows, tokens) each, on the CPU.

    entropy of the model. With a teacher: rollout_kl_student_teacher, KL(p_S ‖ p_T); rollout_kl_teacher_student, KL(p_T ‖ p_S); acceptance,
    1 − TVD; rollout_agreement, 1 where both find the same token most probable; teacher_log_prob of the token that was sampled.
    """
    parts: list[dict[str, Tensor]] = []
    width = rollouts.completion_width
    with evaluating(model):
        for rows in _pieces(len(rollouts), (width + 1) * model.vocabulary):
            part = rollouts.take(rows)
            ours = softened_log_probs(completion_logits(model(part.ids, part.mask, keep=width + 1), width), 1.0)
            found = {"entropy": entropy(ours)}
            if teacher is not None:
                logits = completion_logits(teacher(part.ids, part.mask, keep=width + 1), width)
                theirs = softened_log_probs(logits, 1.0)
                both = {"student_log_probs": ours, "teacher_log_probs": theirs}
                found["rollout_kl_student_teacher"] = reverse_kl(**both)
                found["rollout_kl_teacher_student"] = forward_kl(**both)
                found["acceptance"] = overlap(**both)
                found["rollout_agreement"] = (ours.argmax(dim=-1) == theirs.argmax(dim=-1)).to(ours)
                found["teacher_log_prob"] = completion_log_probs(logits, part.completion_ids)
            parts.append({name: values.cpu() for name, values in found.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def rollout_report(tokens: dict[str, Tensor], rollouts: RolloutBatch, *, eos_id: int | None) -> Metrics:
    """Means over the real tokens of `tokens_of_rollouts`, and how long the completions are.

    truncated: share of the completions without an end; None where no text has one (`eos_id` None).
    """
    mask = rollouts.completion_mask.cpu().bool()
    report: Metrics = {name: float(values[mask].double().mean()) for name, values in tokens.items()}
    lengths = mask.sum(dim=1)
    report["completion_length"] = float(lengths.double().mean())
    report["completion_length_max"] = float(lengths.max())
    report["truncated"] = None
    if eos_id is not None:
        ended = ((rollouts.completion_ids.cpu() == eos_id) & mask).any(dim=1)
        report["truncated"] = float((~ended).double().mean())
    return report


@torch.no_grad()
def speed_report(model: CausalLM, prompt_ids: Tensor) -> dict[str, Any]:
    """How fast the model decodes with its cache, on the device that it is on: prompt_ids (rows, tokens) int64.

    prefill_ms: median time of one prompt, cache filled. token_ms: median time of one further token of one text. tokens_per_second: of all
    rows together. `device` names the hardware.
    """
    one, device = prompt_ids[:1], prompt_ids.device
    mask = torch.ones(1, one.shape[1] + TIMED_TOKENS, dtype=torch.int64, device=device)
    prefill, steps = [], []
    with evaluating(model):
        for _ in range(5):
            cache = model.new_cache()
            prefill.append(_seconds(lambda cache=cache: model.decode(one, mask[:, : one.shape[1]], cache), device))
        steps = [
            _seconds(lambda length=length: model.decode(one[:, -1:], mask[:, :length], cache), device)
            for length in range(one.shape[1] + 1, one.shape[1] + TIMED_TOKENS + 1)
        ]
        everything = torch.ones_like(prompt_ids)
        whole = _seconds(lambda: generate(model, prompt_ids, everything, Sampling(TIMED_TOKENS, greedy=True), None), device)
    return {
        "prefill_ms": 1000 * statistics.median(prefill),
        "token_ms": 1000 * statistics.median(steps),
        "tokens_per_second": len(prompt_ids) * TIMED_TOKENS / whole,
        "prompt_tokens": one.shape[1],
        "rows": len(prompt_ids),
        "device": device_name(device),
    }


def _seconds(act: Any, device: torch.device) -> float:
    start = time.perf_counter()
    act()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _pieces(rows: int, numbers_a_row: int) -> Iterator[slice]:
    size = max(1, NUMBERS_AT_ONCE // numbers_a_row)
    return (slice(start, start + size) for start in range(0, rows, size))
