"""Launching at its edges: names that are too long, models that do not fit, keys, clones, and what the page says of each."""

from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.urls import reverse

from engine.errors import SpecError
from tests.webapp.conftest import SPEC, RunMaker, signed_in
from tests.webapp.launching.test_launch import problems
from tests.webapp.launching.test_pages import complete
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import AuditEntry, Membership, Project, Role, User
from webapp.catalog.models import ModelRecord, Task
from webapp.launching.launch import KEY_LENGTH, KeyReused, clone, launch, launch_or_repeat
from webapp.runs import lifecycle
from webapp.runs.models import IdempotencyKey, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

TAUGHT: dict[str, Any] = {"method": "vanilla-kd", "task": "digits", "budget": {"steps": 20}, "device": "cpu"}

# Names, tags, devices


def test_names_that_are_too_long_are_cut_before_what_tells_them_apart(project: Project, operator: User, finished_run: RunMaker) -> None:
    body = {**TAUGHT, "teachers": [f"run:{finished_run().pk}"], "name": "n" * 200, "with_baseline": True}

    alone = launch(project, operator, body)
    seeds = launch(project, operator, {**body, "seeds": 2, "seed": 10**15})

    assert [run.name for run in alone] == ["n" * 200, "n" * 188 + " · baseline"]
    assert [run.name for run in seeds[:2]] == ["n" * 170 + f" · seed {10**15 + seed}" for seed in range(2)]
    assert [run.name for run in seeds[2:]] == [f"{run.name[:188]} · baseline" for run in seeds[:2]]
    assert {len(run.name) <= 200 for run in (*alone, *seeds)} == {True}


@pytest.mark.parametrize("name", ["", "   ", "\t"])
def test_a_name_of_blanks_is_none(name: str, project: Project, operator: User) -> None:
    (run,) = launch(project, operator, {**SPEC, "name": name})

    assert run.name == "supervised mlp-16 seed 0"
    assert clone(run, operator, {"name": name, "seed": 4}).name == "supervised mlp-16 seed 4"


def test_tags_are_kept_once_in_their_order_with_notes_priority_and_device(project: Project, operator: User) -> None:
    (run,) = launch(project, operator, {**SPEC, "tags": ["b", " a ", "b"], "notes": " why\n", "priority": -3, "device": "auto"})

    assert (run.tags, run.notes, run.priority, run.device_kind, run.device_count) == (["b", "a"], " why\n", -3, "any", 1)
    assert run.created_by == operator and run.cloned_from_id is None


@pytest.mark.parametrize(
    ("about", "found"),
    [
        ({"tags": ["a,b"]}, "tags.0"),
        ({"tags": [""]}, "tags.0"),
        ({"tags": [f"t{n}" for n in range(21)]}, "tags"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": 101}, "seeds"),
        ({"name": "n" * 201}, "name"),
        ({"name": None}, "name"),
        ({"priority": 10**6}, "priority"),
        ({"with_baseline": "perhaps"}, "with_baseline"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_what_is_said_beside_a_spec_is_refused_by_its_field_and_nothing_is_launched(
    about: dict[str, Any], found: str, project: Project, operator: User
) -> None:
    assert [field for field, _ in problems(project, operator, {**SPEC, **about})] == [found]
    assert not Run.objects.exists() and not AuditEntry.objects.exists()


def test_seeds_reach_to_the_largest_and_no_further(project: Project, operator: User) -> None:
    runs = launch(project, operator, {**SPEC, "seed": 2**63 - 2, "seeds": 2})

    assert [run.seed for run in runs] == [2**63 - 2, 2**63 - 1]
    assert problems(project, operator, {**SPEC, "seed": 2**63 - 2, "seeds": 3}) == [
        ("seeds", "3 seeds from 9223372036854775806 on pass the largest seed, 2⁶³ − 1; start lower.")
    ]


def test_a_task_that_is_not_in_the_catalog_here_is_refused_with_the_method_at_once(project: Project, operator: User) -> None:
    Task.objects.filter(pk="digits").update(available=False)

    assert problems(project, operator, SPEC) == [
        ("task", "digits is not in the catalog here; an administrator runs manage.py sync_catalog.")
    ]


# Models that do not fit


def test_each_model_that_can_not_be_used_says_why(project: Project, operator: User, finished_run: RunMaker) -> None:
    names = ("no model", "another kind", "another shape", "good")
    bare, other, wide, good = (finished_run(name=name) for name in names)
    ModelRecord.objects.filter(run=bare).delete()
    ModelRecord.objects.filter(run=other).update(kind="generator")
    record = ModelRecord.objects.get(run=wide)
    ModelRecord.objects.filter(run=wide).update(meta=record.meta | {"input_shape": [1, 28, 28]})

    found = problems(project, operator, {**TAUGHT, "teachers": [f"run:{run.pk}" for run in (bare, good, other, wide)]})

    assert found == [
        ("teachers.0", f"run:{bare.pk} left no model; choose another run."),
        ("teachers.2", f"run:{other.pk} is a generator; vanilla-kd takes a classifier or causal-lm."),
        ("teachers.3", f"run:{wide.pk} reads examples of another shape than those of digits; choose another model."),
    ]
    assert problems(project, operator, {**SPEC, "student": f"run:{other.pk}"}) == [
        ("student", f"run:{other.pk} is a generator; supervised takes a classifier or causal-lm.")
    ]


def test_a_run_knows_each_of_its_teachers_once_and_only_trained_ones(project: Project, operator: User, finished_run: RunMaker) -> None:
    one, two = finished_run(), finished_run(seed=1)

    (run,) = launch(project, operator, {**TAUGHT, "teachers": [f"run:{one.pk}", f"run:{two.pk}", f"run:{one.pk}"]})

    assert set(run.teachers.values_list("run", flat=True)) == {one.pk, two.pk}
    assert len(run.spec["teachers"]) == 3


# Keys


def test_a_key_means_nothing_in_another_project_and_blanks_around_it_nothing_at_all(
    project: Project, elsewhere: Project, operator: User
) -> None:
    Membership.objects.create(user=operator, project=elsewhere, role=Role.OPERATOR)

    here, new_here = launch_or_repeat(project, operator, SPEC, "key")
    again, new_again = launch_or_repeat(project, operator, SPEC, "  key\n")
    there, new_there = launch_or_repeat(elsewhere, operator, SPEC, "key")

    assert (new_here, new_again, new_there) == (True, False, True)
    assert here == again != there and [run.project for run in there] == [elsewhere]


def test_a_key_is_for_a_body_in_whatever_order_its_fields_come(project: Project, operator: User) -> None:
    first = launch(project, operator, {**SPEC, "settings": {"batch_size": 8, "momentum": 0.5}}, "key")

    assert launch(project, operator, dict(reversed({**SPEC, "settings": {"momentum": 0.5, "batch_size": 8}}.items())), "key") == first
    with pytest.raises(KeyReused) as refused:
        launch(project, operator, {**SPEC, "settings": {"batch_size": 8}}, "key")
    assert str(refused.value) == "The idempotency key 'key' was used with another body; send a new key, or the same body."


def test_of_runs_that_are_gone_for_good_a_key_gives_the_others(project: Project, operator: User) -> None:
    body = {**SPEC, "seeds": 3}
    runs = launch(project, operator, body, "key")
    Run.objects.filter(pk=runs[1].pk).delete()

    assert launch_or_repeat(project, operator, body, "key") == ([runs[0], runs[2]], False)


@pytest.mark.parametrize(("key", "length"), [("k" * (KEY_LENGTH + 1), 201), ("  ", 0), ("a\x7fb", 3), ("a\u2028b", 3)])
def test_a_key_that_can_not_be_written_is_refused_with_its_length(key: str, length: int, project: Project, operator: User) -> None:
    with pytest.raises(SpecError) as refused:
        launch(project, operator, SPEC, key)

    assert str(refused.value) == f"Idempotency-Key: must be 1 to 200 printable characters; got {length}."
    assert not IdempotencyKey.objects.exists()


def test_who_was_made_a_viewer_gets_nothing_by_an_old_key(project: Project, operator: User) -> None:
    launch(project, operator, SPEC, "key")
    Membership.objects.filter(user=operator).update(role=Role.VIEWER)

    with pytest.raises(PermissionDenied, match=r"^This needs the role operator in Distillery; yours is viewer\.$"):
        launch(project, operator, SPEC, "key")


def test_the_api_says_by_its_status_whether_runs_are_new(project: Project, operator: User) -> None:
    client = signed_in(operator)

    answers = [
        client.post("/api/v1/projects/distillery/runs/", body, HTTP_IDEMPOTENCY_KEY="k") for body in (SPEC, SPEC, {**SPEC, "seed": 9})
    ]

    assert [answer.status_code for answer in answers] == [201, 200, 409]
    assert answers[0].json()["runs"][0]["id"] == answers[1].json()["runs"][0]["id"]
    assert answers[2].json() == {"detail": "The idempotency key 'k' was used with another body; send a new key, or the same body."}


# Clones


def test_a_clone_keeps_tags_notes_and_a_low_priority_and_is_written_down_with_its_origin(
    project: Project, operator: User, owner: User
) -> None:
    (origin,) = launch(project, operator, {**SPEC, "name": "first", "tags": ["a"], "notes": "n", "priority": -4})

    made = clone(origin, owner)

    assert (made.tags, made.notes, made.priority, made.cloned_from, made.created_by) == (["a"], "n", -4, origin, owner)
    assert made.state == "queued" and made.name == "supervised mlp-16 seed 0"
    entry = AuditEntry.objects.get(verb="cloned")
    assert (entry.user, entry.target, entry.detail) == (owner, f"run {made.pk}", {"name": made.name, "origin": str(origin.pk)})


def test_a_clone_of_another_task_forgets_the_old_ones_options_and_keeps_the_methods_settings(project: Project, operator: User) -> None:
    (origin,) = launch(project, operator, {**SPEC, "task_options": {"split": "random"}, "settings": {"batch_size": 8}})

    same, moved = clone(origin, operator, {"task_options": {"train_limit": 100}}), clone(origin, operator, {"task": "mnist"})

    assert (same.spec["task_options"]["split"], same.spec["task_options"]["train_limit"]) == ("random", 100)
    assert moved.task_id == "mnist" and moved.spec["settings"]["batch_size"] == 8
    assert moved.spec["task_options"].get("split") != "random"


def test_a_run_is_cloned_in_its_own_project_by_who_may_launch_there(project: Project, operator: User, viewer: User, stranger: User) -> None:
    (origin,) = launch(project, operator, SPEC)

    for person, error in ((viewer, PermissionDenied), (stranger, Http404)):
        with pytest.raises(error):
            clone(origin, person)
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"with_baseline": True}, "with_baseline: a clone is one run; launch the spec anew for more."),
        ("text", "the body must be a JSON object with the fields to change."),
        ({"settings": 5}, "settings: must be a JSON object; got 5."),
    ],
)
def test_changes_that_make_no_clone_are_refused(changes: Any, sentence: str, project: Project, operator: User) -> None:
    (origin,) = launch(project, operator, SPEC)

    with pytest.raises(SpecError) as refused:
        clone(origin, operator, changes)

    assert str(refused.value) == sentence and Run.objects.count() == 1


# The page


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "This is not JSON (line 1, column 2: Expecting property name enclosed in double quotes)."),
        ("{\n  'a': 1}", "This is not JSON (line 2, column 3: Expecting property name enclosed in double quotes)."),
        ("[" * 100_000, "This is not JSON."),
        ("[1]", "The JSON must be an object with at least method and task."),
        ('"</textarea><script>"', "The JSON must be an object with at least method and task."),
    ],
)
def test_a_text_that_is_no_body_is_shown_again_with_a_sentence(text: str, sentence: str, project: Project, operator: User) -> None:
    answer = as_(operator).post(reverse("launch", args=["distillery"]), {"json": text})

    assert answer.status_code == 400 and sentence in text_of(answer).replace("&#x27;", "'")
    assert "</textarea><script>" not in text_of(answer) and not Run.objects.exists()


def test_many_runs_lead_to_the_table_and_one_to_its_page(project: Project, operator: User) -> None:
    client = as_(operator)

    many = client.post(reverse("launch", args=["distillery"]), complete(client, "distillery", seeds="3"), follow=True)
    one = client.post(reverse("launch", args=["distillery"]), complete(client, "distillery", seed="8"), follow=True)

    assert many.redirect_chain[0][0] == reverse("runs", args=["distillery"]) and "Launched 3 runs." in text_of(many)
    assert one.redirect_chain[0][0] == reverse("run-detail", args=[Run.objects.get(seed=8).pk]) and "Launched." in text_of(one)


@pytest.mark.parametrize("origin", ["none", "11111111-1111-1111-1111-11111111111", "", "<b>"])
def test_a_clone_of_no_run_is_an_empty_form(origin: str, project: Project, operator: User) -> None:
    answer = as_(operator).get(reverse("launch", args=["distillery"]), {"clone": origin})

    assert answer.status_code == 200 and answer.context["form"].method.id == "vanilla-kd"


def test_a_clone_of_a_run_that_is_not_mine_is_not_found(elsewhere: Project, operator: User, finished_run: RunMaker) -> None:
    address = reverse("launch", args=["distillery"])

    assert [as_(operator).get(address, {"clone": one}).status_code for one in (finished_run(of=elsewhere).pk, uuid4())] == [404, 404]


def test_the_teacher_in_the_address_is_chosen_where_it_is_one_of_the_task_else_the_first(
    project: Project, elsewhere: Project, operator: User, finished_run: RunMaker
) -> None:
    first, second, foreign, other = (finished_run(**about) for about in ({}, {}, {"of": elsewhere}, {"task": "mnist"}))
    ModelRecord.objects.filter(run=first).update(parameters=5000)
    thrown = finished_run()
    lifecycle.trash(thrown, "otto")
    client, address = as_(operator), reverse("launch", args=["distillery"])

    def teachers(one: Run | str) -> list[str]:
        return list(client.get(address, {"task": "digits", "teacher": getattr(one, "pk", one)}).context["form"].teachers)

    assert teachers(second) == [f"run:{second.pk}"]
    for one in (foreign, other, thrown, "", "<b>"):
        assert teachers(one) == [f"run:{first.pk}"], one


def test_models_of_the_same_size_are_offered_by_accuracy_and_those_without_one_last(operator: User, finished_run: RunMaker) -> None:
    for name, accuracy in (("low", 0.2), ("none", None), ("high", 0.8)):
        finished_run(name=name, metrics={"accuracy": accuracy})
    unknown = finished_run(name="unknown", metrics={"accuracy": 1.0})
    ModelRecord.objects.filter(run=unknown).update(parameters=None)

    offered = as_(operator).get(reverse("launch", args=["distillery"]), {"task": "digits"}).context["teacher_offer"].models

    assert [one.label for one in offered] == [
        "high #3 (mlp-16, accuracy 0.8000)",
        "low #1 (mlp-16, accuracy 0.2000)",
        "none #2 (mlp-16)",
        "unknown #4 (mlp-16, accuracy 1.0000)",
    ]
