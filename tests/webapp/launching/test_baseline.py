"""The baseline of a launch is the one that the method's card names."""

from typing import Any
from uuid import UUID

import pytest

from engine.errors import SpecError
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from tests.webapp.conftest import METRICS, RunMaker
from webapp.accounts.models import Project, User
from webapp.launching.baseline import baseline_of
from webapp.launching.launch import launch
from webapp.runs.page.scores import scores_of

CARDS = catalog.methods().values()


def spec_of(method: str, *, preset: str = "small", **more: Any) -> RunSpec:
    """A spec of the method on its own task, with as many models as it needs."""
    card = catalog.methods()[method]
    body: dict[str, Any] = {"method": method, "task": card.task, "settings": dict(card.presets[preset].settings)}
    if budget := dict(card.presets[preset].budget):
        body["budget"] = budget
    if card.teachers is not None:
        body["teachers"] = [f"run:{UUID(int=index + 1)}" for index in range(card.teachers.at_least)]
    if card.student.trained_weights:
        body["student"] = f"run:{UUID(int=99)}"
    return RunSpec.parse(body | more)


@pytest.mark.parametrize("preset", ["small", "paper", "tiny"])
@pytest.mark.parametrize("method", [card.id for card in CARDS if card.baseline is not None])
def test_every_baseline_can_be_run_beside_its_method(method: str, preset: str) -> None:
    spec = spec_of(method, preset=preset)

    baseline = baseline_of(spec)

    assert baseline.method == spec.card.baseline
    same = ("task", "task_options", "student", "seed", "budget", "device", "precision")
    assert {name: getattr(baseline, name) for name in same} == {name: getattr(spec, name) for name in same}
    assert baseline.teachers == (spec.teachers if baseline.card.teachers is not None else [])


@pytest.mark.parametrize("method", [card.id for card in CARDS if card.baseline is None])
def test_a_method_without_a_baseline_is_launched_without_one(method: str) -> None:
    with pytest.raises(SpecError) as refused:
        baseline_of(spec_of(method))

    has_none = "is itself a baseline" if catalog.methods()[method].family == "baseline" else "has no baseline"
    assert str(refused.value) == f"with_baseline: {method} {has_none}; leave with_baseline out."


def test_a_setting_goes_to_the_baseline_where_it_means_the_same_there() -> None:
    spec = spec_of("logit-standardization", settings={"learning_rate": 0.125, "base_temperature": 7.0, "kd_weight": 5.0})

    settings = baseline_of(spec).settings

    # Both have a kd_weight, which weighs another term in each.
    assert (settings["learning_rate"], settings["kd_weight"]) == (0.125, catalog.methods()["vanilla-kd"].settings().kd_weight)  # type: ignore[attr-defined]


def test_a_baseline_that_can_not_be_run_like_this_says_why() -> None:
    spec = spec_of("logit-standardization", task_options={"augment_shift": 1})
    wrong = spec.model_copy(update={"teachers": spec.teachers * 3, "budget": spec.budget, "devices": 2, "device": "cpu"})

    with pytest.raises(SpecError) as refused:
        baseline_of(wrong)

    assert {problem.field for problem in refused.value.problems} == {"with_baseline"}
    assert "the baseline vanilla-kd can't be run with these choices: devices: a run on the CPU has one device; got 2." in [
        problem.message for problem in refused.value.problems
    ]


@pytest.mark.servers
@pytest.mark.django_db
class TestLaunched:
    def test_a_baseline_with_a_teacher_learns_from_the_same_one(self, project: Project, operator: User, finished_run: RunMaker) -> None:
        teacher = finished_run()
        body = {"method": "logit-standardization", "task": "digits", "teachers": [f"run:{teacher.pk}"], "with_baseline": True}

        student, baseline = launch(project, operator, body)

        assert (student.baseline_id, baseline.method_id) == (baseline.pk, "vanilla-kd")
        assert [model.run_id for model in baseline.teachers.all()] == [teacher.pk]

    def test_a_gap_is_not_measured_from_a_baseline_that_has_a_teacher(self, finished_run: RunMaker) -> None:
        run = finished_run(metrics=METRICS | {"accuracy": 0.85}, teacher_metrics=METRICS | {"accuracy": 0.95})
        run.baseline = finished_run(method="vanilla-kd", teachers=[f"run:{run.pk}"], metrics=METRICS | {"accuracy": 0.80})

        shown = scores_of(run)

        assert shown is not None and shown.has_baseline
        assert "gap_closed" not in [row.card.id for row in [*shown.main, *shown.more]]
