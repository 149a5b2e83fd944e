"""The denoiser of the digits bench: its preconditioning, its two ways to sample, and how it is built again."""

import pytest
import torch

from engine.diffusion.denoiser import Sampler
from engine.errors import ModelError
from engine.models.build import build
from engine.models.denoisers import EdmMlp

CONFIG = {"inputs": 6, "width": 16, "blocks": 2, "classes": 3, "sigma_data": 0.5}


def network(**changes) -> EdmMlp:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("edm_mlp", {**CONFIG, **changes}).double()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def inputs(rows: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 1, 2, 3, generator=generator, dtype=torch.float64)
    return x, torch.rand(rows, generator=generator, dtype=torch.float64) + 0.1, torch.tensor([0, 1, 2, 0])[:rows]


def test_the_network_of_the_bench_has_its_number_of_weights():
    bench = build("edm_mlp", {"inputs": 64, "width": 128, "blocks": 3, "classes": 10, "sigma_data": 0.752})

    assert sum(parameter.numel() for parameter in bench.parameters()) == 188_352


def test_it_is_written_out_as_in_the_specification():
    model, (x, sigma, y) = network(), inputs()

    found = model(x, sigma, y)

    weights = dict(model.named_parameters())
    silu, norm = torch.nn.functional.silu, torch.nn.functional.layer_norm

    def linear(rows: torch.Tensor, name: str) -> torch.Tensor:
        return rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    total = sigma**2 + 0.25
    frequencies = torch.linspace(0, torch.log(torch.tensor(100.0)).item(), 16, dtype=torch.float64).exp()
    angle = sigma.log()[:, None] / 4 * frequencies
    embedded = linear(silu(linear(torch.cat([angle.sin(), angle.cos()], 1), "level.0")), "level.2")
    condition = silu(embedded + weights["label.weight"][y])
    hidden = linear(x.flatten(1) / total.sqrt()[:, None], "enter")
    for block in range(2):
        name = f"blocks.{block}"
        inner = linear(norm(hidden, (16,), weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"]), f"{name}.inner")
        hidden = hidden + linear(silu(inner + linear(condition, f"{name}.condition")), f"{name}.outer")
    inside = linear(norm(hidden, (16,), weights["norm.weight"], weights["norm.bias"]), "leave")
    expected = (0.25 / total)[:, None] * x.flatten(1) + (sigma * 0.5 / total.sqrt())[:, None] * inside
    assert found.shape == x.shape
    assert torch.allclose(found.flatten(1), expected, atol=1e-6)  # the frequencies are kept in single precision


def test_untrained_it_says_the_share_of_its_input_that_the_data_would_have():
    model, (x, sigma, y) = build("edm_mlp", CONFIG).double(), inputs()

    assert torch.allclose(model(x, sigma, y), (0.25 / (sigma**2 + 0.25))[:, None, None, None] * x, atol=1e-12)


def test_no_class_is_the_class_behind_the_last_one():
    model, (x, sigma, y) = network(), inputs()

    assert torch.equal(model(x, sigma), model(x, sigma, torch.full_like(y, 3)))
    assert not torch.allclose(model(x, sigma), model(x, sigma, y))


def test_examples_without_classes_have_the_null_condition_only():
    model, (x, sigma, _) = network(classes=0), inputs()

    assert model(x, sigma).shape == x.shape
    assert len(model.label.weight) == 1


def test_with_levels_it_is_a_generator_of_as_many_calls_and_without_it_is_integrated():
    denoiser, one, two = network(), network(levels=[20.0]), network(levels=[20.0, 1.0])
    x, _, y = inputs()

    made = one.sample(x, y)

    assert (denoiser.evaluations, one.evaluations, two.evaluations) == (35, 1, 2)
    assert torch.equal(made, one(20 * x, torch.full((4,), 20.0, dtype=torch.float64), y))
    assert not torch.allclose(denoiser.sample(x, y), made)
    assert all(isinstance(model, Sampler) for model in (denoiser, one, two))


def test_its_recipe_builds_it_again_with_its_levels():
    model = network()
    model.levels = (20.0, 1.0)

    again = build(**model.recipe()).double()
    again.load_state_dict(model.state_dict())

    x, _, y = inputs()
    noise = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert again.levels == (20.0, 1.0)
    assert torch.equal(again.sample(x, y, noise[0]), model.sample(x, y, noise[1]))


def test_a_level_that_is_not_positive_is_refused():
    with pytest.raises(ModelError) as refused:
        build("edm_mlp", {**CONFIG, "levels": [0.0]})

    assert str(refused.value).startswith("The configuration of edm_mlp does not fit at 'levels.0': ")
