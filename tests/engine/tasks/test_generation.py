"""How samples are drawn to be judged: from one noise, whoever makes them and however many are asked for."""

import pytest
import torch
from torch import Tensor

from engine.models.build import build
from engine.models.points import VpMlp
from engine.seeds import derived_seed
from engine.spec import catalog
from engine.tasks.generation import GenerationTask

SIZES = {"inputs": 2, "width": 16, "layers": 1, "sigma_data": 0.7, "sampler_steps": 2, "sigma_min": 0.03, "sigma_max": 30.0}


def task(name: str = "points-2d", samples: int = 110) -> GenerationTask:
    options = {"samples": samples, **({"held_out": 100} if name == "points-2d" else {})}
    found: GenerationTask = catalog.load_task(name)(catalog.tasks()[name].options.model_validate(options), torch.device("cpu"))  # type: ignore[assignment]
    return found


class Echo(VpMlp):
    """Makes of each noise the noise itself, and notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__(**SIZES, levels=[])
        self.asked: list[tuple[int, list[int] | None, bool]] = []

    def sample(self, noise: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        assert not torch.is_grad_enabled()
        self.asked.append((len(noise), None if labels is None else labels.tolist(), self.training))
        return noise


@pytest.mark.parametrize("name", ["points-2d", "digits-images"])
@pytest.mark.parametrize("count", [1, 7, 100])
def test_fewer_samples_are_the_first_of_all_so_that_pictures_stand_side_by_side(name: str, count: int) -> None:
    """Of 100 points the last eight had other noise than those of an evaluation, under a title that said the same noise."""
    bench = task(name)

    whole, all_labels = bench.draw(Echo())
    part, labels = bench.draw(Echo(), count)

    assert torch.equal(part, whole[:count])
    assert (labels is None) == (all_labels is None)
    assert labels is None or labels.tolist() == [index % 10 for index in range(count)]


@pytest.mark.parametrize("name", ["points-2d", "digits-images"])
def test_the_noise_is_drawn_from_a_seed_of_the_tasks_own(name: str) -> None:
    bench, echo = task(name), Echo()
    expected = torch.randn(110, *bench.card.input_shape, generator=torch.Generator().manual_seed(derived_seed(name, "samples 1")))
    before = torch.get_rng_state()

    made, _ = bench.draw(echo)

    assert torch.equal(made, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_many_samples_are_made_in_pieces_in_eval_mode_each_with_its_own_labels() -> None:
    model = Echo().train()

    made, labels = task("digits-images", samples=1203).draw(model)

    assert [(count, training) for count, _, training in model.asked] == [(500, False), (500, False), (203, False)]
    assert labels is not None and [label for _, each, _ in model.asked for label in each or []] == labels.tolist()
    assert len(made) == 1203
    assert model.training


def test_a_teachers_samples_are_made_once_and_no_more_of_them_than_a_picture_shows() -> None:
    bench, teacher = task(samples=300), Echo()

    for split in ("validation", "test", "validation"):
        groups = bench.judge(Echo(), split, teacher=teacher, final=False).tables["samples"]["groups"]

    assert [count for count, _, _ in teacher.asked] == [100]
    assert groups["teacher, same noise"]["x"] == groups["samples"]["x"][:100]


def test_a_denoiser_without_labels_is_told_none_and_a_generator_draws_the_same_between_its_levels_each_time() -> None:
    model = build("vp_mlp", {**SIZES, "levels": [20.0, 3.0, 0.5]})
    bench, echo = task(), Echo()

    first, second = bench.draw(model)[0], bench.draw(model)[0]
    bench.draw(echo)

    assert torch.equal(first, second)
    assert echo.asked == [(110, None, False)]


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_the_variance_of_a_sample_is_over_its_entries_with_divisor_n(scale: float) -> None:
    class Scaled(Echo):
        def sample(self, noise: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
            return scale * noise

    bench = task()

    metrics = bench.judge(Scaled(), "validation", teacher=None, final=False).metrics

    noise = bench.noise_and_labels(110)[0].double()
    slow = [((row - row.mean()) ** 2).mean() for row in noise]
    train = [((row - row.mean()) ** 2).mean() for row in bench.splits["train"].inputs[:2000].double()]
    assert metrics["sample_variance"] == pytest.approx(scale**2 * float(sum(slow)) / len(slow), rel=1e-5)
    assert metrics["variance_ratio"] == pytest.approx(scale**2 * float(sum(slow)) / len(slow) / (float(sum(train)) / len(train)), rel=0.1)
