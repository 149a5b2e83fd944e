"""A spec is completed, or refused with each field's path and one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Problem, SpecError
from engine.spec import catalog
from engine.spec.earlier_names import upgraded
from engine.spec.epochs import steps_per_epoch
from engine.spec.run_spec import RunSpec

RECORDED = Path(__file__).parents[1] / "recorded"
TEACHER = "run:00000000-0000-4000-8000-000000000001"
SUPERVISED: dict[str, Any] = {"method": "supervised", "task": "digits"}
DISTILLED: dict[str, Any] = {"method": "vanilla-kd", "task": "digits", "teachers": [TEACHER]}


def refused(data: Any) -> list[Problem]:
    with pytest.raises(SpecError) as refusal:
        RunSpec.parse(data)
    return refusal.value.problems


def test_a_short_spec_is_completed_with_every_setting() -> None:
    spec = RunSpec.parse(SUPERVISED)

    assert spec.method_version == catalog.methods()["supervised"].version
    assert set(spec.settings) == set(catalog.methods()["supervised"].settings.model_fields)
    assert set(spec.task_options) == set(catalog.tasks()["digits"].options.model_fields)
    assert str(spec.student) == "mlp-16"
    assert spec.total_steps == 60 * 19


@pytest.mark.parametrize("data", [SUPERVISED, DISTILLED, {**SUPERVISED, "budget": {"steps": 7, "seconds": 1.5}, "student": TEACHER}])
def test_a_complete_spec_goes_through_json_unchanged(data: dict[str, Any]) -> None:
    spec = RunSpec.parse(data)

    assert RunSpec.parse(spec.to_json()) == spec
    assert RunSpec.parse(json.loads(spec.to_json())) == spec


def test_epochs_are_of_the_rows_that_are_left_with_the_last_partial_batch() -> None:
    spec = RunSpec.parse({**SUPERVISED, "task_options": {"train_limit": 150}, "budget": {"epochs": 60}})

    assert spec.steps_per_epoch == 3
    assert spec.total_steps == 180


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"method": "alchemy"}, "method", "there is no method 'alchemy'; choose one of "),
        ({"task": "gold"}, "task", "there is no task 'gold'; choose one of "),
        ({"sead": 1}, "sead", "is not a known field; remove it or check its spelling."),
        ({"format": 2}, "format", "must be one of 1; got 2."),
        ({"seed": -1}, "seed", "must be at least 0; got -1."),
        ({"seed": "3"}, "seed", "must be a whole number; got '3'."),
        ({"seed": 2**63}, "seed", f"must be less than {2**63}; got {2**63}."),
        ({"devices": 0}, "devices", "must be at least 1; got 0."),
        ({"devices": 2, "device": "cpu"}, "devices", "a run on the CPU has one device; got 2."),
        ({"method": "ps-kd", "devices": 2}, "devices", "ps-kd runs on one device; got 2."),
        ({"device": "tpu"}, "device", "must be one of 'auto', 'cpu' or 'cuda'; got 'tpu'."),
        ({"device": "cpu", "precision": "float16"}, "precision", "float16 needs a GPU; choose float32 or bfloat16 on the CPU."),
        ({"budget": {}}, "budget", "must have either steps or epochs; got neither."),
        ({"budget": {"steps": 1, "epochs": 2}}, "budget", "must have either steps or epochs; got steps=1 and epochs=2."),
        ({"budget": {"steps": 0}}, "budget.steps", "must be at least 1; got 0."),
        ({"budget": {"steps": 1, "seconds": 0}}, "budget.seconds", "must be greater than 0; got 0."),
        ({"cadence": {"log": 0}}, "cadence.log", "must be at least 1; got 0."),
        ({"settings": {"learning_rate": -1}}, "settings.learning_rate", "must be greater than 0; got -1."),
        ({"settings": {"learning_rate": "fast"}}, "settings.learning_rate", "must be a number; got 'fast'."),
        ({"settings": {"learning_rate": float("nan")}}, "settings.learning_rate", "must be a number; got nan."),
        ({"settings": {"nesterov": "yes"}}, "settings.nesterov", "must be true or false; got 'yes'."),
        ({"settings": {"optimizer": "lion"}}, "settings.optimizer", "must be one of 'adamw', 'adam' or 'sgd'; got 'lion'."),
        ({"settings": {"temprature": 2}}, "settings.temprature", "is not a known field; remove it or check its spelling."),
        ({"settings": []}, "settings", "must be a JSON object; got []."),
        ({"task_options": {"train_limit": 1201}}, "task_options.train_limit", "must be at most 1200; got 1201."),
        ({"teachers": [TEACHER]}, "teachers", "supervised takes no teacher; got 1."),
        ({"teachers": TEACHER}, "teachers", f"must be a list; got {TEACHER!r}."),
        ({"teachers": ["run:12"]}, "teachers.0.name", "must be the id of a run (a UUID) after run:; got '12'."),
        ({"student": "mlp-17"}, "student", "the task digits has no architecture 'mlp-17'; choose one of "),
        ({"student": {"name": ""}}, "student.name", "must not be empty."),
        ({"student": {"name": "mlp-16", "config": {"hiden": [4]}}}, "student.config", "mlp-16 has no option 'hiden'; it has "),
        ({"student": {"name": "mlp-16", "config": {"hidden": [0]}}}, "student.config.hidden.0", "must be at least 1; got 0."),
        ({"student": {"name": "mlp-16", "config": {"classes": 7}}}, "student.config.classes", "must be 10 for the task digits; got 7. "),
        ({"student": {"name": "mlp-16", "config": {"classes": 12}}}, "student.config.classes", "must be 10 for the task digits; got 12. "),
        ({"student": {"name": "mlp-16", "config": {"inputs": 32}}}, "student.config.inputs", "must be 64 for the task digits; got 32. "),
        (
            {"student": {"name": "cnn-narrow", "config": {"channels": 3}}},
            "student.config.channels",
            "must be 1 for the task digits; got 3. ",
        ),
        (
            {"student": {"source": "run", "name": TEACHER[4:], "config": {"a": 1}}},
            "student.config",
            "only a built-in architecture can be configured.",
        ),
        ({"student": "hf:org/name"}, "student", "the task digits takes built-in architectures and run:<id>; "),
    ],
)
def test_a_wrong_field_is_refused_with_its_path_its_value_and_what_would_be_right(change: dict[str, Any], field: str, message: str) -> None:
    problems = refused({**SUPERVISED, **change})

    assert [problem.field for problem in problems] == [field]
    assert problems[0].message.startswith(message)


@pytest.mark.parametrize(
    ("teachers", "field", "message"),
    [
        ([], "teachers", "vanilla-kd needs at least 1 teacher, for example run:<id of a finished run>; got 0."),
        (
            ["mlp-128-128"],
            "teachers.0",
            "mlp-128-128 is an architecture without trained weights; name a trained model as run:<id of a finished run>.",
        ),
        ([TEACHER] * 17, "teachers", "must have at most 16 entries; got 17."),
    ],
)
def test_teachers_that_do_not_fit_the_method_are_refused(teachers: list[str], field: str, message: str) -> None:
    assert refused({**DISTILLED, "teachers": teachers}) == [Problem(field, message)]


def test_all_mistakes_are_reported_at_once() -> None:
    problems = refused({**SUPERVISED, "seed": -1, "settings": {}, "budget": {"steps": 0}, "color": "red"})

    assert {problem.field for problem in problems} == {"seed", "budget.steps", "color"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "the spec must be JSON."),
        ("[" * 100_000, "the spec must be JSON."),
        ("[1]", "the spec must be a JSON object with at least method and task."),
        (None, "the spec must be a JSON object with at least method and task."),
    ],
)
def test_what_is_no_json_object_is_refused(data: Any, message: str) -> None:
    assert refused(data) == [Problem("", message)]


def test_a_spec_of_another_version_of_the_method_is_refused() -> None:
    problems = refused({**SUPERVISED, "method_version": 99})

    assert problems == [Problem("method_version", "supervised is at version 1 here, this spec asks for 99; leave the field out.")]


def test_a_name_of_ten_megabytes_is_refused_in_one_short_sentence() -> None:
    [problem] = refused({**SUPERVISED, "method": "a" * 10_000_000})

    assert problem.field == "method"
    assert len(problem.message) < 500


def test_runs_that_differ_only_in_their_seeds_have_the_same_hash() -> None:
    first = RunSpec.parse({**SUPERVISED, "seed": 1, "student": {"name": "mlp-16", "init_seed": 5}, "threads": 2})
    second = RunSpec.parse({**SUPERVISED, "seed": 2, "student": {"name": "mlp-16", "init_seed": 6}, "cadence": {"log": 3}})
    third = RunSpec.parse({**SUPERVISED, "settings": {"learning_rate": 0.5}})

    assert first.config_hash() == second.config_hash()
    assert first.config_hash() != third.config_hash()
    assert len(first.config_hash()) == 16


def test_a_setting_under_its_earlier_name_is_read_and_completed_under_todays() -> None:
    earlier = RunSpec.parse({**SUPERVISED, "settings": {"micro_batches": 4}})
    today = RunSpec.parse({**SUPERVISED, "settings": {"gradient_accumulation_steps": 4}})
    both = RunSpec.parse({**SUPERVISED, "settings": {"gradient_accumulation_steps": 4, "micro_batches": 4}})

    assert earlier == today == both
    assert earlier.settings["gradient_accumulation_steps"] == 4
    assert "micro_batches" not in earlier.settings


def test_a_hash_is_made_of_the_earlier_names_so_that_stored_runs_stay_in_their_groups() -> None:
    # The whole specification as it was stored before the setting was renamed, and the hash that was stored beside it.
    stored = json.loads((RECORDED / "more_runs.json").read_text())["micro-batches"]
    spec = RunSpec.parse(stored["spec"])

    assert stored["spec"]["settings"]["micro_batches"] == spec.settings["gradient_accumulation_steps"] > 1
    assert spec.config_hash() == stored["config_hash"]


def test_both_names_with_different_values_are_refused() -> None:
    problems = refused({**SUPERVISED, "settings": {"micro_batches": 2, "gradient_accumulation_steps": 4}})

    sentence = "must be left out, since it is the earlier name of gradient_accumulation_steps, which is 4; got 2."
    assert problems == [Problem("settings.micro_batches", sentence)]


def test_an_earlier_name_is_unknown_to_a_method_that_never_had_the_setting() -> None:
    problems = refused({"method": "mtt", "task": "digits", "settings": {"micro_batches": 2}})

    assert problems == [Problem("settings.micro_batches", "is not a known field; remove it or check its spelling.")]


def test_a_stored_specification_is_upgraded_for_showing_whatever_it_holds() -> None:
    stored = {"method": "supervised", "settings": {"micro_batches": 2, "momentum": 0.9}, "seed": 3}

    assert upgraded(stored) == {**stored, "settings": {"gradient_accumulation_steps": 2, "momentum": 0.9}}
    assert upgraded({"method": "supervised"}) == {"method": "supervised"}
    assert upgraded({"settings": [1]}) == {"settings": [1]}


@pytest.mark.parametrize(("rows", "batch_size", "steps"), [(128, 64, 2), (129, 64, 3), (1, 64, 1), (0, 64, 1), (0, 0, 1)])
def test_an_epoch_counts_its_last_partial_batch_and_is_never_empty(rows: int, batch_size: int, steps: int) -> None:
    assert steps_per_epoch(rows, batch_size) == steps


@pytest.mark.parametrize("text", ["mlp-16", TEACHER])
def test_a_model_is_written_as_text_and_read_back(text: str) -> None:
    assert str(RunSpec.parse({**SUPERVISED, "student": text}).student) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(RunSpec.model_fields)), json_values, max_size=4))
def test_whatever_is_given_is_parsed_or_refused_with_sentences(fields: dict[str, Any]) -> None:
    problems: list[Problem] = []
    try:
        spec = RunSpec.parse({**SUPERVISED, **fields})
    except SpecError as error:
        spec, problems = None, error.problems

    assert (spec is None) == bool(problems)
    assert all(problem.message.endswith(".") and "\n" not in problem.message for problem in problems)
    assert spec is None or RunSpec.parse(spec.to_json()) == spec


def test_reading_specs_and_the_catalog_reaches_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys; from engine.spec.run_spec import RunSpec; from engine import events; from engine.spec import catalog; catalog.methods(), catalog.tasks(); print('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)

    assert answer.stdout == "False\n"
