"""The rows, tiles, figures and warnings that a page makes of two evaluations."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.metrics.cards import METRICS
from webapp.figures.palette import COLORS, color_of
from webapp.runs.models import Evaluation
from webapp.runs.page.scores import MOST_TILES, Interval, Row, Scores, bins_of, interval_of, overlapping, scores


def of(
    student: dict[str, float | None],
    teacher: dict[str, float | None] | None = None,
    *,
    tables: dict[str, Any] | None = None,
    teacher_tables: dict[str, Any] | None = None,
    number: int = 1,
    **about: Any,
) -> Scores:
    where: dict[str, Any] = {"step": 10, "split": "test", "final": True}
    judged = Evaluation(subject="student", metrics=student, tables=tables or {}, **where)
    beside = None if teacher is None else Evaluation(subject="teacher", metrics=teacher, tables=teacher_tables or {}, **where)
    return scores(judged, beside, number=number, **about)


def row_of(found: Scores, name: str) -> Row:
    return next(row for row in [*found.main, *found.more] if row.card.id == name)


def test_a_difference_is_the_students_value_less_its_teachers() -> None:
    found = of({"accuracy": 0.75, "nll": 0.5}, {"accuracy": 1.0})

    assert (row_of(found, "accuracy").delta, row_of(found, "nll").delta) == (-0.25, None)


ends = st.floats(0, 1)
intervals = st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair)))


@given(intervals, intervals)
def test_intervals_overlap_where_one_begins_within_the_other(one: Interval, other: Interval) -> None:
    shared = other[0] <= one[0] <= other[1] or one[0] <= other[0] <= one[1]

    assert overlapping(one, other) == overlapping(other, one) == shared
    assert not overlapping(one, None) and not overlapping(None, other)


@pytest.mark.parametrize(
    ("metrics", "interval"),
    [
        ({"ece": 0.1, "ece_low": 0.05, "ece_high": 0.2}, (0.05, 0.2)),
        ({"ece": 0.1, "ece_low": 0.0, "ece_high": 0.0}, (0.0, 0.0)),
        ({"ece": 0.1, "ece_low": None, "ece_high": 0.2}, None),
        ({"ece": 0.1}, None),
    ],
)
def test_an_interval_needs_both_of_its_ends(metrics: dict[str, float | None], interval: Interval | None) -> None:
    assert interval_of(metrics, {}, "ece") == interval
    assert interval_of(metrics | {"accuracy": 0.5}, {}, "accuracy") is None


def test_a_time_has_the_interval_of_its_repetitions() -> None:
    tables = {"cost": {"device": "A", "latency_ms": 1.0, "latency_ms_interval": [0.9, 1.2]}}

    found = of({"latency_ms": 1.0}, {"latency_ms": 2.0}, tables=tables, teacher_tables={"cost": {"device": "A"}})

    assert (row_of(found, "latency_ms").interval, row_of(found, "latency_ms").teacher_interval) == ((0.9, 1.2), None)


def test_the_headline_comes_first_in_its_order_then_the_main_rows_and_the_rest_folds_away() -> None:
    metrics: dict[str, float | None] = dict.fromkeys(("parameters", "auroc", "ece", "aurc", "accuracy", "nll", "odd_number"), 0.5)

    found = of(metrics, headline=("nll", "accuracy"))

    assert [row.card.id for row in found.main] == ["nll", "accuracy", "aurc", "parameters"]
    assert {row.card.id for row in found.more} == {"auroc", "ece", "odd_number"}
    assert [row.card.id for row in found.tiles] == ["nll", "accuracy"]


def test_a_page_has_at_most_six_tiles() -> None:
    names = [name for name in METRICS if not name.startswith(("scaled_", "ece_"))][: MOST_TILES + 2]

    found = of(dict.fromkeys(names, 0.5), headline=names)

    assert [row.card.id for row in found.tiles] == names[:MOST_TILES]


def test_a_number_of_the_methods_own_comes_last_with_its_name_in_words() -> None:
    found = of({"its_own_number": 0.25, "auroc": 0.5}, {"auroc": 0.5})

    row = found.more[-1]
    assert (row.card.title, row.card.better, row.student, row.teacher) == ("its own number", None, 0.25, None)


def test_what_only_the_teacher_was_measured_by_has_a_row_too() -> None:
    row = row_of(of({"accuracy": 0.5}, {"accuracy": 0.5, "nll": 0.25}), "nll")

    assert (row.student, row.teacher) == (None, 0.25)


def test_scaled_values_and_ends_of_intervals_stand_within_other_rows() -> None:
    student = {"ece": 0.3, "scaled_ece": 0.1, "nll": 0.5, "ece_low": 0.2, "ece_high": 0.4}
    teacher = {"ece": 0.2, "scaled_ece": 0.05, "nll": 0.4, "scaled_nll": 0.35}

    found = of(student, teacher)

    assert {row.card.id for row in [*found.main, *found.more]} == {"ece", "nll"}
    ece, nll = row_of(found, "ece"), row_of(found, "nll")
    assert (ece.student_scaled, ece.teacher_scaled, ece.interval, ece.teacher_interval) == (0.1, 0.05, (0.2, 0.4), None)
    assert (nll.student_scaled, nll.teacher_scaled) == (None, 0.35)
    assert found.has_scaled and not of({"nll": 0.5}, teacher).has_scaled


def test_a_baselines_values_stand_beside_and_only_from_a_run_without_teacher_a_gap_is_measured() -> None:
    student, teacher, baseline = {"accuracy": 0.8}, {"accuracy": 0.9}, {"accuracy": 0.7}

    beside, measured = of(student, teacher, baseline=baseline), of(student, teacher, baseline=baseline, gap_from=baseline)

    assert row_of(beside, "accuracy").baseline == 0.7 and beside.has_baseline
    assert not of(student, teacher).has_baseline
    assert "gap_closed" not in {row.card.id for row in beside.main}
    assert row_of(measured, "gap_closed").student == pytest.approx(0.5)


@pytest.mark.parametrize("lacks", ["student", "teacher", "start"])
def test_there_is_no_gap_where_one_of_the_three_is_not_known(lacks: str) -> None:
    known: dict[str, dict[str, float | None]] = {name: {"accuracy": 0.5} for name in ("student", "teacher", "start")}
    known[lacks] = {"accuracy": None}

    found = of(known["student"] | {"nll": 1.0}, known["teacher"], gap_from=known["start"])

    assert "gap_closed" not in {row.card.id for row in found.main}


@pytest.mark.parametrize(
    ("student", "teacher", "note"),
    [
        ("CPU", "CPU", "on CPU"),
        ("CPU", "H200", "on CPU; teacher on H200"),
        ("CPU", "", "on CPU"),
        ("", "H200", "on H200"),
        ("", "", ""),
    ],
)
def test_a_latency_names_both_devices_where_they_differ(student: str, teacher: str, note: str) -> None:
    tables, teacher_tables = ({"cost": {"device": name}} if name else {} for name in (student, teacher))

    found = of({"latency_ms": 1.0, "nll": 1.0}, {"latency_ms": 2.0}, tables=tables, teacher_tables=teacher_tables)

    assert (row_of(found, "latency_ms").note, row_of(found, "nll").note) == (note, "")


def test_each_temperature_has_the_bound_of_its_own_search() -> None:
    lower, upper = (
        {"reliability_scaled": {"bins": [], "temperature": at, "at_bound": side}} for at, side in ((0.05, "lower"), (20.0, "upper"))
    )

    row = row_of(of({"temperature": None}, {"temperature": None}, tables=lower, teacher_tables=upper), "temperature")

    assert (row.student_bound, row.teacher_bound) == ("≤ 0.050", "≥ 20.0")


RELIABILITY: dict[str, Any] = {"n": 4, "bins": [{"low": 0, "high": 1, "count": 4, "conf": 0.5, "acc": 0.5}]}


def test_students_before_and_after_scaling_and_the_teacher_share_a_diagram_and_are_told_apart() -> None:
    for number in range(1, len(COLORS) + 1):
        figures = of(
            {"ece": 0.1},
            {"ece": 0.1},
            tables={"reliability": RELIABILITY, "reliability_scaled": RELIABILITY},
            teacher_tables={"reliability": RELIABILITY},
            number=number,
        ).figures

        lines = {trace["name"]: trace["marker"]["color"] for trace in figures["reliability"]["data"] if trace.get("mode") == "markers"}
        assert list(lines) == ["student", "student, scaled", "teacher"]
        assert lines["student"] == color_of(number)
        assert len(set(lines.values())) == 3


def test_figures_are_made_of_the_tables_that_there_are() -> None:
    tables = {
        "risk_coverage": {"coverage": [0.5, 1.0], "risk": [0.0, 0.25]},
        "confusion": {"counts": [[3, 1], [0, 4]]},
        "confusion_teacher": {"counts": [[4, 0], [0, 4]]},
        "confidence_histogram": {"edges": [0, 0.5, 1], "right": [0, 3], "wrong": [1, 0]},
    }
    risk = {"risk_coverage": {"coverage": [1.0], "risk": [0.125]}}

    alone, beside = of({"nll": 1.0}, tables=tables).figures, of({"nll": 1.0}, {}, tables=tables, teacher_tables=risk).figures

    assert set(alone) == {"risk_coverage", "confusion", "confusion_teacher", "confidence"}
    assert of({"nll": 1.0}, {}, teacher_tables={"confusion": {"counts": [[1]]}}).figures == {}
    assert [trace["name"] for trace in beside["risk_coverage"]["data"]][:2] == ["student", "teacher"]
    assert [trace["name"] for trace in alone["risk_coverage"]["data"]] == ["student", "random order", "best order"]
    assert "teacher" in alone["confusion_teacher"]["layout"]["title"]["text"]


def test_an_empty_bin_has_no_place_and_a_table_without_bins_has_none() -> None:
    (empty,) = bins_of({"bins": [{"low": 0.5, "high": 0.75, "count": 0, "conf": None, "acc": None}]})

    assert (empty.low, empty.high, empty.count, empty.confidence, empty.accuracy) == (0.5, 0.75, 0, None, None)
    assert bins_of({}) == []


SCALE = (
    "Most of the raw ECE is a matter of scale: one temperature removes it. Methods that standardize logits leave the scale free;"
    " compare after scaling."
)
UNDEFINED = "Every answer is right or every answer is wrong, so the AUROC of confidence is undefined."


@pytest.mark.parametrize(
    ("metrics", "warnings"),
    [
        ({"ece": 0.16, "scaled_ece": 0.05}, [SCALE]),
        ({"ece": 0.15, "scaled_ece": 0.01}, []),
        ({"ece": 0.3, "scaled_ece": 0.1}, []),
        ({"ece": 0.3, "scaled_ece": None}, []),
        ({"ece": None, "scaled_ece": 0.0}, []),
        ({"accuracy": 0.0}, [UNDEFINED]),
        ({"accuracy": 0.9999}, []),
        ({}, []),
    ],
)
def test_a_page_warns_of_numbers_that_mean_something_else(metrics: dict[str, float | None], warnings: list[str]) -> None:
    assert of(metrics).warnings == warnings


def test_several_thin_bins_are_counted_and_empty_ones_are_not_among_them() -> None:
    bins = [
        {"low": 0.0, "high": 0.3, "count": 9, "conf": 0.2, "acc": 0.9},
        {"low": 0.3, "high": 0.6, "count": 5, "conf": 0.5, "acc": 0.0},
        {"low": 0.6, "high": 0.9, "count": 10, "conf": 0.7, "acc": 0.1},
        {"low": 0.9, "high": 1.0, "count": 0, "conf": None, "acc": None},
    ]

    found = of({"ece": 0.2}, tables={"reliability": {"n": 24, "bins": bins}})

    assert found.warnings == ["2 bins with fewer than 10 examples carry more than 5 % of the ECE: read it as rough."]


def test_where_the_two_disagree_and_how_many_rows_there_were_is_taken_from_the_students_tables() -> None:
    rows = [{"index": 3, "label": 7}, {"index": 1, "label": 0}]

    found = of({"nll": 1.0}, tables={"disagreements": {"rows": rows}, "reliability": RELIABILITY})

    assert (found.disagreements, found.rows_count) == (rows, 4)
    assert (of({"nll": 1.0}).disagreements, of({"nll": 1.0}).rows_count) == ([], None)
