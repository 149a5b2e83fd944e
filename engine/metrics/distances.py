"""How far samples are from real examples, from features of both, in float64. Heusel et al. (2017), arXiv:1706.08500; Bińkowski et al. (2018),
arXiv:1801.01401; Kynkäänniemi et al. (2019), arXiv:1904.06991; Naeem et al. (2020), arXiv:2002.09797.

A distance depends on what the features are and on how many rows there are: compare only numbers of one extractor and equal numbers of rows.
All functions take features (rows, dims); ValueError names the argument that has too few rows or is not finite.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean (dims,) and covariance (dims, dims), divisor n − 1, of features; float64."""

    mean: Tensor
    covariance: Tensor

    @cached_property
    def root(self) -> Tensor:
        """C^½, (dims, dims), symmetric; eigenvalues below 0 are rounding."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        return root


def moments(features: Tensor, name: str = "features") -> Moments:
    """The first two moments of features (rows ≥ 2, dims)."""
    rows = _checked(features, name, at_least=2)
    mean = rows.mean(dim=0)
    centered = rows - mean
    return Moments(mean, centered.T @ centered / (len(rows) - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """FID: |μ₁ − μ₂|² + tr C₁ + tr C₂ − 2·tr (C₁C₂)^½, with no matrix square root of a product that isn't symmetric.

    tr (C₁C₂)^½ = Σ √λ of A·C₂·A with A = C₁^½, whose eigenvalues are real; those below 0 are rounding. A is found once for `first`.
    """
    overlap = torch.linalg.eigvalsh(first.root @ second.covariance @ first.root).clamp(min=0).sqrt().sum()
    gap = (first.mean - second.mean).square().sum()
    return float(gap + first.covariance.trace() + second.covariance.trace() - 2 * overlap)


def fid(real: Tensor, fake: Tensor) -> float:
    """The Fréchet distance of Gaussians fitted to real (rows, dims) and fake (rows, dims) features; rows should exceed dims."""
    return frechet_distance(moments(real, "real"), moments(fake, "fake"))


def kid(real: Tensor, fake: Tensor) -> float:
    """The unbiased squared MMD under k(a, b) = (a·b / dims + 1)³. It may be negative, and is for two equal sets."""
    real, fake = _checked(real, "real", at_least=2), _checked(fake, "fake", at_least=2)
    return float(_squared_mmd(real, fake))


def kid_of_subsets(real: Tensor, fake: Tensor, *, size: int, count: int, generator: torch.Generator) -> tuple[float, float]:
    """Mean and standard deviation (divisor n) of `kid` over `count` pairs of random subsets of `size` rows, drawn without replacement."""
    real, fake = _checked(real, "real", at_least=size), _checked(fake, "fake", at_least=size)
    values = []
    for _ in range(count):
        r = real[torch.randperm(len(real), generator=generator)[:size].to(real.device)]
        f = fake[torch.randperm(len(fake), generator=generator)[:size].to(fake.device)]
        values.append(_squared_mmd(r, f))
    found = torch.stack(values)
    return float(found.mean()), float(found.std(correction=0))


def _squared_mmd(real: Tensor, fake: Tensor) -> Tensor:
    return _off_diagonal_mean(_cubic(real, real)) + _off_diagonal_mean(_cubic(fake, fake)) - 2 * _cubic(real, fake).mean()


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    base = a @ b.T / a.shape[1] + 1
    return base * base * base


def _off_diagonal_mean(kernel: Tensor) -> Tensor:
    rows = len(kernel)
    return (kernel.sum() - kernel.trace()) / (rows * (rows - 1))


@dataclass(frozen=True)
class Neighborhoods:
    """precision: share of fakes inside any real ball; recall: share of reals inside any fake ball; density: mean number of real balls around
    a fake, over k; coverage: share of reals with a fake inside their own ball. A ball reaches to the k-th neighbor of its own set, its border
    included."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class InnerDistances:
    """What the distances within one set say, which needs no other set: `radii` (rows,), the distance of each row to its k-th neighbor, itself
    excluded, and `mean`, that of all pairs of different rows. Float64."""

    radii: Tensor
    mean: Tensor


def within(features: Tensor, *, k: int = 5, name: str = "features") -> InnerDistances:
    """From features (rows > k, dims). Of a set that many others are held against it is found once."""
    rows = _checked(features, name, at_least=max(k + 1, 2))
    distances = _pairwise(rows, rows)
    mean = _off_diagonal_mean(distances)
    return InnerDistances(_kth_smallest(distances.fill_diagonal_(0), k), mean)


@dataclass(frozen=True)
class Closeness:
    """How close two sets are, by the distances of their rows: see `neighborhoods`, `energy_distance` and `nearest_distance`."""

    neighborhoods: Neighborhoods
    energy_distance: float
    nearest_distance: float


def closeness(real: Tensor, fake: Tensor, *, k: int = 5, within_real: InnerDistances | None = None) -> Closeness:
    """All that is found from one table of distances of real (rows > k, dims) to fake (rows > k, dims). `within_real` is `within(real, k=k)` where
    it is known already."""
    of_real = within(real, k=k, name="real") if within_real is None else within_real
    of_fake = within(fake, k=k, name="fake")
    between = _pairwise(_checked(real, "real", at_least=k + 1), _checked(fake, "fake", at_least=k + 1))
    return Closeness(
        neighborhoods=_neighborhoods(between, of_real.radii, of_fake.radii, k),
        energy_distance=float(2 * between.mean() - of_real.mean - of_fake.mean),
        nearest_distance=float(between.amin(dim=0).mean()),
    )


def neighborhoods(real: Tensor, fake: Tensor, *, k: int = 5) -> Neighborhoods:
    """Precision and recall (Kynkäänniemi et al.), density and coverage (Naeem et al.) of real (rows > k, dims), fake (rows > k, dims)."""
    return closeness(real, fake, k=k).neighborhoods


def _neighborhoods(between: Tensor, real_radius: Tensor, fake_radius: Tensor, k: int) -> Neighborhoods:
    balls = (between <= real_radius[:, None]).sum(dim=0)  # how many real ones each fake is in
    return Neighborhoods(
        precision=float((balls > 0).double().mean()),
        recall=float((between <= fake_radius[None, :]).any(dim=1).double().mean()),
        density=float(balls.double().mean() / k),
        coverage=float((between.amin(dim=1) <= real_radius).double().mean()),
    )


def _kth_smallest(distances: Tensor, k: int) -> Tensor:
    """The k-th of each row, (rows,), counting from 0: with 0 on the diagonal that is the k-th neighbor."""
    return distances.topk(k + 1, dim=1, largest=False).values[:, k]


def energy_distance(real: Tensor, fake: Tensor) -> float:
    """2·E|X − Y| − E|X − X'| − E|Y − Y'| over all pairs of different rows: 0 for equal distributions. Székely & Rizzo (2013)."""
    real, fake = _checked(real, "real", at_least=2), _checked(fake, "fake", at_least=2)
    return float(2 * _pairwise(real, fake).mean() - _off_diagonal_mean(_pairwise(real, real)) - _off_diagonal_mean(_pairwise(fake, fake)))


def nearest_distance(real: Tensor, fake: Tensor) -> float:
    """The mean distance of a fake row to the nearest real one: how far samples are off the data."""
    real, fake = _checked(real, "real", at_least=1), _checked(fake, "fake", at_least=1)
    return float(_pairwise(fake, real).amin(dim=1).mean())


def spread_within(features: Tensor, labels: Tensor | None) -> float:
    """Diversity: the mean Euclidean distance of two rows of one class, averaged over the classes that have two; over all rows without labels."""
    rows = _checked(features, "features", at_least=2)
    groups = [rows] if labels is None else [rows[labels == label] for label in labels.unique()]
    means = [_off_diagonal_mean(_pairwise(group, group).fill_diagonal_(0)) for group in groups if len(group) > 1]
    if not means:
        raise ValueError("features must have two rows of some class; every row has a label of its own.")
    return float(torch.stack(means).mean())


def _pairwise(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist_if_necessary")


def _checked(features: Tensor, name: str, *, at_least: int) -> Tensor:
    if features.dim() != 2 or len(features) < at_least:
        raise ValueError(f"{name} must have 2 axes and at least {at_least} rows; got shape {tuple(features.shape)}.")
    if not features.isfinite().all():
        raise ValueError(f"{name} must be finite; some row holds NaN or infinity.")
    return features.double()
