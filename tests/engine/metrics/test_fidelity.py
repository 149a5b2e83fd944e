"""Fidelity of a student to its teacher."""

import json
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from engine.metrics import fidelity
from engine.metrics.fidelity import fidelity_report, gap_closed, kendall_tau, rowwise_kl


def test_kl_goes_from_the_teacher_to_the_student_and_back():
    # Teacher (¾, ¼), student (½, ½): ¾ ln 1.5 + ¼ ln ½ = .1308; the other way ½ ln ⅔ + ½ ln 2 = .1438.
    report = fidelity_report(student_logits=[[0.0, 0.0]], teacher_logits=[[math.log(3), 0.0]])

    assert report["kl_teacher_student"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-12)
    assert report["kl_student_teacher"] == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2), abs=1e-12)


def test_kl_of_each_row_is_not_averaged():
    kl = rowwise_kl(student_logits=[[0.0, 0.0], [1.0, 2.0]], teacher_logits=[[math.log(3), 0.0], [1.0, 2.0]])

    assert kl == pytest.approx([0.75 * math.log(1.5) + 0.25 * math.log(0.5), 0], abs=1e-12)


def test_every_row_is_counted_in_one_of_four_shares():
    # Choices of the student 0 0 1 1 1, of the teacher 0 1 0 1 0, labels 0 1 1 0 2.
    student = [[1.0, 0, -1], [1.0, 0, -1], [0, 1.0, -1], [0, 1.0, -1], [0, 1.0, -1]]
    teacher = [[1.0, 0, -1], [0, 1.0, -1], [1.0, 0, -1], [0, 1.0, -1], [1.0, 0, -1]]

    report = fidelity_report(student_logits=student, teacher_logits=teacher, labels=[0, 1, 1, 0, 2])

    assert [report[name] for name in ("both_right", "only_teacher", "only_student", "both_wrong")] == [0.2, 0.2, 0.2, 0.4]
    assert report["agreement"] == 0.4


def test_without_labels_the_four_shares_are_null_and_the_report_is_valid_json():
    report = fidelity_report(student_logits=[[1.0, 0.0]], teacher_logits=[[0.0, 1.0]])

    assert [report[name] for name in ("both_right", "only_teacher", "only_student", "both_wrong")] == [None] * 4
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_copy_of_the_teacher_is_perfectly_faithful_whatever_constant_its_logits_are_shifted_by():
    teacher = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))

    report = fidelity_report(student_logits=teacher + 3, teacher_logits=teacher)

    assert report["agreement"] == 1
    assert report["kl_teacher_student"] == pytest.approx(0, abs=1e-12)
    assert report["kendall_tau"] == 1


def test_kendall_tau_counts_the_pairs_in_order():
    # Student 1 < 2 < 3, teacher 1 < 3 < 2: of three pairs two agree and one does not.
    assert kendall_tau(student_logits=[[1.0, 2.0, 3.0]], teacher_logits=[[1.0, 3.0, 2.0]]) == pytest.approx(1 / 3)


@given(st.integers(1, 12), st.integers(2, 6), st.integers(0, 2**32))
def test_kendall_tau_is_the_mean_of_scipys_over_the_rows_that_have_one(rows: int, classes: int, seed: int):
    generator = np.random.default_rng(seed)
    student, teacher = generator.integers(0, 4, (rows, classes)) / 2, generator.integers(0, 4, (rows, classes)) / 2
    theirs = [kendalltau(s, t).statistic for s, t in zip(student, teacher, strict=True)]
    defined = [tau for tau in theirs if not math.isnan(tau)]

    ours = kendall_tau(student_logits=student, teacher_logits=teacher)

    assert ours == (pytest.approx(np.mean(defined), abs=1e-12) if defined else None)


def test_many_rows_are_compared_in_pieces_with_the_same_result():
    # 1,999,000 pairs of 2,000 classes: two rows fill a piece, so five rows take three.
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(5, 2000)), generator.normal(size=(5, 2000))
    assert 2 * 1_999_000 <= fidelity.PAIRS_AT_ONCE < 3 * 1_999_000

    ours = kendall_tau(student_logits=student, teacher_logits=teacher)

    assert ours == pytest.approx(np.mean(kendalltau(student, teacher, axis=1).statistic), abs=1e-12)


def test_rows_with_equal_logits_everywhere_have_no_order_to_agree_on():
    assert kendall_tau(student_logits=[[1.0, 1.0]], teacher_logits=[[0.0, 2.0]]) is None


@given(st.integers(0, 2**32), st.sampled_from([0.1, 1.0, 30.0, 1000.0]))
def test_divergences_are_never_negative_and_shares_sum_to_one(seed: int, scale: float):
    generator = np.random.default_rng(seed)
    student, teacher = generator.normal(size=(2, 20, 4)) * scale

    report = fidelity_report(student_logits=student, teacher_logits=teacher, labels=generator.integers(0, 4, 20))

    assert report["kl_teacher_student"] >= 0
    assert report["kl_student_teacher"] >= 0
    assert sum(report[name] for name in ("both_right", "only_teacher", "only_student", "both_wrong")) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("student", "teacher", "baseline", "expected"),
    [
        (0.92, 0.97, 0.90, 2 / 7),
        (0.88, 0.97, 0.90, -2 / 7),
        (0.98, 0.97, 0.90, 8 / 7),
        (0.92, 0.904, 0.90, None),
        (0.92, 0.85, 0.90, None),
    ],
)
def test_gap_closed_is_the_share_of_the_way_to_the_teacher_and_null_without_a_way(student, teacher, baseline, expected):
    closed = gap_closed(student=student, teacher=teacher, baseline=baseline)

    assert closed == (None if expected is None else pytest.approx(expected))


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=re.escape("student_logits and teacher_logits must have the same shape; got (3, 2) and (3, 4).")):
        fidelity_report(student_logits=np.zeros((3, 2)), teacher_logits=np.zeros((3, 4)))


def test_a_teacher_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match=re.escape("teacher_logits must be finite; row 0 holds NaN or infinity.")):
        fidelity_report(student_logits=np.zeros((1, 2)), teacher_logits=[[math.inf, 0.0]])
