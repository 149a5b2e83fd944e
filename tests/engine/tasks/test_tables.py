"""The tables behind an evaluation's pictures, against slow versions: what is counted, where curves are cut, and which rows are shown."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.metrics.calibration import calibration_report
from engine.tasks import tables

EYE = torch.eye(3)


def drawn(rows: int, classes: int = 3, *, seed: int = 0, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (rows,), generator=generator)


@pytest.mark.parametrize(("rows", "points"), [(1, 1), (2, 2), (199, 199), (200, 200), (201, 200), (1000, 200)])
def test_a_curve_has_at_most_200_points_and_both_its_ends(rows: int, points: int) -> None:
    report = calibration_report(*drawn(rows))

    table = tables.risk_coverage(report, split="test")

    whole = report["risk_coverage"]
    assert len(table["coverage"]) == len(table["risk"]) == len(table["best"]) == points
    assert (table["coverage"][0], table["coverage"][-1]) == (1 / rows, 1.0)
    assert (table["risk"][0], table["risk"][-1]) == (whole["risk"][0], whole["risk"][-1])
    gaps = [round(rows * (later - earlier)) for earlier, later in zip(table["coverage"], table["coverage"][1:], strict=False)]
    assert not gaps or max(gaps) - min(gaps) <= 1


@given(st.integers(1, 300), st.integers(0, 5))
def test_no_order_is_better_than_the_best_and_a_random_one_errs_alike_everywhere(rows: int, seed: int) -> None:
    logits, labels = drawn(rows, seed=seed)
    errors = int((logits.argmax(dim=1) != labels).sum())

    table = tables.risk_coverage(calibration_report(logits, labels), split="test")

    for coverage, risk, best in zip(table["coverage"], table["risk"], table["best"], strict=True):
        answered = round(coverage * rows)
        assert best == pytest.approx(max(0, answered - (rows - errors)) / answered)
        assert best <= risk + 1e-12
    assert table["best"][-1] == pytest.approx(table["risk"][-1]) == pytest.approx(table["random"]) == errors / rows


def test_right_and_wrong_answers_are_counted_apart_by_their_confidence() -> None:
    logits = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [60.0, 0.0], [0.0, 60.0], [21.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 0, 1, 0])  # confidences of ½, 0.953 twice, 1 twice, and a little less than 1

    table = tables.confidence_histogram(logits, labels, split="test", n_bins=4)

    assert table["edges"] == [0, 0.25, 0.5, 0.75, 1]
    assert (table["right"], table["wrong"]) == ([0, 0, 1, 4], [0, 0, 0, 1])
    assert table["saturated"] == 2 / 6
    assert (table["n"], table["n_bins"], table["split"], table["temperature"]) == (6, 4, "test", 1.0)


@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 5))
def test_a_cell_of_the_confusion_counts_the_rows_of_its_class_that_were_taken_for_the_other(rows: int, classes: int, seed: int) -> None:
    logits, labels = drawn(rows, classes, seed=seed)

    table = tables.confusion(logits, labels, split="validation")

    slow = [[0] * classes for _ in range(classes)]
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        slow[label][row.index(max(row))] += 1
    assert table == {"n": rows, "split": "validation", "classes": classes, "counts": slow}


def test_the_largest_disagreements_come_first_and_equal_ones_in_the_order_of_the_rows() -> None:
    strengths = torch.tensor([0.0, 4.0, 1.0, 4.0, 0.0, 2.0] * 5, dtype=torch.float64)
    teacher = strengths[:, None] * EYE[[0] * 30]

    table = tables.disagreements(
        student_logits=torch.zeros(30, 3, dtype=torch.float64),
        teacher_logits=teacher,
        labels=torch.tensor([2, 0, 1, 2, 1, 0] * 5),
        split="test",
    )

    by_strength = [row for strength in (4, 2, 1) for row in range(30) if strengths[row] == strength]
    assert [row["index"] for row in table["rows"]] == by_strength
    assert [row["label"] for row in table["rows"][:4]] == [0, 2, 0, 2]
    first = table["rows"][0]
    assert first["student"] == pytest.approx([1 / 3] * 3)
    assert first["teacher"] == pytest.approx(torch.tensor([4.0, 0, 0]).softmax(dim=0).tolist())
    assert first["kl"] == pytest.approx(sum(p * torch.tensor(3 * p).log().item() for p in first["teacher"]))


def test_of_many_rows_the_twenty_that_differ_most_are_shown() -> None:
    student, labels = drawn(50)
    teacher, _ = drawn(50, seed=1)
    kl = (teacher.softmax(dim=1) * (teacher.log_softmax(dim=1) - student.log_softmax(dim=1))).sum(dim=1)

    table = tables.disagreements(student_logits=student.float(), teacher_logits=teacher.float(), labels=labels, split="test")

    assert [row["index"] for row in table["rows"]] == kl.sort(descending=True).indices[:20].tolist()
    assert table["n"] == 50
    json.dumps(table, allow_nan=False)


def test_a_reliability_table_says_how_it_was_made() -> None:
    report = calibration_report(*drawn(30), n_bins=7, closed="right", temperature=2.5)

    table = tables.reliability(report, split="validation")

    assert {name: table[name] for name in ("n", "n_bins", "closed", "split", "temperature")} == {
        "n": 30,
        "n_bins": 7,
        "closed": "right",
        "split": "validation",
        "temperature": 2.5,
    }
    assert {name: table[name] for name in ("accuracy", "ece", "mce", "overconfidence_gap")} == {
        name: report[name] for name in ("accuracy", "ece", "mce", "overconfidence_gap")
    }
    assert sum(entry["count"] for entry in table["bins"]) == 30
