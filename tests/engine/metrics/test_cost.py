"""Parameters, operations and latency; and that measuring leaves no trace."""

import json
import re

import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn
from torch.nn import functional as F

from engine.metrics.cost import CALLS, INTERVAL, cost_report, device_name, parameter_count


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


class Noisy(nn.Module):
    """Draws random numbers in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.dropout(self.linear(inputs), training=True)


class Counting(nn.Module):
    """Remembers how many rows each call had."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.calls: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls.append(len(inputs))
        return self.linear(inputs)


class Broken(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        raise RuntimeError("no such layer")


def test_a_perceptron_has_the_parameters_and_operations_of_its_matrices():
    report = cost_report(perceptron(), torch.zeros(7, 1, 8, 8), "cpu")

    assert report["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    # One example: two operations for each weight, biases are not counted.
    assert report["flops"] == 2 * (64 * 16 + 16 * 10)
    assert report["batch_size"] == 7


def test_a_convolution_counts_each_weight_at_each_place():
    # 8 × 8 places, 4 output channels, 3 × 3 weights from 2 input channels.
    report = cost_report(nn.Conv2d(2, 4, 3, padding=1), torch.zeros(1, 2, 8, 8), "cpu")

    assert report["flops"] == 2 * (8 * 8) * 4 * (3 * 3 * 2)


def test_attention_counts_queries_by_keys_and_weights_by_values():
    class Attention(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(inputs, inputs, inputs)

    # 2 heads, 5 places, 3 numbers each: two products of 5 × 5 × 3.
    report = cost_report(Attention(), torch.zeros(4, 2, 5, 3), "cpu")

    assert report["flops"] == 2 * 2 * (2 * 5 * 5 * 3)


def test_words_are_measured_like_pictures():
    report = cost_report(nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)), torch.zeros(2, 3, dtype=torch.int64), "cpu")

    assert (report["parameters"], report["flops"], report["batch_size"]) == (9 * 4 + 12 * 2 + 2, 2 * 12 * 2, 2)


def test_shared_parameters_count_once():
    first = nn.Linear(5, 5)

    assert parameter_count(nn.Sequential(first, nn.ReLU(), first)) == 30


def test_latency_is_the_median_of_at_least_thirty_calls_of_one_row_and_of_the_batch():
    model = Counting()

    report = cost_report(model, torch.zeros(6, 4), "cpu")

    assert model.calls.count(1) > 30
    assert model.calls.count(6) > 30
    assert 0 < report["latency_ms"] < 1000
    assert 0 < report["batch_latency_ms"] < 1000
    for name in ("latency_ms", "batch_latency_ms"):
        low, high = report[f"{name}_interval"]
        assert 0 < low <= report[name] <= high


def test_the_interval_of_a_median_covers_it_in_ninety_five_cases_of_a_hundred():
    low, high = INTERVAL  # the median lies above the time at `low` and below that at `high` unless too few, or too many, calls were faster

    misses = binom.cdf(low, CALLS, 0.5) + binom.sf(high, CALLS, 0.5)

    assert 0.95 <= 1 - misses < 0.96
    assert (low, high) == (CALLS - 1 - high, CALLS - 1 - low)


def test_the_device_is_named_in_words_with_its_threads():
    report = cost_report(perceptron(), torch.zeros(1, 1, 8, 8), torch.device("cpu"))

    assert report["device"] == device_name(torch.device("cpu"))
    assert report["device"].endswith(f", {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() != 1)}")
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_every_module_gets_its_own_mode_back():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).train()
    model[0].eval()

    cost_report(model, torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), "cpu")

    assert [module.training for module in model.modules()] == [True, False, True, True]


def test_modes_come_back_though_the_model_fails():
    model = Broken().train()

    with pytest.raises(RuntimeError, match="no such layer"):
        cost_report(model, torch.zeros(1, 4), "cpu")

    assert model.training


def test_no_random_number_is_consumed():
    model = Noisy()
    before = torch.get_rng_state()

    cost_report(model, torch.zeros(2, 4), "cpu")

    assert torch.equal(torch.get_rng_state(), before)


def test_weights_buffers_and_gradients_are_as_they_were():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    model(torch.ones(2, 4)).sum().backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]

    cost_report(model, torch.ones(5, 4), "cpu")

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(parameter.grad, gradient) for parameter, gradient in zip(model.parameters(), gradients, strict=True))


def test_training_goes_on_to_the_same_weights():
    undisturbed = train(measured=False)

    measured = train(measured=True)

    assert torch.equal(measured, undisturbed)


def train(*, measured: bool) -> Tensor:
    """Three steps with dropout noise; maybe measured after each. Returns the weights."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
        if measured:
            cost_report(model, torch.ones(2, 4), "cpu")
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_an_example_without_a_row_is_refused():
    with pytest.raises(ValueError, match=re.escape("example must hold at least one row; got shape (0, 1, 8, 8).")):
        cost_report(perceptron(), torch.zeros(0, 1, 8, 8), "cpu")
