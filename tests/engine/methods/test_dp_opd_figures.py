"""What a private run shows: numbers and pictures by hand, warnings where they begin, and the mechanism's sensitivity as a property."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.methods.dp_opd.mechanism import clipped_share, clipped_sum, norms_of, signal_to_noise, zeros_like_parameters
from engine.methods.dp_opd.privacy import Account, smallest_epsilon
from engine.methods.dp_opd.report import OWNER, PrivacyReport, early_warnings
from tests.engine.methods.dp_opd_bench import EXACT, new
from tests.engine.methods.language import play

FAINT = "The signal is at most "


def report(
    norms: list[float] | None = None,
    *,
    batches: list[int] | None = None,
    noise: float = 1.0,
    planned: int = 10,
    numbers: int = 1,
    **chosen: Any,
) -> PrivacyReport:
    """One of as many steps as there are batches, of a run with few trained numbers."""
    sizes, account = [4, 4] if batches is None else batches, Account()
    settings_class = type(new().settings)
    made = settings_class.model_validate({**EXACT, "clip_norm": 1.0, "noise_multiplier": noise, **chosen})
    for _ in sizes:
        account.step(noise_multiplier=noise, sampling_rate=made.sampling_rate)
    return PrivacyReport(
        settings=made,
        noise_multiplier=noise,
        account=account,
        planned_steps=planned,
        norms=torch.tensor([0.5, 2.0] if norms is None else norms, dtype=torch.float64),
        batch_rows=sizes,
        numbers=numbers,
    )


def warned(shown: PrivacyReport, *, start: float = 2.0, now: float = 2.0) -> list[str]:
    return early_warnings(shown, start_nll=start, nll=now)


# The mechanism


def gradients(seed: int, records: int, scale: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(records, *shape, generator=generator, dtype=torch.float64) for name, shape in (("a", (2, 3)), ("b", (4,)))
    }


@settings(max_examples=40)
@given(seed=st.integers(0, 1000), records=st.integers(1, 6), scale=st.floats(1e-3, 1e3), clip=st.floats(0.01, 10))
def test_whatever_a_record_holds_it_moves_the_sum_by_no_more_than_the_clip_norm(seed: int, records: int, scale: float, clip: float):
    found = gradients(seed, records, scale)

    whole, norms = clipped_sum(found, clip)
    without, _ = clipped_sum({name: each[:-1] for name, each in found.items()}, clip)

    moved = math.sqrt(sum(float((whole[name] - without[name]).square().sum()) for name in whole))
    assert moved <= clip * (1 + 1e-12)
    assert norms.tolist() == pytest.approx([math.sqrt(sum(float((each[i] ** 2).sum()) for each in found.values())) for i in range(records)])


def test_a_norm_at_the_limit_is_cut_by_a_millionth_and_counts_as_cut():
    assert float(clipped_share(torch.tensor([0.5, 1.0, 1.5, 0.999], dtype=torch.float64), 1.0)) == 0.5


def test_the_signal_is_measured_over_all_parameters_against_the_noises_expected_length():
    sums = {"a": torch.tensor([[3.0]], dtype=torch.float64), "b": torch.tensor([4.0, 0.0, 0.0], dtype=torch.float64)}

    assert float(signal_to_noise(sums, 2.0, 0.25)) == pytest.approx(5 / (2.0 * 0.25 * 2))
    assert norms_of({"a": torch.zeros(0, 3)}).shape == (0,)


def test_the_sum_over_no_record_has_what_is_trained_alone():
    module = torch.nn.Linear(2, 3)
    module.bias.requires_grad_(False)

    found = zeros_like_parameters(module)

    assert {name: each.abs().sum().item() for name, each in found.items()} == {"weight": 0.0}


# Numbers


def test_the_opening_line_says_what_will_be_spent_and_warns_where_there_is_no_privacy():
    planned = report(planned=5).planned()

    assert report(planned=5).opening() == f"σ = 1.0000, q = 0.2, 5 steps: ε = {planned.epsilon:.4f} at δ = {planned.delta:g}."
    assert report(noise=0.0).opening() == "WARNING: the noise is 0, so this run gives NO privacy; ε is infinite."


def test_a_step_without_records_tells_epsilon_and_that_there_were_none():
    empty = torch.zeros(0, dtype=torch.float64)

    found = report().terms({"a": torch.zeros(3, dtype=torch.float64)}, empty, empty, empty.bool())

    assert set(found) == {"epsilon", "private/batch_rows", "private/signal_to_noise"}
    assert (float(found["private/batch_rows"]), float(found["private/signal_to_noise"])) == (0.0, 0.0)


def test_a_steps_terms_are_means_over_its_records():
    norms, losses = (torch.tensor(each, dtype=torch.float64) for each in ([0.5, 3.0, 1.0], [1.0, 2.0, 6.0]))

    found = report(noise=0.0).terms({"a": torch.zeros(1)}, norms, losses, torch.tensor([True, False, False]))

    assert {name: float(value) for name, value in found.items()} == {
        "private/batch_rows": 3.0,
        "loss": 3.0,
        "private/norm_mean": 1.5,
        "private/norm_median": 1.0,
        "private/clipped_share": pytest.approx(2 / 3),
        "private/on_policy_share": pytest.approx(1 / 3),
    }


def test_before_any_record_there_are_no_means_to_tell():
    found = report([], batches=[]).diagnostics([])

    assert (found.metrics["clipped_share"], found.metrics["batch_rows_mean"], found.metrics["epsilon"]) == (None, None, 0.0)
    assert found.tables["norms"]["counts"]["records"] == [0] * 20
    assert found.tables["warnings"]["cells"] == [["none"]]


def test_without_noise_there_is_no_curve_and_epsilon_is_said_to_be_infinite():
    found = report(noise=0.0).diagnostics(["one", "two"])

    assert found.metrics["epsilon"] is None and "epsilon" not in found.tables
    assert dict(found.tables["privacy"]["cells"])["ε spent"] == "infinite"
    assert dict(found.tables["privacy"]["cells"])["order that ε is at"] is None
    assert found.tables["warnings"]["cells"] == [["one"], ["two"]] and found.tables["warnings"]["note"] == OWNER


# Pictures


def test_the_curve_of_epsilon_goes_from_the_first_step_over_now_to_the_planned_end():
    curve = report(planned=200, batches=[4] * 7, epsilon=3.0, noise_multiplier=None).epsilon_curve()

    spent, planned = curve["series"]["spent"], curve["series"]["planned"]
    assert (spent["x"], planned["x"][0], planned["x"][-1]) == ([4, 7], 7, 200)
    assert len(planned["x"]) == 50
    assert spent["y"] + planned["y"] == sorted(spent["y"] + planned["y"])
    assert curve["levels"] == {"budget": 3.0}


def test_a_run_that_went_on_beyond_its_plan_has_its_curve_to_where_it_is():
    curve = report(planned=2, batches=[4] * 5).epsilon_curve()

    assert (curve["series"]["spent"]["x"], curve["series"]["planned"]["x"]) == ([1, 2, 3, 4, 5], [5])
    assert curve["levels"] == {}


@pytest.mark.parametrize(("norms", "top"), [([0.2, 4.0], 4.0), ([0.2, 0.4], 1.001), ([], 1.001)])
def test_norms_have_ten_bins_below_the_clip_norm_and_ten_above_to_the_largest(norms: list[float], top: float):
    table = report(norms).norm_table()

    assert (len(table["edges"]), table["edges"][0], table["edges"][10], table["edges"][-1]) == (21, 0.0, 1.0, pytest.approx(top))
    assert sum(table["counts"]["records"]) == len(norms)
    assert sum(table["counts"]["records"][10:]) == sum(norm > 1 for norm in norms)


def test_the_newest_batches_stand_at_their_steps_beside_the_expected_size():
    shown = report(batches=[3, 5, 4])
    for _ in range(4):
        shown.account.step(noise_multiplier=1.0, sampling_rate=0.2)

    table = shown.batch_table()

    assert table["series"]["drawn"] == {"x": [5, 6, 7], "y": [3, 5, 4]}
    assert table["levels"] == {"expected": 4.0}


# Warnings


def test_a_run_that_goes_well_is_not_warned_of_and_neither_is_one_that_has_not_begun():
    assert warned(report()) == []
    assert warned(report(batches=[], noise=0.0), now=9.0) == []


@pytest.mark.parametrize(("largest", "said"), [(1.0, True), (1.0001, False)])
def test_a_clip_norm_that_the_largest_norm_does_not_exceed_is_said_to_be_needless(largest: float, said: bool):
    sentence = "No record is clipped: a clip norm below 1 would need less noise."

    assert (sentence in warned(report([0.9, largest]))) is said


@pytest.mark.parametrize(("batches", "said"), [([7] * 4, False), ([8] * 4, True), ([0] * 8, True), ([7] * 16, True)])
def test_batches_farther_from_the_expected_size_than_four_deviations_of_their_mean_are_said(batches: list[int], said: bool):
    # A batch has the variance 4·(1 − 0.2): four deviations of the mean of four are 3.58, of eight 2.53, of sixteen 1.79.
    sentence = f"Batches have {batches[0]:.1f} records on average, 4 are expected: the sampler may not be Poisson's."

    assert (sentence in warned(report(batches=batches, planned=100))) is said


@pytest.mark.parametrize(("numbers", "said"), [(3500, False), (3700, True)])
def test_a_signal_below_a_twentieth_of_the_noise_is_said(numbers: int, said: bool):
    # Norms of 0.5 and 2, clipped to 1, in batches of four: at most 3 against √numbers. 3/√3600 is 0.05.
    found = [text for text in warned(report(numbers=numbers)) if text.startswith(FAINT)]

    assert found == ([f"{FAINT}0.049 of the noise: larger batches, fewer steps or a smaller student would help."] if said else [])


def test_a_text_that_became_less_likely_is_said_after_a_quarter_of_the_steps():
    early, late = report(planned=9), report(planned=8)

    assert warned(early, now=2.5) == []
    assert warned(late, now=2.5) == ["The validation text is 0.500 nats a token less likely than at the start."]
    assert warned(late, now=2.0) == []


def test_a_budget_that_was_not_met_is_said_at_the_planned_end_alone():
    shown, early = (report(planned=planned, epsilon=50.0, noise_multiplier=None) for planned in (2, 3))

    spent = shown.spent().epsilon
    assert warned(shown) == [f"ε at the planned end is {spent:.4f}, the budget is 50."]
    assert warned(early) == []


def test_no_noise_goes_below_the_least_epsilon_which_falls_with_delta():
    least = [smallest_epsilon(delta) for delta in (1e-2, 1e-5, 1e-8)]

    assert least == sorted(least) and least[0] >= 0
    assert smallest_epsilon(0.9) == 0.0


def test_only_the_newest_batches_and_norms_are_kept_in_their_order():
    method = new({"noise_multiplier": 1.0, "clip_norm": 0.5}, steps=3)

    terms = play(method)

    assert [int(each["private/batch_rows"]) for each in terms] == list(method.batch_rows)
    assert len(method.norms) == sum(method.batch_rows)
