"""Pairwise sample optimization: densities, preferences and losses against slow versions in float64, the specification's invariants, and what
a run does with them."""

import copy
import functools
import math
import uuid
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from engine import rewards
from engine.errors import SpecError
from engine.method import Batch, Length, Method, MicroBatch, Position, RunContext
from engine.methods.pso import starting_generator
from engine.methods.pso.losses import (
    ancestral,
    denoising_error,
    hinge_loss,
    log_density,
    log_ratios,
    offline_logits,
    online_logits,
    pairwise_loss,
    preferences,
    renoising,
)
from engine.methods.pso.sampling import trajectories
from engine.methods.pso.signs import warnings_of
from engine.models.denoisers import edm_mlp
from engine.models.points import vp_mlp
from engine.run.export import save_model
from engine.run.runner import execute
from engine.run.state import seal
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.digits_images.card import Options as DigitsOptions
from engine.tasks.digits_images.task import DigitsImages
from engine.tasks.points_2d.card import Options
from engine.tasks.points_2d.data import two_moons
from engine.tasks.points_2d.task import Points2D
from engine.tasks.task import Task
from tests.engine.tiny import Watcher, student_bytes

LEVELS = (20.0, 2.0, 0.5)

SHAPE = (5, 3, 2)
SIGMA = torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0], dtype=torch.float64)
SIGMA_TO = SIGMA * torch.tensor([0.9, 0.5, 0.1, 0.99, 0.3], dtype=torch.float64)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_renoising_goes_to_the_predicted_sample_plus_noise_of_the_next_level():
    mean, std = renoising(normal(0), sigma_to=SIGMA_TO)

    assert torch.equal(mean, normal(0))
    assert torch.equal(std, SIGMA_TO)


def test_renoising_is_the_published_density_of_variance_preserving_states():
    """mean √ᾱ_prev·x̂₀ and std √(1 − ᾱ_prev) at states √ᾱ·x, with x̂₀ = (x_vp − √(1 − ᾱ)·ε)/√ᾱ: equal but for a constant of the level."""
    alpha_bar, alpha_bar_to = 1 / (1 + SIGMA**2), 1 / (1 + SIGMA_TO**2)
    x, eps, after = normal(0), normal(1), normal(2)
    scale, scale_to = (each.sqrt().view(-1, 1, 1) for each in (alpha_bar, alpha_bar_to))
    published_x0 = (scale * x - (1 - alpha_bar).sqrt().view(-1, 1, 1) * eps) / scale
    published = Normal(scale_to * published_x0, (1 - alpha_bar_to).sqrt().view(-1, 1, 1)).log_prob(scale_to * after).mean(dim=(1, 2))

    mean, std = renoising(x - SIGMA.view(-1, 1, 1) * eps, sigma_to=SIGMA_TO)

    assert torch.allclose(log_density(after, mean=mean, std=std), published + alpha_bar_to.sqrt().log(), atol=1e-12)


def test_the_ancestral_step_splits_the_next_level_into_a_step_down_and_fresh_noise():
    x, x0 = normal(0), normal(1)
    mean, up = ancestral(x, x0, sigma=SIGMA, sigma_to=SIGMA_TO)

    for row in range(5):
        sigma, to = float(SIGMA[row]), float(SIGMA_TO[row])
        sigma_up = math.sqrt(to**2 * (sigma**2 - to**2) / sigma**2)
        sigma_down = math.sqrt(to**2 - sigma_up**2)
        assert float(up[row]) == pytest.approx(sigma_up, rel=1e-12)
        assert sigma_up**2 + sigma_down**2 == pytest.approx(to**2, rel=1e-12)
        assert torch.allclose(mean[row], x[row] + (x[row] - x0[row]) / sigma * (sigma_down - sigma), atol=1e-12)


def test_a_perfect_ancestral_step_leaves_noise_of_the_next_level():
    """For x = x₀ + σ·z the step down leaves σ_down of that noise: with σ_up of fresh noise, variances add up to σ_to²."""
    x0, z = normal(1), normal(2)
    mean, up = ancestral(x0 + SIGMA.view(-1, 1, 1) * z, x0, sigma=SIGMA, sigma_to=SIGMA_TO)

    left = ((mean - x0) / z).mean(dim=(1, 2))
    assert torch.allclose(left**2 + up**2, SIGMA_TO**2, atol=1e-12)


def test_a_log_density_is_the_mean_over_dimensions_and_not_the_sum():
    x, mean = normal(0), normal(1)

    found = log_density(x, mean=mean, std=SIGMA)

    expected = torch.stack([Normal(mean[row], SIGMA[row]).log_prob(x[row]).sum() / 6 for row in range(5)])
    assert torch.allclose(found, expected, atol=1e-13)


def test_one_reward_prefers_the_better_sample_and_counts_a_tie_as_a_loss_of_the_first():
    scores = torch.tensor([[[2.0], [1.0]], [[1.0], [2.0]], [[1.0], [1.0]]])

    found = preferences(scores, several="random", generator=torch.Generator())

    assert found.tolist() == [[1, -1], [-1, 1], [-1, 1]]


def test_of_several_rewards_one_is_drawn_for_each_pair():
    scores = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).expand(2000, 2, 2)

    found = preferences(scores, several="random", generator=torch.Generator().manual_seed(0))

    assert (found.sum(dim=1) == 0).all()
    assert 0.45 < float((found[:, 0] > 0).float().mean()) < 0.55


def test_dominance_needs_no_reward_lower_and_one_higher():
    pairs = [([1, 1], [0, 0]), ([1, 0], [0, 0]), ([0, 0], [0, 1]), ([1, 0], [0, 1]), ([1, 1], [1, 1])]
    scores = torch.tensor(pairs, dtype=torch.float64)

    found = preferences(scores, several="pareto", generator=torch.Generator())

    assert found.tolist() == [[1, -1], [1, -1], [-1, 1], [0, 0], [0, 0]]


def slow_loss(lp: Tensor, reference: Tensor, preferred: Tensor, *, beta: float, low: float, high: float) -> Tensor:
    ratio = (lp - reference).exp().clip(low, high)
    return -(beta * (preferred[:, 0] * ratio[:, 0].log() + preferred[:, 1] * ratio[:, 1].log())).sigmoid().log().mean()


def fast_loss(lp: Tensor, reference: Tensor, preferred: Tensor, *, beta: float = 2.0, low: float = 0.9, high: float = 1.1) -> Tensor:
    return pairwise_loss(online_logits(log_ratios(lp, reference, low=low, high=high), preferred), beta=beta).mean()


PREFERRED = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize(("beta", "low", "high"), [(1.0, 0.9, 1.1), (50.0, 0.2, 5.0), (5.0, 0.05, 20.0)])
def test_the_online_loss_and_its_gradient_are_those_of_the_slow_version(beta, low, high):
    lp, reference = (0.1 * normal(0, 4, 2)).requires_grad_(), 0.1 * normal(1, 4, 2)
    other = lp.detach().clone().requires_grad_()

    found = fast_loss(lp, reference, PREFERRED, beta=beta, low=low, high=high)
    expected = slow_loss(other, reference, PREFERRED, beta=beta, low=low, high=high)
    found.backward()
    expected.backward()

    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    assert torch.allclose(lp.grad, other.grad, atol=1e-14)


def test_at_the_start_the_loss_is_log_2_and_pulls_winners_up_and_losers_down_by_half_of_beta():
    lp = normal(0, 4, 2).requires_grad_()

    loss = fast_loss(lp, lp.detach().clone(), PREFERRED, beta=3.0)
    loss.backward()

    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-15)
    assert torch.allclose(lp.grad, -PREFERRED * 3.0 / 2 / 4, atol=1e-15)


def test_swapping_the_samples_with_their_preference_changes_nothing():
    lp, reference = 0.05 * normal(0, 4, 2), 0.05 * normal(1, 4, 2)

    assert torch.equal(fast_loss(lp, reference, PREFERRED), fast_loss(lp.flip(1), reference.flip(1), PREFERRED.flip(1)))


def test_a_constant_in_both_log_densities_changes_nothing():
    lp, reference = 0.05 * normal(0, 4, 2), 0.05 * normal(1, 4, 2)

    assert float(fast_loss(lp + 7, reference + 7, PREFERRED)) == pytest.approx(float(fast_loss(lp, reference, PREFERRED)), rel=1e-12)


def test_without_a_preference_the_loss_is_log_2_and_has_no_gradient():
    lp = (0.05 * normal(0, 4, 2)).requires_grad_()

    loss = fast_loss(lp, 0.05 * normal(1, 4, 2), torch.zeros(4, 2, dtype=torch.float64))
    loss.backward()

    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-15)
    assert torch.equal(lp.grad, torch.zeros(4, 2, dtype=torch.float64))


@pytest.mark.parametrize("shift", [-0.2, 0.2])
def test_a_ratio_outside_the_clip_has_no_gradient_on_either_side(shift):
    lp = torch.zeros(1, 2, dtype=torch.float64).requires_grad_()
    reference = torch.tensor([[-shift, 0.0]], dtype=torch.float64)

    fast_loss(lp, reference, torch.tensor([[1.0, -1.0]], dtype=torch.float64)).backward()

    assert float(lp.grad[0, 0]) == 0.0
    assert float(lp.grad[0, 1]) > 0.0


def test_the_denoising_error_is_a_mean_over_dimensions_divided_by_the_noise_variance():
    x0, clean = normal(0), normal(1)

    found = denoising_error(x0, clean, sigma=SIGMA)

    assert found.tolist() == pytest.approx([float(((x0[row] - clean[row]) ** 2).mean() / SIGMA[row] ** 2) for row in range(5)], rel=1e-12)


def test_offline_logits_compare_margins_with_the_reference_and_are_zero_at_the_start():
    w, low, rw, rl = normal(0, 4, 4).square()

    found = offline_logits(w, low, reference=(rw, rl), negative_weight=0.5)
    at_start = offline_logits(w, low, reference=(w, low))

    assert torch.allclose(found, (rw - 0.5 * rl) - (w - 0.5 * low), atol=1e-15)
    assert torch.equal(at_start, torch.zeros(4, dtype=torch.float64))
    assert float(pairwise_loss(at_start, beta=5.0).mean()) == pytest.approx(math.log(2), abs=1e-15)


def test_the_hinge_knows_no_reference_and_is_zero_once_the_margin_is_one():
    w, low = torch.tensor([0.1, 2.0], dtype=torch.float64), torch.tensor([0.9, 1.0], dtype=torch.float64)

    logits = offline_logits(w, low)

    assert logits.tolist() == pytest.approx([0.8, -1.0])
    assert hinge_loss(logits, beta=5.0).tolist() == pytest.approx([0.0, 6.0])


def test_the_offline_margin_is_the_expected_log_ratio_of_the_online_one():
    """Averaged over the next states of a clean sample x₀, lp − lp_ref of density B is −(‖x₀ − x̂₀‖² − ‖x₀ − x̂₀_ref‖²)/(2·σ_to²·dims)."""
    x0, predicted, referred = (normal(seed, 1, 6).expand(200_000, 6) for seed in (0, 1, 2))
    sigma = torch.full((200_000,), 1.5, dtype=torch.float64)
    after = x0 + 1.5 * normal(3, 200_000, 6)

    ratio = log_density(after, mean=predicted, std=sigma) - log_density(after, mean=referred, std=sigma)

    margin = denoising_error(referred[:1], x0[:1], sigma=sigma[:1]) - denoising_error(predicted[:1], x0[:1], sigma=sigma[:1])
    assert float(ratio.mean()) == pytest.approx(0.5 * float(margin), abs=5 * float(ratio.std()) / math.sqrt(200_000))


# The method on a small generator


def new(
    settings: dict[str, Any] | None = None,
    *,
    task: Task | None = None,
    student: nn.Module | None = None,
    levels: tuple[float, ...] = LEVELS,
    steps: int = 12,
) -> Method:
    """Built and sealed as the runner does it. What it logs is in `method._context.log.__self__`."""
    method_class = catalog.load_method("pso")
    method = method_class(
        RunContext(
            task=task or points(),
            settings=method_class.card.settings.model_validate({"batch_size": 6, "reward": "near:-0.6,0.6", **(settings or {})}),
            student=(student or generator(levels)).train(),
            teachers=(),
            budget=Length(steps, 1),
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(0),
            position=Position(),
            micro=MicroBatch(),
            log=[].append,
            save_table={}.__setitem__,
            save_tensors=lambda name, tensors, meta: None,
            student_blueprint={"builder": "vp_mlp", "config": {"levels": list(levels)}, "architecture": "of another run"},
        )
    )
    method.build()
    seal(method)
    return method


@functools.cache
def points() -> Task:
    return Points2D(Options(samples=100, held_out=100), torch.device("cpu"))


@functools.cache
def digits() -> Task:
    return DigitsImages(DigitsOptions(samples=100), torch.device("cpu"))


def generator(levels: tuple[float, ...] = LEVELS) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return vp_mlp(inputs=2, width=16, layers=2, sigma_data=0.7, levels=levels, sampler_steps=4, sigma_min=0.03, sigma_max=30.0)


def pictures() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        sizes = {"inputs": 64, "width": 8, "blocks": 1, "classes": 10, "sigma_data": 0.75}
        return edm_mlp(**sizes, levels=LEVELS, sampler_steps=4, sigma_min=0.02, sigma_max=20.0)


def run(method: Method, steps: int) -> list[tuple[Batch, dict[str, Tensor]]]:
    """The first steps with their batches, as the runner makes them."""
    [phase] = method.phases()
    if phase.begin is not None:
        phase.begin()
    made = []
    for step in range(steps):
        method.position.step = method.position.phase_step = step
        batch = phase.data(step, torch.Generator().manual_seed(100 + step))
        made.append((batch, {name: term.detach() for name, term in phase.step(batch).items()}))
    return made


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_a_trajectory_by_renoising_ends_where_the_generators_own_sampler_does():
    model, noise = generator(), torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    levels = torch.tensor(LEVELS)

    states, ends = trajectories(model, noise, None, levels=levels, sampler="renoise", generator=torch.Generator().manual_seed(1))

    assert torch.equal(states[:, 0], LEVELS[0] * noise)
    assert torch.allclose(ends, model.sample(noise, None, torch.Generator().manual_seed(1)), atol=1e-6)
    assert torch.allclose(ends, model(states[:, -1], levels[-1].expand(5)), atol=1e-6)
    assert not states.requires_grad


def test_an_ancestral_trajectory_adds_the_fresh_noise_of_its_density():
    model, noise = generator(), torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    levels, fresh = torch.tensor(LEVELS), torch.Generator().manual_seed(1)

    states, _ = trajectories(model, noise, None, levels=levels, sampler="ancestral", generator=torch.Generator().manual_seed(1))

    for place in range(2):
        sigma, to = levels[place].expand(5), levels[place + 1].expand(5)
        mean, std = ancestral(states[:, place], model(states[:, place], sigma), sigma=sigma, sigma_to=to)
        z = torch.randn(5, 2, generator=fresh)
        assert torch.allclose(states[:, place + 1], mean + std[:, None] * z, atol=1e-5)


@pytest.mark.parametrize("sampler", ["renoise", "ancestral"])
@pytest.mark.parametrize("per_transition", [True, False])
def test_the_first_loss_is_log_2_because_the_generator_is_its_own_reference(sampler, per_transition):
    [(_, terms)] = run(new({"sampler": sampler, "step_per_transition": per_transition}), 1)

    assert float(terms["loss"]) == pytest.approx(math.log(2), abs=1e-6)
    assert [float(terms[name]) for name in ("implicit_accuracy", "clip_fraction", "log_ratio_winner", "log_ratio_loser")] == [0, 0, 0, 0]


def test_an_update_is_that_of_the_slow_version_and_leaves_the_start_as_it_was():
    """All transitions of all pairs, one after the other, in plain loops; SGD shows the gradient."""
    settings = {"step_per_transition": False, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.5, "gradient_clip": None, "beta": 3.0}
    method = new({**settings, "weight_decay": 0.0, "ratio_low": 0.2, "ratio_high": 5.0})
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    slow, start, before = copy.deepcopy(method.student), copy.deepcopy(method.start), weights(method.start)

    [(batch, terms)] = run(method, 1)

    losses = []
    for pair in range(6):
        for j in range(2):
            logit = torch.zeros(())
            for i in range(2):
                x, after = batch.inputs["states"][pair, i, j][None], batch.inputs["states"][pair, i, j + 1]
                sigma = torch.tensor([LEVELS[j]])
                lp = Normal(slow(x, sigma)[0], LEVELS[j + 1]).log_prob(after).mean()
                reference = Normal(start(x, sigma)[0], LEVELS[j + 1]).log_prob(after).mean().detach()
                logit = logit + batch.inputs["preferred"][pair, 0, i] * (lp - reference).exp().clip(0.2, 5.0).log()
            losses.append(-torch.sigmoid(3.0 * logit).log())
    loss = torch.stack(losses).mean()
    loss.backward()
    assert float(terms["loss"]) == pytest.approx(float(loss.detach()), rel=1e-5)
    for parameter, other in zip(method.student.parameters(), slow.parameters(), strict=True):
        assert torch.allclose(parameter, other - 0.5 * other.grad, atol=1e-6)
    assert torch.equal(weights(method.start), before)


def test_preferences_come_from_the_rewards_of_both_ends():
    method = new({"reward": "near:0.3,0.1"})

    [(batch, _)] = run(method, 1)

    last = batch.inputs["states"][:, :, -1].flatten(0, 1)
    ends = method.start(last, torch.full((12,), LEVELS[-1])).unflatten(0, (6, 2))
    nearer = (ends - torch.tensor([0.3, 0.1])).norm(dim=2).argmin(dim=1)
    assert batch.inputs["preferred"].argmax(dim=2).squeeze(1).tolist() == nearer.tolist()


def test_with_an_update_for_each_transition_they_come_in_order_and_then_pairs_are_sampled_anew():
    made = run(new(), 5)

    turns = [batch.inputs["turns"].unique().tolist() for batch, _ in made]
    first_states = [batch.inputs["states"][:, :, 0] for batch, _ in made]
    assert turns == [[0], [1], [0], [1], [0]]
    assert torch.equal(first_states[0], first_states[1])
    assert not torch.equal(first_states[1], first_states[2])


def test_with_one_update_each_pair_visits_all_transitions_once_in_an_order_of_its_own():
    [(batch, _)] = run(new({"step_per_transition": False, "batch_size": 40, "levels": [9.0, 3.0, 1.0, 0.3]}), 1)

    orders = batch.inputs["turns"]
    assert orders.sort(dim=1).values.tolist() == [[0, 1, 2]] * 40
    assert len(orders.unique(dim=0)) > 2


def test_several_batches_that_are_sampled_at_once_visit_each_pair_once():
    method = new({"batches_per_sampling": 3, "step_per_transition": False})

    made = run(method, 4)

    visited = torch.cat([batch.index for batch, _ in made[:3]])
    assert visited.sort().values.tolist() == list(range(18))
    assert not torch.equal(visited[:6], torch.arange(6))
    assert method.states.shape == (18, 2, 3, 2)


def test_winners_become_likelier_than_losers_under_the_tuned_generator():
    made = run(new({"batch_size": 64, "learning_rate": 3e-3, "ratio_low": 0.1, "ratio_high": 10.0}), 30)

    last = [terms for _, terms in made[-10:]]
    assert sum(float(terms["log_ratio_winner"] - terms["log_ratio_loser"]) for terms in last) > 0
    assert sum(float(terms["implicit_accuracy"]) for terms in last) / 10 > 0.6


def test_two_moons_of_samples_move_toward_the_point():
    method = new({"batch_size": 64, "learning_rate": 3e-3, "reward": "near:0.8,-0.8"}, steps=60)

    run(method, 60)
    found = method.diagnostics()

    assert found.metrics["reward_tuned"] > found.metrics["reward_start"] + 0.1
    assert found.metrics["win_rate"] > 0.6
    assert found.metrics["drift"] > 0.01
    start = method.run_sampler(method.start, 1000, None, torch.Generator().manual_seed(45))[1]
    distance = torch.pdist(start.double()).mean()
    assert found.metrics["drift_share"] == pytest.approx(found.metrics["drift"] / float(distance), rel=1e-6)
    counts = found.tables["reward_histogram"]["counts"]
    assert {name: sum(each) for name, each in counts.items()} == {"start": 1000, "tuned": 1000}
    assert [len(group["x"]) for group in found.tables["samples_beside_start"]["groups"].values()] == [400, 400]


def test_an_untouched_generator_ties_with_its_start():
    found = new().diagnostics()

    assert found.metrics["win_rate"] == 0.5
    assert abs(found.metrics["drift"]) < 0.005
    assert found.metrics["reward_tuned"] == found.metrics["reward_start"]


def test_classes_are_shared_by_a_pair_and_given_to_both_models():
    method = new({"reward": "ink + confidence", "several_rewards": "pareto"}, task=digits(), student=pictures())

    made = run(method, 3)
    found = method.diagnostics()

    batch, terms = made[0]
    ends = method.start(batch.inputs["states"][:, 0, -1], torch.full((6,), LEVELS[-1]), batch.targets)
    ink = (ends.flatten(1).mean(dim=1) + 1) / 2
    sure = digits().classifier(ends).softmax(dim=1)[torch.arange(6), batch.targets]
    assert torch.allclose(method.rewards_of(ends, batch.targets), torch.stack([ink, sure], dim=1), atol=1e-6)
    assert float(terms["loss"]) == pytest.approx(math.log(2), abs=1e-6)
    assert len(found.tables["samples_beside_start"]["rows"]) == 2


# Offline


def test_offline_begins_at_log_2_plus_the_weighted_error_of_the_negatives():
    method = new({"mode": "offline", "negatives": 20, "prior_weight": 0.25})

    [(batch, terms)] = run(method, 1)

    clean, sigma, noise = (batch.inputs[name] for name in ("clean", "sigma", "noise"))
    x = clean[:, 1] + sigma[:, None] * noise
    prior = ((method.start(x, sigma) - clean[:, 1]) ** 2).mean(dim=1) / sigma**2
    assert float(terms["loss/preference"]) == pytest.approx(math.log(2), abs=1e-6)
    assert float(terms["loss/prior"]) == pytest.approx(float(prior.mean()), rel=1e-5)
    assert float(terms["loss"]) == pytest.approx(math.log(2) + 0.25 * float(prior.mean()), rel=1e-5)
    assert set(sigma.tolist()) <= set(LEVELS)


def test_offline_targets_are_training_examples_and_negatives_different_samples_of_the_start():
    method = new({"mode": "offline", "negatives": 12, "targets": 50})

    [(batch, _)] = run(method, 1)

    targets, negatives = batch.inputs["clean"].unbind(dim=1)
    train = points().splits["train"].inputs
    assert all((train == target).all(dim=1).any() for target in targets)
    assert len(negatives.unique(dim=0)) == 6
    assert all((method.negatives == negative).all(dim=1).any() for negative in negatives)
    assert len(method.targets) == 50 and len(method.negatives) == 12


def test_offline_takes_the_share_of_targets_with_the_highest_reward():
    every, best = (new({"mode": "offline", "negatives": 12, "targets": 40, "target_share": share}) for share in (1.0, 0.25))
    for method in (every, best):
        method.choose_targets()

    distance = (every.targets - torch.tensor([-0.6, 0.6])).norm(dim=1)
    assert len(best.targets) == 10
    assert torch.allclose((best.targets - torch.tensor([-0.6, 0.6])).norm(dim=1).sort().values, distance.sort().values[:10], atol=1e-6)


def test_offline_negatives_stay_unless_they_are_to_be_refreshed():
    kept, refreshed = (new({"mode": "offline", "negatives": 12, "negatives_refresh": every}) for every in (None, 2))
    seen = {}
    for name, method in (("kept", kept), ("refreshed", refreshed)):
        run(method, 2)
        first = method.negatives
        method.matches(2, torch.Generator().manual_seed(7))
        seen[name] = torch.equal(first, method.negatives)

    assert seen == {"kept": True, "refreshed": False}


def test_the_hinge_does_not_look_at_the_start():
    terms = []
    for shift in (0.0, 1.0):
        method = new({"mode": "offline", "negatives": 12, "offline_loss": "pso_db", "beta": 2.0})
        [phase] = method.phases()
        phase.begin()
        batch = phase.data(0, torch.Generator().manual_seed(0))
        with torch.no_grad():
            for parameter in method.start.parameters():
                parameter.add_(shift)
        clean, sigma = batch.inputs["clean"], batch.inputs["sigma"]
        x = clean + sigma[:, None, None] * batch.inputs["noise"][:, None]
        errors = torch.stack([((method.student(x[:, i], sigma) - clean[:, i]) ** 2).mean(dim=1) / sigma**2 for i in range(2)])
        expected = (1 - 2.0 * (errors[1] - errors[0])).clamp(min=0).mean()
        terms.append(float(phase.step(batch)["loss/preference"].detach()))
        assert terms[-1] == pytest.approx(float(expected.detach()), rel=1e-5)

    assert terms[0] == terms[1]


def test_offline_tuning_tells_targets_from_negatives():
    made = run(new({"mode": "offline", "negatives": 64, "batch_size": 64, "learning_rate": 3e-3, "prior_weight": 0.0}), 30)

    assert float(made[-1][1]["loss/preference"]) < math.log(2) - 0.01
    assert sum(float(terms["implicit_accuracy"]) for _, terms in made[-10:]) / 10 > 0.6


# What is refused, and what is said


def test_a_generator_of_one_step_has_nothing_to_tune_online():
    with pytest.raises(SpecError) as refused:
        new(levels=(20.0,))

    assert str(refused.value) == (
        "student: must be a generator of at least 2 steps for online tuning, since the last step has no likelihood; it has 1. "
        "Name more in settings.levels."
    )


def test_levels_of_the_settings_become_those_of_the_product_and_of_the_start():
    method = new({"levels": [9.0, 1.0]}, levels=(20.0,))

    assert method.product().levels == method.start.levels == (9.0, 1.0)
    assert method.blueprint()["config"]["levels"] == [9.0, 1.0]
    assert method.blueprint()["architecture"] == "generator, 2 steps"
    assert new().blueprint() is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"reward": "ink"}, "settings.reward: must fit examples of shape [2], and ink is a reward for pictures; got 'ink'."),
        ({"levels": [1.0, 2.0]}, "settings.levels: must be positive and descend; got [1.0, 2.0]."),
        (
            {"mode": "offline", "negatives": 100},
            "settings.negatives: must be at least batch_size, 128, because a batch takes each once; got 100.",
        ),
        (
            {"reward": "beauty"},
            "settings.reward: must be near:<coordinates with commas>, ink or confidence, or several with + between them; got 'beauty'.",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_their_path(settings, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "pso", "task": "points-2d", "student": f"run:{uuid.UUID(int=1)}", "settings": settings})

    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("task", "reward"), [("points-2d", "near:-0.6,0.6"), ("digits-images", "confidence"), ("mnist-images", "confidence")]
)
def test_a_reward_that_is_left_empty_is_the_one_that_the_task_names(task, reward):
    fields = {"method": "pso", "task": task, "student": f"run:{uuid.UUID(int=1)}"}

    left, given = RunSpec.parse(fields), RunSpec.parse({**fields, "settings": {"reward": reward}})

    assert left.settings["reward"] == reward
    assert left == given and left.config_hash() == given.config_hash()


def test_every_task_of_generators_names_a_reward_that_scores_its_examples():
    for task in catalog.tasks().values():
        if task.kind_of(catalog.methods()["pso"]) is not None:
            assert task.reward is not None, f"{task.id} names no reward"
            assert rewards.misfit(task.reward, input_shape=task.input_shape, classes=task.classes) is None


WELL = {
    "implicit_accuracy": 0.7,
    "clip_fraction": 0.2,
    "log_ratio_winner": 0.1,
    "log_ratio_loser": -0.1,
    "reward_tuned": -0.5,
    "reward_start": -1.0,
    "drift_share": 0.1,
}


def test_a_run_that_does_well_is_told_nothing():
    assert warnings_of(WELL, progress=0.2) == []


@pytest.mark.parametrize(
    ("changed", "progress", "begins"),
    [
        ({"implicit_accuracy": 0.51}, 0.2, "Implicit accuracy is 0.51 after 20% of the run"),
        ({"clip_fraction": 0.99}, 0.1, "99% of the likelihood ratios are clipped after 10% of the run"),
        ({"log_ratio_winner": -0.1, "log_ratio_loser": -0.3}, 0.5, "Preferred samples become less likely as well: mean log-ratio -0.100"),
        ({"drift_share": 0.7}, 0.5, "The reward rose from -1.000 to -0.500 while the samples left those of the starting model"),
    ],
)
def test_each_early_sign_of_trouble_has_a_sentence(changed, progress, begins):
    [sentence] = warnings_of({**WELL, **changed}, progress=progress)

    assert sentence.startswith(begins)


def test_half_of_the_ratios_clipped_late_is_harmless():
    assert warnings_of({**WELL, "clip_fraction": 0.99}, progress=0.9) == []


# The starting model of the evidence: the specification's invariants of segmented consistency


def test_a_jump_to_where_one_is_changes_nothing_and_two_along_one_line_are_one():
    x, x0 = normal(0, 5, 2), normal(1, 5, 2)
    t, u, s = (torch.full((5,), time, dtype=torch.float64) for time in (0.9, 0.6, 0.1))

    assert torch.allclose(starting_generator.jump(x, x0, t=t, to=t), x, atol=1e-14)
    there = starting_generator.jump(starting_generator.jump(x, x0, t=t, to=u), x0, t=u, to=s)
    assert torch.allclose(there, starting_generator.jump(x, x0, t=t, to=s), atol=1e-12)


def test_a_jump_is_ddim_on_variance_preserving_states():
    x0, noise = normal(0, 5, 2), normal(1, 5, 2)
    t, s = (torch.full((5,), time, dtype=torch.float64) for time in (0.9, 0.3))

    there = starting_generator.jump(starting_generator.at_time(x0, t, noise), x0, t=t, to=s)

    alpha, sigma = math.cos(0.3 * math.pi / 2), math.sin(0.3 * math.pi / 2)
    assert torch.allclose(alpha * there, alpha * x0 + sigma * noise, atol=1e-12)


def test_an_edge_belongs_to_the_segment_below_it():
    n = torch.arange(1, 33)

    assert (starting_generator.segment_start(n, 1) == 0).all()
    assert torch.equal(starting_generator.segment_start(n, 32), n - 1)
    assert starting_generator.segment_start(torch.tensor([1, 8, 9, 16, 17, 32]), 4).tolist() == [0, 0, 8, 8, 16, 24]


def test_with_as_many_segments_as_solver_points_a_student_that_is_its_teacher_has_nothing_to_learn():
    student = generator(()).double()
    teacher, before = copy.deepcopy(student), weights(student)
    random = torch.Generator().manual_seed(0)

    starting_generator.make_consistent(
        student, teacher, lambda rows: two_moons(rows, random).double(), segments=32, steps=3, generator=random
    )

    assert torch.allclose(weights(student), before, atol=1e-9)


def test_with_fewer_segments_it_has():
    student = generator(()).double()
    teacher, before = copy.deepcopy(student), weights(student)
    random = torch.Generator().manual_seed(0)

    starting_generator.make_consistent(
        student, teacher, lambda rows: two_moons(rows, random).double(), segments=4, steps=3, generator=random
    )

    assert (weights(student) - before).abs().max() > 1e-4


def test_the_naive_way_looks_at_the_best_quarter_alone():
    """Points worse than it may be anything: the result is the same."""
    samples, scores = two_moons(400, torch.Generator().manual_seed(0)), torch.arange(400.0)
    trained = []
    for rest in (0.0, 1e6):
        model = generator(())
        starting_generator.regress_on_best(model, torch.where(scores[:, None] < 300, rest, samples), scores, seed=1, steps=5)
        trained.append(weights(model))

    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], weights(generator(())))


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "offline", "negatives": 20, "negatives_refresh": 4, "target_share": 0.5},
        {"step_per_transition": False, "batches_per_sampling": 3, "several_rewards": "pareto", "reward": "near:0,0 + near:1,0"},
    ],
    ids=["offline", "one update for all transitions"],
)
def test_a_run_that_was_stopped_between_two_samplings_goes_on_as_if_it_had_not(settings, tmp_path):
    ref, start = f"run:{uuid.UUID(int=1)}", generator()
    meta = {"kind": "generator", "task": "points-2d", **start.recipe(), "architecture": "small", "classes": None, "input_shape": [2]}
    save_model(tmp_path / "start", start, meta)
    spec = RunSpec.parse(
        {
            "method": "pso",
            "task": "points-2d",
            "task_options": {"samples": 100, "held_out": 100},
            "student": ref,
            "settings": {"batch_size": 8, **settings},
            "budget": {"steps": 8},
            "cadence": {"evaluate": 100, "checkpoint": 100},
            "threads": 1,
        }
    )
    whole, before, after = Watcher(), Watcher(), Watcher()
    models = {ref: tmp_path / "start"}

    execute(spec, whole, tmp_path / "whole", models=models)
    execute(spec, before, tmp_path / "stopped", models=models, stop=before.stop_after(5))
    execute(spec, after, tmp_path / "resumed", models=models, resume=tmp_path / "stopped/checkpoints/step-000000005")

    assert len(whole.terms()) == 8
    assert before.terms() + after.terms() == whole.terms()
    assert student_bytes(tmp_path / "resumed") == student_bytes(tmp_path / "whole")
