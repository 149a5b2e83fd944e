"""The privacy account: against the Gaussian mechanism's own curve, the integral that defines the divergence, and what must grow and fall."""

import math
import re

import numpy as np
import pytest
from scipy.special import gammaln, logsumexp

from engine.methods.dp_opd.privacy import ORDERS, Account, curve_of_step, noise_for, smallest_epsilon, spent

DELTA, RATE = 1 / 8000, 0.016


def divergence_by_integral(noise: float, rate: float, order: float) -> float:
    """1/(a − 1) · log E over z ~ N(0, σ²) of (1 − q + q·exp((2z − 1)/(2σ²)))^a, by the trapezoid rule in log space."""
    z = np.linspace(-14 * noise, order + 14 * noise, 40_000)
    log_density = -(z**2) / (2 * noise**2) - math.log(noise * math.sqrt(2 * math.pi))
    log_ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * z - 1) / (2 * noise**2))
    weights = np.full(len(z), z[1] - z[0])
    weights[[0, -1]] /= 2
    return float(logsumexp(log_density + order * log_ratio, b=weights)) / (order - 1)


def divergence_by_sum(noise: float, rate: float, order: int) -> float:
    """1/(a − 1) · log Σ_k C(a, k) (1 − q)^(a − k) q^k exp(k(k − 1)/(2σ²)), for a whole order."""
    k = np.arange(order + 1)
    log_binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = log_binomial + (order - k) * math.log1p(-rate) + k * math.log(rate) + k * (k - 1) / (2 * noise**2)
    return float(logsumexp(terms)) / (order - 1)


def test_whole_orders_are_those_of_the_binomial_sum():
    curve = curve_of_step(0.83, RATE)
    whole = [place for place, order in enumerate(ORDERS) if order >= 2 and float(order).is_integer()]

    expected = [divergence_by_sum(0.83, RATE, int(ORDERS[place])) for place in whole]

    assert curve[whole].tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("order", [1.1, 1.5, 2.7, 5.2, 10.9, 12])
@pytest.mark.parametrize("noise", [0.6, 1.0, 4.0])
def test_every_order_is_that_of_the_integral(order, noise):
    curve = dict(zip(ORDERS, curve_of_step(noise, RATE), strict=True))
    nearest = min(ORDERS, key=lambda each: abs(each - order))

    assert curve[nearest] == pytest.approx(divergence_by_integral(noise, RATE, nearest), rel=1e-6, abs=1e-10)


def test_epsilon_is_the_minimum_over_orders_of_the_integral_s_conversion():
    by_hand = min(
        100 * divergence_by_integral(0.827, RATE, a) + math.log((a - 1) / a) - (math.log(DELTA) + math.log(a)) / (a - 1) for a in ORDERS
    )

    found = spent([(0.827, RATE, 100)], delta=DELTA)

    assert found.epsilon == pytest.approx(by_hand, rel=1e-9)
    assert found.order == 5.2


def test_a_batch_of_all_records_has_the_curve_of_the_gaussian_mechanism():
    assert curve_of_step(1.7, 1.0).tolist() == pytest.approx([order / (2 * 1.7**2) for order in ORDERS], rel=1e-12)


def test_the_noise_of_the_small_experiment_is_the_published_one():
    noise = noise_for(epsilon=2.0, delta=DELTA, sampling_rate=RATE, steps=100)

    assert noise == pytest.approx(0.827, abs=0.0006)
    assert 1.999 <= spent([(noise, RATE, 100)], delta=DELTA).epsilon <= 2.0


@pytest.mark.parametrize("epsilon", [0.07, 0.5, 8.0, 200.0])
def test_the_noise_never_spends_more_than_the_budget_and_hardly_less(epsilon):
    noise = noise_for(epsilon=epsilon, delta=DELTA, sampling_rate=RATE, steps=100)

    reached = spent([(noise, RATE, 100)], delta=DELTA).epsilon
    assert epsilon - 0.0011 <= reached <= epsilon


def test_a_budget_below_what_any_noise_gives_is_refused():
    least = smallest_epsilon(DELTA)

    assert least == pytest.approx(spent([(1e5, RATE, 1)], delta=DELTA).epsilon, abs=1e-6)
    with pytest.raises(ValueError, match=re.escape("no noise gives ε = 0.06 at δ = 0.000125; the least is 0.0621")):
        noise_for(epsilon=0.06, delta=DELTA, sampling_rate=RATE, steps=100)


def test_epsilon_grows_with_steps_and_rate_and_falls_with_noise():
    def of(noise: float = 1.0, rate: float = RATE, steps: int = 100) -> float:
        return spent([(noise, rate, steps)], delta=DELTA).epsilon

    assert of(steps=10) < of(steps=100) < of(steps=1000)
    assert of(rate=0.004) < of(rate=0.016) < of(rate=0.2)
    assert of(noise=4.0) < of(noise=1.0) < of(noise=0.6)


def test_an_account_counts_the_steps_really_taken_and_adds_stretches_of_other_noise_order_by_order():
    account = Account()
    for _ in range(3):
        account.step(noise_multiplier=1.0, sampling_rate=RATE)
    for _ in range(2):
        account.step(noise_multiplier=0.7, sampling_rate=0.1)

    curve = 3 * curve_of_step(1.0, RATE) + 2 * curve_of_step(0.7, 0.1)
    by_hand = min(each + math.log((a - 1) / a) - (math.log(DELTA) + math.log(a)) / (a - 1) for a, each in zip(ORDERS, curve, strict=True))
    assert account.stretches == [(1.0, RATE, 3), (0.7, 0.1, 2)] and account.steps == 5
    assert account.spent(DELTA).epsilon == pytest.approx(by_hand, rel=1e-12)


def test_an_account_comes_back_from_its_state_and_goes_on_counting():
    account, restored = Account(), Account()
    account.step(noise_multiplier=1.0, sampling_rate=RATE)

    restored.load_state_dict(account.state_dict())
    for each in (account, restored):
        each.step(noise_multiplier=1.0, sampling_rate=RATE)

    assert restored.stretches == account.stretches == [(1.0, RATE, 2)]


def test_nothing_released_costs_nothing_and_no_noise_costs_everything():
    account = Account()
    before = account.spent(DELTA).epsilon
    account.step(noise_multiplier=0.0, sampling_rate=RATE)

    assert before == 0.0
    assert account.spent(DELTA).epsilon == math.inf
