"""The terms of the Cook-Torrance model: GGX, Schlick-GGX and Schlick. All dot products are clamped to [1e-4, 1] before use."""

import math

import torch.nn.functional as F
from torch import Tensor

DARKEST = 1e-4


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """a·b of unit vectors (…, 3), clamped to [1e-4, 1] → (…, 1)."""
    return (a * b).sum(dim=-1, keepdim=True).clamp(DARKEST, 1)


def ggx(n_h: Tensor, roughness: Tensor) -> Tensor:
    """D = α² / (π ((n·h)² (α² − 1) + 1)²) with α = R², the roughness R in (0, 1]."""
    squared = roughness**4
    return squared / (math.pi * (n_h.square() * (squared - 1) + 1).square())


def schlick_ggx(x: Tensor, roughness: Tensor) -> Tensor:
    """G1(x) = x / (x (1 − k) + k) with k = (R + 1)² / 8."""
    k = (roughness + 1).square() / 8
    return x / (x * (1 - k) + k)


def schlick(v_h: Tensor, f0: Tensor) -> Tensor:
    """F = F0 + (1 − F0) (1 − v·h)⁵."""
    return f0 + (1 - f0) * (1 - v_h) ** 5


def base_reflectance(albedo: Tensor, metallic: Tensor) -> Tensor:
    """F0 = 0.04 (1 − Mt) + Mt·B: a plastic's at metallic 0, the metal's own color at 1."""
    return 0.04 * (1 - metallic) + metallic * albedo


def cook_torrance(*, normal: Tensor, view: Tensor, light: Tensor, roughness: Tensor, f0: Tensor) -> Tensor:
    """D G F / (4 (n·v)(n·l)): the specular part of the BRDF, symmetric in `view` and `light`, unit vectors (…, 3) away from the surface.

    roughness (…, 1) in (0, 1], f0 (…, 1) or (…, 3) in [0, 1]. Source: Karis (2013), "Real shading in Unreal Engine 4".
    """
    half = F.normalize(view + light, dim=-1)  # h = (v + l) / |v + l|: a smooth surface's D would see the least that is added below
    n_v, n_l = cosine(normal, view), cosine(normal, light)
    geometry = schlick_ggx(n_v, roughness) * schlick_ggx(n_l, roughness)
    return ggx(cosine(normal, half), roughness) * geometry * schlick(cosine(view, half), f0) / (4 * n_v * n_l)
