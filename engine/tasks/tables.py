"""The JSON tables behind an evaluation's pictures. Each says what it was made of: n, split, and n_bins and temperature where they matter."""

from typing import Any

import numpy as np
from torch import Tensor

from engine.metrics.calibration import top_label
from engine.metrics.fidelity import rowwise_kl

CURVE_POINTS = 200
DISAGREEMENTS = 20

Table = dict[str, Any]


def reliability(report: Table, *, split: str) -> Table:
    """The reliability diagram of a calibration report: `bins` of low, high, count, conf and acc (None where empty)."""
    return (
        _facts(report, split)
        | {name: report[name] for name in ("accuracy", "ece", "mce", "overconfidence_gap")}
        | {"bins": report["reliability_diagram"]}
    )


def risk_coverage(report: Table, *, split: str) -> Table:
    """The risk–coverage curve in at most 200 points, evenly spaced in coverage, both ends among them.

    `best` is the curve of the best possible order, all errors last; a random order's is constant, `random`.
    """
    n, curve = report["n"], report["risk_coverage"]
    kept = np.unique(np.linspace(0, n - 1, min(CURVE_POINTS, n)).round().astype(int))
    errors = round(n * (1 - report["accuracy"]))
    best = np.maximum(0, kept + 1 - (n - errors)) / (kept + 1)
    points = {name: [float(curve[name][i]) for i in kept] for name in ("coverage", "risk")}
    return _facts(report, split) | points | {"best": best.tolist(), "random": errors / n, "aurc": report["aurc"]}


def confidence_histogram(logits: Tensor, labels: Tensor, *, split: str, n_bins: int) -> Table:
    """Counts of confidences by equal-width bin, apart for right and wrong answers; logits (rows, classes), labels (rows,).

    `saturated` is the share of rows whose confidence is exactly 1: no order is left among them.
    """
    confidence, correct = top_label(logits, labels)
    edges = np.linspace(0, 1, n_bins + 1)
    right, wrong = (np.histogram(confidence[correct == side], bins=edges)[0].tolist() for side in (1, 0))
    facts = {"n": len(labels), "n_bins": n_bins, "split": split, "temperature": 1.0, "saturated": float((confidence == 1.0).mean())}
    return facts | {"edges": edges.tolist(), "right": right, "wrong": wrong}


def confusion(logits: Tensor, labels: Tensor, *, split: str) -> Table:
    """`counts[i][j]`: rows of class i that were taken for class j. A teacher's choices may stand for the labels (rows,)."""
    classes = logits.shape[1]
    cells = labels * classes + logits.argmax(dim=1)
    counts = cells.bincount(minlength=classes * classes).reshape(classes, classes)
    return {"n": len(labels), "split": split, "classes": classes, "counts": counts.tolist()}


def disagreements(*, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, split: str) -> Table:
    """The 20 rows with the largest KL(teacher ‖ student), largest first: index, label, kl, and both distributions at temperature 1."""
    kl = rowwise_kl(student_logits=student_logits, teacher_logits=teacher_logits)
    student, teacher = student_logits.double().softmax(dim=1), teacher_logits.double().softmax(dim=1)
    rows = [
        {"index": int(i), "label": int(labels[i]), "kl": float(kl[i]), "student": student[i].tolist(), "teacher": teacher[i].tolist()}
        for i in np.argsort(-kl, kind="stable")[:DISAGREEMENTS]
    ]
    return {"n": len(kl), "split": split, "temperature": 1.0, "rows": rows}


def _facts(report: Table, split: str) -> Table:
    return {"n": report["n"], "n_bins": report["n_bins"], "closed": report["closed"], "split": split, "temperature": report["temperature"]}
