"""Real spherical harmonics up to degree 2: the colors of a radiance field, and diffuse light.

All signs are positive; the order is 1; y, z, x; xy, yz, 3z² − 1, xz, x² − y². Source: Ramamoorthi & Hanrahan (2001), "An efficient
representation for irradiance environment maps".
"""

import math

import torch
from torch import Tensor

TERMS = 9
_CONSTANT = 1 / (2 * math.sqrt(math.pi))
_LINEAR = math.sqrt(3 / (4 * math.pi))
_PRODUCT, _AXIAL, _PLANAR = math.sqrt(15 / math.pi) / 2, math.sqrt(5 / math.pi) / 4, math.sqrt(15 / math.pi) / 4
COSINE = (math.pi, *[2 * math.pi / 3] * 3, *[math.pi / 4] * 5)
"""What convolution with the clamped cosine multiplies each term by."""


def basis(directions: Tensor) -> Tensor:
    """Y_lm of unit vectors (…, 3) → (…, 9), orthonormal over the sphere."""
    x, y, z = directions.unbind(dim=-1)
    return torch.stack(
        [
            torch.full_like(x, _CONSTANT),
            _LINEAR * y,
            _LINEAR * z,
            _LINEAR * x,
            _PRODUCT * x * y,
            _PRODUCT * y * z,
            _AXIAL * (3 * z * z - 1),
            _PRODUCT * x * z,
            _PLANAR * (x * x - y * y),
        ],
        dim=-1,
    )


def irradiance(basis_of_normals: Tensor, coefficients: Tensor) -> Tensor:
    """Irr(n) = Σ A_l c_lm Y_lm(n): the basis at normals (…, 9), and the light's coefficients (9, 3) → (…, 3). Of constant light E it is π·E."""
    return (basis_of_normals * basis_of_normals.new_tensor(COSINE)) @ coefficients
