"""What an evaluation's page says about numbers that do not mean what they seem to."""

from typing import Any

import pytest

from webapp.runs.models import Evaluation
from webapp.runs.page.scores import Row, scores


def warnings_of(metrics: dict[str, float | None], **tables: Any) -> list[str]:
    evaluation = Evaluation(step=10, subject="student", split="test", final=True, metrics=metrics, tables=tables)
    return scores(evaluation, number=1).warnings


def histogram(saturated: float) -> dict[str, Any]:
    return {"edges": [0, 0.5, 1], "right": [0, 90], "wrong": [5, 5], "saturated": saturated}


def reliability(*bins: tuple[float, float, int]) -> dict[str, Any]:
    """Bins as (confidence, accuracy, count)."""
    entries = [{"low": 0, "high": 1, "count": count, "conf": conf, "acc": acc} for conf, acc, count in bins]
    return {"n": sum(count for _, _, count in bins), "bins": entries}


def test_a_thin_bin_that_carries_the_ece_is_warned_of():
    # Gaps .01 and .9 with 100 and 2 rows: (1 + 1.8)/102; the thin bin carries 1.8 of 2.8.
    table = reliability((0.81, 0.8, 100), (0.9, 0.0, 2))

    found = warnings_of({"accuracy": 0.78, "ece": 2.8 / 102}, reliability=table)

    assert found == ["1 bin with fewer than 10 examples carries more than 5 % of the ECE: read it as rough."]


def test_a_thin_bin_that_carries_little_is_not():
    # Gaps .1 and .1 with 100 and 2 rows: the thin bin carries .2 of 10.2.
    table = reliability((0.9, 0.8, 100), (0.6, 0.5, 2))

    assert warnings_of({"accuracy": 0.79, "ece": 0.1}, reliability=table) == []


def test_confidences_that_are_exactly_one_are_warned_of():
    found = warnings_of({"accuracy": 0.9, "ece": 0.1}, confidence_histogram=histogram(0.02))

    assert found == ["2.0% of the confidences are exactly 1: the model is saturated, and these answers can't be ranked."]


def test_one_saturated_answer_in_a_hundred_is_not():
    assert warnings_of({"accuracy": 0.9, "ece": 0.1}, confidence_histogram=histogram(0.01)) == []


def test_a_model_that_is_always_right_has_no_auroc_and_it_is_said_why():
    found = warnings_of({"accuracy": 1.0, "ece": 0.01, "auroc": None})

    assert found == ["Every answer is right or every answer is wrong, so the AUROC of confidence is undefined."]


def row_of(name: str, metrics: dict[str, float | None], teacher: dict[str, float | None] | None = None, **tables: Any) -> Row:
    about = {"step": 10, "split": "test", "final": True, "tables": tables}
    of_teacher = None if teacher is None else Evaluation(subject="teacher", metrics=teacher, **about)
    shown = scores(Evaluation(subject="student", metrics=metrics, **about), of_teacher, number=1)
    return next(row for row in [*shown.main, *shown.more] if row.card.id == name)


@pytest.mark.parametrize(("side", "value", "words"), [("lower", 0.0497871, "≤ 0.050"), ("upper", 54.59815, "≥ 54.6"), (None, 1.25, "")])
def test_a_temperature_at_a_bound_of_its_search_is_shown_as_a_bound(side: str | None, value: float, words: str):
    number = value if side is None else None

    row = row_of("temperature", {"temperature": number}, reliability_scaled={"bins": [], "temperature": value, "at_bound": side})

    assert (row.student, row.student_bound) == (number, words)


def test_a_latency_says_on_what_it_was_measured():
    row = row_of("latency_ms", {"latency_ms": 0.02}, cost={"device": "CPU, 1 thread"})

    assert row.note == "on CPU, 1 thread"


def test_intervals_that_share_a_value_are_said_to_overlap():
    near, far = ({"ece": value, "ece_low": value - 0.01, "ece_high": value + 0.01} for value in (0.055, 0.09))
    student = {"ece": 0.04, "ece_low": 0.03, "ece_high": 0.05}

    beside_near, beside_far = row_of("ece", student, near), row_of("ece", student, far)

    assert (beside_near.overlaps, beside_far.overlaps) == (True, False)
