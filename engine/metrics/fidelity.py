"""How closely a student follows its teacher, whoever of them is right."""

import numpy as np
from scipy.special import log_softmax

from engine.metrics.arrays import FloatArray, Rows, labels_of, logits_of
from engine.metrics.gap import gap_closed as gap_closed

# Kendall's τ looks at all pairs of classes; this many comparisons are held in memory at once.
PAIRS_AT_ONCE = 4_000_000


def fidelity_report(*, student_logits: Rows, teacher_logits: Rows, labels: Rows | None = None) -> dict[str, float | None]:
    """Fidelity of a student to its teacher on the same rows; logits (N, K) each, labels (N,) in 0 … K − 1, or None.

    agreement: share of rows where both choose the same class, in [0, 1]. kl_teacher_student: mean KL(teacher ‖ student) at temperature 1 in
    nats; kl_student_teacher: the other way. both_right, only_teacher, only_student, both_wrong: shares that sum to 1, None without labels.
    kendall_tau: mean over rows of τ-b between the two rows of logits, None when no row has one.

    Raises ValueError with one sentence when shapes differ, a value is not finite, or there is no row.
    """
    student, teacher = _pair(student_logits, teacher_logits)
    student_log_p, teacher_log_p = log_softmax(student, axis=1), log_softmax(teacher, axis=1)
    student_choice, teacher_choice = student.argmax(axis=1), teacher.argmax(axis=1)
    report: dict[str, float | None] = {
        "agreement": float((student_choice == teacher_choice).mean()),
        "kl_teacher_student": float(_kl(teacher_log_p, student_log_p).mean()),
        "kl_student_teacher": float(_kl(student_log_p, teacher_log_p).mean()),
        "both_right": None,
        "only_teacher": None,
        "only_student": None,
        "both_wrong": None,
        "kendall_tau": kendall_tau(student_logits=student, teacher_logits=teacher),
    }
    if labels is not None:
        targets = labels_of(labels, rows=len(student), classes=student.shape[1])
        student_right, teacher_right = student_choice == targets, teacher_choice == targets
        report["both_right"] = float((student_right & teacher_right).mean())
        report["only_teacher"] = float((~student_right & teacher_right).mean())
        report["only_student"] = float((student_right & ~teacher_right).mean())
        report["both_wrong"] = float((~student_right & ~teacher_right).mean())
    return report


def rowwise_kl(*, student_logits: Rows, teacher_logits: Rows) -> FloatArray:
    """KL(teacher ‖ student) of each row at temperature 1, in nats; logits (N, K) → (N,), at least 0."""
    student, teacher = _pair(student_logits, teacher_logits)
    return _kl(log_softmax(teacher, axis=1), log_softmax(student, axis=1))


def kendall_tau(*, student_logits: Rows, teacher_logits: Rows) -> float | None:
    """Mean over rows of Kendall's τ-b between the classes' order in the student's and in the teacher's logits, in [−1, 1].

    τ-b = Σ sign(Δs)·sign(Δt) / √(Σ sign(Δs)² · Σ sign(Δt)²) over all pairs of classes. A row whose logits are all equal has none and is left
    out; None when no row remains. The same as scipy.stats.kendalltau, which takes a hundred times longer over many short rows.
    """
    student, teacher = _pair(student_logits, teacher_logits)
    first, second = np.triu_indices(student.shape[1], k=1)
    chunk = max(1, PAIRS_AT_ONCE // len(first))
    taus = []
    for start in range(0, len(student), chunk):
        rows = slice(start, start + chunk)
        of_student = np.sign(student[rows, first] - student[rows, second])
        of_teacher = np.sign(teacher[rows, first] - teacher[rows, second])
        untied = np.sqrt(np.square(of_student).sum(axis=1) * np.square(of_teacher).sum(axis=1))
        defined = untied > 0
        taus.append((of_student * of_teacher).sum(axis=1)[defined] / untied[defined])
    values = np.concatenate(taus)
    return float(values.mean()) if len(values) else None


def _pair(student_logits: Rows, teacher_logits: Rows) -> tuple[FloatArray, FloatArray]:
    student, teacher = logits_of(student_logits, "student_logits"), logits_of(teacher_logits, "teacher_logits")
    if student.shape != teacher.shape:
        raise ValueError(f"student_logits and teacher_logits must have the same shape; got {student.shape} and {teacher.shape}.")
    return student, teacher


def _kl(log_p: FloatArray, log_q: FloatArray) -> FloatArray:
    """KL(p ‖ q) of each row; where p underflows to 0 its term is 0. Rounding can't make it negative."""
    divergence: FloatArray = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return np.maximum(divergence, 0.0)
