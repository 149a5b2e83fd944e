"""What people do to runs by page or API: who may, what is written down, and that a deed is done whole or not at all."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from engine.errors import SpecError
from tests.runs import new_run, queued_run
from webapp.accounts import tokens
from webapp.accounts.models import AuditEntry, Project, Scope, User
from webapp.runs import actions, lifecycle
from webapp.runs.access import artifact_for, run_for, runs_seen_by
from webapp.runs.models import Artifact, HistoryLine, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

DEEDS: dict[str, Callable[[User, UUID], Run]] = {
    "stop": actions.stop,
    "resume": actions.resume,
    "retry": actions.retry,
    "delete": actions.delete,
    "restore": actions.restore,
    "edit": lambda user, run_id: actions.edit(user, run_id, {"name": "other"}),
}


def trail() -> list[tuple[str, str, dict[str, Any]]]:
    return list(AuditEntry.objects.order_by("pk").values_list("verb", "target", "detail"))


def refused(operator: User, run: Run, changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as refusal:
        actions.edit(operator, run.pk, changes)
    return [(problem.field, problem.message) for problem in refusal.value.problems]


def test_nobody_does_anything_to_what_is_not_theirs(project: Project, viewer: User, stranger: User) -> None:
    run = queued_run(project)
    for deed in DEEDS.values():
        with pytest.raises(PermissionDenied, match=r"^This needs the role operator in Distillery; yours is viewer\.$"):
            deed(viewer, run.pk)
        for who, run_id in ((stranger, run.pk), (viewer, uuid4())):
            with pytest.raises(Http404, match=r"^There is no such run, or it is not in a project of yours\.$"):
                deed(who, run_id)

    assert (Run.objects.get().state, trail(), HistoryLine.objects.count()) == (State.QUEUED, [], 1)


def test_each_deed_leaves_a_line_in_the_audit_trail(project: Project, operator: User) -> None:
    run = queued_run(project, name="one")
    for name in ("stop", "resume", "stop", "retry", "delete", "restore"):
        DEEDS[name](operator, run.pk)

    target, detail = f"run {run.pk}", {"name": "one"}
    assert trail() == [(verb, target, detail) for verb in ("stopped", "resumed", "stopped", "retried", "deleted", "restored")]
    assert {entry.user for entry in AuditEntry.objects.all()} == {operator}


def test_an_edit_names_the_fields_that_it_changed_and_the_name_that_it_found(project: Project, operator: User) -> None:
    run = queued_run(project, name="before")

    edited = actions.edit(operator, run.pk, {"tags": ["b", " a ", "b"], "name": " after ", "priority": -7})

    assert (edited.name, edited.tags, edited.priority) == ("after", ["b", "a"], -7)
    assert trail() == [("edited", f"run {run.pk}", {"name": "before", "fields": ["name", "priority", "tags"]})]
    assert HistoryLine.objects.filter(run=run).latest("pk").reason == "Priority 0 → -7."


def test_an_edit_of_nothing_changes_nothing(project: Project, operator: User) -> None:
    run = queued_run(project, name="before", priority=3)
    Run.objects.update(tags=["kept"], notes="kept")

    actions.edit(operator, run.pk, {})

    kept = Run.objects.get()
    assert (kept.name, kept.tags, kept.notes, kept.priority) == ("before", ["kept"], "kept", 3)


def test_what_is_emptied_is_empty_and_a_priority_may_be_zero(project: Project, operator: User) -> None:
    run = queued_run(project, priority=3)
    Run.objects.update(tags=["old"], notes="old")

    edited = actions.edit(operator, run.pk, {"tags": [], "notes": "", "priority": 0})

    assert (edited.tags, edited.notes, edited.priority) == ([], "", 0)


def test_what_can_not_be_is_refused_field_by_field_and_nothing_is_changed(project: Project, operator: User) -> None:
    run = queued_run(project, name="before")

    found = {
        "comma": refused(operator, run, {"tags": ["a,b"]}),
        "control": refused(operator, run, {"tags": ["a\tb"]}),
        "blank": refused(operator, run, {"name": " \t ", "priority": 1}),
        "no list": refused(operator, run, {"tags": "warm"}),
        "too many": refused(operator, run, {"tags": [f"tag {number}" for number in range(21)]}),
        "half a letter": refused(operator, run, {"notes": "\ud800", "name": "ok"}),
        "types": refused(operator, run, {"priority": "5", "name": 3}),
        "empty priority": refused(operator, run, {"priority": None}),
        "no mapping": refused(operator, run, ["name"]),
    }

    assert found == {
        "comma": [("tags.0", "must hold no commas; got 'a,b'.")],
        "control": [("tags.0", "must hold neither control characters nor marks that turn the direction of text; got 'a\\tb'.")],
        "blank": [("name", "must not be empty.")],
        "no list": [("tags", "must be a list; got 'warm'.")],
        "too many": [("tags", "must have at most 20 entries; got 21.")],
        "half a letter": [("notes", "must not hold NUL characters or halves of surrogate pairs.")],
        "types": [("name", "must be text; got 3."), ("priority", "must be a whole number; got '5'.")],
        "empty priority": [("priority", "must be a whole number; got None.")],
        "no mapping": [("", "the body must be a JSON object with the fields to change.")],
    }
    assert (Run.objects.get().name, Run.objects.get().priority, trail()) == ("before", 0, [])


def test_the_largest_edit_that_there_may_be_is_taken(project: Project, operator: User) -> None:
    run = queued_run(project)
    tags = [f"{number:02}" + "t" * 58 for number in range(20)]

    edited = actions.edit(operator, run.pk, {"name": "ä" * 200, "notes": "n" * 20_000, "tags": tags, "priority": -100})

    assert (len(edited.name), len(edited.notes), edited.tags, edited.priority) == (200, 20_000, tags, -100)


def test_a_token_sees_the_runs_of_its_project_alone_and_does_what_its_scope_allows(
    project: Project, elsewhere: Project, operator: User
) -> None:
    ours, theirs = queued_run(project), queued_run(elsewhere)
    elsewhere.memberships.create(user=operator, role="owner")
    both = {run.pk for run in runs_seen_by(operator)}
    by_token = User.objects.get(pk=operator.pk)
    by_token.token = tokens.make(operator, project, name="reader", scope=Scope.READ)[0]

    assert both == {ours.pk, theirs.pk}
    assert {run.pk for run in runs_seen_by(by_token)} == {ours.pk}
    with pytest.raises(Http404):
        run_for(by_token, theirs.pk)
    with pytest.raises(PermissionDenied, match=r"^This needs a token with the scope launch; the scope of reader is read\.$"):
        actions.stop(by_token, ours.pk)


def test_an_artifact_is_found_by_who_may_see_its_run(project: Project, viewer: User, stranger: User) -> None:
    run = lifecycle.trash(new_run(project), "otto")
    artifact = Artifact.objects.create(run=run, attempt=1, name="a", kind="other", path="x", bytes=1, sha256="0" * 64)

    assert artifact_for(viewer, artifact.pk) == artifact
    for who, artifact_id in ((stranger, artifact.pk), (viewer, uuid4())):
        with pytest.raises(Http404, match=r"^There is no such artifact, or its run is not in a project of yours\.$"):
            artifact_for(who, artifact_id)


def test_one_statement_finds_a_run_with_all_that_its_page_names(
    project: Project, viewer: User, operator: User, django_assert_num_queries: Any
) -> None:
    baseline, run = new_run(project), new_run(project)
    Run.objects.filter(pk=run.pk).update(baseline=baseline, created_by=operator)

    with django_assert_num_queries(1):
        found = run_for(viewer, run.pk)
        named = (found.project.slug, found.method.id, found.task.id, found.created_by, found.baseline, found.my_role)

    assert named == ("distillery", "supervised", "digits", operator, baseline, "viewer")
