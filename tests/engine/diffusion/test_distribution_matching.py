"""The turns that the methods around DMD share, by a child that writes the hooks and nothing else."""

import pytest
import torch
from torch import Tensor

from engine.diffusion.distribution_matching import DistributionMatching, Terms, means
from engine.diffusion.generators import Samples
from engine.methods.dmd2.card import Settings, card
from engine.models.denoisers import Denoiser
from tests.engine.methods.generator_bench import network, new, step, weights

BOTH = ["dmd2", "decoupled-dmd"]


class Shrinks(DistributionMatching):
    """Makes samples smaller; its fake is the teacher with one layer that is trained."""

    card = card
    settings: Settings

    def generator_loss(self, made: Samples) -> tuple[Tensor, Terms]:
        size = made.x.square().mean()
        return size, {"size": size}

    def drawn_levels(self, count: int) -> Tensor:
        return torch.full((count,), 2.0)

    def new_fake(self) -> Denoiser:
        fake = super().new_fake().requires_grad_(False)
        fake.leave.requires_grad_(True)
        return fake


class OfTwoClasses(Shrinks):
    def classes(self, count: int) -> Tensor | None:
        return torch.arange(count) % 2 + 3


class Alone(Shrinks):
    def fits_fake(self) -> bool:
        return False


def test_of_a_fake_only_what_needs_a_gradient_is_trained():
    method = new(Shrinks)
    base, leave = weights(method.fake.enter), weights(method.fake.leave)

    [terms] = step(method)

    assert {"loss", "size", "loss/fake"} == set(terms)
    assert torch.equal(weights(method.fake.enter), base)
    assert not torch.equal(weights(method.fake.leave), leave)
    assert torch.equal(weights(method.real), weights(network(0)))


def test_both_turns_ask_for_the_classes_that_a_child_wants():
    method = new(OfTwoClasses)

    made = method.samples()

    assert made.y.tolist() == [3, 4] * 4


def test_a_fake_that_is_not_trained_has_no_turns_unless_there_is_a_discriminator():
    without, with_one = new(Alone), new(Alone, {"gan_weight": 0.1, "fake_updates": 3})

    [alone], [terms] = step(without), step(with_one)

    assert set(alone) == {"loss", "size"}
    assert without.fake_optimizer.param_groups[0].get("updates", 0) == 0
    assert set(terms) == {"loss", "size", "loss/deceiving", "loss/critic"}
    assert with_one.fake_optimizer.param_groups[0]["updates"] == 3


def test_a_term_is_its_mean_over_the_turns_and_of_no_turns_there_is_none():
    turns = [
        {"loss/fake": torch.tensor(1.0), "loss/critic": torch.tensor(4.0)},
        {"loss/fake": torch.tensor(3.0), "loss/critic": torch.tensor(0.0)},
    ]

    assert {name: float(value) for name, value in means(turns).items()} == {"loss/fake": 2.0, "loss/critic": 2.0}
    assert means([]) == {}


@pytest.mark.parametrize("method", BOTH)
def test_which_step_is_trained_does_not_repeat_the_numbers_that_classes_are_drawn_with(method):
    """With one seed for both, the first step of ten was the first class of ten in every run."""
    levels = [20.0, 15.0, 10.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]

    made = [new(method, {"levels": levels, "start": "student"}, seed=seed).samples() for seed in range(12)]

    assert sum(each.place == int(each.y[0]) for each in made) < 6
    assert len({each.place for each in made}) > 3


@pytest.mark.parametrize("method", BOTH)
def test_an_evaluation_changes_nothing_that_is_drawn_later(method):
    seen, unseen = (new(method, {"levels": [20.0, 3.0, 1.0]}) for _ in range(2))
    step(seen)
    step(unseen)

    seen.diagnostics()

    assert torch.equal(seen.samples().x, unseen.samples().x)
