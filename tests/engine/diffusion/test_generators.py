"""What is drawn in every turn of a generator: the step that is trained, what it is given, and real rows."""

import itertools

import pytest
import torch

from engine.diffusion.generators import begin, drawn_classes, drawn_samples, trainable_copy
from engine.diffusion.samplers import states
from tests.engine.methods.generator_bench import network, weights


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_step_is_given_what_the_generators_own_steps_before_it_make(place):
    generator = network(0, levels=[20.0, 3.0, 1.0])
    places = next(seed for seed in itertools.count() if int(torch.randint(3, (), generator=random(seed))) == place)
    y = torch.arange(5)

    made = drawn_samples(generator, y, 5, (1, 8, 8), random=random(1), places=random(places))

    again = random(1)
    noise = torch.randn(5, 1, 8, 8, generator=again)
    with torch.no_grad():
        visited = list(itertools.islice(states(generator, noise, generator.levels, y, again), place + 1))
        expected = generator(visited[-1], torch.full((5,), generator.levels[place]), y)
    assert made.place == place
    assert torch.equal(made.x, expected)


def test_the_gradient_goes_through_the_trained_step_alone():
    generator, calls = network(0, levels=[20.0, 3.0]), []
    places = next(seed for seed in itertools.count() if int(torch.randint(2, (), generator=random(seed))) == 1)
    generator.register_forward_hook(lambda module, given, made: calls.append(made.requires_grad))

    drawn_samples(generator, None, 5, (1, 8, 8), random=random(1), places=random(places))

    assert calls == [False, True]


def test_classes_are_uniform_and_there_are_none_where_a_generator_knows_none():
    drawn = drawn_classes(network(0), 10_000, random=random(0))

    counts = drawn.bincount(minlength=10)
    assert len(counts) == 10
    assert 900 < int(counts.min()) <= int(counts.max()) < 1100
    assert drawn_classes(network(0, classes=0), 5, random=random(0)) is None


def test_a_generator_begins_with_the_levels_it_is_given_and_fresh_noise_between_them():
    student = network(1, levels=[9.0], transition="ancestral")

    generator, _ = begin(student, network(0), [20.0, 1.0], "student")

    assert generator is student
    assert (generator.levels, generator.transition) == ((20.0, 1.0), "renoise")


def test_a_copy_of_a_frozen_teacher_can_be_trained_and_is_no_generator():
    teacher = network(0, levels=[20.0]).eval().requires_grad_(False)

    copied = trainable_copy(teacher)

    assert torch.equal(weights(copied), weights(teacher))
    assert copied.training and all(parameter.requires_grad for parameter in copied.parameters())
    assert copied.levels == ()
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
