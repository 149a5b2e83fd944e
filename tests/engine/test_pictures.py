"""Tensors as pictures of a page: each pixel with its own gray or color, small ones larger."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from engine.pictures import SMALL, png


def pixels(address: str) -> np.ndarray:
    head, _, data = address.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


def test_a_gray_level_is_rounded_to_the_nearest_of_256_and_held_between_black_and_white() -> None:
    levels = torch.tensor([[-1.0, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 254.4 / 255, 1.0, 7.0, float("inf")]])

    found = pixels(png(levels.repeat(SMALL, 1)))

    assert found[0].tolist() == [0, 0, 0, 1, 128, 254, 255, 255, 255]


def test_the_channels_of_a_color_are_red_green_and_blue() -> None:
    picture = torch.zeros(3, SMALL, 2)
    picture[0, :, 0], picture[2, :, 1], picture[1, 5, 1] = 1.0, 1.0, 0.2

    found = pixels(png(picture))

    assert found.shape == (SMALL, 2, 3)
    assert found[0].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert found[5].tolist() == [[255, 0, 0], [0, 51, 255]]


def test_one_channel_is_gray() -> None:
    picture = torch.rand(SMALL, 3, generator=torch.Generator().manual_seed(0))

    assert pixels(png(picture[None])).tolist() == pixels(png(picture)).tolist()


@pytest.mark.parametrize(("height", "factor"), [(1, 48), (8, 6), (24, 2), (25, 1), (47, 1), (48, 1), (100, 1)])
def test_a_small_picture_is_drawn_larger_by_whole_factors_with_every_pixel_a_square(height: int, factor: int) -> None:
    picture = torch.rand(height, 3, generator=torch.Generator().manual_seed(0))

    found = pixels(png(picture))

    plain = picture.mul(255).round().byte().numpy()
    assert found.tolist() == plain.repeat(factor, axis=0).repeat(factor, axis=1).tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_what_a_run_in_another_number_format_made_is_drawn_the_same(dtype: torch.dtype) -> None:
    picture = torch.linspace(0, 1, SMALL)[:, None].to(dtype).requires_grad_()

    found = pixels(png(picture))

    assert found.flatten().tolist() == picture.detach().float().mul(255).round().flatten().tolist()
