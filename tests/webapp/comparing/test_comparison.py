"""The comparison: numbers by hand, what differs, and what must be said."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from engine.errors import SpecError
from tests.runs import new_run
from tests.webapp.conftest import RunMaker, signed_in
from webapp.accounts.models import Project, User
from webapp.comparing.cells import OTHER_DEVICE, OTHER_ROWS, Cell
from webapp.comparing.comparison import Comparison, comparison
from webapp.comparing.page import split_config
from webapp.comparing.words import verdict_lines
from webapp.runs.models import Evaluation, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


SeedsOf = Callable[..., list[UUID]]


def word(cell: Cell) -> str | None:
    return cell.verdict.word if cell.verdict else None


def cells(found: Comparison, metric: str) -> tuple[Cell, ...]:
    return next(row.cells for row in found.rows if row.card.id == metric)


def test_runs_that_differ_only_in_their_seeds_are_one_column_with_mean_and_deviation(viewer: User, finished_run: RunMaker) -> None:
    seeds = [finished_run(seed=seed, metrics={"accuracy": value}) for seed, value in enumerate((0.90, 0.92, 0.97))]
    other = finished_run(settings={"batch_size": 8}, metrics={"accuracy": 0.80})

    found = comparison(viewer, [*(run.pk for run in seeds), other.pk])

    # mean 2.79 / 3; squared differences from 0.93: 0.0009 + 0.0001 + 0.0016 = 0.0026, over n − 1 = 2: 0.0013; its root is 0.036056
    group, single = cells(found, "accuracy")
    assert (group.mean, group.std, group.n) == (pytest.approx(0.93), pytest.approx(0.036056, abs=1e-6), 3)
    assert (single.mean, single.std, single.n) == (pytest.approx(0.80), None, 1)
    assert [column.seeds for column in found.columns] == [[0, 1, 2], [0]]


def test_ungrouped_each_run_is_a_column(viewer: User, finished_run: RunMaker) -> None:
    runs = [finished_run(seed=seed, name=f"seed {seed}") for seed in range(2)]

    found = comparison(viewer, [run.pk for run in runs], grouped=False)

    assert [column.label for column in found.columns] == ["seed 0", "seed 1"]
    assert [(row.path, row.values) for row in found.config] == [("seed", (0, 1))]


@pytest.fixture
def seeds_of(finished_run: RunMaker) -> Callable[..., list[UUID]]:
    """Three runs of seeds 0 to 2 that differ from others in their batch size, with these values of each metric."""

    def made(batch_size: int, **metrics: Sequence[float]) -> list[UUID]:
        return [
            finished_run(
                seed=seed, settings={"batch_size": batch_size}, metrics={name: values[seed] for name, values in metrics.items()}
            ).pk
            for seed in range(3)
        ]

    return made


def test_differences_are_to_the_pinned_baseline_and_the_verdict_knows_the_direction_of_better(viewer: User, seeds_of: SeedsOf) -> None:
    base = seeds_of(8, accuracy=(0.80, 0.81, 0.79), nll=(0.5, 0.5, 0.5), temperature=(1.0, 1.0, 1.0))
    other = seeds_of(16, accuracy=(0.85, 0.87, 0.84), nll=(0.6, 0.61, 0.62), temperature=(1.5, 1.6, 1.7))

    found = comparison(viewer, [*other, *base], base[0])

    assert found.baseline == 1
    accuracy, nll, temperature = (cells(found, metric)[0] for metric in ("accuracy", "nll", "temperature"))
    assert accuracy.delta == pytest.approx(0.16 / 3) and word(accuracy) == "better"
    assert nll.delta == pytest.approx(0.11) and word(nll) == "worse"
    assert temperature.delta == pytest.approx(0.6) and temperature.verdict is None
    assert (cells(found, "accuracy")[1].delta, cells(found, "accuracy")[1].verdict) == (None, None)


def test_a_difference_within_the_spread_is_undecided_and_one_of_a_single_seed_is_not_judged(
    viewer: User, seeds_of: SeedsOf, finished_run: RunMaker
) -> None:
    base = seeds_of(8, accuracy=(0.80, 0.82, 0.81))
    near = seeds_of(16, accuracy=(0.81, 0.80, 0.83))
    one = finished_run(settings={"batch_size": 32}, metrics={"accuracy": 0.99})

    found = comparison(viewer, [*base, *near, one.pk], base[0])

    assert [word(cell) for cell in cells(found, "accuracy")] == [None, "undecided", "too few seeds"]


def test_the_more_candidates_the_larger_must_a_difference_be(viewer: User, seeds_of: SeedsOf) -> None:
    base = seeds_of(8, accuracy=(0.80, 0.80, 0.80))
    first = seeds_of(16, accuracy=(0.81, 0.82, 0.83))  # p = 0.0742 / 2: t = 0.02 / 0.00577 = 3.46 at 2 degrees
    clear = seeds_of(64, accuracy=(0.900, 0.901, 0.902))
    equal = seeds_of(32, accuracy=(0.79, 0.80, 0.811))

    alone = comparison(viewer, [*base, *clear], base[0])
    among = comparison(viewer, [*base, *clear, *first, *equal], base[0])

    (_, one), (_, same, *_) = cells(alone, "accuracy"), cells(among, "accuracy")
    assert one.verdict is not None and same.verdict is not None
    assert same.verdict.p == pytest.approx(3 * one.verdict.p)
    assert same.verdict.difference.interval == one.verdict.difference.interval


def test_what_follows_from_the_architecture_is_no_matter_of_seeds(viewer: User, seeds_of: SeedsOf) -> None:
    base, smaller = seeds_of(8, parameters=(2000.0,) * 3), seeds_of(16, parameters=(1000.0,) * 3)

    found = comparison(viewer, [*base, *smaller], base[0])

    _, cell = cells(found, "parameters")
    assert (cell.delta, cell.verdict, cell.note) == (-1000.0, None, "")
    assert [line.text for line in verdict_lines(found.columns, found.rows)] == ["Parameters 2 × smaller."]


@pytest.mark.parametrize(
    ("devices", "reason"),
    [(("A", "A"), ""), (("A", "B"), OTHER_DEVICE), (("", ""), OTHER_DEVICE), (("A", ""), OTHER_DEVICE)],
)
def test_times_of_different_hardware_are_not_compared(devices: tuple[str, str], reason: str, viewer: User, finished_run: RunMaker) -> None:
    runs = [
        [
            finished_run(seed=seed, settings={"batch_size": 8 + place}, metrics={"latency_ms": 1.0 + place + seed / 100}).pk
            for seed in range(3)
        ]
        for place in range(2)
    ]
    for ids, device in zip(runs, devices, strict=True):
        Evaluation.objects.filter(run__in=ids).update(tables={"cost": {"device": device}} if device else {})

    found = comparison(viewer, [*runs[0], *runs[1]], runs[0][0])

    baseline, cell = cells(found, "latency_ms")
    assert baseline.note == ""
    assert cell.note == reason and (cell.verdict is None) is bool(reason)


def test_runs_on_other_rows_are_not_judged(viewer: User, seeds_of: SeedsOf) -> None:
    base, other = seeds_of(8, accuracy=(0.80, 0.81, 0.79)), seeds_of(16, accuracy=(0.95, 0.97, 0.96))
    Evaluation.objects.filter(run__in=other).update(split="validation")

    found = comparison(viewer, [*base, *other], base[0])

    _, cell = cells(found, "accuracy")
    assert (cell.verdict, cell.note) == (None, OTHER_ROWS) and cell.delta is not None
    assert [line.text for line in verdict_lines(found.columns, found.rows)] == [f"not judged where it was {OTHER_ROWS}."]


def test_a_seed_that_was_run_twice_counts_once(viewer: User, seeds_of: SeedsOf, finished_run: RunMaker) -> None:
    base, other = seeds_of(8, accuracy=(0.80, 0.81, 0.79)), seeds_of(16, accuracy=(0.85, 0.87, 0.84))
    again = finished_run(seed=2, settings={"batch_size": 16}, metrics={"accuracy": 0.86})

    found = comparison(viewer, [*base, *other, again.pk], base[0])

    _, cell = cells(found, "accuracy")
    assert cell.verdict is not None
    assert (cell.n, cell.verdict.difference.n) == (4, 3)
    assert cell.verdict.difference.mean == pytest.approx((0.05 + 0.06 + 0.06) / 3)


def test_a_value_that_is_undefined_is_counted_out(viewer: User, finished_run: RunMaker) -> None:
    runs = [finished_run(seed=seed, metrics={"auroc": value, "accuracy": 1.0}) for seed, value in enumerate((None, 0.6))]
    other = finished_run(settings={"batch_size": 8}, metrics={"accuracy": 0.9})

    found = comparison(viewer, [*(run.pk for run in runs), other.pk])

    assert [(cell.mean, cell.n) for cell in cells(found, "auroc")] == [(0.6, 1), (None, 0)]


def test_the_config_holds_only_what_differs(viewer: User, finished_run: RunMaker) -> None:
    teacher = finished_run()
    one = finished_run(method="vanilla-kd", teachers=[f"run:{teacher.pk}"], settings={"temperature": 2.0}, cadence={"log": 5})
    two = finished_run(method="vanilla-kd", teachers=[f"run:{teacher.pk}"], settings={"temperature": 4.0}, student="mlp-16")

    found = comparison(viewer, [one.pk, two.pk])

    assert [(row.path, row.values) for row in found.config] == [("settings.temperature", (2.0, 4.0))]


def test_groups_of_one_method_are_told_apart_by_what_differs(viewer: User, finished_run: RunMaker) -> None:
    runs = [finished_run(seed=seed, settings={"batch_size": size}) for size in (8, 16) for seed in range(2)]

    found = comparison(viewer, [run.pk for run in runs])

    assert [column.label for column in found.columns] == [
        "Supervised training mlp-16 (batch_size 8)",
        "Supervised training mlp-16 (batch_size 16)",
    ]


def test_the_final_test_is_compared_and_not_an_earlier_validation(viewer: User, finished_run: RunMaker) -> None:
    runs = [finished_run(seed=seed, metrics={"accuracy": 0.5}) for seed in range(2)]
    for run in runs:
        Evaluation.objects.create(
            run=run, attempt=1, step=30, subject="student", split="validation", metrics={"accuracy": 0.99}, final=False
        )

    found = comparison(viewer, [run.pk for run in runs], grouped=False)

    assert [cell.mean for cell in cells(found, "accuracy")] == [0.5, 0.5]


def test_reliability_tables_come_with_their_column(viewer: User, finished_run: RunMaker) -> None:
    table = {"n": 10, "n_bins": 15, "split": "test", "bins": []}
    runs = [finished_run(seed=seed, tables={"reliability": table, "confusion": [[1]]}) for seed in range(2)]

    found = comparison(viewer, [run.pk for run in runs])

    assert found.columns[0].reliability == (table, table)


@pytest.mark.parametrize(
    ("one", "two", "warning"),
    [
        (
            {"tables": {"reliability": {"n_bins": 10}}},
            {"tables": {"reliability": {"n_bins": 15}}},
            "The calibration errors are over different numbers of bins: 10 and 15.",
        ),
        (
            {"tables": {"reliability": {"temperature": 1.0}}},
            {"tables": {"reliability": {"temperature": 2.5}}},
            "The reliability diagrams are at different temperatures: 1.0 and 2.5.",
        ),
        (
            {"tables": {"reliability": {"n": 360}}},
            {"tables": {"reliability": {"n": 359}}},
            "The runs are judged on different numbers of rows: 359 and 360.",
        ),
        (
            {"task_options": {"split": "random"}},
            {},
            "The runs cut or spoil the task's data in different ways (see task_options), so they are not judged on the same rows.",
        ),
        ({"task": "mnist"}, {}, "The runs are of different tasks: digits and mnist. Their numbers have nothing in common."),
        (
            {"metrics": {"latency_ms": 1.0}, "tables": {"cost": {"device": "AMD EPYC"}}},
            {"metrics": {"latency_ms": 2.0}, "tables": {"cost": {"device": "NVIDIA H100"}}},
            "Times were measured on different devices: AMD EPYC and NVIDIA H100.",
        ),
        (
            {"tables": {"reliability": {"closed": "left"}}},
            {"tables": {"reliability": {"closed": "right"}}},
            "The bins of the calibration errors are closed at different ends: left and right.",
        ),
    ],
)
def test_what_makes_numbers_incomparable_is_said(
    viewer: User, finished_run: RunMaker, one: dict[str, Any], two: dict[str, Any], warning: str
) -> None:
    runs = [finished_run(**about) for about in (one, two)]

    found = comparison(viewer, [run.pk for run in runs], grouped=False)

    assert list(found.warnings) == [warning]


def test_latencies_of_the_same_hardware_are_comparable_whatever_the_attempts_say(viewer: User, finished_run: RunMaker) -> None:
    measured = {"metrics": {"latency_ms": 1.0}, "tables": {"cost": {"device": "AMD EPYC"}}}
    runs = [finished_run(device=device, **measured) for device in ("CPU, 1 thread", "CPU, 2 threads")]

    found = comparison(viewer, [run.pk for run in runs], grouped=False)

    assert list(found.warnings) == []


def test_another_version_of_the_method_is_said(viewer: User, finished_run: RunMaker) -> None:
    runs = [finished_run(), finished_run(seed=1)]
    Run.objects.filter(pk=runs[0].pk).update(spec={**runs[0].spec, "method_version": 99})

    found = comparison(viewer, [run.pk for run in runs], grouped=False)

    assert list(found.warnings) == ["supervised was run in versions 1 and 99; the same settings give different weights in each."]


def test_a_run_on_its_way_is_compared_by_its_last_validation_and_that_is_said(
    viewer: User, finished_run: RunMaker, running_run: RunMaker
) -> None:
    done, under_way = finished_run(), running_run(name="young")
    Evaluation.objects.create(
        run=under_way, attempt=1, step=5, subject="student", split="validation", metrics={"accuracy": 0.3}, final=False
    )

    found = comparison(viewer, [done.pk, under_way.pk], grouped=False)

    assert [cell.mean for cell in cells(found, "accuracy")] == [0.9, 0.3]
    assert list(found.warnings) == [
        "young is running; its numbers are those of step 5 of 20.",
        "The runs are judged on different splits: test and validation. Only those on the test split are final.",
    ]


def test_a_run_without_an_evaluation_has_empty_cells(viewer: User, finished_run: RunMaker, project: Project) -> None:
    done, waiting = finished_run(), new_run(project, name="idle")

    found = comparison(viewer, [done.pk, waiting.pk], grouped=False)

    assert [cell.mean for cell in cells(found, "accuracy")] == [0.9, None]
    assert list(found.warnings) == ["idle has not been evaluated yet; it is draft."]


@pytest.mark.parametrize("count", [0, 1, 21])
def test_two_to_twenty_runs_are_compared(viewer: User, count: int) -> None:
    with pytest.raises(SpecError, match=rf"^runs: must name 2 to 20 different runs; got {count}\.$"):
        comparison(viewer, [uuid4() for _ in range(count)])


def test_the_baseline_is_one_of_them(viewer: User, finished_run: RunMaker) -> None:
    runs = [finished_run(seed=seed) for seed in range(3)]

    with pytest.raises(SpecError, match=r"^baseline: must be one of the compared runs; got "):
        comparison(viewer, [runs[0].pk, runs[1].pk], runs[2].pk)


def test_a_comparison_takes_four_statements(viewer: User, finished_run: RunMaker) -> None:
    runs = [finished_run(seed=seed) for seed in range(5)]

    with CaptureQueriesContext(connection) as statements:
        comparison(viewer, [run.pk for run in runs], runs[0].pk)

    assert len(statements) == 4


def test_the_api_answers_with_the_same_numbers(viewer: User, finished_run: RunMaker) -> None:
    base, better = finished_run(metrics={"accuracy": 0.5}), finished_run(settings={"batch_size": 8}, metrics={"accuracy": 0.75})

    answer = signed_in(viewer).get(f"/api/v1/compare/?runs={base.pk},{better.pk}&baseline={base.pk}")

    assert answer.status_code == 200
    difference = {"mean": 0.25, "n": 1, "is_paired": False, "interval": None, "p": None}
    too_few = {"word": "too few seeds", "difference": difference, "p": None, "more_seeds": None}
    (row,) = answer.json()["rows"]
    assert (row["id"], row["better"]) == ("accuracy", "higher")
    assert row["cells"] == [
        {"mean": 0.5, "std": None, "n": 1, "interval": None, "delta": None, "verdict": None, "note": ""},
        {"mean": 0.75, "std": None, "n": 1, "interval": None, "delta": 0.25, "verdict": too_few, "note": ""},
    ]
    assert answer.json()["verdicts"] == [
        {
            "label": "finished (batch_size 8)",
            "text": "too few seeds to judge: 1 seed of each, and three shared seeds would do, or four of each.",
        }
    ]
    assert [column["runs"] for column in answer.json()["columns"]] == [[str(base.pk)], [str(better.pk)]]


@pytest.mark.parametrize("address", ["compare/", "compare/curves/"])
def test_ids_that_are_none_are_refused(viewer: User, address: str) -> None:
    answer = signed_in(viewer).get(f"/api/v1/{address}", {"runs": "one,two"})

    assert answer.status_code == 400
    assert answer.json() == {
        "errors": [{"field": "runs", "message": "must be ids of runs (UUIDs) with commas between them; got 'one,two'."}]
    }


def test_what_differs_names_the_teacher_and_folds_settings_that_only_say_that_others_lack_them(
    viewer: User, finished_run: RunMaker
) -> None:
    teacher = finished_run(name="teacher")
    taught = {"method": "vanilla-kd", "teachers": [f"run:{teacher.pk}"]}
    cool, hot = finished_run(**taught, settings={"temperature": 2.0}), finished_run(**taught, settings={"temperature": 4.0})

    main, more = split_config(comparison(viewer, [teacher.pk, cool.pk, hot.pk]))

    shown = {row.path: [(cell.text, cell.run) for cell in row.cells] for row in main}
    assert shown["teachers.0"] == [("–", None), ("teacher #1", teacher.pk), ("teacher #1", teacher.pk)]
    assert shown["settings.temperature"] == [("–", None), ("2", None), ("4", None)]
    assert "teachers" not in shown
    assert "settings.kd_weight" in {row.path for row in more}


def test_a_single_runs_interval_is_the_bootstraps_and_a_groups_that_of_its_mean(viewer: User, finished_run: RunMaker) -> None:
    interval = {"ece_low": 0.03, "ece_high": 0.06}
    seeds = [finished_run(seed=seed, metrics={"ece": value, **interval}).pk for seed, value in enumerate((0.04, 0.05, 0.06))]
    other = finished_run(settings={"batch_size": 8}, metrics={"ece": 0.07, **interval})

    group, single = cells(comparison(viewer, [*seeds, other.pk], other.pk), "ece")
    two, _ = cells(comparison(viewer, [*seeds[:2], other.pk], other.pk), "ece")

    # mean 0.05, s = 0.01, t₀.₉₇₅ at 2 degrees 4.30265: ∓ 0.024842
    assert group.interval == pytest.approx((0.05 - 0.024842, 0.05 + 0.024842), abs=1e-6)
    assert (single.interval, two.interval) == ((0.03, 0.06), None)
    assert [row.card.id for row in comparison(viewer, [*seeds, other.pk]).rows] == ["ece"]
