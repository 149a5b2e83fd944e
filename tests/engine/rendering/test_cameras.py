"""Where patches, cameras and pixels are, and which light a direction finds: pinned, for exported scenes hold neither."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from engine.rendering import environment
from engine.rendering.cameras import HALF_WIDTH, RIM, Pixels, fibonacci, pixels_of
from engine.rendering.harmonics import TERMS, basis

HEIGHT, WIDTH = 6, 8


@pytest.mark.parametrize(("count", "turned"), [(1, 0.0), (4, 0.0), (7, 1.3), (400, 0.65)])
def test_the_points_are_those_of_the_golden_spiral(count: int, turned: float) -> None:
    """z falls evenly, and each point is 137.5° further around than the one before it."""
    points = fibonacci(count, turned=turned)

    for index in range(count):
        z = 1 - (2 * index + 1) / count
        angle = math.radians(360 * (1 - 2 / (1 + math.sqrt(5)))) * index + turned
        expected = [math.sqrt(1 - z * z) * math.cos(angle), math.sqrt(1 - z * z) * math.sin(angle), z]
        assert points[index].tolist() == pytest.approx(expected, abs=1e-6)


def seen_from(*backward: float, size: int = 9) -> Pixels:
    return pixels_of(torch.tensor([backward]), fibonacci(50), size=size, light=(HEIGHT, WIDTH))


@pytest.mark.parametrize(
    ("backward", "rightward", "upward"),
    [
        ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
        ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),  # over the pole, where no direction is upward, y is
        ((0.0, 0.0, -1.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        ((0.6, 0.0, 0.8), (0.0, 1.0, 0.0), (-0.8, 0.0, 0.6)),
    ],
)
def test_a_picture_has_z_at_its_top_and_what_is_to_the_right_of_it_at_its_right(
    backward: tuple[float, ...], rightward: tuple[float, ...], upward: tuple[float, ...]
) -> None:
    pixels = seen_from(*backward)

    picture = pixels.images(pixels.points)[0]  # (3, size, size)

    step = 2 * HALF_WIDTH / 9
    middle, right, up = picture[:, 4, 4], picture[:, 4, 6], picture[:, 2, 4]
    assert middle.tolist() == pytest.approx(backward, abs=1e-6)
    assert float(right @ torch.tensor(rightward)) == pytest.approx(2 * step, abs=1e-6)
    assert float(up @ torch.tensor(upward)) == pytest.approx(2 * step, abs=1e-6)
    assert float(right @ torch.tensor(upward)) == pytest.approx(0, abs=1e-6)


def test_every_used_pixel_is_on_the_sphere_in_front_and_no_pixel_at_its_rim_is_used() -> None:
    pixels = seen_from(0.0, -0.6, 0.8, size=21)

    steps = [((index + 0.5) / 21 * 2 - 1) * HALF_WIDTH for index in range(21)]
    used = [[x * x + y * y <= RIM for x in steps] for y in steps]
    assert pixels.mask[0].tolist() == used
    assert len(pixels) == sum(map(sum, used))
    assert torch.allclose(pixels.points.norm(dim=1), torch.ones(len(pixels)), atol=1e-6)
    assert float((pixels.points @ torch.tensor([0.0, -0.6, 0.8])).min()) >= math.sqrt(1 - RIM) - 1e-6


def test_the_ray_of_every_pixel_of_a_camera_is_the_same_and_its_mirror_is_what_looks_up_the_light() -> None:
    backward = torch.tensor([0.6, 0.0, 0.8])

    pixels = seen_from(*backward.tolist())

    normals = pixels.points
    mirrored = -backward + 2 * (normals @ backward)[:, None] * normals
    corners, weights = environment.footprint(mirrored, HEIGHT, WIDTH)
    assert torch.allclose(pixels.view_basis, basis(-backward).expand(len(pixels), TERMS), atol=1e-6)
    assert torch.allclose(pixels.normal_basis, basis(normals), atol=1e-6)
    found, expected = (light_of(*each) for each in ((pixels.corners, pixels.weights), (corners, weights)))
    assert torch.allclose(found, expected, atol=1e-4)


def test_cameras_stand_one_after_the_other_in_all_that_is_told_of_their_pixels() -> None:
    cameras = fibonacci(3, turned=0.2)

    together = pixels_of(cameras, fibonacci(50), size=9, light=(HEIGHT, WIDTH))

    alone = [pixels_of(camera[None], fibonacci(50), size=9, light=(HEIGHT, WIDTH)) for camera in cameras]
    for name in ("mask", "points", "patch", "normal_basis", "view_basis", "corners", "weights"):
        assert torch.equal(getattr(together, name), torch.cat([getattr(each, name) for each in alone]))
    values = torch.arange(2.0 * len(together)).view(-1, 2)
    assert torch.equal(together.images(values).permute(0, 2, 3, 1)[together.mask], values)


# The light that a direction finds

LIGHT = torch.rand(HEIGHT * WIDTH, generator=torch.Generator().manual_seed(0))


def light_of(corners: Tensor, weights: Tensor) -> Tensor:
    return (LIGHT[corners] * weights).sum(dim=1)


def looked_up(theta: float, phi: float) -> float:
    """Slowly: between the two rows and the two columns whose centers are around a direction."""
    row, column = theta / math.pi * HEIGHT - 0.5, (phi % (2 * math.pi)) / (2 * math.pi) * WIDTH - 0.5
    total = 0.0
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            share = (1 - abs(row - r)) * (1 - abs(column - c))
            total += share * float(LIGHT[min(max(r, 0), HEIGHT - 1) * WIDTH + c % WIDTH])
    return total


@given(theta=st.floats(0.01, math.pi - 0.01), phi=st.floats(-7, 7))
@example(theta=1.0, phi=0.0)
@example(theta=1.0, phi=2 * math.pi - 1e-3)  # between the last column and the first
@example(theta=0.02, phi=3.0)
def test_a_direction_finds_the_light_between_the_four_pixels_around_it(theta: float, phi: float) -> None:
    toward = torch.tensor([[math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)]])

    corners, weights = environment.footprint(toward, HEIGHT, WIDTH)

    assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
    assert bool((weights >= 0).all()) and int(corners.min()) >= 0 and int(corners.max()) < HEIGHT * WIDTH
    assert float(light_of(corners, weights)) == pytest.approx(looked_up(theta, phi), abs=1e-3)


@pytest.mark.parametrize("z", [1.0, -1.0, 1.0000001, -1.0000001])
def test_straight_up_and_down_find_the_light_of_a_pole_though_rounding_went_beyond_it(z: float) -> None:
    corners, weights = environment.footprint(torch.tensor([[0.0, 0.0, z]]), HEIGHT, WIDTH)

    assert bool(weights.isfinite().all())
    assert set((corners // WIDTH).flatten().tolist()) == {0 if z > 0 else HEIGHT - 1}


def test_coefficients_of_a_harmonic_are_one_for_itself_and_nothing_for_the_others() -> None:
    height, width = 60, 120

    projected = environment.projector(height, width) @ basis(environment.directions(height, width)).flatten(0, 1)

    assert torch.allclose(projected, torch.eye(TERMS), atol=2e-3)


def test_a_light_is_what_is_everywhere_and_its_lobes() -> None:
    lights = [(2.0, (0.0, 0.0, 1.0), 0.5, (1.0, 0.5, 0.0)), (1.0, (1.0, 0.0, 0.0), 0.1, (0.0, 0.0, 3.0))]

    light = environment.lobes(HEIGHT, WIDTH, ambient=0.25, lights=lights)

    for row in range(HEIGHT):
        for column in range(WIDTH):
            theta, phi = (row + 0.5) * math.pi / HEIGHT, (column + 0.5) * 2 * math.pi / WIDTH
            x, y, z = math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)
            first = 2 * math.exp(-(x * x + y * y + (z - 1) ** 2) / 0.5)
            second = math.exp(-((x - 1) ** 2 + y * y + z * z) / 0.1)
            assert light[row, column].tolist() == pytest.approx([0.25 + first, 0.25 + first / 2, 0.25 + 3 * second], rel=1e-4)
