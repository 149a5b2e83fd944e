"""Pairwise sample optimization online: which pairs an update compares, what it changes, and what a run does with it."""

import copy
import math
import uuid
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from engine.diffusion.samplers import ancestral
from engine.errors import SpecError
from engine.events import Evaluation
from engine.methods.pso.sampling import trajectories
from engine.metrics.distances import nearest_distance
from engine.run.export import load_model, save_model
from engine.run.runner import execute
from engine.seeds import derived_seed
from engine.spec.run_spec import RunSpec
from tests.engine.methods.generator_bench import weights
from tests.engine.methods.pso_bench import LEVELS, digits, generator, new, pictures, points, run
from tests.engine.tiny import Watcher, student_bytes


@pytest.mark.parametrize("sampler", ["renoise", "ancestral"])
def test_a_trajectory_ends_where_the_tuned_generators_own_sampler_does(sampler):
    model, noise = new({"sampler": sampler}).product().eval(), torch.randn(5, 2, generator=torch.Generator().manual_seed(0))

    states, ends = trajectories(model, noise, None, levels=LEVELS, sampler=sampler, generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        assert torch.equal(states[:, 0], LEVELS[0] * noise)
        assert torch.equal(ends, model.sample(noise, None, torch.Generator().manual_seed(1)))
        assert torch.equal(ends, model(states[:, -1], torch.full((5,), LEVELS[-1])))
    assert not states.requires_grad


def test_an_ancestral_trajectory_adds_the_fresh_noise_of_its_density():
    model, noise = generator(), torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    fresh = torch.Generator().manual_seed(1)

    states, _ = trajectories(model, noise, None, levels=LEVELS, sampler="ancestral", generator=torch.Generator().manual_seed(1))

    for place in range(2):
        sigma, to = torch.full((5,), LEVELS[place]), torch.full((5,), LEVELS[place + 1])
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
    assert new().blueprint()["config"]["levels"] == list(LEVELS)


def started(folder: Path, settings: dict[str, Any]) -> tuple[RunSpec, dict[str, Path]]:
    """The spec of a run of eight steps, and the folder of the generator that it begins with."""
    ref, start = f"run:{uuid.UUID(int=1)}", generator()
    meta = {"kind": "generator", "task": "points-2d", **start.recipe(), "architecture": "small", "classes": None, "input_shape": [2]}
    save_model(folder, start, meta)
    spec = {
        "method": "pso",
        "task": "points-2d",
        "task_options": {"samples": 100, "held_out": 100},
        "student": ref,
        "settings": {"batch_size": 8, **settings},
        "budget": {"steps": 8},
        "cadence": {"evaluate": 100, "checkpoint": 100},
        "threads": 1,
    }
    return RunSpec.parse(spec), {ref: folder}


@pytest.mark.parametrize("sampler", ["renoise", "ancestral"])
def test_a_generator_is_judged_and_shipped_with_the_sampler_that_was_tuned(sampler, tmp_path):
    spec, models = started(tmp_path / "start", {"sampler": sampler})
    watcher = Watcher()

    execute(spec, watcher, tmp_path / "run", models=models)

    shipped, _ = load_model(tmp_path / "run/student")
    noise, _ = points().noise_and_labels(100)
    with torch.no_grad():
        between = torch.Generator().manual_seed(derived_seed("points-2d", "samples 1", "between levels"))
        _, samples = trajectories(shipped, noise, None, levels=LEVELS, sampler=sampler, generator=between)
    [judged] = [event.metrics for event in watcher.of(Evaluation) if event.subject == "student" and event.split == "test"]
    assert shipped.transition == sampler
    assert judged["nearest_distance"] == pytest.approx(nearest_distance(points().splits["test"].inputs, samples), rel=1e-9)


def test_a_starting_model_is_judged_by_the_same_sampler():
    method = new({"sampler": "ancestral"})

    assert method.reference().transition == method.product().transition == "ancestral"


def test_a_generator_that_came_with_the_ancestral_sampler_is_tuned_and_shipped_with_that_of_the_settings():
    student = generator()
    student.transition = "ancestral"

    method = new({"sampler": "renoise"}, student=student)

    assert method.product().transition == method.blueprint()["config"]["transition"] == "renoise"


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "offline", "negatives": 20, "negatives_refresh": 4, "target_share": 0.5},
        {"step_per_transition": False, "batches_per_sampling": 3, "several_rewards": "pareto", "reward": "near:0,0 + near:1,0"},
    ],
    ids=["offline", "one update for all transitions"],
)
def test_a_run_that_was_stopped_between_two_samplings_goes_on_as_if_it_had_not(settings, tmp_path):
    spec, models = started(tmp_path / "start", settings)
    whole, before, after = Watcher(), Watcher(), Watcher()

    execute(spec, whole, tmp_path / "whole", models=models)
    execute(spec, before, tmp_path / "stopped", models=models, stop=before.stop_after(5))
    execute(spec, after, tmp_path / "resumed", models=models, resume=tmp_path / "stopped/checkpoints/step-000000005")

    assert len(whole.terms()) == 8
    assert before.terms() + after.terms() == whole.terms()
    assert student_bytes(tmp_path / "resumed") == student_bytes(tmp_path / "whole")
