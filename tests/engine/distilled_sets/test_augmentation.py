"""Differentiable augmentation: each operation by hand, its gradient, and draws that can be used twice."""

import math

import pytest
import torch

from engine.distilled_sets.augmentation import OPERATIONS, Draw, apply, draw
from tests.engine.distilled_sets.small import numbers


def drawn(operation: str, *values: float, rows: int = 1) -> Draw:
    return Draw(operation, torch.tensor([values] * rows, dtype=torch.float64))


def picture() -> torch.Tensor:
    """(1, 1, 8, 8) of 0 … 63."""
    return torch.arange(64, dtype=torch.float64).view(1, 1, 8, 8)


def test_a_flip_changes_left_and_right_in_half_of_the_draws():
    assert torch.equal(apply(picture(), drawn("flip", 0.49, 0, 0)), picture().flip(3))
    assert torch.equal(apply(picture(), drawn("flip", 0.5, 0, 0)), picture())


def test_a_crop_shifts_by_at_most_an_eighth_and_fills_with_zeros():
    # 8 · 0.125 = 1 pixel: the three equal thirds of a number are −1, 0 and +1.
    up_left = apply(picture(), drawn("crop", 0.0, 0.0, 0))
    none = apply(picture(), drawn("crop", 0.5, 0.5, 0))
    down = apply(picture(), drawn("crop", 0.99, 0.5, 0))

    assert torch.equal(none, picture())
    assert torch.equal(up_left[0, 0, 1:, 1:], picture()[0, 0, :-1, :-1]) and up_left[0, 0, 0].abs().sum() == 0
    assert torch.equal(down[0, 0, :-1], picture()[0, 0, 1:]) and down[0, 0, -1].abs().sum() == 0


def test_a_cutout_takes_a_square_of_half_the_side():
    # Side 4; the center is ⌊0.5 · 9⌋ = 4, so rows and columns 2 to 5 are gone.
    found = apply(picture() + 1, drawn("cutout", 0.5, 0.5, 0))

    hole = found[0, 0] == 0
    assert int(hole.sum()) == 16
    assert bool(hole[2:6, 2:6].all())


def test_colors_change_brightness_then_saturation_then_contrast():
    pictures = numbers(1, 3, 2, 2)

    found = apply(pictures, drawn("color", 0.75, 0.25, 0.5))

    bright = pictures + 0.25
    gray = bright.mean(dim=1, keepdim=True)
    saturated = (bright - gray) * 0.5 + gray
    mean = saturated.mean()
    assert torch.allclose(found, (saturated - mean) * 1.0 + mean)


def test_a_scale_of_one_and_an_angle_of_zero_change_nothing():
    unit = (1 - 1 / 1.2) / (1.2 - 1 / 1.2)

    assert torch.allclose(apply(picture(), drawn("scale", unit, unit, 0)), picture(), atol=1e-10)
    assert torch.allclose(apply(picture(), drawn("rotate", 0.5, 0, 0)), picture(), atol=1e-10)


def test_a_rotation_reads_each_pixel_where_its_place_is_turned_to():
    ramp = torch.linspace(-7 / 8, 7 / 8, 8, dtype=torch.float64).expand(1, 1, 8, 8)  # its value is its x

    found = apply(ramp, drawn("rotate", 1.0, 0, 0))

    x, y, angle = 1 / 8, 1 / 8, math.radians(15)
    assert found[0, 0, 4, 4] == pytest.approx(x * math.cos(angle) - y * math.sin(angle), rel=1e-9)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_reach_the_pictures_through_each_operation(operation):
    pictures = numbers(2, 1, 4, 4).requires_grad_()
    chosen = Draw(operation, torch.tensor([[0.3, 0.6, 0.2], [0.7, 0.2, 0.9]], dtype=torch.float64))

    assert torch.autograd.gradcheck(lambda x: apply(x, chosen), (pictures,))
    assert apply(pictures, chosen).shape == pictures.shape


def test_one_operation_is_drawn_for_a_batch_and_numbers_for_each_picture():
    generator = torch.Generator().manual_seed(0)
    draws = [draw(["crop", "scale"], 4, generator, torch.device("cpu")) for _ in range(50)]

    assert {each.operation for each in draws} == {"crop", "scale"}
    assert all(each.numbers.shape == (4, 3) and len(each.numbers[:, 0].unique()) == 4 for each in draws)
    assert draw([], 4, generator, torch.device("cpu")) is None
    assert apply(picture(), None) is not None and torch.equal(apply(picture(), None), picture())
