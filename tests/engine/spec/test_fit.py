"""What does not fit together is refused where it was said: method against task, models against both, and budgets against data."""

from typing import Any

import pytest

from engine.errors import Problem, SpecError
from engine.spec.run_spec import Budget, Cadence, RunSpec
from engine.spec.sentences import problems_of

RUNS = [f"run:00000000-0000-4000-8000-{number:012d}" for number in range(1, 4)]
KJV = {"method": "x-ecomla", "task": "kjv", "teachers": RUNS[:1]}


def refused(data: Any) -> list[Problem]:
    with pytest.raises(SpecError) as refusal:
        RunSpec.parse(data)
    return refusal.value.problems


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (
            {"method": "gkd", "task": "digits", "teachers": RUNS[:1]},
            Problem("method", "gkd trains a causal-lm; the task digits judges a classifier or dataset. Choose a task of that kind."),
        ),
        (
            {"method": "vanilla-kd", "task": "toy-scene", "teachers": RUNS[:1]},
            Problem("method", "vanilla-kd trains a classifier or causal-lm; the task toy-scene judges a scene. Choose a task of that kind."),
        ),
        (
            {"method": "steve-evolving", "task": "crafting-world", "budget": {"epochs": 3}},
            Problem("budget.epochs", "the task crafting-world has no training rows to pass over; give steps."),
        ),
        (KJV, Problem("student", "x-ecomla goes on from a trained model; name one as run:<id of a finished run>.")),
        (
            {**KJV, "student": "llama-2x64"},
            Problem("student", "llama-2x64 is an architecture without trained weights; name a trained model as run:<id of a finished run>."),
        ),
        (
            {"method": "gkd", "task": "kjv", "teachers": RUNS[:2]},
            Problem("teachers", "gkd takes at most 1 teacher; got 2."),
        ),
        (
            {"method": "lightning-opd", "task": "kjv", "teachers": RUNS},
            Problem("teachers", "lightning-opd takes at most 2 teachers; got 3."),
        ),
        (
            {"method": "gkd", "task": "kjv", "teachers": [{"source": "run", "name": RUNS[0][4:], "config": {"width": 3}}]},
            Problem("teachers.0.config", "only a built-in architecture can be configured."),
        ),
        (
            {"method": "supervised", "task": "digits", "student": "hf:org/name"},
            Problem("student", "the task digits takes built-in architectures and run:<id>; hf: models are for language models."),
        ),
        (
            {"method": "supervised", "task": "points-2d"},
            Problem("method", "supervised trains a classifier or causal-lm; the task points-2d judges a generator or denoiser. Choose a task of that kind."),
        ),
        (
            {"method": "supervised", "task": "stdlib-topics", "student": {"name": "bert-2x64", "config": {"length": 64, "vocabulary": 2048}}},
            Problem("student.config.length", "must be 80 for the task stdlib-topics; got 64. Leave it out."),
        ),
        (
            {"method": "supervised", "task": "digits", "student": {"name": "mlp-16", "config": {"zeta": 1, "alpha": 2, "hidden": [3]}}},
            Problem("student.config", "mlp-16 has no option 'alpha'; it has inputs, hidden, classes."),
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_where_it_was_said(data: dict[str, Any], problem: Problem) -> None:
    assert refused(data) == [problem]


def test_a_kind_of_student_is_that_which_the_task_judges_and_the_method_makes() -> None:
    usual = RunSpec.parse({"method": "supervised", "task": "digits"})
    set_of_pictures = RunSpec.parse({"method": "mtt", "task": "digits"})
    language = RunSpec.parse({"method": "supervised", "task": "kjv"})

    assert [spec.kind for spec in (usual, set_of_pictures, language)] == ["classifier", "dataset", "causal-lm"]
    assert str(set_of_pictures.student) == "convnet"


def test_a_method_without_epochs_has_its_steps_and_a_budget_that_is_given_wins() -> None:
    usual = RunSpec.parse({"method": "dmd2", "task": "digits-images", "teachers": RUNS[:1]})
    given = RunSpec.parse({"method": "dmd2", "task": "digits-images", "teachers": RUNS[:1], "budget": {"epochs": 2}})

    assert usual.budget is not None and usual.budget.steps == usual.total_steps == usual.card.steps
    assert given.total_steps == 2 * given.steps_per_epoch == 2 * -(-1197 // 64)


def test_mistakes_of_method_options_models_and_device_are_reported_together() -> None:
    problems = refused(
        {
            "method": "supervised",
            "task": "digits",
            "method_version": 99,
            "settings": {"momentum": 1},
            "task_options": {"split": "even"},
            "teachers": RUNS[:1],
            "student": "mlp-17",
            "device": "cpu",
            "devices": 2,
            "precision": "float16",
        }
    )

    assert [problem.field for problem in problems] == [
        "settings.momentum",
        "task_options.split",
        "method_version",
        "teachers",
        "student",
        "devices",
        "precision",
    ]
    assert problems[0].message == "must be less than 1; got 1."
    assert problems[1].message == "must be one of 'stratified' or 'random'; got 'even'."


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"steps": 2.5}, Problem("x.steps", "must be a whole number; got 2.5.")),
        ({"steps": True}, Problem("x.steps", "must be a whole number; got True.")),
        ({"steps": 1, "seconds": "1"}, Problem("x.seconds", "must be a number; got '1'.")),
        ({"steps": 1, "seconds": float("inf")}, Problem("x.seconds", "must be a number; got inf.")),
        ({"steps": 100_000_001}, Problem("x.steps", "must be at most 100000000; got 100000001.")),
        ({"epochs": 10**40}, Problem("x.epochs", f"must be at most 1000000; got {10**40}.")),
        ({"steps": 1, "hours": 2}, Problem("x.hours", "is not a known field; remove it or check its spelling.")),
        ([], Problem("x", "must be a JSON object; got [].")),
        (None, Problem("x", "must be a JSON object; got None.")),
        ({"steps": 1, "\u202ecod.exe": 1}, Problem("x.\u202ecod.exe", "is not a known field; remove it or check its spelling.")),
    ],
)
def test_a_wrong_type_is_said_in_one_sentence(data: Any, problem: Problem) -> None:
    assert problems_of(Budget, data, at="x") == [problem]


def test_what_was_given_is_quoted_short_and_a_path_may_begin_anywhere() -> None:
    [long] = problems_of(Cadence, {"log": "9" * 500})

    assert long == Problem("log", f"must be a whole number; got '{'9' * 79}.")
    assert problems_of(Cadence, {"log": 3}) == []
