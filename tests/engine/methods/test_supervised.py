import torch

from engine.losses.labels import label_cross_entropy
from tests.engine.methods.harness import data, network, new_method, one_step, train, weights


def test_a_step_goes_down_the_gradient_of_cross_entropy():
    split, student = data(), network(1)
    before = student.weight.detach().clone()
    method = new_method("supervised", {"learning_rate": 0.5}, student=student, split=split)

    one_step(method)

    # ∂CE/∂z = (softmax(z) − onehot(y)) / rows
    z = network(1)(split.inputs).detach()
    gradient = (z.softmax(dim=1) - torch.eye(3, dtype=torch.float64)[split.targets]).T @ split.inputs / len(split)
    assert torch.allclose(student.weight.detach(), before - 0.5 * gradient, atol=1e-14)


def test_the_reported_loss_is_that_before_the_step():
    split = data()
    expected = label_cross_entropy(network(1)(split.inputs), split.targets).item()

    terms = one_step(new_method("supervised", split=split))

    assert terms == {"loss": expected}


def test_label_smoothing_changes_what_is_learned_and_none_is_the_default():
    plain, none, smoothed = network(1), network(1), network(1)

    train(new_method("supervised", student=plain))
    train(new_method("supervised", {"label_smoothing": 0.0}, student=none))
    train(new_method("supervised", {"label_smoothing": 0.1}, student=smoothed))

    assert torch.equal(weights(plain), weights(none))
    assert (weights(plain) - weights(smoothed)).norm() > 1e-3
