"""What is watched while a generator is tuned: the signs of an update by hand, how it stands beside its start, pictures, and when it warns."""

import math

import pytest
import torch
from torch import Tensor

from engine.diffusion.levels import architecture_name
from engine.errors import SpecError
from engine.methods.pso.charts import pictures_of, rewards_chart
from engine.methods.pso.diagnosis import beside_start, mean_where, offline_signs, online_signs
from engine.methods.pso.method import MEMORY, refuse_too_few
from engine.methods.pso.signs import warnings_of
from engine.pictures import png
from tests.engine.methods.pso_bench import new, normal, run
from tests.engine.methods.test_pso_settings import WELL

LOW, HIGH = 0.8, 1.25
INSIDE, EDGE, ABOVE, BELOW = 0.1, math.log(1.25) - 1e-9, math.log(1.3), math.log(0.7)


def signs(logits: list[float], ratios: list[list[float]], preferred: list[list[float]]) -> list[float]:
    tensors = (torch.tensor(each, dtype=torch.float64) for each in (logits, ratios, preferred))
    given, log_ratios, chosen = tensors
    return online_signs(given, ratios=log_ratios, preferred=chosen, low=LOW, high=HIGH).tolist()


# Signs of an update


def test_the_signs_of_an_update_are_shares_of_pairs_and_of_samples_and_means_of_winners_and_losers():
    preferred = [[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]]

    found = signs([0.3, -0.2, 0.1], [[INSIDE, ABOVE], [BELOW, EDGE], [-0.2, -0.1]], preferred)

    won, lost = (INSIDE + EDGE - 0.2) / 3, (ABOVE + BELOW - 0.1) / 3
    assert found == pytest.approx([2 / 3, 2 / 6, won, lost], rel=1e-6)


def test_a_pair_of_which_none_is_preferred_is_not_told_apart_and_is_in_neither_mean():
    found = signs([0.0, 0.4], [[5.0, 5.0], [0.1, -0.1]], [[0.0, 0.0], [1.0, -1.0]])

    assert found == pytest.approx([0.5, 0.5, 0.1, -0.1])


def test_without_any_preference_both_means_are_zero_and_not_undefined():
    assert signs([0.0], [[0.1, 0.1]], [[0.0, 0.0]])[2:] == [0.0, 0.0]
    assert mean_where(torch.ones(2), torch.zeros(2, dtype=torch.bool)).item() == 0.0


def test_signs_carry_no_gradient_into_the_update():
    logits, ratios = normal(0, 4).requires_grad_(), normal(1, 4, 2).requires_grad_()

    found = [online_signs(logits, ratios=ratios, preferred=torch.ones(4, 2), low=LOW, high=HIGH), offline_signs(logits)]

    assert not any(each.requires_grad for each in found)


def test_offline_there_is_an_accuracy_alone_and_a_margin_of_zero_is_not_right():
    assert offline_signs(torch.tensor([0.5, 0.0, -0.5, 2.0])).tolist() == [0.5, 0.0, 0.0, 0.0]


def test_the_running_means_begin_with_the_first_update_and_go_back_over_thirty():
    method = new()
    expected, seen = torch.zeros(4), torch.rand(MEMORY + 5, 4, generator=torch.Generator().manual_seed(0))

    for step, each in enumerate(seen):
        method.position.phase_step = step
        method.remember(each)
        expected = seen[: step + 1].mean(dim=0) if step < MEMORY else expected * (1 - 1 / MEMORY) + each / MEMORY

    assert MEMORY == 30
    assert torch.allclose(method.recent, expected, atol=1e-6)


# Beside the start


def test_the_win_rate_counts_a_tie_for_half_and_rewards_are_means_over_all_kinds():
    points = normal(0, 4, 2)
    start = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0], [1.0, 1.0]])
    tuned = torch.tensor([[2.0, 2.0], [2.0, 5.0], [0.0, 1.0], [1.0, 0.0]])

    found = beside_start(start=points, tuned=points, start_rewards=start, tuned_rewards=tuned)

    assert found["win_rate"] == pytest.approx((1 + 0.5 + 0 + 1 + 0.5 + 1 + 0.5 + 0) / 8)
    assert (found["reward_start"], found["reward_tuned"]) == (pytest.approx(12 / 8), pytest.approx(13 / 8))


def test_the_share_of_the_drift_does_not_see_the_unit_of_the_samples():
    start, tuned, zeros = normal(0, 30, 2), normal(1, 30, 2) + 1, torch.zeros(30, 1)

    found = [beside_start(start=c * start, tuned=c * tuned, start_rewards=zeros, tuned_rewards=zeros) for c in (1.0, 10.0)]

    assert found[0]["drift"] > 0.1
    assert found[1]["drift"] == pytest.approx(10 * found[0]["drift"], rel=1e-9)
    assert found[1]["drift_share"] == pytest.approx(found[0]["drift_share"], rel=1e-9)


def test_a_generator_whose_samples_are_no_numbers_has_no_numbers_and_no_pictures():
    method = new()
    for parameter in method.student.parameters():
        parameter.data.fill_(float("nan"))

    found = method.diagnostics()

    assert found.metrics == dict.fromkeys(("reward_tuned", "reward_start", "win_rate", "drift", "drift_share"))
    assert found.tables == {}


def test_offline_reports_the_accuracy_of_its_margins_and_nothing_of_likelihoods():
    online, offline = new(), new({"mode": "offline", "targets": 50, "negatives": 20})
    run(offline, 1)

    found = [set(method.diagnostics().metrics) for method in (online, offline)]

    assert found[0] - found[1] == {"clip_fraction", "log_ratio_winner", "log_ratio_loser"}
    assert "implicit_accuracy" in found[1]


def test_what_is_shipped_names_the_levels_and_the_sampler_of_the_run():
    method = new({"levels": [10.0, 1.0], "sampler": "ancestral"}, levels=(20.0, 2.0, 0.5))

    found = method.blueprint()

    assert found["config"] == {"levels": [10.0, 1.0], "transition": "ancestral"}
    assert (found["builder"], found["architecture"]) == ("vp_mlp", architecture_name((10.0, 1.0)))


@pytest.mark.parametrize(
    ("steps", "mode", "sentence"),
    [
        (
            1,
            "online",
            "of at least 2 steps for online tuning, since the last step has no likelihood; it has 1. Name more in settings.levels.",
        ),
        (
            0,
            "offline",
            "of at least 1 step for offline tuning, since the last step has no likelihood; it has 0. Name more in settings.levels.",
        ),
    ],
)
def test_a_sampler_with_no_step_to_tune_is_refused(steps: int, mode: str, sentence: str):
    with pytest.raises(SpecError) as refused:
        refuse_too_few(steps, mode)

    assert str(refused.value) == f"student: must be a generator {sentence}"
    refuse_too_few(steps + 1, mode)


# Pictures


def views(start: Tensor, tuned: Tensor) -> dict:
    rewards = torch.zeros(len(start))
    return pictures_of(start=start, tuned=tuned, start_rewards=rewards, tuned_rewards=rewards + 1, reward="near:0,0")


def test_points_of_a_plane_are_shown_as_the_first_400_of_each_in_three_digits():
    start, tuned = normal(0, 500, 2), normal(1, 500, 2)

    found = views(start, tuned)["samples_beside_start"]

    assert found["view"] == "scatter" and found["square"] is True
    for name, points in (("start", start), ("tuned", tuned)):
        assert found["groups"][name]["x"] == [round(each, 3) for each in points[:400, 0].float().tolist()]
        assert found["groups"][name]["y"] == [round(each, 3) for each in points[:400, 1].float().tolist()]


def test_pictures_are_shown_as_the_first_twelve_of_each_with_ink_dark():
    start, tuned = normal(0, 15, 1, 2, 2).clamp(-1, 1), torch.ones(15, 1, 2, 2)

    found = views(start, tuned)["samples_beside_start"]

    assert [row["name"] for row in found["rows"]] == ["start", "tuned"]
    assert [len(row["images"]) for row in found["rows"]] == [12, 12]
    assert found["rows"][1]["images"][0] == png(torch.zeros(1, 2, 2))
    assert found["rows"][0]["images"][3] == png((1 - start[3]) / 2)


def test_samples_that_are_neither_points_of_a_plane_nor_pictures_are_not_drawn():
    assert set(views(normal(0, 5, 3), normal(1, 5, 3))) == {"reward_histogram"}


def test_both_histograms_have_one_range_from_the_lowest_reward_to_the_highest():
    found = rewards_chart(torch.tensor([-1.0, 0.0]), torch.tensor([0.0, 2.0, 2.0]), "ink")

    assert (found["title"], found["edges"][0], found["edges"][-1], len(found["edges"])) == ("Reward of samples: ink", -1.0, 2.0, 31)
    assert (found["counts"]["start"][0], found["counts"]["tuned"][-1]) == (1, 2)
    assert [sum(each) for each in found["counts"].values()] == [2, 3]


def test_rewards_that_are_all_alike_stand_in_the_middle_of_a_range_of_one():
    found = rewards_chart(torch.full((4,), 3.0), torch.full((2,), 3.0), "ink")

    assert (found["edges"][0], found["edges"][-1]) == (2.5, 3.5)
    assert [sum(each) for each in found["counts"].values()] == [4, 2]


# Warnings


@pytest.mark.parametrize(
    ("changed", "progress"),
    [
        ({"implicit_accuracy": 0.5}, 0.09),
        ({"implicit_accuracy": 0.525}, 0.9),
        ({"clip_fraction": 0.95}, 0.1),
        ({"clip_fraction": 1.0}, 0.26),
        ({"log_ratio_winner": -0.1, "log_ratio_loser": -0.3}, 0.09),
        ({"log_ratio_winner": 0.0, "log_ratio_loser": -0.3}, 0.9),
        ({"drift_share": 0.5}, 0.9),
        ({"drift_share": 0.9, "reward_tuned": -1.0}, 0.9),
    ],
)
def test_what_is_early_at_the_limit_or_without_gain_is_not_warned_of(changed: dict[str, float], progress: float):
    assert warnings_of({**WELL, **changed}, progress=progress) == []


@pytest.mark.parametrize(
    ("changed", "progress", "sentence"),
    [
        (
            {"implicit_accuracy": 0.49},
            0.1,
            "Implicit accuracy is 0.49 after 10% of the run: pairs are not told apart. Try a higher learning rate, or a lower beta.",
        ),
        (
            {"clip_fraction": 0.96},
            0.25,
            (
                "96% of the likelihood ratios are clipped after 25% of the run, and these have no gradient: nothing is learned. "
                "Try a lower learning rate or a wider clip."
            ),
        ),
        (
            {"log_ratio_winner": -0.2, "log_ratio_loser": -0.1},
            0.1,
            "Preferred samples become less likely as well: mean log-ratio -0.200 of winners, -0.100 of losers.",
        ),
        (
            {"drift_share": 0.51},
            0.0,
            (
                "The reward rose from -1.000 to -0.500 while the samples left those of the starting model: their energy distance is 0.51 "
                "of the mean distance between two samples of the start. Try a higher beta or fewer steps."
            ),
        ),
    ],
)
def test_a_warning_begins_at_its_limit_and_says_what_to_try(changed: dict[str, float], progress: float, sentence: str):
    assert warnings_of({**WELL, **changed}, progress=progress) == [sentence]


def test_offline_a_run_is_warned_of_what_it_measures_alone():
    offline = {name: WELL[name] for name in ("implicit_accuracy", "reward_tuned", "reward_start", "drift_share")}

    assert warnings_of(offline, progress=0.9) == []
    assert len(warnings_of({**offline, "implicit_accuracy": 0.5, "drift_share": 0.9}, progress=0.9)) == 2
