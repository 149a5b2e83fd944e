"""The points task: what is drawn, how it is judged, and the network that the specification describes for it."""

import math

import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.models.build import build
from engine.models.points import VpMlp, time_of, vp_mlp
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.points_2d.card import Options, card
from engine.tasks.points_2d.data import eight_gaussians, two_moons
from engine.tasks.points_2d.task import Points2D

CPU = torch.device("cpu")
SIZES = {"inputs": 2, "width": 16, "layers": 2, "sigma_data": 0.7, "sampler_steps": 5, "sigma_min": 0.03, "sigma_max": 30.0}


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def task(**options) -> Points2D:
    return Points2D(Options(samples=200, held_out=200, **options), CPU)


def distance_to_moons(points: Tensor) -> tuple[Tensor, Tensor]:
    """To the upper and to the lower half circle without noise, both of radius 1, (rows,) each."""
    x, y = (points + 0.35).unbind(dim=1)
    upper = (x.hypot(y) - 1).abs()
    lower = ((1 - x).hypot(0.5 - y) - 1).abs()
    return upper, lower


def test_two_moons_lie_on_two_half_circles_and_a_quarter_on_the_lower_one():
    points = two_moons(20_000, drawn(0))

    upper, lower = distance_to_moons(points)
    nearest = torch.minimum(upper, lower)
    assert float(nearest.max()) < 0.3
    assert float(torch.where(upper < lower, upper, lower).square().mean().sqrt()) == pytest.approx(0.05, abs=0.005)
    surely_lower, surely_upper = (points[:, 1] + 0.35 < -0.2), (points[:, 1] + 0.35 > 0.7)
    # Of the lower circle, y = 0.5 − sin a is below −0.2 for sin a > 0.7; of the upper one sin a > 0.7 likewise: the same share of each.
    assert float(surely_lower.sum() / (surely_lower.sum() + surely_upper.sum())) == pytest.approx(0.25, abs=0.02)


def test_two_moons_have_the_mean_of_their_formula():
    """E cos a = 0 and E sin a = 2/π for a ~ U(0, π); a quarter is (1 − cos a, 0.5 − sin a)."""
    points = two_moons(200_000, drawn(0))

    x, y = 0.25 * 1 - 0.35, 0.75 * 2 / math.pi + 0.25 * (0.5 - 2 / math.pi) - 0.35
    assert points.mean(dim=0).tolist() == pytest.approx([x, y], abs=0.01)


def test_eight_gaussians_are_evenly_on_the_unit_circle():
    points = eight_gaussians(16_000, drawn(0))

    angle = torch.atan2(points[:, 1], points[:, 0]) / (2 * math.pi / 8)
    counts = (angle.round().long() % 8).bincount(minlength=8)
    assert points.norm(dim=1).mean() == pytest.approx(1, abs=0.01)
    assert counts.min() > 1800 and counts.max() < 2200


def test_the_splits_are_the_same_each_time_and_different_from_each_other():
    first, second = task(), task()

    assert all(torch.equal(first.splits[name].inputs, second.splits[name].inputs) for name in ("train", "validation", "test"))
    assert not torch.equal(first.splits["validation"].inputs, first.splits["test"].inputs)
    assert len(first.splits["test"]) == 200
    assert len(Points2D(Options(), CPU).splits["test"]) == 4000


def test_a_mixture_has_points_of_its_own():
    assert not torch.equal(task().splits["test"].inputs, task(mixture="eight-gaussians").splits["test"].inputs)


def test_training_batches_hold_fresh_points_whatever_their_rows_were():
    ours = task()
    rows = ours.splits["train"].inputs[:50]

    fresh, again, other = (ours.augmentation()(rows, drawn(seed)) for seed in (1, 1, 2))

    assert fresh.shape == (50, 2)
    assert torch.equal(fresh, again) and not torch.equal(fresh, other)
    assert not (fresh[:, None] == ours.splits["train"].inputs).all(dim=2).any()


class Oracle(VpMlp):
    """A one-step generator whose samples are given points."""

    def __init__(self, points: Tensor) -> None:
        super().__init__(**SIZES, levels=[20.0])
        self.points = points

    def sample(self, noise: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        return self.points[: len(noise)]


def test_points_of_the_distribution_itself_are_judged_as_close_and_shifted_ones_by_their_shift():
    ours = Points2D(Options(samples=400, held_out=2000), CPU)
    points = two_moons(400, drawn(5))

    good = ours.judge(Oracle(points), "test", teacher=None, final=False).metrics
    shifted = ours.judge(Oracle(points + torch.tensor([3.0, 4.0])), "test", teacher=None, final=False).metrics

    assert good["energy_distance"] < 0.02 and good["nearest_distance"] < 0.05 and good["precision"] > 0.9
    assert shifted["fid_xy"] == pytest.approx(25, abs=1.5)
    assert shifted["energy_distance"] > 5 and shifted["nearest_distance"] > 3 and shifted["precision"] == 0


def test_the_reward_of_an_option_is_the_mean_over_samples():
    points = torch.tensor([[-0.6, 0.6], [-0.6, 1.6]]).repeat(100, 1)

    with_reward = task(reward="near:-0.6,0.6").judge(Oracle(points), "validation", teacher=None, final=False).metrics
    without = task().judge(Oracle(points), "validation", teacher=None, final=False).metrics

    assert with_reward["reward"] == pytest.approx(-0.5, abs=1e-6)
    assert "reward" not in without


def test_samples_that_are_not_finite_have_no_numbers_and_no_picture():
    ours = task(reward="near:0,0")

    judgement = ours.judge(Oracle(torch.full((200, 2), math.nan)), "validation", teacher=None, final=False)

    assert judgement.metrics == {"evaluations": 1.0, "reward": None}
    assert judgement.tables == {}


def test_samples_are_shown_over_the_data_beside_the_teachers():
    found = task().judge(Oracle(torch.zeros(200, 2)), "test", teacher=Oracle(torch.ones(200, 2)), final=False).tables["samples"]

    groups = found["groups"]
    assert list(groups) == ["data", "samples", "teacher, same noise"]
    assert set(groups["samples"]["x"]) == {0.0} and set(groups["teacher, same noise"]["y"]) == {1.0}
    assert found["square"] is True


@pytest.mark.parametrize(
    ("reward", "sentence"),
    [
        ("ink", "must fit examples of shape [2], and ink is a reward for pictures; got 'ink'."),
        ("near:1", "must name a point with as many coordinates as an example of shape [2] has; got 'near:1'."),
    ],
)
def test_a_reward_that_scores_no_points_is_refused(reward, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "denoising", "task": "points-2d", "task_options": {"reward": reward}})

    assert str(refused.value) == f"task_options.reward: {sentence}"


def test_its_architectures_are_built_as_denoisers_of_points():
    for architecture in card.architectures.values():
        network = build(architecture.builder, architecture.config)
        assert network(torch.zeros(3, 2), torch.ones(3)).shape == (3, 2)
        assert network.levels == ()
    assert catalog.tasks()["points-2d"].kinds == ("generator", "denoiser")


# The specification's network


def test_the_network_sees_the_variance_preserving_state_and_its_time():
    """α·x, sin(t·f) and cos(t·f) with f = 0.5 … 8, α = cos(πt/2) and σ = tan(πt/2)."""
    network = vp_mlp(**SIZES, levels=[]).double()
    x, t = torch.tensor([[0.3, -2.0], [1.0, 4.0]], dtype=torch.float64), torch.tensor([0.1, 0.9], dtype=torch.float64)
    seen = []
    network.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))

    network(x, torch.tan(math.pi / 2 * t))

    for row in range(2):
        alpha, f = math.cos(math.pi / 2 * float(t[row])), [0.5 + 7.5 * i / 7 for i in range(8)]
        expected = [alpha * float(value) for value in x[row]]
        expected += [math.sin(float(t[row]) * each) for each in f] + [math.cos(float(t[row]) * each) for each in f]
        assert seen[0][row].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_time_is_what_its_noise_level_came_from():
    t = torch.linspace(0.02, 0.98, 9, dtype=torch.float64)

    assert torch.allclose(time_of(torch.tan(math.pi / 2 * t)), t, atol=1e-14)


def test_a_denoiser_is_integrated_by_ddim_on_even_times():
    """In variance-preserving states: α_s·x̂₀ + σ_s·ε̂ over linspace of times, and at the last one the prediction."""
    network = vp_mlp(**{**SIZES, "sigma_min": math.tan(math.pi * 0.01), "sigma_max": math.tan(math.pi * 0.49)}, levels=[]).double()
    noise = torch.randn(6, 2, generator=drawn(0), dtype=torch.float64)
    times = torch.linspace(0.98, 0.02, 5, dtype=torch.float64)
    angle = math.pi / 2 * times
    alpha, sigma = angle.cos(), angle.sin()

    x = sigma[0] * noise
    for here in range(5):
        clean = network(x / alpha[here], (sigma / alpha)[here].expand(6))
        eps = (x - alpha[here] * clean) / sigma[here]
        x = clean if here == 4 else alpha[here + 1] * clean + sigma[here + 1] * eps

    assert torch.allclose(network.sample(noise, None), x, atol=1e-9)


def test_a_generator_and_a_denoiser_tell_what_a_sample_costs_and_how_they_are_built_again():
    generator, denoiser = vp_mlp(**SIZES, levels=[20.0, 1.0]), vp_mlp(**SIZES, levels=[])

    assert (generator.evaluations, denoiser.evaluations) == (2, 5)
    recipe = generator.recipe()
    again = build(recipe["builder"], recipe["config"])
    again.load_state_dict(generator.state_dict())
    x, sigma = torch.randn(4, 2, generator=drawn(0)), torch.tensor([0.1, 1.0, 5.0, 20.0])
    assert again.levels == generator.levels
    assert torch.equal(again(x, sigma), generator(x, sigma))
