"""The vectorized numbers against slow, obvious ones, and against scikit-learn and torchmetrics where their definitions agree."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error

from engine.metrics.calibration import calibration_report, top_k_accuracy, top_label

SEEDS = range(5)


def classifier(seed: int, rows: int = 400, classes: int = 6):
    """Overconfident logits (rows, classes) and labels (rows,) drawn from the softmax of half of them."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, classes)) * 3
    return logits, np.array([generator.choice(classes, p=row) for row in softmax(logits / 2, axis=1)])


def slow_report(p: list[list[float]], labels: list[int], n_bins: int, closed: str) -> dict[str, float | None]:
    """Every definition as it is written, one row, one bin and one class at a time."""
    n, classes = len(p), len(p[0])
    c = [max(row) for row in p]
    a = [float(row.index(max(row)) == y) for row, y in zip(p, labels, strict=True)]
    edges = np.linspace(0, 1, n_bins + 1).tolist()

    def bin_of(value: float) -> int:
        for m in range(n_bins):
            inside = edges[m] <= value < edges[m + 1] if closed == "left" else edges[m] < value <= edges[m + 1]
            if inside:
                return m
        return 0 if value <= edges[0] else n_bins - 1

    def members(values: list[float]) -> list[list[int]]:
        return [[i for i in range(n) if bin_of(values[i]) == m] for m in range(n_bins)]

    def equal_groups(values: list[float]) -> list[list[int]]:
        return [list(group) for group in np.array_split(sorted(range(n), key=lambda i: values[i]), n_bins)]

    def gap(rows: list[int], hits: list[float], values: list[float]) -> float:
        return abs(math.fsum(hits[i] for i in rows) - math.fsum(values[i] for i in rows)) / len(rows)

    def weighted(groups: list[list[int]], hits: list[float], values: list[float], power: int = 1) -> float:
        return math.fsum(len(rows) / n * gap(rows, hits, values) ** power for rows in groups if rows)

    quantiles = np.interp(np.linspace(0, n, n_bins + 1), np.arange(n), sorted(c))
    adaptive_groups = [[i for i in range(n) if quantiles[m] < c[i] <= quantiles[m + 1]] for m in range(n_bins)]
    hit_of = [[float(y == k) for y in labels] for k in range(classes)]
    p_of = [[row[k] for row in p] for k in range(classes)]
    right = [c[i] for i in range(n) if a[i]]
    wrong = [c[i] for i in range(n) if not a[i]]
    pairs = [(r > w, r == w) for r in right for w in wrong]

    # Risk–coverage: E_before + e_group · j/g inside a group of equal confidence.
    risks, before, done = [], 0.0, 0
    for value in sorted(set(c), reverse=True):
        group = [i for i in range(n) if c[i] == value]
        errors = sum(1 - a[i] for i in group)
        risks += [(before + errors * j / len(group)) / (done + j) for j in range(1, len(group) + 1)]
        before, done = before + errors, done + len(group)
    best = [max(0, i - (n - before)) / i for i in range(1, n + 1)]

    accuracy = sum(a) / n
    return {
        "accuracy": accuracy,
        "ece": weighted(members(c), a, c),
        "mce": max(gap(rows, a, c) for rows in members(c) if rows),
        "rmsce": math.sqrt(weighted(members(c), a, c, power=2)),
        "ece_equal_mass": weighted(equal_groups(c), a, c),
        "ada_ece": weighted(adaptive_groups, a, c),
        "classwise_ece": math.fsum(weighted(members(p_of[k]), hit_of[k], p_of[k]) for k in range(classes)) / classes,
        "ace": math.fsum(gap(rows, hit_of[k], p_of[k]) for k in range(classes) for rows in equal_groups(p_of[k]) if rows)
        / (classes * n_bins),
        "nll": -math.fsum(math.log(row[y]) for row, y in zip(p, labels, strict=True)) / n,
        "brier": math.fsum((row[k] - (y == k)) ** 2 for row, y in zip(p, labels, strict=True) for k in range(classes)) / n,
        "brier_top_label": math.fsum((c[i] - a[i]) ** 2 for i in range(n)) / n,
        "brier_reliability": weighted(members(c), a, c, power=2),
        "brier_resolution": math.fsum(len(rows) / n * (sum(a[i] for i in rows) / len(rows) - accuracy) ** 2 for rows in members(c) if rows),
        "brier_uncertainty": accuracy * (1 - accuracy),
        "overconfidence_gap": math.fsum(c) / n - accuracy,
        "auroc": sum(above + equal / 2 for above, equal in pairs) / len(pairs) if pairs else None,
        "spr": sum(above for above, _ in pairs) / len(pairs) if pairs else 0.0,
        "aurc": math.fsum(risks) / n,
        "e_aurc": math.fsum(risks) / n - math.fsum(best) / n,
    }


@settings(max_examples=60)
@given(st.data(), st.integers(1, 40), st.integers(2, 5), st.integers(1, 16), st.sampled_from(["left", "right"]))
def test_every_number_equals_its_definition_written_out(data, rows, classes, n_bins, closed):
    # Logits on a coarse grid, so that rows, and classes within a row, often tie.
    grid = st.integers(-8, 8).map(lambda k: k / 2)
    logits = np.array(data.draw(st.lists(st.lists(grid, min_size=classes, max_size=classes), min_size=rows, max_size=rows)))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))

    report = calibration_report(logits, labels, n_bins=n_bins, closed=closed)
    # The same probabilities to the last bit: with ½ and ⅓ among them, one bit decides on a bin.
    slow = slow_report(np.exp(log_softmax(logits, axis=1)).tolist(), labels, n_bins, closed)

    for name, expected in slow.items():
        assert report[name] == (None if expected is None else pytest.approx(expected, abs=1e-9)), name


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("norm", "name"), [("l1", "ece"), ("max", "mce"), ("l2", "rmsce")])
def test_binned_errors_agree_with_torchmetrics(seed: int, norm: str, name: str):
    logits, labels = classifier(seed)

    report = calibration_report(logits, labels)
    theirs = multiclass_calibration_error(
        torch.from_numpy(softmax(logits, axis=1)), torch.from_numpy(labels), num_classes=6, n_bins=15, norm=norm
    )

    # Their arithmetic is float32.
    assert report[name] == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_agree_with_scikit_learn(seed: int):
    logits, labels = classifier(seed)
    p = softmax(logits, axis=1)
    confidence, correct = top_label(logits, labels)

    report = calibration_report(logits, labels)

    assert report["accuracy"] == accuracy_score(labels, p.argmax(axis=1))
    assert report["nll"] == pytest.approx(log_loss(labels, p, labels=range(6)), abs=1e-12)
    assert report["brier"] == pytest.approx(brier_score_loss(labels, p, labels=range(6), scale_by_half=False), abs=1e-12)
    assert report["brier_top_label"] == pytest.approx(brier_score_loss(correct, confidence), abs=1e-12)
    assert report["auroc"] == pytest.approx(roc_auc_score(correct, confidence), abs=1e-12)
    assert top_k_accuracy(logits, labels, 3) == pytest.approx(top_k_accuracy_score(labels, p, k=3, labels=range(6)), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_auroc_agrees_with_scikit_learn_where_confidences_tie(seed: int):
    generator = np.random.default_rng(seed)
    confidence, correct = generator.integers(0, 6, 200) / 5, generator.integers(0, 2, 200)

    report = calibration_report(confidence=confidence, correct=correct)

    assert report["auroc"] == pytest.approx(roc_auc_score(correct, confidence), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_bins_closed_on_the_right_agree_with_scikit_learns_calibration_curve(seed: int):
    generator = np.random.default_rng(seed)
    confidence, correct = generator.integers(0, 21, 200) / 20, generator.integers(0, 2, 200)

    report = calibration_report(confidence=confidence, correct=correct, n_bins=10, closed="right")
    accuracies, confidences = calibration_curve(correct, confidence, n_bins=10)

    filled = [entry for entry in report["reliability_diagram"] if entry["count"]]
    assert [entry["acc"] for entry in filled] == pytest.approx(accuracies, abs=1e-12)
    assert [entry["conf"] for entry in filled] == pytest.approx(confidences, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_aurc_is_that_of_the_ps_kd_code_where_no_confidences_tie(seed: int):
    # Its convention: sort by confidence, running error rate, mean × 1000; best = (1/n) Σ_{j=1}^{m} j/(n − m + j).
    logits, labels = classifier(seed)
    confidence, correct = top_label(logits, labels)
    wrong = (1 - correct)[np.argsort(-confidence)]
    aurc = np.mean([wrong[:i].sum() / i for i in range(1, len(wrong) + 1)])
    n, m = len(wrong), int(wrong.sum())
    best = sum(j / (n - m + j) for j in range(1, m + 1)) / n

    report = calibration_report(logits, labels)

    assert 1000 * report["aurc"] == pytest.approx(1000 * aurc, abs=1e-9)
    assert 1000 * report["e_aurc"] == pytest.approx(1000 * (aurc - best), abs=1e-9)
