"""Harmonics, light, reflectance, blending and cameras."""

import math

import pytest
import torch
from torch import Tensor

from engine.rendering import environment, reflectance
from engine.rendering.cameras import HALF_WIDTH, RIM, fibonacci, pixels_of
from engine.rendering.deferred import blend, mirror, visibility
from engine.rendering.harmonics import COSINE, TERMS, basis, irradiance


def unit(seed: int, count: int = 50) -> Tensor:
    vectors = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return vectors / vectors.norm(dim=1, keepdim=True)


def upper(seed: int, count: int = 50) -> Tensor:
    """Unit vectors above the surface whose normal is z, not too flat for the clamp to act."""
    vectors = unit(seed, count)
    vectors[:, 2] = vectors[:, 2].abs() + 0.1
    return vectors / vectors.norm(dim=1, keepdim=True)


# Harmonics


def test_the_basis_is_orthonormal():
    # Gauss-Legendre nodes in z and even angles are exact for products of degree 4.
    import numpy as np

    z, weight = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(6))
    phi = torch.arange(12, dtype=torch.float64) * (2 * math.pi / 12)
    z, phi, share = z.repeat_interleave(12), phi.repeat(6), weight.repeat_interleave(12) * (2 * math.pi / 12)
    radius = (1 - z.square()).sqrt()
    values = basis(torch.stack([radius * phi.cos(), radius * phi.sin(), z], dim=1))

    assert torch.allclose(values.T @ (values * share[:, None]), torch.eye(TERMS, dtype=torch.float64), atol=1e-12)


def test_the_basis_has_the_order_and_the_signs_that_are_written_down():
    x, y, z = torch.eye(3, dtype=torch.float64)

    linear, axial = math.sqrt(3 / (4 * math.pi)), math.sqrt(5 / math.pi) / 4
    assert basis(y)[1:4].tolist() == pytest.approx([linear, 0, 0])
    assert basis(z)[1:4].tolist() == pytest.approx([0, linear, 0])
    assert basis(x)[1:4].tolist() == pytest.approx([0, 0, linear])
    assert basis(z)[4:].tolist() == pytest.approx([0, 0, 2 * axial, 0, 0])
    diagonal = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64) / math.sqrt(2)
    assert basis(diagonal)[4] == pytest.approx(math.sqrt(15 / math.pi) / 4)  # ½ of √(15/π)/2


def test_the_irradiance_of_constant_light_is_pi_times_it():
    normals = basis(unit(0).float())

    fine = irradiance(normals, environment.projector(128, 256) @ torch.full((128 * 256, 3), 0.7))
    coarse = irradiance(normals, environment.projector(16, 32) @ torch.full((16 * 32, 3), 0.7))

    assert torch.allclose(fine, torch.full((50, 3), 0.7 * math.pi), rtol=2e-4)
    assert torch.allclose(coarse, torch.full((50, 3), 0.7 * math.pi), rtol=1e-2)  # 16 × 32 pixels are not exact in degree 2


def test_irradiance_is_that_of_integration_for_light_of_degree_two():
    """Slow version: the integral of max(0, n·l) E(l) over a fine grid, for a light that is a sum of the basis."""
    fine = environment.directions(180, 360).flatten(0, 1).double()
    share = environment.solid_angles(180, 360).flatten().double()
    coefficients = torch.randn(TERMS, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    normals = unit(5, 6)

    slow = torch.stack([((fine @ n).clamp(min=0) * share) @ (basis(fine) @ coefficients) for n in normals])

    assert torch.allclose(irradiance(basis(normals), coefficients), slow, atol=2e-3)
    assert COSINE[:4] == pytest.approx((math.pi, 2 * math.pi / 3, 2 * math.pi / 3, 2 * math.pi / 3))


# Light


def test_solid_angles_cover_the_sphere():
    assert float(environment.solid_angles(16, 32).sum()) == pytest.approx(4 * math.pi, rel=1e-6)


def test_a_lookup_at_a_pixels_center_is_that_pixel_and_halfway_the_mean_of_both():
    light = torch.rand(16 * 32, generator=torch.Generator().manual_seed(0))
    toward = environment.directions(16, 32)

    def look(directions: Tensor) -> Tensor:
        corners, weights = environment.footprint(directions, 16, 32)
        return (light[corners] * weights).sum(dim=1)

    theta, phi = 5.5 * math.pi / 16, 32 * 2 * math.pi / 32  # row 5, halfway between the last column and the first
    between = torch.tensor([[math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)]])
    assert torch.allclose(look(toward.flatten(0, 1)), light, atol=1e-4)
    assert look(between).item() == pytest.approx((light[5 * 32 + 31] + light[5 * 32]).item() / 2, abs=1e-4)


def test_beyond_the_last_row_the_light_is_that_rows():
    corners, weights = environment.footprint(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]), 16, 32)

    assert set((corners[0] // 32).tolist()) == {0} and set((corners[1] // 32).tolist()) == {15}
    assert torch.allclose(weights.sum(dim=1), torch.ones(2))


def test_a_lobe_is_brightest_in_its_direction_and_the_rest_is_ambient():
    light = environment.lobes(16, 32, ambient=0.25, lights=[(1.6, (0.0, 1.0, 0.0), 0.08, (1.0, 0.5, 0.0))])
    toward = environment.directions(16, 32)

    assert torch.equal(light[..., 0].argmax(), toward[..., 1].argmax())
    assert torch.allclose(light[..., 2], torch.full((16, 32), 0.25))
    assert light[toward[..., 1] < 0].max().item() == pytest.approx(0.25, abs=1e-6)


# Reflectance


def test_the_specular_term_is_the_same_with_view_and_light_exchanged():
    view, light = upper(1), upper(2)
    normal = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(50, 3)
    given = {
        "normal": normal,
        "roughness": torch.full((50, 1), 0.4, dtype=torch.float64),
        "f0": torch.full((50, 1), 0.3, dtype=torch.float64),
    }

    there = reflectance.cook_torrance(view=view, light=light, **given)
    back = reflectance.cook_torrance(view=light, light=view, **given)

    assert torch.allclose(there, back, rtol=1e-12)
    assert there.std() > 0.01


def test_the_specular_term_is_the_slow_one_in_plain_numbers():
    normal, view, light = (0.0, 0.0, 1.0), (0.6, 0.0, 0.8), (0.0, 0.6, 0.8)
    roughness, f0 = 0.5, 0.04
    # h = (0.6, 0.6, 1.6)/√3.28; n·h = 1.6/√3.28, v·h = (0.36 + 1.28)/√3.28
    n_h, v_h, alpha2, k = 1.6 / math.sqrt(3.28), 1.64 / math.sqrt(3.28), 0.25**2, 1.5**2 / 8
    d = alpha2 / (math.pi * (n_h**2 * (alpha2 - 1) + 1) ** 2)
    g = (0.8 / (0.8 * (1 - k) + k)) ** 2
    f = f0 + (1 - f0) * (1 - v_h) ** 5

    vectors = {name: torch.tensor([each], dtype=torch.float64) for name, each in (("normal", normal), ("view", view), ("light", light))}
    found = reflectance.cook_torrance(
        **vectors, roughness=torch.tensor([[roughness]], dtype=torch.float64), f0=torch.tensor([[f0]], dtype=torch.float64)
    )

    assert found.item() == pytest.approx(d * g * f / (4 * 0.8 * 0.8), rel=1e-12)


def test_a_smooth_surface_seen_in_the_mirrors_direction_is_as_bright_as_its_lobe_is_high():
    """There h = n, so D = 1/(π α²): with R = 0.03 it falls to a fifth where n·h is too small by 5e-7."""
    normal, away = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64), math.pi / 6
    view, light = (torch.tensor([[sign * math.sin(away), 0.0, math.cos(away)]], dtype=torch.float64) for sign in (1, -1))
    roughness, f0 = 0.03, 1.0  # F = 1 at every angle
    k = 1.03**2 / 8
    g = (math.cos(away) / (math.cos(away) * (1 - k) + k)) ** 2

    found = reflectance.cook_torrance(
        normal=normal, view=view, light=light, roughness=torch.tensor([[roughness]], dtype=torch.float64), f0=torch.tensor([[f0]])
    )

    assert found.item() == pytest.approx(g / (math.pi * roughness**4) / (4 * math.cos(away) ** 2), rel=1e-6)


def test_light_from_exactly_behind_leaves_numbers():
    view = torch.tensor([[0.0, 0.6, 0.8]])

    found = reflectance.cook_torrance(
        normal=torch.tensor([[0.0, 0.0, 1.0]]), view=view, light=-view, roughness=torch.tensor([[0.5]]), f0=torch.tensor([[0.04]])
    )

    assert torch.isfinite(found).all()


def test_the_normals_of_the_microfacets_cover_the_surface_once():
    """∫ D (n·h) dh = 1 over the hemisphere."""
    cosines = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000

    for roughness in (0.3, 0.6, 1.0):
        density = reflectance.ggx(cosines, torch.tensor(roughness, dtype=torch.float64))
        assert float((density * cosines).mean() * 2 * math.pi) == pytest.approx(1.0, rel=1e-3)


def test_metal_reflects_in_its_own_color_and_plastic_a_little_of_all():
    albedo = torch.tensor([[0.9, 0.5, 0.1]])

    assert torch.allclose(reflectance.base_reflectance(albedo, torch.tensor([[1.0]])), albedo)
    assert torch.allclose(reflectance.base_reflectance(albedo, torch.tensor([[0.0]])), torch.full((1, 3), 0.04))
    assert torch.allclose(reflectance.schlick(torch.zeros(1), torch.tensor([0.04])), torch.ones(1))  # all is mirrored at grazing angles


# Images


def test_weights_and_what_is_left_sum_to_one():
    alphas = torch.rand(7, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    weights, left = visibility(alphas)

    slow = [[float(alphas[i, j] * (1 - alphas[i, :j]).prod()) for j in range(12)] for i in range(7)]
    assert torch.allclose(weights, torch.tensor(slow, dtype=torch.float64), atol=1e-14)
    assert torch.allclose(weights.sum(dim=1) + left, torch.ones(7, dtype=torch.float64), atol=1e-14)


def test_a_ray_into_a_wall_comes_back_and_a_flat_one_keeps_its_course():
    normal = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3)
    toward = torch.tensor([[0.0, 0.0, -1.0], [0.8, 0.0, -0.6]])

    assert torch.allclose(mirror(toward, normal), torch.tensor([[0.0, 0.0, 1.0], [0.8, 0.0, 0.6]]))


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_at_the_ends_of_progress_one_image_is_left_and_the_other_gets_no_gradient(progress):
    raw, physical = (torch.rand(5, 3, generator=torch.Generator().manual_seed(seed), requires_grad=True) for seed in (0, 1))
    shown = blend(raw=raw, physical=physical, progress=torch.full((5, 1), progress))

    shown.sum().backward()

    left, other = (physical, raw) if progress else (raw, physical)
    assert torch.equal(shown, left)
    assert torch.count_nonzero(other.grad) == 0 and torch.count_nonzero(left.grad) == 15


def test_progress_is_pulled_up_exactly_where_the_physical_pixel_brings_the_image_nearer():
    generator = torch.Generator().manual_seed(3)
    raw, physical, photo = (torch.rand(400, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    progress = torch.full((400, 1), 0.3, dtype=torch.float64, requires_grad=True)
    image = blend(raw=raw, physical=physical, progress=progress)

    (image - photo).abs().sum().backward()

    nudged = blend(raw=raw, physical=physical, progress=progress.detach() + 1e-7)
    gain = (image.detach() - photo).abs().sum(dim=1) - (nudged - photo).abs().sum(dim=1)
    assert torch.equal(progress.grad.squeeze(1) < 0, gain > 0)
    assert 0 < int((gain > 0).sum()) < 400


def test_equal_images_pull_progress_nowhere():
    same = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    progress = torch.full((5, 1), 0.4, requires_grad=True)

    (blend(raw=same, physical=same.clone(), progress=progress) - torch.rand(5, 3)).abs().sum().backward()

    assert torch.count_nonzero(progress.grad) == 0


# Cameras


def test_points_are_spread_evenly_on_the_sphere():
    points = fibonacci(400)
    nearest = (points @ points.T - 2 * torch.eye(400)).max(dim=1).values.clamp(max=1).acos()

    assert torch.allclose(points.norm(dim=1), torch.ones(400), atol=1e-6)
    assert points.mean(dim=0).abs().max() < 0.005
    assert nearest.min() > 0.6 * nearest.max()


def test_a_camera_sees_the_half_of_the_sphere_that_faces_it_with_z_upward():
    pixels = pixels_of(torch.tensor([[1.0, 0.0, 0.0]]), fibonacci(400), size=32, light=(16, 32))
    pictures = pixels.images(pixels.points)[0]

    assert pixels.mask.shape == (1, 32, 32) and int(pixels.mask.sum()) == len(pixels)
    assert torch.allclose(pixels.points.norm(dim=1), torch.ones(len(pixels)), atol=1e-6)
    assert (pixels.points[:, 0] >= math.sqrt(1 - RIM) - 1e-6).all()
    assert pictures[2, 2, 16] > 0.8 > -0.8 > pictures[2, 29, 16]  # z falls from the top row to the bottom
    assert pictures[1, 16, 29] > 0.8  # seen from +x with z upward, +y is at the right
    assert pictures[1, 16, 16] == pytest.approx(HALF_WIDTH / 32, abs=1e-6)  # half a pixel right of the center


def test_each_pixel_belongs_to_its_nearest_patch():
    centers = fibonacci(50)
    pixels = pixels_of(fibonacci(2), centers, size=8, light=(16, 32))

    slow = [min(range(50), key=lambda k: float((point - centers[k]).norm())) for point in pixels.points]
    assert pixels.patch.tolist() == slow


def test_pictures_have_the_values_where_the_pixels_are_and_zero_elsewhere():
    pixels = pixels_of(fibonacci(2), fibonacci(50), size=8, light=(16, 32))
    values = torch.arange(1.0, 2 * len(pixels) + 1).view(-1, 2)

    pictures = pixels.images(values)

    assert pictures.shape == (2, 2, 8, 8)
    assert torch.equal(pictures.permute(0, 2, 3, 1)[pixels.mask], values)
    assert float(pictures.sum()) == float(values.sum())
