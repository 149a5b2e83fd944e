"""The divergence of each token against paper and pencil, a slow float64 version, and the specification's invariants; masks and sums."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.losses.tokens import completion_log_probs, completion_logits, divergence_of_log_probs, reduce_tokens, token_divergence

BETAS = (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)


def logits(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def slow(teacher: Tensor, student: Tensor, beta: float, temperature: float) -> Tensor:
    """One number at a time, from probabilities."""

    def softmax(row: list[float]) -> list[float]:
        powers = [math.exp(z / temperature) for z in row]
        return [power / sum(powers) for power in powers]

    def kl(a: list[float], b: list[float]) -> float:
        return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True))

    found = []
    for row_t, row_s in zip(teacher.flatten(0, 1).tolist(), student.flatten(0, 1).tolist(), strict=True):
        p, q = softmax(row_t), softmax(row_s)
        middle = [beta * x + (1 - beta) * y for x, y in zip(p, q, strict=True)]
        found.append(kl(p, q) if beta == 0 else kl(q, p) if beta == 1 else beta * kl(p, middle) + (1 - beta) * kl(q, middle))
    return torch.tensor(found, dtype=torch.float64).reshape(teacher.shape[:2])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("beta", BETAS)
def test_it_is_the_slow_version(beta, temperature):
    teacher, student = logits(0, 2, 3, 5), logits(1, 2, 3, 5)

    found = token_divergence(student_logits=student, teacher_logits=teacher, beta=beta, temperature=temperature)

    assert torch.allclose(found, slow(teacher, student, beta, temperature), rtol=1e-10, atol=1e-14)


def test_both_ends_and_the_middle_by_hand():
    teacher, student = torch.tensor([[[0.75, 0.25]]]).double().log(), torch.tensor([[[0.5, 0.5]]]).double().log()
    # M = (5/8, 3/8): KL(p‖M) = 3/4 ln(6/5) + 1/4 ln(2/3), KL(q‖M) = 1/2 ln(4/5) + 1/2 ln(4/3)
    middle = 0.5 * (0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3)) + 0.5 * (0.5 * math.log(4 / 5) + 0.5 * math.log(4 / 3))

    found = [token_divergence(student_logits=student, teacher_logits=teacher, beta=beta).item() for beta in (0, 1, 0.5)]

    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert found == pytest.approx([forward, 0.5 * math.log(2 / 3) + 0.5 * math.log(2), middle], rel=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_a_constant_added_to_a_position_is_no_divergence_and_has_no_gradient(beta):
    teacher = logits(0, 2, 3, 5)
    student = (teacher + logits(1, 2, 3, 1)).requires_grad_()

    found = token_divergence(student_logits=student, teacher_logits=teacher, beta=beta)
    found.sum().backward()

    assert found.abs().max() < 1e-14
    assert student.grad.abs().max() < 1e-14


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), beta=st.floats(0, 1), scale=st.floats(0.1, 8))
def test_swapping_the_models_and_beta_changes_nothing_and_it_is_bounded(seed, beta, scale):
    teacher, student = logits(seed, 1, 2, 6) * scale, logits(seed + 1, 1, 2, 6) * scale

    found = token_divergence(student_logits=student, teacher_logits=teacher, beta=beta)
    swapped = token_divergence(student_logits=teacher, teacher_logits=student, beta=1 - beta)

    assert (found > -1e-12).all()
    if 1e-9 < beta < 1 - 1e-9:
        assert torch.allclose(found, swapped, rtol=1e-6, atol=1e-12)
        assert (found <= -beta * math.log(beta) - (1 - beta) * math.log1p(-beta) + 1e-12).all()


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_it_is_the_entropy_of_the_mixture_beyond_those_of_its_parts(beta):
    p, q = logits(0, 2, 3, 5).softmax(dim=-1), logits(1, 2, 3, 5).softmax(dim=-1)

    def h(probs: Tensor) -> Tensor:
        return -(probs * probs.log()).sum(dim=-1)

    found = token_divergence(student_logits=q.log(), teacher_logits=p.log(), beta=beta)

    assert torch.allclose(found, h(beta * p + (1 - beta) * q) - beta * h(p) - (1 - beta) * h(q), atol=1e-13)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gradients_of_both_kls_have_their_closed_form(temperature):
    teacher = logits(0, 2, 3, 5)
    p = (teacher / temperature).softmax(dim=-1)

    def gradient(beta: float) -> tuple[Tensor, Tensor, Tensor]:
        student = logits(1, 2, 3, 5).requires_grad_()
        found = token_divergence(student_logits=student, teacher_logits=teacher, beta=beta, temperature=temperature)
        found.sum().backward()
        return student.grad, (student.detach() / temperature).softmax(dim=-1), found.detach()

    forward, q, _ = gradient(0.0)
    reverse, _, kl = gradient(1.0)

    assert torch.allclose(forward, (q - p) / temperature, atol=1e-13)
    assert torch.allclose(reverse, q * ((q / p).log() - kl[..., None]) / temperature, atol=1e-13)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_its_gradient_is_that_of_finite_differences(beta):
    teacher, student = logits(0, 1, 2, 4), logits(1, 1, 2, 4).requires_grad_()

    assert torch.autograd.gradcheck(lambda z: token_divergence(student_logits=z, teacher_logits=teacher, beta=beta), student)


def test_near_an_end_it_vanishes_and_does_not_become_the_kl():
    teacher, student = logits(0, 1, 1, 5), logits(1, 1, 1, 5)

    small = token_divergence(student_logits=student, teacher_logits=teacher, beta=1e-5) / 1e-5
    forward = token_divergence(student_logits=student, teacher_logits=teacher, beta=0.0)

    assert torch.allclose(small, forward, rtol=1e-2)


def test_half_precision_logits_are_compared_in_single_precision():
    student, teacher = logits(0, 1, 2, 300).bfloat16(), logits(1, 1, 2, 300).bfloat16()

    found = token_divergence(student_logits=student, teacher_logits=teacher, beta=0.5)

    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), slow(teacher.double(), student.double(), 0.5, 1.0), atol=1e-5)


def test_a_word_that_both_rule_out_adds_nothing():
    teacher = torch.tensor([[[0.0, 0.0, -1e4]]])
    student = torch.tensor([[[1.0, 0.0, -1e4]]])

    found = [token_divergence(student_logits=student, teacher_logits=teacher, beta=beta) for beta in (0.0, 0.5, 1.0)]
    without = [token_divergence(student_logits=student[..., :2], teacher_logits=teacher[..., :2], beta=beta) for beta in (0.0, 0.5, 1.0)]

    assert torch.allclose(torch.stack(found), torch.stack(without), atol=1e-6)


def test_the_logits_of_a_completion_are_those_one_position_earlier():
    whole = torch.arange(6.0).reshape(1, 6, 1)

    found = completion_logits(whole, 3)

    # [prompt of 3 | completion of 3]: the completion's tokens are at 3, 4 and 5.
    assert found.flatten().tolist() == [2, 3, 4]
    assert torch.equal(completion_logits(whole[:, -4:], 3), found)


def test_the_log_probabilities_of_a_completion_are_those_of_its_tokens_at_the_temperature():
    z, ids = logits(0, 2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])

    found = completion_log_probs(z, ids, temperature=2.0)

    assert found[1, 2].item() == pytest.approx(math.log((z[1, 2] / 2).softmax(dim=0)[3]))
    assert found.shape == (2, 3)


def test_sums_leave_out_what_is_masked_even_if_it_is_infinite():
    distance = torch.tensor([[1.0, 2.0, float("inf")], [4.0, float("nan"), 8.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])

    found = {how: reduce_tokens(distance, mask, how, vocabulary=10) for how in ("sum", "batchmean", "mean")}

    assert found == {"sum": 7.0, "batchmean": pytest.approx(7 / 3), "mean": pytest.approx(7 / 30)}
    assert reduce_tokens(distance, mask, "none") is distance


def test_pieces_divided_by_the_tokens_of_the_whole_sum_to_the_whole():
    distance, mask = logits(0, 4, 3).abs(), torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]])

    pieces = [reduce_tokens(distance[rows], mask[rows], tokens=mask.sum()) for rows in (slice(0, 1), slice(1, 4))]

    assert sum(pieces).item() == pytest.approx(reduce_tokens(distance, mask).item())


def test_a_batch_without_a_real_token_has_the_loss_zero_and_a_zero_gradient():
    distance = torch.ones(2, 3, requires_grad=True)

    loss = reduce_tokens(distance, torch.zeros(2, 3))
    loss.backward()

    assert loss.item() == 0
    assert distance.grad.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_logits_and_log_probabilities_say_the_same():
    teacher, student = logits(0, 1, 2, 4), logits(1, 1, 2, 4)

    assert torch.equal(
        token_divergence(student_logits=student, teacher_logits=teacher, beta=0.3),
        divergence_of_log_probs(student_log_probs=student.log_softmax(-1), teacher_log_probs=teacher.log_softmax(-1), beta=0.3),
    )
