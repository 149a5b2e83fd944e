"""Offline on-policy distillation: its theory by enumeration of all short texts, and its losses by hand."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from engine.methods.lightning_opd.losses import advantages, clipped, drift, mean_of_rows, mean_of_tokens, surrogate
from engine.models.language import CausalLM
from tests.engine.methods.language import table

# Theory, on all texts of three of three words after a given first one


WORDS, LENGTH = 3, 3
ALL_TEXTS = torch.tensor(list(itertools.product(range(WORDS), repeat=LENGTH)))
PROMPTS = torch.zeros(len(ALL_TEXTS), 1, dtype=torch.int64)
ONES = torch.ones_like(ALL_TEXTS)


def every_text(model: CausalLM) -> Tensor:
    """log π of each token of each text, (texts, LENGTH), with gradient."""
    logits = model(torch.cat([PROMPTS, ALL_TEXTS], dim=1))[:, :-1]
    return logits.log_softmax(dim=-1).gather(-1, ALL_TEXTS[..., None]).squeeze(-1)


def chances(model: CausalLM) -> Tensor:
    """π(text), (texts,), which sum to 1."""
    return every_text(model).sum(dim=1).exp()


def gradient(value: Tensor, model: CausalLM) -> Tensor:
    return torch.autograd.grad(value, model.body.table, retain_graph=True)[0]


def method_gradient(writer: CausalLM, student: CausalLM, teacher: CausalLM) -> Tensor:
    """The expected gradient of the method's sequence sums −Σ_t A_t log π_θ over texts of `writer`."""
    now = every_text(student)
    advantage = advantages(teacher_log_probs=every_text(teacher), student_log_probs=now, clip=None)
    return gradient((chances(writer).detach() * (-advantage * now).sum(dim=1)).sum(), student)


def test_the_objective_on_own_text_is_minus_the_divergence_of_the_sequences():
    student, teacher = table(1, WORDS), table(2, WORDS)
    p, q = chances(student), chances(teacher)

    gap = (p * (every_text(teacher) - every_text(student)).sum(dim=1)).sum()

    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert gap.item() == pytest.approx(-(p * (p / q).log()).sum().item(), rel=1e-12)


def test_at_the_start_the_expected_gradient_on_the_cache_is_the_online_one():
    student, teacher = table(1, WORDS), table(2, WORDS)

    offline, online = method_gradient(table(1, WORDS), student, teacher), method_gradient(student, student, teacher)

    assert float(online.norm()) > 0.1
    assert torch.allclose(offline, online, rtol=0, atol=1e-14)


def test_later_they_differ_by_the_covariance_of_weight_and_gradient():
    start, student, teacher = table(1, WORDS), table(5, WORDS), table(2, WORDS)
    p_start = chances(start).detach()
    w = chances(student).detach() / p_start
    now = every_text(student)
    advantage = advantages(teacher_log_probs=every_text(teacher), student_log_probs=now, clip=None)
    f = torch.stack([gradient((advantage[row] * now[row]).sum(), student) for row in range(len(ALL_TEXTS))])

    mean_f = (p_start[:, None, None] * f).sum(dim=0)
    covariance = (p_start[:, None, None] * (w[:, None, None] - 1) * (f - mean_f)).sum(dim=0)

    assert float((p_start * w).sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(covariance.norm()) > 0.01
    # method_gradient is that of the loss, so the signs are turned
    assert torch.allclose(
        -method_gradient(start, student, teacher), -method_gradient(student, student, teacher) - covariance, rtol=0, atol=1e-13
    )


def test_a_student_that_equals_its_teacher_has_no_advantage_and_no_gradient_on_any_text():
    student, now = table(2, WORDS), None
    now = every_text(student)
    advantage = advantages(teacher_log_probs=every_text(table(2, WORDS)), student_log_probs=now, clip=10.0)

    loss = mean_of_rows(surrogate(now, before=now, advantage=advantage, clip_low=0.2, clip_high=0.2), ONES)

    assert advantage.abs().max() == 0
    assert gradient(loss, student).abs().max() == 0


def test_without_clipping_the_gradient_is_that_of_half_the_mean_squared_gap():
    student, teacher = table(1, WORDS), table(2, WORDS)
    now, theirs = every_text(student), every_text(teacher).detach()
    advantage = advantages(teacher_log_probs=theirs, student_log_probs=now, clip=None)

    policy = gradient(mean_of_rows(surrogate(now, before=now, advantage=advantage, clip_low=0.2, clip_high=0.2), ONES), student)

    regression = gradient(mean_of_rows((theirs - now).square() / 2, ONES), student)
    assert torch.allclose(policy, regression, rtol=0, atol=1e-15)


# Losses by hand


def test_advantages_are_clipped_on_both_sides_and_carry_no_gradient():
    student = torch.tensor([[-1.0, -30.0, -2.0]], requires_grad=True)

    found = advantages(teacher_log_probs=torch.tensor([[-1.5, -1.0, -40.0]]), student_log_probs=student, clip=10.0)

    assert found.tolist() == [[-0.5, 10.0, -10.0]]
    assert not found.requires_grad


def test_the_surrogate_is_the_published_maximum():
    before = torch.zeros(6, dtype=torch.float64)
    ratio = torch.tensor([1.0, 1.5, 0.5, 1.5, 0.5, 1.1], dtype=torch.float64)
    advantage = torch.tensor([2.0, 2.0, 2.0, -2.0, -2.0, -2.0], dtype=torch.float64)

    found = surrogate(ratio.log(), before=before, advantage=advantage, clip_low=0.2, clip_high=0.3)

    # −ρA against −clip(ρ, 0.8, 1.3)·A: the larger one
    assert found.tolist() == pytest.approx([-2.0, -2.6, -1.0, 3.0, 1.6, 2.2])
    stopped = clipped(ratio.log(), before=before, advantage=advantage, clip_low=0.2, clip_high=0.3)
    assert stopped.tolist() == [False, True, False, False, True, False]


def test_a_clipped_token_has_no_gradient_and_the_others_have_that_of_the_ratio():
    log_probs = torch.tensor([math.log(1.5), math.log(0.9)], dtype=torch.float64, requires_grad=True)
    settings = {"before": torch.zeros(2, dtype=torch.float64), "advantage": torch.full((2,), 2.0, dtype=torch.float64)}

    surrogate(log_probs, **settings, clip_low=0.2, clip_high=0.2).sum().backward()

    assert log_probs.grad.tolist() == pytest.approx([0.0, -1.8])


def test_the_surrogate_s_gradient_is_that_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    log_probs, before, advantage = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(3))

    def loss(x: Tensor) -> Tensor:
        return mean_of_rows(surrogate(x, before=before, advantage=advantage, clip_low=0.2, clip_high=0.2), torch.ones(3, 4))

    assert torch.autograd.gradcheck(loss, log_probs.requires_grad_())


def test_rows_count_alike_whatever_their_length_and_tokens_after_the_end_not_at_all():
    per_token = torch.tensor([[1.0, 3.0, float("inf")], [5.0, float("nan"), 7.0], [9.0, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])

    assert mean_of_rows(per_token, mask).item() == pytest.approx((2.0 + 5.0 + 0.0) / 3)
    assert mean_of_tokens(per_token, mask).item() == pytest.approx(9.0 / 3)


def test_drift_by_hand():
    d = torch.tensor([[math.log(2.0), 0.0, 123.0]], dtype=torch.float64)

    found = drift(log_probs=d, start_log_probs=torch.zeros_like(d), mask=torch.tensor([[1, 1, 0]]))

    expected = {
        "k1": math.log(2) / 2,
        "k2": math.log(2) ** 2 / 4,
        "k3": (0.5 - 1 + math.log(2)) / 2,
        "weight_mean": 1.5,
        "weight_std": 0.5,
    }
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected)
