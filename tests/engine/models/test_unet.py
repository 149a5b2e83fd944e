"""The small U-Net: its preconditioning, its way down and up again, and how it is built again."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import ModelError
from engine.models.build import build
from engine.models.unet import EdmUnet

CONFIG = {"channels": 2, "widths": [8, 16], "classes": 3, "sigma_data": 0.5}


def network(**changes) -> EdmUnet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("edm_unet", {**CONFIG, **changes}).double()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def inputs(rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 2, 5, 7, generator=generator, dtype=torch.float64)
    return x, torch.rand(rows, generator=generator, dtype=torch.float64) + 0.1, torch.arange(rows) % 3


def test_it_is_written_out():
    """Two scales: enter, block, halve, block, middle; then up, with what each scale held beside it."""
    model, (x, sigma, y) = network(), inputs()
    weights = dict(model.named_parameters())

    def conv(rows: Tensor, name: str, **how: int) -> Tensor:
        return F.conv2d(rows, weights[f"{name}.weight"], weights[f"{name}.bias"], **how)

    def linear(rows: Tensor, name: str) -> Tensor:
        return rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(rows: Tensor, name: str) -> Tensor:
        return F.silu(F.group_norm(rows, 8, weights[f"{name}.weight"], weights[f"{name}.bias"]))

    def block(rows: Tensor, name: str) -> Tensor:
        inner = (
            conv(norm(rows, f"{name}.first_norm"), f"{name}.first", padding=1) + linear(condition, f"{name}.condition")[:, :, None, None]
        )
        skipped = conv(rows, f"{name}.skip") if f"{name}.skip.weight" in weights else rows
        return skipped + conv(norm(inner, f"{name}.second_norm"), f"{name}.second", padding=1)

    total = sigma**2 + 0.25
    frequencies = torch.linspace(0, torch.log(torch.tensor(100.0)).item(), 16, dtype=torch.float64).exp()
    angle = sigma.log()[:, None] / 4 * frequencies
    embedded = linear(F.silu(linear(torch.cat([angle.sin(), angle.cos()], 1), "level.0")), "level.2")
    condition = F.silu(embedded + weights["label.weight"][y])
    fine = block(conv(x / total.sqrt()[:, None, None, None], "enter", padding=1), "down.0")
    coarse = block(conv(fine, "halve.0", stride=2, padding=1), "down.1")
    middle = block(coarse, "middle")
    up = block(torch.cat([middle, coarse], 1), "up.0")
    up = block(torch.cat([F.interpolate(up, size=(5, 7)), fine], 1), "up.1")
    raw = conv(norm(up, "norm"), "leave", padding=1)
    expected = (0.25 / total)[:, None, None, None] * x + (sigma * 0.5 / total.sqrt())[:, None, None, None] * raw

    assert coarse.shape == (3, 16, 3, 4)
    assert torch.allclose(model(x, sigma, y), expected, atol=1e-6)  # the frequencies are kept in single precision
    assert torch.allclose(model.features(x, sigma, y), middle.mean(dim=(2, 3)), atol=1e-6)
    assert model.width == 16


def test_untrained_it_says_the_share_of_its_input_that_the_data_would_have():
    model, (x, sigma, y) = build("edm_unet", CONFIG).double(), inputs()

    assert torch.allclose(model(x, sigma, y), (0.25 / (sigma**2 + 0.25))[:, None, None, None] * x, atol=1e-12)


def test_no_class_is_the_class_behind_the_last_one():
    model, (x, sigma, y) = network(), inputs()

    assert torch.equal(model(x, sigma), model(x, sigma, torch.full_like(y, 3)))
    assert not torch.allclose(model(x, sigma), model(x, sigma, y))


def test_a_row_is_denoised_as_it_would_be_alone():
    model, (x, sigma, y) = network(), inputs()

    assert torch.allclose(model(x, sigma, y)[1:2], model(x[1:2], sigma[1:2], y[1:2]), atol=1e-12)


def test_its_recipe_builds_it_again_with_its_levels():
    model, (x, _, y) = network(), inputs()
    model.levels = (20.0, 1.0)

    again = build(**model.recipe()).double()
    again.load_state_dict(model.state_dict())

    noise = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert again.evaluations == 2
    assert torch.equal(again.sample(x, y, noise[0]), model.sample(x, y, noise[1]))


def test_channels_that_do_not_part_into_groups_are_refused():
    with pytest.raises(ModelError) as refused:
        build("edm_unet", {**CONFIG, "widths": [12]})

    assert str(refused.value).startswith("The configuration of edm_unet does not fit at 'widths.0': ")
