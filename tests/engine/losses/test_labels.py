import math

import pytest
import torch

from engine.losses.labels import NO_LABEL, label_cross_entropy

# softmax of (ln 3, 0) is (3/4, 1/4).
LOGITS = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)], [5.0, -5.0]], dtype=torch.float64)


def test_cross_entropy_is_the_mean_over_the_labeled_rows_alone():
    labels = torch.tensor([0, 0, NO_LABEL])

    loss = label_cross_entropy(LOGITS, labels)

    # Row 0 has the probability 3/4 for its label, row 1 has 1/4, row 2 has no label.
    assert loss.item() == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2, abs=1e-15)


def test_a_row_without_a_label_gets_no_gradient():
    logits = LOGITS.clone().requires_grad_()

    label_cross_entropy(logits, torch.tensor([0, 1, NO_LABEL]), smoothing=0.1).backward()

    assert torch.equal(logits.grad[2], torch.zeros(2, dtype=torch.float64))
    assert (logits.grad[:2] != 0).all()


def test_a_batch_with_no_label_has_a_loss_of_zero_with_a_graph():
    logits = LOGITS.clone().requires_grad_()

    loss = label_cross_entropy(logits, torch.full((3,), NO_LABEL))
    loss.backward()

    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_label_smoothing_spreads_its_share_over_all_classes():
    loss = label_cross_entropy(LOGITS[:1], torch.tensor([0]), smoothing=0.2)

    # The target is (0.8 + 0.1, 0.1).
    assert loss.item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25), abs=1e-15)


def test_the_gradient_agrees_with_finite_differences():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 2, NO_LABEL, 1])

    assert torch.autograd.gradcheck(lambda z: label_cross_entropy(z, labels, smoothing=0.1), (logits,))


def test_the_loss_of_half_precision_logits_is_in_single_precision():
    loss = label_cross_entropy(LOGITS.bfloat16(), torch.tensor([0, 1, 0]))

    assert loss.dtype == torch.float32
