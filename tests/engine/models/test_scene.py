"""A scene's images, pixel by pixel in plain numbers, and who of its parameters moves which."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.models.build import build
from engine.models.scene import SurfelScene
from engine.rendering.cameras import Pixels, fibonacci, pixels_of
from engine.rendering.environment import directions, solid_angles
from engine.rendering.harmonics import COSINE, TERMS, basis

PATCHES, HEIGHT, WIDTH = 30, 6, 8
CONFIG: dict[str, Any] = {"patches": PATCHES, "height": HEIGHT, "width": WIDTH, "start": 0.2, "fixed_progress": None}


def scene(**changes: Any) -> SurfelScene:
    """One in which every parameter says something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = build("surfel_scene", {**CONFIG, **changes})
        assert isinstance(built, SurfelScene)
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return built


def pixels() -> Pixels:
    return pixels_of(fibonacci(2), fibonacci(PATCHES), size=5, light=(HEIGHT, WIDTH))


def sigmoid(value: Tensor) -> float:
    return 1 / (1 + math.exp(-float(value)))


@pytest.mark.parametrize("fixed_progress", [None, 0.0, 0.25, 1.0])
@pytest.mark.parametrize("other_light", [False, True])
def test_an_image_is_the_slow_one(fixed_progress: float | None, other_light: bool) -> None:
    found, seen = scene(fixed_progress=fixed_progress).requires_grad_(False), pixels()
    light = torch.nn.functional.softplus(found.light)
    if other_light:
        light = torch.rand(HEIGHT * WIDTH, 3, generator=torch.Generator().manual_seed(1))

    rendering = found.render(seen, light if other_light else None)

    of_light = basis(directions(HEIGHT, WIDTH)).flatten(0, 1)
    angles = solid_angles(HEIGHT, WIDTH).flatten()
    coefficients = [[float((angles * of_light[:, term] * light[:, color]).sum()) for color in range(3)] for term in range(TERMS)]
    for pixel in range(0, len(seen), 3):
        patch = int(seen.patch[pixel])
        progress = sigmoid(found.progress_logits[patch, 0]) if fixed_progress is None else fixed_progress
        for color in range(3):
            raw = sum(float(seen.view_basis[pixel, term] * found.radiance[patch, term, color]) for term in range(TERMS))
            falling = sum(COSINE[term] * float(seen.normal_basis[pixel, term]) * coefficients[term][color] for term in range(TERMS))
            diffuse = sigmoid(found.albedo_logits[patch, color]) / math.pi * falling
            mirrored = sum(float(seen.weights[pixel, corner] * light[seen.corners[pixel, corner], color]) for corner in range(4))
            reflected = sigmoid(found.specular_logits[patch, 0]) * mirrored
            values = [rendering.raw, rendering.diffuse, rendering.reflected, rendering.physical, rendering.image]
            expected = [raw, diffuse, reflected, diffuse + reflected, (1 - progress) * raw + progress * (diffuse + reflected)]
            assert [float(value[pixel, color]) for value in values] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_new_scene_shows_nothing_yet_under_a_dim_light_with_the_progress_that_it_starts_with() -> None:
    with torch.random.fork_rng():
        new = build("surfel_scene", {**CONFIG, "start": 0.03})
    assert isinstance(new, SurfelScene)

    rendering = new.render(pixels())

    assert not rendering.raw.any()
    assert torch.allclose(rendering.progress, torch.full_like(rendering.progress, 0.03), atol=1e-6)
    assert float((new.albedo - 0.5).abs().max().detach()) < 0.15
    assert 0.2 < float(new.environment.min().detach()) <= float(new.environment.max().detach()) < 0.45


@pytest.mark.parametrize(
    ("image", "moved"),
    [
        ("raw", {"radiance"}),
        ("diffuse", {"light", "albedo_logits"}),
        ("reflected", {"light", "specular_logits"}),
        ("image", {"radiance", "light", "albedo_logits", "specular_logits", "progress_logits"}),
    ],
)
def test_each_image_moves_the_parameters_that_it_is_made_of(image: str, moved: set[str]) -> None:
    found = scene()

    getattr(found.render(pixels()), image).square().sum().backward()

    assert {name for name, parameter in found.named_parameters() if parameter.grad is not None and parameter.grad.any()} == moved


def test_a_fixed_progress_is_not_learned() -> None:
    found = scene(fixed_progress=0.5)

    found.render(pixels()).image.sum().backward()

    assert found.progress_logits.grad is None
    assert torch.equal(found.progress, torch.full((PATCHES, 1), 0.5))


def test_what_follows_from_the_sizes_is_not_stored() -> None:
    assert set(scene().state_dict()) == {
        "radiance",
        "light",
        "albedo_logits",
        "specular_logits",
        "progress_logits",
        "mirror_progress_logits",
    }
    assert scene().size == (HEIGHT, WIDTH)
    assert torch.equal(scene().centers, fibonacci(PATCHES))
