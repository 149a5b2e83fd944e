"""How similar each source is to the target task, and what weight it gets for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from engine.methods.distill_similar import transferability as scores

Interval = tuple[float, float]


@dataclass(frozen=True)
class Probe:
    """What one source makes of the labeled rows: features (n, d), logits (n, C_s), labels (n,), and for `rsa` the features (n, e) of a model
    of the target task. All in float64."""

    features: NDArray[np.float64]
    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    reference: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, features: Tensor, logits: Tensor, labels: Tensor, reference: Tensor | None = None) -> "Probe":
        tensors = (features, logits, reference)
        first, second, third = (None if each is None else each.detach().cpu().double().numpy() for each in tensors)
        assert first is not None and second is not None
        return cls(first, second, labels.cpu().numpy(), third)

    def rows(self, chosen: NDArray[np.int64]) -> "Probe":
        reference = None if self.reference is None else self.reference[chosen]
        return Probe(self.features[chosen], self.logits[chosen], self.labels[chosen], reference)


def similarity(measure: str, probe: Probe, *, components: int | None) -> float | None:
    """The score of one of the measures of `transferability`; None for `rsa` without a reference."""
    if measure == "rsa":
        return None if probe.reference is None else scores.rsa(probe.features, probe.reference)
    by_name: dict[str, Callable[[], float]] = {
        "parc": lambda: scores.parc(probe.features, probe.labels, dims=components),
        "knn": lambda: scores.knn(probe.features, probe.labels),
        "leep": lambda: scores.leep(softmax(probe.logits, axis=1), probe.labels),
        "nce": lambda: scores.nce(softmax(probe.logits, axis=1), probe.labels),
        "h-score": lambda: scores.h_score(probe.features, probe.labels),
    }
    return by_name[measure]()


MEASURES = ("parc", "rsa", "knn", "leep", "nce", "h-score")


def measured(probe: Probe, *, chosen: str, components: int | None, resamples: int, seed: int) -> dict[str, Any]:
    """Every measure, and the chosen one's 95 % interval under resampling of the labeled rows (None for none).

    A resample is standardized and projected as all rows are, by its own mean, deviation and components.
    """
    found: dict[str, Any] = {name: similarity(name, probe, components=components) for name in MEASURES}

    def score(rows: NDArray[np.int64]) -> float:
        return similarity(chosen, probe.rows(rows), components=components) or 0.0

    found["interval"] = scores.interval(score, probe.labels, resamples=resamples, seed=seed) if resamples else None
    return found


def weights_of(similarities: Sequence[float], *, power: float | None, least: float = 0.0) -> list[float]:
    """α_s = 1(e_s > 0)·e_s^p / Σ_j 1(e_j > 0)·e_j^p, with a sum of 1; `power` None for all of it to the largest e_s, the first of equal ones.

    Where no similarity is positive, that one gets all as well. Weights below `least` become 0 and the others are divided by their sum; where
    all are below it, the largest stay.
    """
    e = np.array(similarities, dtype=np.float64)
    if power is None or e.max() <= 0:
        alpha = np.zeros(len(e))
        alpha[e.argmax()] = 1.0
        return [float(each) for each in alpha]
    alpha = np.where(e > 0, np.maximum(e, 0.0) / e.max(), 0.0)
    alpha = np.where(e > 0, alpha**power, 0.0)
    alpha /= alpha.sum()
    alpha[alpha < min(least, alpha.max())] = 0.0
    return [float(each) for each in alpha / alpha.sum()]


def ranks(similarities: Sequence[float]) -> list[int]:
    """1 for the largest; of equal ones the first comes first."""
    order = sorted(range(len(similarities)), key=lambda source: -similarities[source])
    return [order.index(source) + 1 for source in range(len(similarities))]
