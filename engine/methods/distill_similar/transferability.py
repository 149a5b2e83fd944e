"""How well a model that was trained for another task suits a target task, from its features or outputs on a few labeled target rows.

All scores are higher for a better source, except that nothing is said about their scale: `parc`, `rsa` lie in −100…100, `knn` in 0…100,
`leep` and `nce` are at most 0, `h_score` is at least 0. Everything is computed in float64. n rows, d features, C target classes, C_s classes
of the source.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.utils.extmath import svd_flip

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

TINY = 1e-12
NCE_EPSILON = 1e-5


def standardized(features: Array) -> Array:
    """Columns of (n, d) with mean 0 and population standard deviation 1; constant columns become 0."""
    centered = features - features.mean(axis=0)
    deviation = features.std(axis=0)
    # A column of one repeated number has the deviation of its rounding, not 0.
    constant = deviation <= TINY * np.maximum(1.0, np.abs(features).max(axis=0))
    scaled: Array = np.where(constant, 0.0, centered / np.where(constant, 1.0, deviation))
    return scaled


def principal(features: Array, dims: int) -> Array:
    """(n, d) in at most `dims` principal components, (n, min(dims, n, d)), by the exact decomposition.

    Signs are scikit-learn's: in each component the largest loading is positive. A correlation of rows depends on them.
    """
    centered = features - features.mean(axis=0)
    left, scale, right = np.linalg.svd(centered, full_matrices=False)
    left, _ = svd_flip(left, right, u_based_decision=False)
    kept: Array = (left * scale)[:, :dims]
    return kept


def dissimilarity(features: Array) -> Array:
    """1 − correlation of each two rows of (n, d) → (n, n), 0…2. A row without spread (std below 1e-12) is at distance 1 from all."""
    centered = features - features.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centered, axis=1)
    flat = length / np.sqrt(features.shape[1]) < TINY
    unit = centered / np.where(flat, 1.0, length)[:, None]
    distance: Array = 1.0 - unit @ unit.T
    distance[flat, :] = 1.0
    distance[:, flat] = 1.0
    return distance


def parc(features: Array, labels: Labels, *, dims: int | None = None) -> float:
    """Pairwise Annotation Representation Comparison: Bolya et al. (2021), arXiv:2111.06977, section 4, with exact ties.

    100 times Spearman's correlation of the rows' distances in feature space with whether their classes differ, over all pairs; features
    (n, d), labels (n,). Columns are standardized and then, with `dims`, projected on at most so many principal components. The published code
    standardizes the components instead, which makes the last one, mere noise, count as much as the first. It also ranks floating-point
    distances of one-hot labels, whose equal entries differ in the last bit: its value changes when classes are renamed.

    Raises ValueError when fewer than two classes have two rows.
    """
    check_probe(labels)
    scaled = standardized(features)
    if dims is not None:
        scaled = principal(scaled, dims)
    return _spearman(dissimilarity(scaled), labels[:, None] != labels[None, :])


def rsa(features: Array, reference: Array) -> float:
    """Representation similarity analysis: Dwivedi & Roig (2019), arXiv:1904.11740: `parc` with the distances of a model of the target task in
    place of the labels; features (n, d) and reference (n, e) of the same rows. −100…100."""
    return _spearman(dissimilarity(standardized(features)), dissimilarity(standardized(reference)))


def knn(features: Array, labels: Labels) -> float:
    """100 times the leave-one-out accuracy of the nearest neighbor by Euclidean distance; of equally near ones the first row counts."""
    squares = (features**2).sum(axis=1)
    distance = np.round(squares[:, None] + squares[None, :] - 2 * features @ features.T, 10)
    np.fill_diagonal(distance, np.inf)
    return float(100 * (labels[distance.argmin(axis=1)] == labels).mean())


def leep(probs: Array, labels: Labels) -> float:
    """Log Expected Empirical Prediction: Nguyen et al. (2020), arXiv:2002.12462, equation 2; probs (n, C_s) of the source. At most 0, in nats."""
    joint = _one_hot(labels).T @ probs
    given_source = joint / np.maximum(joint.sum(axis=0, keepdims=True), np.finfo(np.float64).tiny)
    expected = (probs * given_source[labels_from_zero(labels)]).sum(axis=1)
    return float(np.log(expected).mean())


def nce(probs: Array, labels: Labels) -> float:
    """Negative conditional entropy of the labels given the source's choices: Tran et al. (2019), arXiv:1908.08142; probs (n, C_s).

    Σ (P(y,z) + ε) log[(P(y,z) + ε) / (P(z) + ε)] over all C·C_s cells with ε = 1e-5, as in the code of PARC: at most about 0, in nats.
    """
    chosen = np.eye(probs.shape[1])[probs.argmax(axis=1)]
    joint = _one_hot(labels).T @ chosen / len(labels)
    marginal = joint.sum(axis=0, keepdims=True)
    return float(((joint + NCE_EPSILON) * np.log((joint + NCE_EPSILON) / (marginal + NCE_EPSILON))).sum())


def h_score(features: Array, labels: Labels) -> float:
    """tr(cov(F)⁺ cov(F̄)): Bao et al. (2019); F (n, d) standardized, F̄ with each row replaced by its class's mean. At least 0."""
    scaled = standardized(features)
    membership = _one_hot(labels)
    means = membership @ ((membership.T @ scaled) / membership.sum(axis=0)[:, None])
    return float(np.trace(np.linalg.pinv(_covariance(scaled), rcond=1e-10, hermitian=True) @ _covariance(means)))


def check_probe(labels: Labels) -> None:
    """Raises ValueError, naming the counts, when fewer than two classes have at least two rows: then no pair says anything of likeness."""
    classes, counts = np.unique(labels, return_counts=True)
    if (counts >= 2).sum() < 2:
        found = ", ".join(f"{count} of class {name}" for name, count in zip(classes, counts, strict=True)) or "none"
        raise ValueError(f"needs at least two classes with at least two labeled rows each; got {found}")


def stratified(labels: Labels, rows: int) -> NDArray[np.int64]:
    """At most `rows` row numbers, sorted, in which each class has its share of labels (n,); the first rows of each class."""
    if len(labels) <= rows:
        return np.arange(len(labels))
    place = np.empty(len(labels))
    for name in np.unique(labels):
        mine = np.flatnonzero(labels == name)
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return np.sort(np.argsort(place, kind="stable")[:rows])


def interval(score: Callable[[NDArray[np.int64]], float], labels: Labels, *, resamples: int, seed: int) -> tuple[float, float] | None:
    """The 95 % bootstrap interval over rows of `score(rows)`. A row that was drawn twice counts once: its copies would be a pair at distance 0.

    Draws without two classes of two rows are left out; None where nothing is left.
    """
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        rows = np.unique(generator.integers(len(labels), size=len(labels)))
        if (np.unique(labels[rows], return_counts=True)[1] >= 2).sum() >= 2:
            found.append(score(rows))
    if not found:
        return None
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def labels_from_zero(labels: Labels) -> Labels:
    """The same classes, numbered 0, 1, … in their order."""
    numbered: Labels = np.unique(labels, return_inverse=True)[1]
    return numbered


def _one_hot(labels: Labels) -> Array:
    numbered = labels_from_zero(labels)
    encoded: Array = np.eye(numbered.max() + 1)[numbered]
    return encoded


def _covariance(values: Array) -> Array:
    found: Array = np.atleast_2d(np.cov(values, rowvar=False))
    return found


def _spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """100 times Spearman's ρ of the strict upper triangles, ties with their average rank; 0 where one of them is constant."""
    above = np.triu_indices(len(first), k=1)
    a, b = (rankdata(np.round(matrix[above].astype(np.float64), 10)) for matrix in (first, second))
    a, b = a - a.mean(), b - b.mean()
    length = np.sqrt((a @ a) * (b @ b))
    return float(100 * (a @ b) / length) if length > 0 else 0.0
