"""Launching: what comes of a body, and what is refused."""

import threading
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, QueryDict

from engine.errors import SpecError
from tests.webapp.conftest import SPEC, RunMaker
from webapp.accounts.models import AuditEntry, Project, User
from webapp.catalog.models import Method, ModelRecord
from webapp.launching.form import LaunchForm
from webapp.launching.launch import KeyReused, body_of, clone, launch
from webapp.runs.models import HistoryLine, IdempotencyKey, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def problems(project: Project, user: User, body: Any) -> list[tuple[str, str]]:
    """What a launch refuses, as (field, message)."""
    with pytest.raises(SpecError) as refused:
        launch(project, user, body)
    return [(problem.field, problem.message) for problem in refused.value.problems]


def test_a_launched_run_is_queued_under_a_name_made_of_method_student_and_seed(project: Project, operator: User) -> None:
    runs = launch(project, operator, {**SPEC, "seed": 7})

    assert [(run.name, run.state, run.seed, run.total_steps) for run in runs] == [("supervised mlp-16 seed 7", "queued", 7, 20)]


def test_a_launch_is_in_the_runs_history_and_in_the_audit_trail(project: Project, operator: User) -> None:
    run = launch(project, operator, SPEC)[0]

    assert HistoryLine.objects.get(run=run).who == "otto"
    entry = AuditEntry.objects.get()
    assert (entry.user, entry.project, entry.verb, entry.target) == (operator, project, "launched", f"run {run.pk}")


def test_three_seeds_are_three_runs_of_one_group(project: Project, operator: User) -> None:
    runs = launch(project, operator, {**SPEC, "name": "study", "seed": 10, "seeds": 3})

    assert [(run.seed, run.name) for run in runs] == [(10, "study · seed 10"), (11, "study · seed 11"), (12, "study · seed 12")]
    assert len({run.config_hash for run in runs}) == 1


def test_with_baseline_launches_supervised_with_the_same_student_task_seed_budget_and_training(
    project: Project, operator: User, finished_run: RunMaker
) -> None:
    teacher = finished_run()
    body = {
        "method": "vanilla-kd",
        "task": "digits",
        "teachers": [f"run:{teacher.pk}"],
        "student": "mlp-16",
        "seed": 3,
        "seeds": 2,
        "budget": {"steps": 5},
        "settings": {"temperature": 2.0, "learning_rate": 0.02},
        "with_baseline": True,
    }

    runs = launch(project, operator, body)

    students, baselines = runs[:2], runs[2:]
    assert [run.baseline_id for run in students] == [run.pk for run in baselines]
    assert [run.method_id for run in baselines] == ["supervised", "supervised"]
    for student, baseline in zip(students, baselines, strict=True):
        assert {key: baseline.spec[key] for key in ("task", "student", "seed", "budget")} == {
            key: student.spec[key] for key in ("task", "student", "seed", "budget")
        }
        assert (baseline.spec["settings"]["learning_rate"], baseline.spec["teachers"]) == (0.02, [])


def test_a_form_that_posts_every_setting_leaves_the_weight_of_the_labels_to_the_base_method(
    project: Project, operator: User, finished_run: RunMaker
) -> None:
    teacher = f"run:{finished_run().pk}"
    shown = LaunchForm.first({"method": "logit-standardization", "task": "digits", "teachers": [teacher]})
    sent = QueryDict(mutable=True)
    sent.update({one.path: one.raw for one in shown.fields})
    sent.update({"method": "logit-standardization", "task": "digits", "student": "mlp-16"})
    sent.setlist("teachers", [teacher])
    sent["settings.base_method"] = "dkd"

    run = launch(project, operator, LaunchForm.typed(sent).body())[0]

    assert sent["settings.ce_weight"] == ""
    assert (run.spec["settings"]["base_method"], run.spec["settings"]["ce_weight"]) == ("dkd", None)
    assert clone(run, operator, {}).spec["settings"]["ce_weight"] is None


def test_a_baseline_has_no_baseline(project: Project, operator: User) -> None:
    found = problems(project, operator, {**SPEC, "with_baseline": True})

    assert found == [("with_baseline", "supervised is itself a baseline; leave with_baseline out.")]


def test_a_teacher_is_the_student_of_a_succeeded_run(project: Project, operator: User, finished_run: RunMaker) -> None:
    teacher = finished_run()

    run = launch(project, operator, {"method": "vanilla-kd", "task": "digits", "teachers": [f"run:{teacher.pk}"]})[0]

    assert list(run.teachers.all()) == [ModelRecord.objects.get(run=teacher)]


def test_a_teacher_that_is_still_running_is_refused(project: Project, operator: User, running_run: RunMaker) -> None:
    teacher = running_run()

    found = problems(project, operator, {"method": "vanilla-kd", "task": "digits", "teachers": [f"run:{teacher.pk}"]})

    assert found == [("teachers.0", f"run:{teacher.pk} is running; only the student of a succeeded run can be used.")]


def test_a_teacher_of_another_task_is_refused(project: Project, operator: User, finished_run: RunMaker) -> None:
    teacher = finished_run(task="mnist")

    found = problems(project, operator, {"method": "vanilla-kd", "task": "digits", "teachers": [f"run:{teacher.pk}"]})

    assert found == [("teachers.0", f"run:{teacher.pk} was trained on the task mnist, this run is on digits; choose a model of digits.")]


def test_a_teacher_with_another_number_of_classes_is_refused(project: Project, operator: User, finished_run: RunMaker) -> None:
    teacher = finished_run(classes=7)

    found = problems(project, operator, {"method": "vanilla-kd", "task": "digits", "teachers": [f"run:{teacher.pk}"]})

    assert found == [("teachers.0", f"run:{teacher.pk} tells 7 classes apart, the task digits has 10; choose a model with as many.")]


def test_a_teacher_of_another_project_is_refused_like_one_that_does_not_exist(
    project: Project, elsewhere: Project, operator: User, finished_run: RunMaker
) -> None:
    teacher = finished_run(of=elsewhere)

    found = problems(project, operator, {"method": "vanilla-kd", "task": "digits", "teachers": [f"run:{teacher.pk}"]})

    assert found == [("teachers.0", f"run:{teacher.pk} is not a run of this project; copy the id from the page of a finished run.")]


def test_a_teacher_in_the_trash_is_refused(project: Project, operator: User, finished_run: RunMaker) -> None:
    teacher = finished_run()
    Run.objects.filter(pk=teacher.pk).update(deleted_at=teacher.finished_at)

    found = problems(project, operator, {"method": "vanilla-kd", "task": "digits", "teachers": [f"run:{teacher.pk}"]})

    assert [field for field, _ in found] == ["teachers.0"]


def test_a_student_can_begin_with_the_weights_of_an_earlier_run(project: Project, operator: User, finished_run: RunMaker) -> None:
    earlier = finished_run()

    run = launch(project, operator, {**SPEC, "student": f"run:{earlier.pk}"})[0]

    assert run.spec["student"]["name"] == str(earlier.pk)
    assert run.name == "supervised from finished seed 0"


def test_a_long_name_of_the_student_leaves_room_for_the_seed(project: Project, operator: User, finished_run: RunMaker) -> None:
    earlier = finished_run(name="n" * 200)

    runs = launch(project, operator, {**SPEC, "student": f"run:{earlier.pk}", "seeds": 2})

    assert [run.name for run in runs] == [f"supervised from {'n' * 177} seed {seed}" for seed in (0, 1)]


@pytest.mark.parametrize(("student", "name"), [("hf:/srv/models/llama", "llama"), ("hf:Qwen/Qwen3-0.6B", "Qwen3-0.6B"), ("hf:/", "/")])
def test_a_model_of_hugging_face_is_in_the_name_by_the_last_part_of_its_own(
    student: str, name: str, project: Project, operator: User, finished_run: RunMaker
) -> None:
    (run,) = launch(project, operator, {"method": "supervised", "task": "kjv", "student": student, "budget": {"steps": 2}})

    assert run.name == f"supervised {name} seed 0"


def test_an_unknown_method_is_refused_with_the_list_of_those_that_are(project: Project, operator: User) -> None:
    found = problems(project, operator, {**SPEC, "method": "alchemy"})

    ((field, message),) = found
    assert field == "method"
    assert message.startswith("there is no method 'alchemy'; choose one of ") and "supervised" in message


def test_a_setting_out_of_range_is_refused_with_its_path(project: Project, operator: User) -> None:
    found = problems(project, operator, {**SPEC, "settings": {"batch_size": 0}})

    assert found == [("settings.batch_size", "must be at least 1; got 0.")]


def test_all_that_is_wrong_is_told_at_once(project: Project, operator: User) -> None:
    found = problems(project, operator, {**SPEC, "settings": {"batch_size": 0}, "seeds": 101, "nonsense": 1})

    assert [field for field, _ in found] == ["seeds", "nonsense", "settings.batch_size"]


def test_models_seeds_and_the_baseline_are_told_with_the_rest(project: Project, operator: User, finished_run: RunMaker) -> None:
    queued = launch(project, operator, SPEC)[0]
    body = {
        "method": "ps-kd",
        "task": "digits",
        "teachers": [f"run:{queued.pk}"],
        "student": f"run:{queued.pk}",
        "settings": {"alpha_T": 3},
        "seed": 2**63 - 1,
        "seeds": 2,
        "with_baseline": True,
        "priority": "high",
    }

    fields = {field for field, _ in problems(project, operator, body)}
    without = {field for field, _ in problems(project, operator, {**SPEC, "seed": -1, "with_baseline": True})}

    assert fields == {"priority", "settings.alpha_T", "teachers", "student", "seeds"}
    assert without == {"seed", "with_baseline"}


def test_a_refused_baseline_is_told_when_nothing_else_is_wrong(project: Project, operator: User) -> None:
    assert [field for field, _ in problems(project, operator, {**SPEC, "with_baseline": True, "seeds": 0})] == ["seeds", "with_baseline"]


def test_a_clones_own_limits_are_told_with_what_is_wrong_in_its_changes(project: Project, operator: User) -> None:
    run = launch(project, operator, SPEC)[0]

    with pytest.raises(SpecError) as refused:
        clone(run, operator, {"seeds": 2, "settings": {"batch_size": 0}})

    assert {problem.field for problem in refused.value.problems} == {"seeds", "settings.batch_size"}


@pytest.mark.parametrize("body", [[], "text", None, 7])
def test_a_body_that_is_no_object_is_refused(project: Project, operator: User, body: Any) -> None:
    found = problems(project, operator, body)

    assert found == [("", "the body must be a JSON object with at least method and task.")]


def test_a_name_of_ten_megabytes_is_refused_in_one_short_sentence(project: Project, operator: User) -> None:
    found = problems(project, operator, {**SPEC, "name": "n" * 10_000_000})

    assert found == [("name", "must have at most 200 characters; got 10000000.")]


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_text_that_the_database_cannot_hold_is_refused_where_it_is(project: Project, operator: User, text: str) -> None:
    found = problems(project, operator, {**SPEC, "notes": text, "settings": {text: 1}})

    assert found == [
        ("notes", "must not hold NUL characters or halves of surrogate pairs."),
        ("settings", "must not hold NUL characters or halves of surrogate pairs."),
    ]


def test_seeds_beyond_the_largest_are_refused(project: Project, operator: User) -> None:
    found = problems(project, operator, {**SPEC, "seed": 2**63 - 1, "seeds": 2})

    assert found == [("seeds", "2 seeds from 9223372036854775807 on pass the largest seed, 2⁶³ − 1; start lower.")]


def test_a_method_that_is_not_in_the_catalog_here_is_refused(project: Project, operator: User) -> None:
    Method.objects.filter(pk="supervised").update(available=False)

    found = problems(project, operator, SPEC)

    assert found == [("method", "supervised is not in the catalog here; an administrator runs manage.py sync_catalog.")]


def test_a_viewer_may_not_launch(project: Project, viewer: User) -> None:
    with pytest.raises(PermissionDenied, match=r"^This needs the role operator in Distillery; yours is viewer\.$"):
        launch(project, viewer, SPEC)


def test_a_stranger_finds_no_project_to_launch_in(project: Project, stranger: User) -> None:
    with pytest.raises(Http404):
        launch(project, stranger, SPEC)


def test_the_same_key_with_the_same_body_gives_the_same_runs(project: Project, operator: User) -> None:
    first = launch(project, operator, {**SPEC, "seeds": 2}, "key-1")

    again = launch(project, operator, {"seeds": 2, **SPEC}, "key-1")

    assert [run.pk for run in again] == [run.pk for run in first]
    assert Run.objects.count() == 2


def test_the_same_key_with_another_body_is_refused(project: Project, operator: User) -> None:
    launch(project, operator, SPEC, "key-1")

    with pytest.raises(KeyReused, match=r"^The idempotency key 'key-1' was used with another body; send a new key, or the same body\.$"):
        launch(project, operator, {**SPEC, "seed": 1}, "key-1")

    assert Run.objects.count() == 1


def test_two_people_may_use_the_same_key(project: Project, operator: User, owner: User) -> None:
    first = launch(project, operator, SPEC, "key-1")

    second = launch(project, owner, SPEC, "key-1")

    assert first[0].pk != second[0].pk


def test_a_refused_launch_leaves_its_key_free(project: Project, operator: User) -> None:
    with pytest.raises(SpecError) as problems_before:
        launch(project, operator, {**SPEC, "seed": -1}, "key-1")

    runs = launch(project, operator, SPEC, "key-1")

    assert problems_before.value.problems[0].field == "seed"
    assert len(runs) == 1


@pytest.mark.parametrize("key", ["", "k" * 201, "tab\tin it"])
def test_a_key_that_is_none_is_refused(project: Project, operator: User, key: str) -> None:
    with pytest.raises(SpecError, match=r"^Idempotency-Key: must be 1 to 200 printable characters; got \d+\.$"):
        launch(project, operator, SPEC, key)


@pytest.mark.django_db(transaction=True)
def test_eight_requests_with_one_key_at_the_same_moment_launch_once(project: Project, operator: User) -> None:
    start, answers = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        answers.append(launch(project, operator, SPEC, "key-1")[0].pk)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 8 and len(set(answers)) == 1
    assert (Run.objects.count(), IdempotencyKey.objects.count()) == (1, 1)


def test_a_clone_changes_what_is_named_and_keeps_the_rest(project: Project, operator: User) -> None:
    original = launch(project, operator, {**SPEC, "tags": ["digits"], "settings": {"learning_rate": 0.02, "batch_size": 32}})[0]

    copy = clone(original, operator, {"settings": {"batch_size": 16}, "seed": 5})

    assert copy.cloned_from_id == original.pk
    assert (copy.spec["settings"]["learning_rate"], copy.spec["settings"]["batch_size"], copy.seed, copy.tags) == (0.02, 16, 5, ["digits"])
    assert copy.name == "supervised mlp-16 seed 5"


def test_an_unchanged_clone_is_of_the_same_seed_group(project: Project, operator: User) -> None:
    original = launch(project, operator, SPEC)[0]

    copy = clone(original, operator)

    assert copy.config_hash == original.config_hash


def test_a_clone_with_another_method_forgets_the_old_ones_settings(project: Project, operator: User) -> None:
    original = launch(project, operator, {**SPEC, "settings": {"label_smoothing": 0.1}})[0]

    copy = clone(original, operator, {"method": "ps-kd", "budget": {"epochs": 1}})

    assert copy.method_id == "ps-kd"
    assert "label_smoothing" not in copy.spec["settings"]


def test_a_clone_is_one_run(project: Project, operator: User) -> None:
    original = launch(project, operator, SPEC)[0]

    with pytest.raises(SpecError, match=r"^seeds: a clone is one run; launch the spec anew for more\.$"):
        clone(original, operator, {"seeds": 2})


def test_a_clone_is_refused_when_its_changes_are_no_object(project: Project, operator: User) -> None:
    original = launch(project, operator, SPEC)[0]

    with pytest.raises(SpecError, match=r"^the body must be a JSON object with the fields to change\.$"):
        clone(original, operator, [])  # type: ignore[arg-type]


def test_the_body_of_a_run_launches_the_same_config_again(project: Project, operator: User) -> None:
    original = launch(project, operator, {**SPEC, "settings": {"learning_rate": 0.02}})[0]

    again = launch(project, operator, body_of(original))[0]

    assert again.config_hash == original.config_hash


def test_runs_of_a_project_count_from_one_in_the_order_of_their_launch(project: Project, operator: User) -> None:
    body = {"method": "supervised", "task": "digits"}
    launch(project, operator, body)

    runs = launch(project, operator, {**body, "seeds": 3})

    assert [run.number for run in runs] == [2, 3, 4]
    assert clone(runs[0], operator).number == 5


def test_a_refused_launch_takes_no_number(project: Project, operator: User) -> None:
    problems(project, operator, {"method": "nothing", "task": "digits"})

    (run,) = launch(project, operator, {"method": "supervised", "task": "digits"})

    assert run.number == 1
