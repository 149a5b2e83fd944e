"""A comparison as its page lays it out, from columns made by hand: heads, which rows come first, figures, and what must be said."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.metrics.cards import METRICS
from engine.spec.run_spec import RunSpec
from tests.webapp.conftest import SPEC
from webapp.accounts.models import Project
from webapp.comparing import warnings
from webapp.comparing.cells import Cell, MetricRow
from webapp.comparing.columns import ComparedRun, JudgingEvaluation, SeedGroup
from webapp.comparing.comparison import Comparison, ConfigRow
from webapp.comparing.page import COMMON, figures_of, heads_of, merged_bins, split_config, split_rows
from webapp.figures.palette import COLORS
from webapp.runs.models import Run


def compared(
    number: int = 1,
    *,
    state: str = "succeeded",
    tables: dict[str, Any] | None = None,
    split: str | None = "test",
    step: int = 20,
    **about: Any,
) -> ComparedRun:
    """A run with what it is judged by; not judged yet where `split` is None."""
    spec = RunSpec.parse(SPEC).model_dump(mode="json") | about.pop("spec", {})
    about = {"name": f"run {number}", "method_id": "supervised", "task_id": "digits", "total_steps": 2000} | about
    student = None if split is None else JudgingEvaluation(step, split, split == "test", {"latency_ms": 1.0}, tables or {})
    return ComparedRun(Run(number=number, seed=number, state=state, spec=spec, **about), student, None)


def column(*numbers: int, label: str = "", is_baseline: bool = False, reliability: tuple[Any, ...] = ()) -> SeedGroup:
    return SeedGroup(label or f"column {numbers[0]}", tuple(compared(number) for number in numbers), is_baseline, reliability)


def cell(mean: float | None, std: float | None = None) -> Cell:
    return Cell(mean, std, 1)


def comparison_of(*columns: SeedGroup, config: tuple[ConfigRow, ...] = (), **rows: list[float | None]) -> Comparison:
    lines = tuple(MetricRow(METRICS[name], tuple(cell(value) for value in values)) for name, values in rows.items())
    return Comparison(Project(slug="distillery"), columns, lines, config, ())


# Heads


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([12], "#12"),
        ([2, 3], "#2, #3"),
        ([2, 3, 4], "#2–#4"),
        ([4, 2, 3], "#2–#4"),
        ([2, 3, 5], "#2, #3, #5"),
        ([5, 2], "#5, #2"),
    ],
)
def test_a_column_of_runs_in_a_row_is_numbered_from_the_first_to_the_last(numbers: list[int], words: str) -> None:
    (head,) = heads_of(comparison_of(column(*numbers)))

    assert head.numbered == words


def test_a_head_pins_the_columns_first_run_and_its_removal_keeps_the_others_in_their_order() -> None:
    first, second, third = column(3, 4), column(1, is_baseline=True), column(9)

    heads = heads_of(comparison_of(first, second, third))

    ids = [[str(run_id) for run_id in one.run_ids] for one in (first, second, third)]
    assert [head.rest for head in heads] == [",".join(ids[1] + ids[2]), ",".join(ids[0] + ids[2]), ",".join(ids[0] + ids[1])]
    assert [str(head.pin) for head in heads] == [one[0] for one in ids]
    assert [(head.is_baseline, head.n, head.slot, head.dash) for head in heads] == [
        (False, 2, 3, "solid"),
        (True, 1, 1, "solid"),
        (False, 1, 1, "dash"),  # nine has the color of one
    ]
    assert [run[1:] for run in heads[0].runs] == [("run 3", 3, "succeeded"), ("run 4", 4, "succeeded")]


def test_the_baseline_is_the_place_of_the_pinned_column() -> None:
    assert comparison_of(column(1), column(2, is_baseline=True)).baseline == 1
    assert comparison_of(column(1), column(2)).baseline is None


# Rows


def test_what_the_students_kind_is_judged_by_comes_first_and_then_what_all_kinds_have() -> None:
    found = comparison_of(column(1), column(2), flops=[1], brier=[1], scaled_nll=[1], nll=[1], latency_ms=[1], accuracy=[1], auroc=[1])

    main, more = split_rows(found)

    names = [row.card.id for row in main]
    assert names[0] == "accuracy" and set(names[1:-3]) == {"nll", "brier"}
    assert names[-3:] == [name for name in COMMON if name in {"scaled_nll", "flops", "latency_ms"}]
    assert [row.card.id for row in more] == ["auroc"]


def test_method_and_models_come_first_among_what_differs_and_what_only_some_methods_have_is_folded() -> None:
    rows = {
        "settings.rate": (0.1, 0.5),
        "settings.only_one": (3, None),
        "settings.empty": (None, []),
        "task": ("digits", "mnist"),
        "teachers.0": (None, "mlp-64"),
        "budget.steps": (20, 40),
        "seed": (1, 1),
        "student": ("mlp-16", "mlp-32 (hidden=32)"),
        "method": ("supervised", "vanilla-kd"),
    }

    main, more = split_config(comparison_of(column(1), column(2), config=tuple(ConfigRow(path, values) for path, values in rows.items())))

    assert [row.path for row in main] == ["method", "student", "task", "teachers.0", "budget.steps", "settings.rate"]
    assert [row.path for row in more] == ["settings.only_one", "seed"]
    assert [cell.text for cell in main[3].cells] == ["–", "mlp-64"]


# Figures


def table(*bins: tuple[float, float, int, float | None, float | None]) -> dict[str, Any]:
    entries = [{"low": low, "high": high, "count": count, "conf": conf, "acc": acc} for low, high, count, conf, acc in bins]
    return {"n": sum(entry["count"] for entry in entries), "bins": entries}


ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.booleans()), max_size=12)
"""Examples: in which half their confidence lies, by how many eighths of it, and whether the answer is right."""


def judged(rows: list[tuple[int, int, bool]]) -> dict[str, Any]:
    bins = []
    for half in (0, 1):
        inside = [(half / 2 + eighths / 16, right) for at, eighths, right in rows if at == half]
        n = len(inside)
        means = (sum(conf for conf, _ in inside) / n, sum(right for _, right in inside) / n) if n else (None, None)
        bins.append((half / 2, half / 2 + 0.5, n, *means))
    return table(*bins)


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_seeds_pooled_are_the_bins_of_all_their_examples_as_one_set(runs: list[list[tuple[int, int, bool]]]) -> None:
    merged = merged_bins([judged(rows) for rows in runs])

    pooled = judged([row for rows in runs for row in rows])["bins"]
    assert [(one.low, one.high, one.count) for one in merged] == [(one["low"], one["high"], one["count"]) for one in pooled]
    assert [one.confidence for one in merged] == [one["conf"] if one["conf"] is None else pytest.approx(one["conf"]) for one in pooled]
    assert [one.accuracy for one in merged] == [one["acc"] if one["acc"] is None else pytest.approx(one["acc"]) for one in pooled]


def test_bins_with_other_edges_are_left_out_of_the_pool() -> None:
    halves = table((0, 0.5, 2, 0.4, 0.5), (0.5, 1, 8, 0.9, 0.75))
    thirds = table((0, 0.3, 5, 0.2, 0.2), (0.3, 1, 5, 0.9, 0.9))

    assert [one.count for one in merged_bins([halves, thirds, halves])] == [4, 16]
    assert [one.count for one in merged_bins([thirds, halves])] == [5, 5]


def test_reliability_is_drawn_for_the_columns_that_have_a_table_each_in_its_color() -> None:
    half = table((0, 1, 4, 0.5, 0.5))

    found = figures_of(comparison_of(column(1, reliability=(half,)), column(2), column(3, 4, reliability=(half, half))))

    traces = {trace["name"]: trace for trace in found["reliability"]["data"] if trace["type"] == "scatter"}
    assert list(traces) == ["perfectly calibrated", "column 1", "column 3"]
    assert [traces[name]["marker"]["color"] for name in ("column 1", "column 3")] == [COLORS[1], COLORS[3]]
    assert [[row[:3] for row in traces[name]["customdata"]] for name in ("column 1", "column 3")] == [[[0, 1, 4]], [[0, 1, 8]]]
    assert found["reliability"]["layout"]["title"]["text"] == "Reliability, seeds pooled"
    assert figures_of(comparison_of(column(1), column(2))) == {}


def test_the_teacher_is_drawn_once_beside_its_students_and_numbered_where_there_are_several() -> None:
    half, judged_alike = table((0, 1, 40, 0.5, 0.5)), {"ece": 0.0}

    def taught(number: int, teacher: str) -> SeedGroup:
        about = compared(number, spec={"teachers": [{"source": "run", "name": teacher, "config": {}}]})
        beside = JudgingEvaluation(20, "test", True, judged_alike, {"reliability": half})
        return SeedGroup(f"column {number}", (ComparedRun(about.run, about.student, beside),), False, (half,))

    def names(*columns: SeedGroup) -> list[str]:
        data = figures_of(comparison_of(*columns))["reliability"]["data"]
        return [trace["name"] for trace in data if trace["type"] == "scatter"][1:]

    assert names(taught(1, "a"), taught(2, "a")) == ["column 1", "column 2", "teacher"]
    assert names(taught(1, "a"), taught(2, "b")) == ["column 1", "column 2", "teacher 1", "teacher 2"]


@pytest.mark.parametrize(
    ("parameters", "accuracy", "drawn"),
    [
        ([10, 20], [0.5, 0.6], True),
        ([10, 10], [0.5, 0.6], False),
        ([10, None], [0.5, 0.6], False),
        ([10, 20], [0.5, None], False),
        (None, [0.5, 0.6], False),
        ([10, 20], None, False),
    ],
)
def test_quality_is_drawn_against_a_cost_where_there_are_two_different_ones(
    parameters: list[float | None] | None, accuracy: list[float | None] | None, drawn: bool
) -> None:
    rows = {name: values for name, values in (("parameters", parameters), ("accuracy", accuracy)) if values is not None}

    found = figures_of(comparison_of(column(1, is_baseline=True), column(2), **rows))

    assert list(found) == (["pareto_parameters"] if drawn else [])
    if drawn:
        assert [point["name"] for point in found["pareto_parameters"]["data"][1:]] == ["column 1 (baseline)", "column 2"]


# Warnings


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("failed", "has failed"),
        ("stopped", "was stopped"),
        ("running", "is running"),
        ("queued", "is queued"),
    ],
)
def test_a_run_that_has_not_succeeded_says_of_which_step_its_numbers_are(state: str, words: str) -> None:
    entries = [compared(1), compared(2, state=state, step=1500)]

    assert warnings.of(entries) == [f"run 2 {words}; its numbers are those of step 1,500 of 2,000."]


def test_the_gravest_comes_first_and_of_different_tasks_only_that_is_said() -> None:
    entries = [
        compared(1, split=None, state="queued", task_id="mnist", spec={"task_options": {"split": "random"}}),
        compared(2, split="validation", state="failed", task_id="glyphs", deleted_at="2026-01-01"),
        compared(3, tables={"reliability": {"n": 5}}, method_id="supervised", spec={"method_version": 9}),
        compared(4, tables={"reliability": {"n": 50}, "cost": {"device": "B"}}, spec={"method_version": 10}),
        compared(5, tables={"reliability": {"n": 7}, "cost": {"device": "A"}}, spec={"method_version": 2}),
    ]

    said = warnings.of(entries)

    version = entries[0].run.spec["method_version"]
    assert said == [
        "run 1 has not been evaluated yet; it is queued.",
        "run 2 has failed; its numbers are those of step 20 of 2,000.",
        "run 2 is in the trash.",
        "The runs are of different tasks: digits, glyphs and mnist. Their numbers have nothing in common.",
        "The runs are judged on different splits: test and validation. Only those on the test split are final.",
        "The runs are judged on different numbers of rows: 5, 7 and 50.",
        f"supervised was run in versions {version}, 2, 9 and 10; the same settings give different weights in each.",
        "Times were measured on different devices: A and B.",
    ]


def test_versions_of_different_methods_are_not_compared_with_each_other() -> None:
    other = compared(2, method_id="ps-kd", spec={"method_version": 77})

    assert warnings.of([compared(1), other]) == []


def test_a_device_counts_only_where_a_latency_was_measured_on_it() -> None:
    unmeasured = compared(1, tables={"cost": {"device": "A"}})
    unmeasured = ComparedRun(unmeasured.run, JudgingEvaluation(20, "test", True, {"latency_ms": None}, {"cost": {"device": "A"}}), None)

    assert warnings.of([unmeasured, compared(2, tables={"cost": {"device": "B"}})]) == []
    assert warnings.of([compared(3, tables={"cost": None}), compared(2, tables={"cost": {"device": "B"}, "reliability": "odd"})]) == []
