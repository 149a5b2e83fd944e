"""What features a distance is measured in. A number without its extractor's name and hash means nothing."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Extractor:
    """Features of examples. `hash` is the SHA-256 of all that the features depend on; `features` maps (rows, …) to (rows, dims) float64."""

    name: str
    dims: int
    hash: str
    features: Callable[[Tensor], Tensor]

    @property
    def key(self) -> str:
        """The name as part of a metric's: `digits-pca-20` → `digits_pca_20`."""
        return self.name.replace("-", "_")


def fingerprint(*tensors: Tensor, text: str = "") -> str:
    """SHA-256 of tensors' shapes, dtypes and bytes, and a text."""
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def principal(name: str, examples: Tensor, dims: int) -> Extractor:
    """Projection on the `dims` leading principal directions of examples (rows, …), centered with their mean, not whitened.

    The hash is that of the examples: the directions' signs are the linear-algebra library's, and no distance depends on them.
    """
    rows = examples.flatten(1).double()
    mean = rows.mean(dim=0)
    directions = torch.linalg.svd(rows - mean, full_matrices=False).Vh[:dims].T
    found = fingerprint(examples, text=f"principal {dims}")
    return Extractor(name, dims, found, lambda x: (x.flatten(1).double() - mean) @ directions)


def coordinates(name: str, dims: int) -> Extractor:
    """The examples themselves, flattened: for points of a plane."""
    return Extractor(name, dims, fingerprint(text=f"coordinates {dims}"), lambda x: x.flatten(1).double())
