"""What a comparison measures against: the baseline that the runs know, and the ends of the gap that a student closed."""

import pytest

from tests.webapp.comparing.test_comparison import cells
from tests.webapp.conftest import RunMaker
from webapp.accounts.models import User
from webapp.comparing.cells import NO_GAP, Cell
from webapp.comparing.comparison import comparison

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


class TestKnownBaseline:
    def test_the_run_that_was_launched_as_the_baseline_is_pinned_with_all_its_seeds(self, viewer: User, finished_run: RunMaker) -> None:
        teacher = finished_run(name="teacher", student="mlp-64-64")
        plain = [finished_run(seed=seed) for seed in range(2)]
        other = finished_run(settings={"batch_size": 8})
        taught = finished_run(method="vanilla-kd", teachers=[f"run:{teacher.pk}"])
        taught.baseline = plain[1]
        taught.save()
        runs = [other.pk, taught.pk, *(run.pk for run in plain), teacher.pk]

        assert comparison(viewer, runs).baseline == 2
        assert comparison(viewer, runs, pin=False).baseline is None
        assert comparison(viewer, runs, other.pk).baseline == 0

    def test_else_it_is_the_one_group_of_the_method_that_the_others_cards_name(self, viewer: User, finished_run: RunMaker) -> None:
        teacher = finished_run(name="teacher", student="mlp-64-64")
        taught, plain = finished_run(method="vanilla-kd", teachers=[f"run:{teacher.pk}"]), finished_run()

        assert comparison(viewer, [teacher.pk, taught.pk, plain.pk]).baseline == 2
        assert comparison(viewer, [teacher.pk, taught.pk]).baseline is None  # another student than the taught one
        assert comparison(viewer, [taught.pk, plain.pk, finished_run(settings={"batch_size": 8}).pk]).baseline is None  # which of the two?

    def test_in_a_chain_of_baselines_it_is_the_last(self, viewer: User, finished_run: RunMaker) -> None:
        teachers = [f"run:{finished_run(name='teacher', student='mlp-64-64').pk}"]
        standardized, taught = (finished_run(method=method, teachers=teachers).pk for method in ("logit-standardization", "vanilla-kd"))

        assert comparison(viewer, [standardized, taught, finished_run().pk]).baseline == 2
        assert comparison(viewer, [standardized, taught]).baseline == 1


def test_gap_closed_is_measured_against_the_supervised_run_of_the_same_student_and_budget(viewer: User, finished_run: RunMaker) -> None:
    teacher = finished_run(name="teacher")
    plain = finished_run(name="plain", settings={"batch_size": 8}, metrics={"accuracy": 0.80})
    taught = finished_run(
        name="taught",
        method="vanilla-kd",
        teachers=[f"run:{teacher.pk}"],
        metrics={"accuracy": 0.86},
        teacher_metrics={"accuracy": 0.90},
    )

    found = comparison(viewer, [plain.pk, taught.pk])

    # (0.86 − 0.80) / (0.90 − 0.80) = 0.6; the supervised run has no teacher
    assert [cell.mean for cell in cells(found, "gap_closed")] == [None, pytest.approx(0.6)]


def test_a_supervised_run_with_another_budget_is_no_measure_of_the_gap(viewer: User, finished_run: RunMaker) -> None:
    teacher = finished_run(name="teacher")
    longer = finished_run(name="longer", budget={"steps": 40}, metrics={"accuracy": 0.80})
    taught = finished_run(
        method="vanilla-kd", teachers=[f"run:{teacher.pk}"], metrics={"accuracy": 0.86}, teacher_metrics={"accuracy": 0.90}
    )

    found = comparison(viewer, [longer.pk, taught.pk])

    assert "gap_closed" not in [row.card.id for row in found.rows]


def test_a_gap_is_not_defined_where_the_seeds_do_not_say_that_the_teacher_is_better(viewer: User, finished_run: RunMaker) -> None:
    teacher = finished_run(name="teacher")
    plain = [
        finished_run(seed=seed, settings={"batch_size": 8}, metrics={"accuracy": value}).pk for seed, value in enumerate((0.80, 0.90, 0.85))
    ]

    def gap(of_teacher: float) -> Cell:
        taught = finished_run(
            method="vanilla-kd",
            teachers=[f"run:{teacher.pk}"],
            metrics={"accuracy": 0.88},
            teacher_metrics={"accuracy": of_teacher},
        )
        return cells(comparison(viewer, [*plain, taught.pk]), "gap_closed")[1]

    near, far = gap(0.90), gap(0.99)  # the baseline's mean is 0.85 ∓ 0.124

    assert (near.mean, near.note) == (None, NO_GAP)
    assert (far.mean, far.note) == (pytest.approx(0.03 / 0.14), "")
