"""Gradients on both sides, learned temperatures, several teachers of a row or token, smoothing, and what is masked."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.losses import divergences
from engine.losses.labels import NO_LABEL, label_cross_entropy
from engine.losses.reversal import reversed_gradient
from engine.losses.tokens import completion_log_probs, completion_logits, reduce_tokens, token_divergence


def drawn(seed: int, *shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_teachers_side_of_the_symmetric_ones_has_the_gradient_of_the_students():
    z, other = drawn(0, 2, 4).requires_grad_(), drawn(1, 2, 4).log_softmax(dim=1)

    for name in ("jeffreys", "js"):
        loss = divergences.BY_NAME[name]
        as_student, as_teacher = (
            torch.autograd.grad(loss(**sides).sum(), z)[0]
            for sides in (
                {"student_log_probs": z.log_softmax(dim=1), "teacher_log_probs": other},
                {"teacher_log_probs": z.log_softmax(dim=1), "student_log_probs": other},
            )
        )
        assert torch.allclose(as_student, as_teacher, atol=1e-13), name


def test_a_temperature_that_is_learned_has_the_gradient_of_finite_differences_and_may_differ_by_row():
    logits, temperature = drawn(0, 3, 4), torch.tensor([[0.5], [1.0], [4.0]], dtype=torch.float64).requires_grad_()

    found = divergences.softened_log_probs(logits, temperature)

    assert torch.autograd.gradcheck(lambda t: divergences.softened_log_probs(logits, t), (temperature,))
    assert torch.allclose(found[2], divergences.softened_log_probs(logits[2], 4.0), atol=1e-15)


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 4)])
def test_teachers_are_averaged_over_whatever_comes_before_the_classes(shape: tuple[int, ...]):
    logits = [drawn(seed, *shape) for seed in range(3)]

    found = divergences.averaged_log_probs(logits, 2.0, [0.5, 0.3, 0.2])

    expected = sum(w * (z / 2).softmax(dim=-1) for w, z in zip((0.5, 0.3, 0.2), logits, strict=True))
    assert torch.allclose(found.exp(), expected, atol=1e-15)


def test_an_average_of_probabilities_too_small_for_a_number_stays_finite():
    logits = [torch.tensor([[0.0, -2000.0]], dtype=torch.float64), torch.tensor([[0.0, -2001.0]], dtype=torch.float64)]

    found = divergences.averaged_log_probs(logits, 1.0)

    assert found[0, 1].item() == pytest.approx(-2000 + math.log((1 + math.exp(-1)) / 2))


def test_half_precision_losses_keep_what_is_left_of_small_probabilities():
    logits = torch.tensor([[0.0, -12.0]], dtype=torch.float16)

    found = divergences.entropy(divergences.softened_log_probs(logits, 1.0))

    p = math.exp(-12) / (1 + math.exp(-12))
    assert found.item() == pytest.approx(-p * math.log(p) - (1 - p) * math.log1p(-p), rel=1e-3)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_smoothing_is_a_cross_entropy_with_the_fair_draw_and_leaves_out_the_rows_without_a_label(smoothing: float):
    logits, labels = drawn(0, 2, 3, 4), torch.tensor([[1, NO_LABEL, 3], [NO_LABEL, 0, 2]])

    found = label_cross_entropy(logits, labels, smoothing=smoothing)

    log_q, total = logits.log_softmax(dim=-1), 0.0
    for row, place, label in ((0, 0, 1), (0, 2, 3), (1, 1, 0), (1, 2, 2)):
        total -= (1 - smoothing) * float(log_q[row, place, label]) + smoothing * float(log_q[row, place].mean())
    assert found.item() == pytest.approx(total / 4, rel=1e-12)


def test_a_reversal_is_linear_in_its_strength_and_goes_through_what_is_behind_it():
    theta = torch.tensor([0.3, -2.0], dtype=torch.float64)

    slopes = []
    for strength in (0.0, 1.0, -2.0):
        point = theta.clone().requires_grad_()
        (reversed_gradient(point.square(), strength) * torch.tensor([1.0, 3.0])).sum().backward()
        slopes.append(point.grad)

    assert torch.equal(slopes[0], torch.zeros(2, dtype=torch.float64))
    assert torch.allclose(slopes[1], -2 * theta * torch.tensor([1.0, 3.0]), atol=1e-14)
    assert torch.allclose(slopes[2], -2 * slopes[1], atol=1e-14)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), beta=st.floats(0.05, 0.95))
def test_a_mixture_weighs_the_sides_by_beta_and_its_gradient_stops_nowhere(seed: int, beta: float):
    teacher, student = drawn(seed, 1, 2, 3).requires_grad_(), drawn(seed + 1, 1, 2, 3).requires_grad_()

    found = token_divergence(student_logits=student, teacher_logits=teacher, beta=beta)
    there, back = torch.autograd.grad(found.sum(), (student, teacher))
    mirrored = token_divergence(student_logits=teacher, teacher_logits=student, beta=1 - beta)
    theirs = torch.autograd.grad(mirrored.sum(), (teacher, student))

    assert torch.allclose(there, theirs[1], atol=1e-10) and torch.allclose(back, theirs[0], atol=1e-10)
    assert float(there.abs().max()) > 0


@pytest.mark.parametrize("how", ["sum", "batchmean", "mean"])
def test_what_is_masked_has_no_gradient_also_where_it_is_infinite(how: str):
    distance = torch.tensor([[1.0, math.inf], [2.0, 3.0]], requires_grad=True)

    reduce_tokens(distance, torch.tensor([[1, 0], [1, 0]]), how, vocabulary=5).backward()

    share = {"sum": 1.0, "batchmean": 0.5, "mean": 0.1}[how]
    assert distance.grad.tolist() == [[pytest.approx(share), 0.0], [pytest.approx(share), 0.0]]


def test_an_empty_batch_given_the_tokens_of_the_whole_divides_by_these_and_never_by_less_than_one():
    distance, mask = torch.full((1, 2), 6.0), torch.ones(1, 2)

    assert reduce_tokens(distance, mask, tokens=torch.tensor(4)).item() == 3.0
    assert reduce_tokens(distance, mask, tokens=torch.tensor(0)).item() == 12.0
    assert reduce_tokens(distance, mask, "mean", tokens=torch.tensor(4), vocabulary=3).item() == 1.0


def test_log_probabilities_of_half_precision_logits_are_in_single_precision():
    logits, ids = drawn(0, 1, 4, 9).half(), torch.tensor([[3, 0, 8]])

    found = completion_log_probs(completion_logits(logits, 3), ids, temperature=2.0)

    expected = (logits[:, :3].float() / 2).log_softmax(dim=-1)
    assert found.dtype == torch.float32
    assert found[0].tolist() == pytest.approx([expected[0, at, word].item() for at, word in enumerate((3, 0, 8))])
