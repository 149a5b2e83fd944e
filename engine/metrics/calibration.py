"""How well a classifier's confidence matches how often it is right: one definition for each number on every page.

Notation: N rows, K classes, logits z (N, K), p = softmax(z / temperature) in float64, ŷ = argmax p (the lowest index wins ties), confidence
c = max p, correctness a = 1[ŷ = y]. A model that states its confidence has c and a but no p. Means are float64; nothing is NaN: what is
undefined is None.

The code of PS-KD reports other conventions: its ECE is `calibration_report(..., n_bins=10, closed="right")["ece"]` × 100, its AURC and
E-AURC are the ones here × 1000 (equal where no confidences tie; ours interpolates inside ties).
"""

from typing import Any, get_args

import numpy as np
from scipy.special import log_softmax

from engine.metrics import binning, selective
from engine.metrics.arrays import FloatArray, IntArray, Rows, confidence_of, correct_of, labels_of, logits_of
from engine.metrics.binning import Closed

COVERAGES = (0.5, 0.8, 0.9)


def calibration_report(
    logits: Rows | None = None,
    labels: Rows | None = None,
    confidence: Rows | None = None,
    correct: Rows | None = None,
    n_bins: int = 15,
    closed: Closed = "left",
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Every calibration and selective-prediction number of one model on one split, JSON-safe.

    Give either logits (N, K), any float dtype, with labels (N,) in 0 … K − 1, or confidence (N,) in [0, 1] with correct (N,) in {0, 1}.
    Logits are divided by `temperature` (> 0) first; with confidences it is only recorded, as the temperature that made them.
    `closed` says which end of an equal-width bin belongs to it.

    Returns the scalars by name, `selective_accuracy` {"0.5", "0.8", "0.9"}, `reliability_diagram` (n_bins entries low, high, count, conf,
    acc) and `risk_coverage` {coverage (N), risk (N)}. From confidences, nll, classwise_ece, ace and brier_top_label are None and brier is
    the binary one.

    Raises ValueError with one sentence for no rows, values that are not finite or out of range, lengths that differ, and both or neither
    form.
    """
    _check_options(n_bins, closed, temperature)
    if (logits is None) != (labels is None) or (confidence is None) != (correct is None) or (logits is None) == (confidence is None):
        raise ValueError("give either logits and labels, or confidence and correct.")

    if logits is not None and labels is not None:
        scores = logits_of(logits)
        targets = labels_of(labels, rows=len(scores), classes=scores.shape[1])
        c, a = top_label(scores, targets, temperature)
        of_form: dict[str, float | None] = _with_probabilities(scores, targets, c, a, n_bins=n_bins, closed=closed, temperature=temperature)
    else:
        assert confidence is not None and correct is not None
        c = confidence_of(confidence)
        a = correct_of(correct, rows=len(c))
        of_form = {"classwise_ece": None, "ace": None, "nll": None, "brier": float(np.mean((c - a) ** 2)), "brier_top_label": None}

    return {
        "accuracy": float(a.mean()),
        **_binned(c, a, n_bins, closed),
        **of_form,
        "overconfidence_gap": float(c.mean() - a.mean()),
        **_selective(c, a),
        "n": len(c),
        "n_bins": n_bins,
        "closed": closed,
        "temperature": float(temperature),
    }


def scalar_metrics(report: dict[str, Any]) -> dict[str, float | None]:
    """The numbers of a report by the names that `engine.metrics.cards` describes; nested ones are flattened (selective_accuracy_50)."""
    names = ["accuracy", "nll", "brier", "ece", "mce", "rmsce", "ece_equal_mass", "ada_ece", "classwise_ece", "ace", "overconfidence_gap"]
    names += ["auroc", "spr", "aurc", "e_aurc", "brier_top_label", "brier_reliability", "brier_resolution", "brier_uncertainty"]
    flat: dict[str, float | None] = {name: report[name] for name in names}
    flat["brier_residual"] = brier_residual(report)
    return flat | {f"selective_accuracy_{round(100 * q)}": report["selective_accuracy"][str(q)] for q in COVERAGES}


def brier_residual(report: dict[str, Any]) -> float:
    """What the binned decomposition leaves of the binary Brier score: Brier − (reliability − resolution + uncertainty).

    Zero exactly when the confidence is constant inside each bin.
    """
    brier = report["brier"] if report["brier_top_label"] is None else report["brier_top_label"]
    return float(brier - (report["brier_reliability"] - report["brier_resolution"] + report["brier_uncertainty"]))


def top_label(logits: Rows, labels: Rows, temperature: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """Confidence and correctness (0 or 1), (N,) each, of logits (N, K) and labels (N,).

    The label is chosen by the logits before the division: dividing can round two of them to the same number, and temperature must not
    change a prediction.
    """
    scores = logits_of(logits)
    targets = labels_of(labels, rows=len(scores), classes=scores.shape[1])
    confidence = np.exp(log_softmax(scores / temperature, axis=1).max(axis=1))
    return confidence, (scores.argmax(axis=1) == targets).astype(np.float64)


def top_k_accuracy(logits: Rows, labels: Rows, k: int) -> float:
    """Share of rows whose label is among the k largest logits; of equal logits the lowest index comes first."""
    scores = logits_of(logits)
    targets = labels_of(labels, rows=len(scores), classes=scores.shape[1])
    of_label = np.take_along_axis(scores, targets[:, None], axis=1)
    before = (scores > of_label) | ((scores == of_label) & (np.arange(scores.shape[1]) < targets[:, None]))
    return float((before.sum(axis=1) < k).mean())


def expected_calibration_error(groups: IntArray, n_bins: int, confidence: FloatArray, correct: FloatArray) -> float:
    """Σ_m (n_m / N) · |acc_m − conf_m| over the bins that `groups` (N,) names; a row in no bin (−1) counts in N alone."""
    inside = groups >= 0
    gaps = np.bincount(groups[inside], weights=(correct - confidence)[inside], minlength=n_bins)
    return float(np.abs(gaps).sum() / len(groups))


def classwise_ece(probabilities: FloatArray, labels: IntArray, n_bins: int = 15, closed: Closed = "left") -> float:
    """(1/K) Σ_k Σ_m (n_mk / N) · |freq_mk − conf_mk|: for each class all rows are binned by that class's probability (Nixon et al. 2019, SCE)."""
    rows, classes = probabilities.shape
    groups = binning.equal_width(probabilities, n_bins, closed) + n_bins * np.arange(classes)
    surplus = _one_hot(labels, classes) - probabilities
    gaps = np.bincount(groups.ravel(), weights=surplus.ravel(), minlength=n_bins * classes)
    return float(np.abs(gaps).sum() / (rows * classes))


def adaptive_classwise_error(probabilities: FloatArray, labels: IntArray, n_groups: int = 15, threshold: float = 0.0) -> float:
    """ACE: 1/(K·R) Σ_k Σ_r |freq_rk − conf_rk| over R equal-mass groups for each class, not weighted by their size (Nixon et al. 2019).

    With `threshold` > 0 only probabilities of at least that much count (TACE); the divisor stays K·R and an empty group counts 0.
    """
    classes = probabilities.shape[1]
    total = 0.0
    for k in range(classes):
        kept = probabilities[:, k] >= threshold
        of_class, hits = probabilities[kept, k], labels[kept] == k
        groups = binning.equal_mass(of_class, n_groups)
        sizes = np.bincount(groups, minlength=n_groups)
        gaps = np.bincount(groups, weights=hits - of_class, minlength=n_groups)
        total += float(np.abs(gaps / np.maximum(sizes, 1)).sum())
    return float(total / (classes * n_groups))


def _check_options(n_bins: int, closed: str, temperature: float) -> None:
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1; got {n_bins}.")
    if closed not in get_args(Closed):
        raise ValueError(f"closed must be left or right; got {closed!r}.")
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be a finite number greater than 0; got {temperature}.")


def _with_probabilities(
    logits: FloatArray, labels: IntArray, c: FloatArray, a: FloatArray, *, n_bins: int, closed: Closed, temperature: float
) -> dict[str, float | None]:
    log_p = log_softmax(logits / temperature, axis=1)
    p = np.exp(log_p)
    return {
        "classwise_ece": classwise_ece(p, labels, n_bins, closed),
        "ace": adaptive_classwise_error(p, labels, n_bins),
        "nll": float(-log_p[np.arange(len(labels)), labels].mean()),
        "brier": float(((p - _one_hot(labels, p.shape[1])) ** 2).sum(axis=1).mean()),
        "brier_top_label": float(np.mean((c - a) ** 2)),
    }


def _binned(c: FloatArray, a: FloatArray, n_bins: int, closed: Closed) -> dict[str, Any]:
    """All that follows from the bins of the top label's confidence, the diagram included."""
    groups = binning.equal_width(c, n_bins, closed)
    count = np.bincount(groups, minlength=n_bins)
    filled = np.maximum(count, 1)
    conf = np.bincount(groups, weights=c, minlength=n_bins) / filled
    acc = np.bincount(groups, weights=a, minlength=n_bins) / filled
    share, gap = count / len(c), np.abs(acc - conf)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    return {
        "ece": float((share * gap).sum()),
        "mce": float(gap.max()),
        "rmsce": float(np.sqrt((share * gap**2).sum())),
        "ece_equal_mass": expected_calibration_error(binning.equal_mass(c, n_bins), n_bins, c, a),
        "ada_ece": expected_calibration_error(binning.adaptive(c, n_bins), n_bins, c, a),
        "brier_reliability": float((share * gap**2).sum()),
        "brier_resolution": float((share * (acc - a.mean()) ** 2).sum()),
        "brier_uncertainty": float(a.mean() * (1 - a.mean())),
        "reliability_diagram": [
            {
                "low": float(edges[m]),
                "high": float(edges[m + 1]),
                "count": int(count[m]),
                "conf": float(conf[m]) if count[m] else None,
                "acc": float(acc[m]) if count[m] else None,
            }
            for m in range(n_bins)
        ],
    }


def _selective(c: FloatArray, a: FloatArray) -> dict[str, Any]:
    coverage, risk = selective.risk_coverage(c, a)
    auroc, spr = selective.ranking(c, a)
    return {
        "auroc": auroc,
        "spr": spr,
        "aurc": float(risk.mean()),
        "e_aurc": selective.excess_aurc(risk, errors=int(len(a) - a.sum())),
        "selective_accuracy": {str(q): selective.accuracy_at(risk, q) for q in COVERAGES},
        "risk_coverage": {"coverage": coverage.tolist(), "risk": risk.tolist()},
    }


def _one_hot(labels: IntArray, classes: int) -> FloatArray:
    hot: FloatArray = (labels[:, None] == np.arange(classes)).astype(np.float64)
    return hot
