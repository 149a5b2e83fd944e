"""Images from attributes: what is seen front to back, and the blend of a radiance field's image with a physical one."""

import torch
from torch import Tensor


def visibility(alphas: Tensor) -> tuple[Tensor, Tensor]:
    """Front to back over the last dimension: weights w_i = T_i a_i (…, n) with T_i = Π_{j<i} (1 − a_j), and what is left, T_end (…,).

    The weights and T_end sum to 1.
    """
    after = (1 - alphas).cumprod(dim=-1)
    before = torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], dim=-1)
    return before * alphas, after[..., -1]


def mirror(toward: Tensor, normals: Tensor) -> Tensor:
    """r = d − 2 (d·n) n: where a ray of direction d (…, 3), from the camera to the surface, goes on to."""
    return toward - 2 * (toward * normals).sum(dim=-1, keepdim=True) * normals


def blend(*, raw: Tensor, physical: Tensor, progress: Tensor) -> Tensor:
    """I = (1 − A) I_raw + A I_phy with images (…, 3) and A (…, 1) in [0, 1]. Nothing is detached or clamped.

    dL/dA = Σ_c dL/dI_c (I_phy − I_raw)_c, so progress rises exactly where the physical pixel moves the image towards the photo.
    """
    return (1 - progress) * raw + progress * physical
