"""Each divergence against paper and pencil, against a slow float64 version, and at its limits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.losses import divergences

# p = (3/4, 1/4) for the teacher, q = (1/2, 1/2) for the student.
TEACHER = torch.tensor([[0.75, 0.25]], dtype=torch.float64).log()
STUDENT = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()

KL_PQ = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # 0.1308
KL_QP = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)  # 0.1438
# m = (5/8, 3/8): KL(p‖m) = 3/4 ln(6/5) + 1/4 ln(2/3), KL(q‖m) = 1/2 ln(4/5) + 1/2 ln(4/3)
JS = 0.5 * (0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3)) + 0.5 * (0.5 * math.log(4 / 5) + 0.5 * math.log(4 / 3))

BY_HAND = {
    "forward_kl": KL_PQ,
    "reverse_kl": KL_QP,
    "jeffreys": (KL_PQ + KL_QP) / 2,
    "js": JS,
    "soft_ce": math.log(2),  # −3/4 ln ½ − 1/4 ln ½
}
ALL = sorted(BY_HAND)


def slow(name: str, p: Tensor, q: Tensor) -> list[float]:
    """One number at a time, from probabilities."""

    def kl(a: list[float], b: list[float]) -> float:
        return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True))

    found = []
    for row_p, row_q in zip(p.tolist(), q.tolist(), strict=True):
        middle = [(x + y) / 2 for x, y in zip(row_p, row_q, strict=True)]
        found.append(
            {
                "forward_kl": kl(row_p, row_q),
                "reverse_kl": kl(row_q, row_p),
                "jeffreys": (kl(row_p, row_q) + kl(row_q, row_p)) / 2,
                "js": (kl(row_p, middle) + kl(row_q, middle)) / 2,
                "soft_ce": -sum(x * math.log(y) for x, y in zip(row_p, row_q, strict=True)),
            }[name]
        )
    return found


def random_pair(seed: int = 0, *, rows: int = 6, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = [3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64) for _ in range(2)]
    return draw[0].log_softmax(dim=1), draw[1].log_softmax(dim=1)


@pytest.mark.parametrize("name", ALL)
def test_a_divergence_has_the_value_worked_out_by_hand(name):
    value = divergences.BY_NAME[name](teacher_log_probs=TEACHER, student_log_probs=STUDENT)

    assert value.shape == (1,)
    assert value.item() == pytest.approx(BY_HAND[name], abs=1e-15)


@pytest.mark.parametrize("name", ALL)
def test_a_divergence_equals_the_slow_version_row_by_row(name):
    p, q = random_pair()

    value = divergences.BY_NAME[name](teacher_log_probs=p, student_log_probs=q)

    assert value.tolist() == pytest.approx(slow(name, p.exp(), q.exp()), rel=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_with_respect_to_the_student_agrees_with_finite_differences(name):
    p, q = random_pair()
    logits = q.clone().requires_grad_()

    def loss(z: Tensor) -> Tensor:
        return divergences.BY_NAME[name](teacher_log_probs=p, student_log_probs=z.log_softmax(dim=1))

    assert torch.autograd.gradcheck(loss, (logits,), atol=1e-7)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jeffreys", "js"])
def test_a_divergence_is_zero_with_no_gradient_between_equal_distributions(name):
    logits = random_pair()[0].clone().requires_grad_()

    value = divergences.BY_NAME[name](teacher_log_probs=logits.detach(), student_log_probs=logits.log_softmax(dim=1))
    value.sum().backward()

    assert value.detach().abs().max() < 1e-14
    assert logits.grad.abs().max() < 1e-14


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_divergences_are_positive_and_jensen_shannon_is_symmetric_and_below_log_two(seed):
    p, q = random_pair(seed)

    values = {name: divergences.BY_NAME[name](teacher_log_probs=p, student_log_probs=q) for name in ALL}
    swapped = divergences.jensen_shannon(teacher_log_probs=q, student_log_probs=p)

    assert all((value > -1e-12).all() for value in values.values())
    assert (values["js"] <= math.log(2) + 1e-12).all()
    assert torch.allclose(values["js"], swapped, atol=1e-14)


def test_forward_and_reverse_kl_are_each_other_with_the_arguments_swapped():
    p, q = random_pair()

    there = divergences.forward_kl(teacher_log_probs=p, student_log_probs=q)
    back = divergences.reverse_kl(teacher_log_probs=q, student_log_probs=p)

    assert torch.equal(there, back)
    assert not torch.allclose(there, divergences.forward_kl(teacher_log_probs=q, student_log_probs=p))


def test_soft_cross_entropy_exceeds_the_divergence_by_the_entropy_of_the_teacher():
    p, q = random_pair()

    difference = divergences.soft_cross_entropy(teacher_log_probs=p, student_log_probs=q) - divergences.forward_kl(
        teacher_log_probs=p, student_log_probs=q
    )

    assert torch.allclose(difference, divergences.entropy(p), atol=1e-14)


def test_the_entropy_of_a_fair_coin_is_log_two():
    assert divergences.entropy(STUDENT).item() == pytest.approx(math.log(2), abs=1e-15)


def test_a_probability_that_underflows_leaves_every_divergence_finite():
    certain = torch.tensor([[0.0, -2000.0, -2000.0]], dtype=torch.float64).log_softmax(dim=1)
    other = torch.tensor([[-3.0, 0.0, 1.0]], dtype=torch.float64).log_softmax(dim=1)

    values = [divergences.BY_NAME[name](teacher_log_probs=certain, student_log_probs=other) for name in ALL]

    assert all(torch.isfinite(value).all() for value in values)
    # p is (1, 0, 0), so KL(p‖q) and −Σ p log q are both −log q₀.
    assert values[ALL.index("forward_kl")].item() == pytest.approx(-other[0, 0].item())


def test_several_teachers_are_averaged_in_their_probabilities_and_not_in_their_logits():
    first, second = torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.tensor([[-1.0, 0.0]], dtype=torch.float64)

    average = divergences.averaged_log_probs([first, second], 2.0).exp()

    expected = (torch.sigmoid(torch.tensor(1.0, dtype=torch.float64)) + torch.sigmoid(torch.tensor(-0.5, dtype=torch.float64))) / 2
    of_logits = torch.sigmoid(torch.tensor(0.25, dtype=torch.float64))
    assert average[0, 0].item() == pytest.approx(expected.item(), abs=1e-15)
    assert abs(average[0, 0] - of_logits) > 1e-3


def test_teachers_count_by_their_weights_and_one_with_weight_zero_not_at_all():
    logits = [torch.tensor([[float(k), 0.0, 1.0]], dtype=torch.float64) for k in range(3)]

    average = divergences.averaged_log_probs(logits, 1.0, [0.25, 0.75, 0.0]).exp()

    expected = 0.25 * logits[0].softmax(dim=1) + 0.75 * logits[1].softmax(dim=1)
    assert torch.allclose(average, expected, atol=1e-15)


def test_a_softmax_of_half_precision_logits_is_made_in_single_precision():
    logits = torch.tensor([[10.0, 0.0, -10.0]], dtype=torch.bfloat16)

    log_probs = divergences.softened_log_probs(logits, 3.0)

    assert log_probs.dtype == torch.float32
    assert torch.equal(log_probs, divergences.softened_log_probs(logits.float(), 3.0))
