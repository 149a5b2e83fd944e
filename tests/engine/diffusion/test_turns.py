"""Who learns from what in the turns of a generator and its fake, and who stays as it is."""

import pytest
import torch
from torch import Tensor

from engine.diffusion.distribution_matching import DistributionMatching, Terms
from engine.diffusion.generators import Samples, begin, drawn_rows
from engine.errors import SpecError
from engine.methods.dmd2.card import Settings, card
from engine.models.denoisers import Denoiser
from engine.tasks.task import Split
from tests.engine.methods.generator_bench import bench, network, new, step, weights


class Watched(DistributionMatching):
    """Makes samples smaller, and notes in each turn what it was given and how the generator's weights were."""

    card = card
    settings: Settings

    def build(self) -> None:
        super().build()
        self.turns: list[str] = []
        self.generators: list[Tensor] = []
        self.made: list[Tensor] = []
        self.judged_rows: list[Tensor] = []

    def note(self, turn: str, made: Samples) -> None:
        self.turns.append(f"{turn}, {'with' if made.x.requires_grad else 'without'} gradient")
        self.generators.append(weights(self.student).detach().clone())
        self.made.append(made.x.detach())

    def generator_loss(self, made: Samples) -> tuple[Tensor, Terms]:
        self.note("generator", made)
        return made.x.square().mean(), {}

    def fake_loss(self, made: Samples) -> Tensor:
        self.note("fake", made)
        return super().fake_loss(made)

    def drawn_levels(self, count: int) -> Tensor:
        return torch.full((count,), 2.0)

    def logits(self, x: Tensor, y: Tensor | None) -> Tensor:
        self.judged_rows.append(x.detach())
        return super().logits(x, y)


def test_a_step_is_one_turn_of_the_generator_and_then_the_fakes_on_samples_of_the_generator_as_it_is_now() -> None:
    method = new(Watched, {"fake_updates": 3})
    before = weights(method.student).detach().clone()

    step(method)

    assert method.turns == ["generator, with gradient", *["fake, without gradient"] * 3]
    assert torch.equal(method.generators[0], before)
    after = weights(method.student)
    assert not torch.equal(after, before)
    assert all(torch.equal(seen, after) for seen in method.generators[1:])
    assert len({tuple(made.flatten().tolist()) for made in method.made}) == 4  # each from noise of its own


@pytest.mark.parametrize("gan_weight", [0.0, 0.5])
def test_a_turn_moves_its_own_networks_and_leaves_no_gradient_in_the_others(gan_weight: float) -> None:
    method = new(Watched, {"gan_weight": gan_weight})
    real, fake, student = (weights(network).detach().clone() for network in (method.real, method.fake, method.student))

    method.generator_turn()

    assert torch.equal(weights(method.fake), fake) and torch.equal(weights(method.real), real)
    assert all(parameter.grad is None for network in (method.fake, method.real) for parameter in network.parameters())
    moved = weights(method.student).detach().clone()
    assert not torch.equal(moved, student)

    method.fake_turn()

    assert torch.equal(weights(method.student), moved) and torch.equal(weights(method.real), real)
    assert not torch.equal(weights(method.fake), fake)
    assert all(parameter.grad is None for parameter in method.student.parameters())


def test_the_discriminator_sees_samples_in_one_turn_and_samples_beside_training_rows_in_the_other() -> None:
    method = new(Watched, {"gan_weight": 0.5, "fake_updates": 1})
    rows = {tuple(row.flatten().tolist()) for row in bench().splits["train"].inputs}

    step(method)

    of_training = [all(tuple(row.flatten().tolist()) in rows for row in x) for x in method.judged_rows]
    assert of_training == [False, True, False]
    assert [len(x) for x in method.judged_rows] == [8] * 3


@pytest.mark.parametrize("gan_weight", [0.25, 2.0])
def test_the_weights_of_the_adversarial_parts_are_those_of_the_settings(gan_weight: float) -> None:
    method = new(Watched, {"gan_weight": gan_weight, "critic_weight": 0.5})

    terms = method.generator_turn()

    size = method.made[0].square().mean()
    assert float(terms["loss"].detach()) == pytest.approx(float(size + gan_weight * terms["loss/deceiving"].detach()), rel=1e-6)


def test_the_fake_has_a_learning_rate_and_a_schedule_of_its_own() -> None:
    settings = {"learning_rate": 1e-4, "fake_learning_rate": 2e-3, "fake_updates": 4, "schedule": "linear-tail"}
    method = new(Watched, settings, steps=10)

    for _ in range(9):
        step(method)

    assert method.optimizer.param_groups[0]["updates"] == 9
    assert method.fake_optimizer.param_groups[0]["updates"] == 36
    # The last turn of nine tenths of the budget: (1 − 8/10) / 0.3 of the one rate, (1 − 35/40) / 0.3 of the other.
    assert method.learning_rates == pytest.approx({"optimizer": 1e-4 * 0.2 / 0.3, "fake_optimizer": 2e-3 * 0.125 / 0.3})


def test_real_rows_are_drawn_with_replacement_and_keep_their_classes() -> None:
    rows = Split(torch.arange(4.0)[:, None], torch.arange(4) * 10)

    x, y = drawn_rows(rows, 40, random=torch.Generator().manual_seed(0))
    bare, none = drawn_rows(Split(rows.inputs, None), 2, random=torch.Generator().manual_seed(0))

    assert set(x.flatten().tolist()) == {0, 1, 2, 3}
    assert y is not None and (y == 10 * x.flatten()).all()
    assert none is None and len(bare) == 2


@pytest.mark.parametrize(
    ("teacher", "student", "sentence"),
    [
        (torch.nn.Linear(1, 1), None, "teachers.0: must be a denoiser of this engine; got Linear."),
        (None, torch.nn.Linear(1, 1), "student: must be a generator of this engine; got Linear."),
    ],
)
def test_networks_of_another_kind_are_refused_by_their_field(
    teacher: torch.nn.Module | None, student: torch.nn.Module | None, sentence: str
) -> None:
    with pytest.raises(SpecError) as refused:
        begin(student or network(1), teacher or network(0), [1.0], "teacher")

    assert str(refused.value) == sentence


def test_a_generator_that_starts_as_itself_keeps_its_weights_and_one_that_starts_as_its_teacher_has_those() -> None:
    own, taught = (begin(network(1), network(0), [3.0], start)[0] for start in ("student", "teacher"))  # type: ignore[arg-type]

    assert isinstance(own, Denoiser)
    assert torch.equal(weights(own), weights(network(1)))
    assert torch.equal(weights(taught), weights(network(0)))
