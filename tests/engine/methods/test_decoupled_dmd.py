"""Augmentation and matching, apart: the identities that hold between them, and the levels that each is computed at."""

import math

import pytest
import torch
from torch import Tensor

from engine.diffusion.generators import Samples
from engine.errors import SpecError
from engine.methods.decoupled_dmd.directions import Margins, augmentation, drawn_share, matching, moment_loss, normalized, pulled
from engine.spec.run_spec import RunSpec
from tests.engine.methods.generator_bench import apart, network, new, step, weights

TEACHER = "run:00000000-0000-0000-0000-000000000001"
MARGINS = Margins(0.02, 0.95)


def rows(seed: int) -> Tensor:
    return torch.randn(5, 1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_at_one_level_and_noise_the_two_add_up_to_the_guided_teacher_minus_the_fake():
    conditional, unconditional, fake = rows(0), rows(1), rows(2)

    total = augmentation(conditional=conditional, unconditional=unconditional, guidance=3.0) + matching(real=conditional, fake=fake)

    assert torch.allclose(total, unconditional + 3 * (conditional - unconditional) - fake, rtol=0, atol=1e-14)


def test_guidance_of_one_is_no_augmentation_and_equal_denoisers_give_no_matching():
    assert not augmentation(conditional=rows(0), unconditional=rows(1), guidance=1.0).any()
    assert not matching(real=rows(0), fake=rows(0)).any()


def test_each_direction_is_divided_by_the_teachers_own_mean_error_on_that_sample():
    toward, conditional, x = rows(0), rows(1), rows(2)

    found = normalized(toward, conditional=conditional, x=x)

    for row in range(5):
        mean = sum(abs(float(conditional[row, 0, i] - x[row, 0, i])) for i in range(3)) / 3
        assert found[row, 0].tolist() == pytest.approx((toward[row, 0] / (mean + 1e-8)).tolist(), rel=1e-12)
    assert normalized(toward, conditional=x, x=x).isfinite().all()


@pytest.mark.parametrize("balance", [1.0, 0.3])
def test_the_gradient_in_the_sample_is_minus_twice_both_directions_whether_apart_or_together(balance):
    ca, dm = rows(1), rows(2)

    gradients = []
    for directions in ((ca, dm), (ca + dm,)):
        x = rows(0).requires_grad_()
        pulled(x, *directions, balance=balance).backward()
        gradients.append(x.grad)

    assert torch.allclose(gradients[0], -2 * balance * (ca + dm) / 15, rtol=1e-12)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-12)


def test_mean_and_variance_cost_nothing_where_they_are_met_and_by_hand_elsewhere():
    met, other = torch.tensor([[[1.0, 3.0]]], dtype=torch.float64), torch.tensor([[[0.0, 4.0]]], dtype=torch.float64)

    assert moment_loss(met, mean=2.0, variance=1.0).item() == pytest.approx(0, abs=1e-15)
    assert moment_loss(other, mean=1.0, variance=2.0).item() == pytest.approx(0.5 * ((4 + 1) / 2 - 1 - math.log(2)))
    assert moment_loss(torch.cat([met, other]), mean=2.0, variance=1.0).item() == pytest.approx(0.25 * (4 - 1 - math.log(4)))


def test_mean_and_variance_have_the_gradient_of_finite_differences_and_a_constant_sample_is_no_error():
    x = rows(0).requires_grad_()

    assert torch.autograd.gradcheck(lambda value: moment_loss(value, mean=0.1, variance=0.6), (x,))
    assert moment_loss(torch.zeros(1, 4), mean=0.0, variance=1.0).isfinite()


@pytest.mark.parametrize("level", [20.0, 3.0, 1.0, 1 / 3])
def test_levels_below_the_generators_are_below_it_for_every_sample_and_cover_the_rest(level):
    here = level / (1 + level)

    drawn = drawn_share(20_000, MARGINS, below=here, generator=torch.Generator().manual_seed(0))

    assert float(drawn.max()) < here
    assert float(drawn.min()) >= 0.02
    assert float(drawn.mean()) == pytest.approx((0.02 + min(here, 0.95)) / 2, abs=0.005)


def test_on_average_the_augmentation_is_cleaner_than_the_generators_input():
    method = new("decoupled-dmd", {"batch_size": 500})

    for level in method.student.levels:
        ca, dm = method.shares(500, level)
        assert bool((ca < level / (1 + level)).all())
        assert float(dm.mean()) == pytest.approx((0.02 + 0.95) / 2, abs=0.05)


def test_a_generator_that_is_nearly_clean_leaves_a_hundredth_of_a_share():
    drawn = drawn_share(1000, MARGINS, below=0.021, generator=torch.Generator().manual_seed(0))

    assert 0.02 <= float(drawn.min()) < float(drawn.max()) <= 0.03


def test_with_a_shift_levels_are_drawn_before_it_and_stay_below_the_generators():
    margins = Margins(0.02, 0.95, shift=3.0)

    drawn = drawn_share(20_000, margins, below=0.5, generator=torch.Generator().manual_seed(0))
    free = drawn_share(20_000, margins, below=None, generator=torch.Generator().manual_seed(0))

    before = drawn / (3 - 2 * drawn)  # undoes the shift: 0.5 was a quarter
    assert float(drawn.max()) < 0.5
    assert float(before.mean()) == pytest.approx((0.02 + 0.25) / 2, abs=0.003)
    assert float(free.median()) == pytest.approx(3 * 0.485 / (1 + 2 * 0.485), abs=0.01)


@pytest.mark.parametrize(
    ("schedule", "shared", "ca_below", "dm_below"),
    [
        ("coupled_shared", True, False, False),
        ("decoupled_full", False, False, False),
        ("decoupled_constrained", False, True, True),
        ("decoupled_hybrid", False, True, False),
    ],
)
def test_each_schedule_draws_its_levels_where_it_says(schedule, shared, ca_below, dm_below):
    method = new("decoupled-dmd", {"schedule_of_levels": schedule})

    ca, dm = method.shares(2000, 1.0)
    first, second = method.noises(torch.zeros(4, 1, 8, 8))

    assert torch.equal(ca, dm) is shared
    assert torch.equal(first, second) is shared
    assert (float(ca.max()) < 0.5) is ca_below
    assert (float(dm.max()) < 0.5) is dm_below


def test_coupled_and_not_normalized_it_is_the_direction_of_dmd():
    method = apart(new("decoupled-dmd", {"schedule_of_levels": "coupled_shared", "normalize": False, "guidance": 2.5}))
    made = method.samples()
    state = method.generator.get_state()

    ca, dm = method.directions(Samples(made.x.detach(), made.y, made.place))

    again = torch.Generator()
    again.set_state(state)
    share = drawn_share(8, method.margins, below=None, generator=again)
    noise = torch.randn(made.x.shape, generator=again)
    sigma = share / (1 - share)
    x_t = made.x.detach() + sigma[:, None, None, None] * noise
    with torch.no_grad():
        without = method.real(x_t, sigma)
        guided = without + 2.5 * (method.real(x_t, sigma, made.y) - without)
        expected = guided - method.fake(x_t, sigma, made.y)
    assert float((ca + dm).norm()) > 0
    assert torch.allclose(ca + dm, expected, atol=1e-4)


def test_matching_alone_has_no_augmentation_and_begins_at_rest():
    method = new("decoupled-dmd", {"guidance": 1.0})

    [terms] = step(method)

    assert terms["size/augmentation"] == terms["size/matching"] == terms["loss"] == 0.0
    assert "loss/fake" in terms


@pytest.mark.parametrize("regularizer", ["none", "mean_var"])
def test_without_matching_there_is_no_fake_to_train(regularizer):
    method = new("decoupled-dmd", {"regularizer": regularizer})
    before, start = weights(method.fake), weights(method.student)

    [terms] = step(method)

    assert torch.equal(weights(method.fake), before)
    assert not torch.equal(weights(method.student), start)
    assert terms["size/matching"] == 0.0
    assert "loss/fake" not in terms
    assert ("loss/mean_var" in terms) is (regularizer == "mean_var")


def test_a_discriminator_may_stand_in_for_matching():
    method = new("decoupled-dmd", {"regularizer": "none", "gan_weight": 0.1})
    before = weights(method.fake)

    [terms] = step(method)

    assert {"loss/deceiving", "loss/critic"} <= set(terms)
    assert "loss/fake" not in terms
    assert not torch.equal(weights(method.fake), before)


def test_the_moments_aimed_at_are_those_of_the_training_rows_unless_given():
    measured, given = new("decoupled-dmd"), new("decoupled-dmd", {"mean_target": 0.075, "variance_target": 0.81})

    rows_ = measured.task.splits["train"].inputs.double().flatten(1)
    assert measured.targets == pytest.approx([float(rows_.mean()), float(rows_.var(dim=1, correction=0).mean())], rel=1e-5)
    assert measured.targets[1] == pytest.approx(0.561, abs=1e-3)
    assert given.targets == [0.075, 0.81]


def test_both_turns_train_their_own_network_only_and_so_many_times():
    method = new("decoupled-dmd", {"fake_updates": 3, "gan_weight": 0.01})
    teacher = weights(method.real)

    step(method, times=2)

    assert method.optimizer.param_groups[0]["updates"] == 2
    assert method.fake_optimizer.param_groups[0]["updates"] == 6
    assert torch.equal(weights(method.real), teacher)


def test_diagnostics_report_the_share_of_the_augmentation_and_the_levels_drawn():
    method = new("decoupled-dmd")
    terms = step(method, times=3)

    found = method.diagnostics()

    sizes = [sum(0.98 ** (2 - i) * each[f"size/{name}"] for i, each in enumerate(terms)) for name in ("augmentation", "matching")]
    table = found.tables["levels_drawn"]
    assert found.metrics["augmentation_share"] == pytest.approx(sizes[0] / sum(sizes), rel=1e-4)
    assert found.metrics["late_levels"] == 0
    assert sum(sum(row) for row in table["values"]) == 2 * 3 * 8
    assert len(table["rows"]) == 8


def test_a_schedule_that_draws_anywhere_has_no_late_levels_to_count():
    assert new("decoupled-dmd", {"schedule_of_levels": "decoupled_full"}).diagnostics().metrics["late_levels"] is None


def test_a_teacher_that_guidance_gets_nothing_from_is_logged():
    lines: list[str] = []
    teacher = network(0)
    torch.nn.init.zeros_(teacher.label.weight)
    method = new("decoupled-dmd", teacher=teacher, lines=lines)

    step(method)
    method.diagnostics()

    assert lines == ["The augmentation is 0: the teacher says the same with and without a class, so guidance has nothing to give."]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"levels": [1.0, 20.0]}, "settings.levels: must be positive and descend; got [1.0, 20.0]."),
        ({"levels": [20.0, 0.03]}, "settings.levels: must end above σ = 0.0309, to leave room for lower levels; got 0.03."),
        ({"share_low": 0.6, "share_high": 0.5, "levels": [20.0]}, "settings.share_low: must be below share_high, which is 0.5; got 0.6."),
        (
            {"guidance": 1.0, "regularizer": "none"},
            "settings.guidance: must be above 1 where nothing else moves the generator; got 1. Or choose another regularizer.",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_their_path(settings, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "decoupled-dmd", "task": "digits-images", "teachers": [TEACHER], "settings": settings})

    assert str(refused.value) == sentence
