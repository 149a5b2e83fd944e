"""All that is wrong with a spec is told at once, and nothing that follows from what is wrong already."""

from typing import Any

import pytest

from engine.errors import SpecError
from engine.spec.completion import examined
from engine.spec.run_spec import Budget, ModelRef, RunSpec

TEACHER = "run:11111111-1111-1111-1111-111111111111"
TAUGHT: dict[str, Any] = {"method": "vanilla-kd", "task": "digits", "teachers": [TEACHER]}


def fields(**spec: Any) -> list[str]:
    with pytest.raises(SpecError) as refused:
        RunSpec.parse(spec)
    return [problem.field for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        # shapes of fields, then settings, options, fit
        ({**TAUGHT, "seed": -1, "settings": {"temperature": -1}, "task_options": {"nothing": 1}, "student": "gone"},
         ["seed", "settings.temperature", "task_options.nothing", "student"]),
        ({"method": "vanilla-kd", "task": "digits", "budget": {"steps": 0}, "settings": {"alpha": 7}}, ["budget.steps", "settings.alpha", "teachers"]),
        # one of method and task is unknown
        ({**TAUGHT, "method": "alchemy", "task_options": {"train_limit": 0}, "seed": 1.5}, ["seed", "method", "task_options.train_limit"]),
        ({**TAUGHT, "task": "alchemy", "settings": {"temperature": -1}}, ["task", "settings.temperature"]),
        ({"settings": {"temperature": -1}, "unheard": 1}, ["method", "task", "unheard"]),
        # what a method's own check says of fields that are right, beside others that are not
        ({"method": "pso", "task": "points-2d", "student": TEACHER, "settings": {"mode": "offline", "negatives": 2, "learning_rate": -1}},
         ["settings.learning_rate", "settings.negatives"]),
        ({"method": "pso", "task": "points-2d", "settings": {"mode": "offline", "negatives": 2}}, ["student", "settings.negatives"]),
    ],
)  # fmt: skip
def test_a_problem_in_one_field_hides_none_in_another(spec: dict[str, Any], wrong: list[str]) -> None:
    assert sorted(fields(**spec)) == sorted(wrong)


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        # without a right batch_size nobody knows whether the negatives suffice
        ({"method": "pso", "task": "points-2d", "student": TEACHER, "settings": {"mode": "offline", "negatives": 2, "batch_size": 0}},
         ["settings.batch_size"]),
        # teachers that can't be read are not too few, and their weights not too many
        ({"method": "vanilla-kd", "task": "digits", "teachers": 3, "settings": {"teacher_weights": [0.5, 0.5]}}, ["teachers"]),
        ({"method": "vanilla-kd", "task": "digits", "teachers": ["run:x"]}, ["teachers.0.name"]),
        ({"method": "gkd", "task": "digits", "settings": 3}, ["settings", "method", "teachers"]),
        ({**TAUGHT, "task_options": 3}, ["task_options"]),
    ],
)  # fmt: skip
def test_what_follows_from_a_refused_field_is_not_said(spec: dict[str, Any], wrong: list[str]) -> None:
    assert sorted(fields(**spec)) == sorted(wrong)


def test_of_a_spec_with_problems_the_rest_is_understood() -> None:
    found = examined(
        {**TAUGHT, "settings": {"temperature": -1, "learning_rate": 0.25}, "student": "gone", "budget": {"steps": 7}, "precision": "int8"}
    )

    assert found.spec is not None
    assert {problem.field for problem in found.problems} == {"settings.temperature", "student", "precision"}
    assert (found.spec.settings["temperature"], found.spec.settings["learning_rate"]) == (None, 0.25)
    assert (found.spec.student, found.spec.precision, found.spec.budget) == (ModelRef(name="mlp-16"), "float32", Budget(steps=7))


@pytest.mark.parametrize("name", [".", ".temperature", "a.b", "", "temperature.", "\x9a\n.\ud7ff", "x" * 5000])
def test_a_field_of_any_name_that_is_not_known_is_one_problem_and_no_error(name: str) -> None:
    found = examined({**TAUGHT, "settings": {name: 1, "learning_rate": 0.25}, "task_options": {name: {"a": [1]}}})

    assert [problem.field for problem in found.problems] == [f"settings.{name}", f"task_options.{name}"]
    assert found.spec is not None and found.spec.settings["learning_rate"] == 0.25


def test_of_a_spec_without_a_known_method_nothing_is_made_up() -> None:
    assert examined({**TAUGHT, "method": "alchemy"}).spec is None
