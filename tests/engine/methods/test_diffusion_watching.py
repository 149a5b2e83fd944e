"""What is watched of denoisers and of the generators that follow them: levels, sizes and losses, by bin and by step, against slow versions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.diffusion.generators import Samples
from engine.diffusion.schedules import karras_table
from engine.errors import SpecError
from engine.methods.decoupled_dmd.charts import BINS, augmentation_share, counted, levels_drawn
from engine.methods.decoupled_dmd.directions import Margins, drawn_share, target_moments
from engine.methods.denoising.charts import loss_by_level, losses_by_level
from engine.methods.dmd2.charts import direction_by_level
from tests.engine.methods.generator_bench import apart, network, new, step

# Decoupled DMD


@settings(max_examples=30)
@given(shares=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30))
def test_every_share_of_noise_is_counted_once_in_the_bin_that_holds_it(shares: list[float]):
    given_shares = torch.tensor(shares)

    found = counted((given_shares, 1 - given_shares))

    expected = torch.zeros(2, BINS)
    for each in given_shares:
        for term, share in enumerate((each, 1 - each)):
            expected[term, min(int(share * BINS), BINS - 1)] += 1
    assert torch.equal(found, expected)


def test_the_map_of_drawn_levels_has_a_row_for_each_term_and_step_of_the_generator():
    drawn = torch.zeros(2, 2, BINS)
    drawn[0, 1, 3], drawn[1, 0, 19] = 4, 7

    found = levels_drawn(drawn, [20.0, 0.5])

    assert found["rows"] == ["augmentation, σ = 20", "augmentation, σ = 0.5", "matching, σ = 20", "matching, σ = 0.5"]
    assert (found["values"][1][3], found["values"][2][19]) == (4, 7)
    assert sum(map(sum, found["values"])) == 11
    assert (found["columns"][0], found["columns"][1], found["columns"][-1]) == ("0.00", "0.05", "0.95")
    assert found["note"] == "The generator's own shares: 0.95, 0.33."  # σ / (1 + σ)


@pytest.mark.parametrize(("sizes", "share"), [((3.0, 1.0), 0.75), ((0.0, 2.0), 0.0), ((2.0, 0.0), 1.0), ((0.0, 0.0), None)])
def test_the_share_of_the_augmentation_is_undefined_where_neither_term_has_a_size(sizes: tuple[float, float], share: float | None):
    assert augmentation_share(torch.tensor(sizes)) == share


def test_levels_that_are_not_below_the_generators_are_counted_for_the_augmentation_alone():
    method = new("decoupled-dmd", {"levels": [20.0, 1.0]})

    method.note_levels(1, (torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.99, 0.99, 0.99])))

    assert float(method.late) == 2  # the generator's own share is 1/2, and a level at it is not below it
    assert method.drawn[0, 1].nonzero().flatten().tolist() == [2, 10, 18]
    assert method.drawn[1, 1, 19] == 3 and method.drawn[:, 0].sum() == 0
    assert method.diagnostics().metrics["late_levels"] == 2.0


@settings(max_examples=40)
@given(
    low=st.floats(0.0, 0.5),
    width=st.floats(0.05, 0.45),
    shift=st.floats(1.0, 5.0),
    below=st.none() | st.floats(0.02, 0.99),
    seed=st.integers(0, 1000),
)
def test_a_drawn_share_is_within_the_margins_after_the_shift_whatever_is_asked_for(low, width, shift, below, seed):
    margins = Margins(low, low + width, shift)

    drawn = drawn_share(50, margins, below=below, generator=torch.Generator().manual_seed(seed)).double()

    def moved(share: float) -> float:
        return shift * share / (1 + (shift - 1) * share)

    narrowest = moved(low + 0.01)
    top = moved(low + width) if below is None else min(moved(low + width), max(below, narrowest))
    assert float(drawn.min()) >= moved(low) - 1e-6
    assert float(drawn.max()) <= top + 1e-6


def test_only_the_moment_that_is_not_given_is_measured():
    examples = torch.tensor([[[0.0, 2.0]], [[4.0, 10.0]]], dtype=torch.float64)

    found = [target_moments(examples, mean=mean, variance=variance) for mean, variance in ((None, 0.5), (0.25, None), (0.0, 0.0))]

    # Within the examples the variances are 1 and 9 (divisor n); over all four numbers it would be 14.
    assert found == [[4.0, 0.5], [0.25, 5.0], [0.0, 0.0]]


@pytest.mark.parametrize("normalize", [True, False])
def test_normalized_terms_are_pulled_along_each_by_itself_and_others_as_one(normalize: bool):
    method = apart(new("decoupled-dmd", {"normalize": normalize, "balance": 0.5}))
    made = Samples(x=torch.zeros(4, 1, 8, 8, requires_grad=True), y=torch.zeros(4, dtype=torch.long), place=0)
    state = method.generator.get_state()
    ca, dm = method.directions(made)
    method.generator.set_state(state)

    loss, terms = method.generator_loss(made)

    pulls = (ca, dm) if normalize else (ca + dm,)
    assert loss.item() == pytest.approx(sum(float((0.5 * pull).square().mean()) for pull in pulls), rel=1e-5)
    assert float(terms["size/matching"]) == pytest.approx(float(dm.abs().mean()), rel=1e-6)
    assert not ca.requires_grad and not dm.requires_grad


# DMD2


def test_a_bin_of_levels_that_was_never_drawn_has_no_bar_and_the_others_their_mean():
    by_level = torch.zeros(2, 10)
    by_level[:, 2], by_level[:, 9] = torch.tensor([6.0, 4.0]), torch.tensor([1.0, 2.0])

    found = direction_by_level(by_level, karras_table(0.02, 80.0).float())["series"]["mean |g|"]

    assert found == [None, None, 1.5, *[None] * 6, 0.5]


def test_each_bin_of_levels_is_named_by_the_levels_that_begin_and_end_it():
    found = direction_by_level(torch.ones(2, 10), torch.arange(1.0, 21.0))["labels"]

    assert found == ["1–3", "3–5", "5–7", "7–9", "9–11", "11–13", "13–15", "15–17", "17–19", "19–20"]


def test_the_size_of_the_direction_goes_into_the_bin_of_the_level_at_which_it_was_found():
    method = apart(new("dmd2", {"level_low": 0.5, "level_high": 0.6}))

    terms = step(method, times=2)

    sums, counts = method.by_level
    assert counts.nonzero().flatten().tolist() == [5]
    assert float(counts[5]) == pytest.approx(8 * 0.99 + 8)
    sizes = [each["direction"] for each in terms]
    assert float(sums[5]) == pytest.approx(8 * (0.99 * sizes[0] + sizes[1]), rel=1e-5)


# Denoising


def test_the_loss_at_each_level_is_that_of_the_slow_version_with_the_same_noise_at_all():
    clean, noise = (torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    levels, labels, model = torch.tensor([0.1, 2.0]), torch.tensor([3, 0, 7]), network(0).eval()

    with torch.no_grad():
        found = losses_by_level(model, clean, noise, labels, levels=levels, sigma_data=0.75)
        expected = []
        for level in levels.tolist():
            denoised = model(clean + level * noise, torch.full((3,), level), labels)
            expected.append(float((denoised - clean).square().mean()) * (level**2 + 0.75**2) / (level * 0.75) ** 2)

    assert found == pytest.approx(expected, rel=1e-5)


def test_the_losses_are_drawn_over_a_logarithmic_axis_by_condition():
    found = loss_by_level([0.1, 1.0], {"null condition": [2.0, 1.0], "class given": [1.5, 0.5]})

    assert found["log_x"] is True
    assert found["series"] == {"null condition": {"x": [0.1, 1.0], "y": [2.0, 1.0]}, "class given": {"x": [0.1, 1.0], "y": [1.5, 0.5]}}


def test_the_classes_are_dropped_with_the_chance_that_was_asked_for_and_never_at_zero():
    always, never = (new("denoising", {"label_dropout": share, "batch_size": 300}) for share in (1.0, 0.0))

    dropped, kept = (method.draw(0, torch.Generator().manual_seed(0)).targets for method in (always, never))

    assert dropped.tolist() == [10] * 300
    assert 10 not in kept.tolist()


def test_levels_are_held_between_the_lowest_and_the_highest():
    method = new("denoising", {"level_mean": 0.0, "level_std": 5.0, "level_low": 0.5, "level_high": 3.0, "batch_size": 400})

    sigma = method.draw(0, torch.Generator().manual_seed(0)).inputs["sigma"]

    assert (float(sigma.min()), float(sigma.max())) == (0.5, 3.0)
    assert 0 < int(((sigma > 0.5) & (sigma < 3.0)).sum()) < 100


def test_the_average_moves_once_a_batch_and_not_once_a_piece_of_it():
    method = new("denoising", {"average_decay": 0.5, "average_warmup": 0})
    for parameter in method.average.parameters():
        parameter.zero_()
    batch, moved = method.draw(0, torch.Generator().manual_seed(0)), []

    for last in (False, True):
        method._context.micro.last = last
        method.step(batch)
        moved.append(any(bool(parameter.any()) for parameter in method.average.parameters()))

    assert moved == [False, True]


def test_a_network_that_is_no_denoiser_is_refused_by_its_kind():
    with pytest.raises(SpecError) as refused:
        new("denoising", student=torch.nn.Linear(2, 2))

    assert str(refused.value) == "student: must be a denoiser of this engine; got Linear."
