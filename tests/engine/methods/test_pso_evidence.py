"""The starting model of the evidence, by the specification's invariants of segmented consistency, and the naive arm beside it."""

import copy
import math

import pytest
import torch

from engine.methods.pso import naive, starting_generator
from engine.tasks.points_2d.data import two_moons
from tests.engine.methods.generator_bench import weights
from tests.engine.methods.pso_bench import generator, new, normal, run


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


# The naive arm


def few(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return two_moons(400, torch.Generator().manual_seed(seed)), torch.arange(400.0)


def test_the_naive_arm_looks_at_the_best_share_alone():
    samples, scores = few()

    found = naive.best_share(samples, scores, 1 / 16)

    assert sorted(found.tolist()) == sorted(samples[-25:].tolist())


def test_it_stops_at_the_first_update_that_has_drifted_and_leaves_the_start_as_it_was():
    start, (samples, _) = generator(), few()
    before, seen = weights(start), []

    model = naive.denoised(start, samples, seed=1, drifted=lambda model: seen.append(weights(model)) or len(seen) == 3)

    assert len(seen) == 3
    assert torch.equal(weights(model), seen[-1])
    assert not torch.equal(seen[0], before)
    assert torch.equal(weights(start), before)


def test_each_share_is_brought_to_the_drift_that_is_wanted_and_the_one_with_the_lowest_error_is_kept():
    start, (samples, scores) = generator(), few()
    judged = []

    def error(model):
        judged.append(model)
        return {1: 0.5, 2: 0.1, 3: 0.3}[len(judged)]

    kept, errors = naive.tuned_to_drift(start, samples, scores, shares=(1.0, 0.5, 0.25), drift_wanted=0.02, error=error, seed=1)

    assert errors == {1.0: 0.5, 0.5: 0.1, 0.25: 0.3}
    assert kept is judged[1]
    assert all(0.02 <= naive.drift(model, start) < 0.035 for model in judged)


def test_the_drift_of_the_naive_arm_is_that_of_the_methods_diagnostics():
    method = new({"batch_size": 32, "learning_rate": 3e-3}, steps=6)
    run(method, 6)

    assert naive.drift(method.student, method.start) == pytest.approx(method.diagnostics().metrics["drift"], rel=1e-9)
