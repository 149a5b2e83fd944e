"""Continuing an ended run: a new one that goes on from its last checkpoint with a larger budget."""

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.urls import reverse

from engine.errors import SpecError
from engine.events import Outcome
from tests.webapp.conftest import RunMaker, signed_in
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import AuditEntry, Project, User
from webapp.conflict import Conflict
from webapp.launching.continuing import go_on
from webapp.runs import actions, lifecycle
from webapp.runs.lifecycle import Token
from webapp.runs.models import Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture
def ended(running_run: RunMaker) -> Any:
    """Makes runs that have ended with a checkpoint after step 20 of 20, as the outcome says."""

    def make(status: Any = "succeeded", *, checkpoint: bool = True, **spec: Any) -> Run:
        run = running_run(name="study", **{"budget": {"steps": 20}} | spec)
        token = Token(run.pk, run.attempt)
        if checkpoint:
            lifecycle.checkpointed(token, 20, f"runs/{run.pk}/attempt-1/kept/step-20")
        if status == "stopped":
            lifecycle.request_stop(run, "otto")
        lifecycle.settle(token, Outcome(status, 20, "Ended."))
        return Run.objects.get(pk=run.pk)

    return make


@pytest.mark.parametrize("status", ["succeeded", "failed", "stopped"])
def test_the_new_run_begins_with_the_last_checkpoint_and_the_old_one_stays_as_it_is(status: str, ended: Any, operator: User) -> None:
    run = ended(status)

    made = go_on(run, operator, {"budget": {"steps": 50}})

    assert (made.name, made.state, made.total_steps, made.step) == ("study · continued", State.QUEUED, 50, 20)
    assert (made.continued_from_id, made.began_after, made.created_by) == (run.pk, 20, operator)
    assert made.spec == run.spec | {"budget": {"steps": 50, "epochs": None, "seconds": None}}
    assert Run.objects.get(pk=run.pk).state == status
    assert AuditEntry.objects.get().verb == "continued"


def test_a_worker_gets_it_with_the_other_runs_checkpoint(ended: Any, operator: User) -> None:
    run = ended()
    made = go_on(run, operator, {"budget": {"steps": 50}})

    claim = lifecycle.claim_next(worker="worker-2", kinds=("cpu",), free={"cpu": 1})

    assert claim is not None
    assert (claim.run_id, claim.resume_path, claim.from_step) == (made.pk, run.checkpoint_path, 20)
    assert claim.folder == f"runs/{made.pk}/attempt-1"


def test_it_is_of_no_group_with_runs_that_were_as_long_from_the_start(ended: Any, operator: User, running_run: RunMaker) -> None:
    longer = running_run(budget={"steps": 50})
    first, second = ended(seed=1), ended(seed=2)

    continued = [go_on(run, operator, {"budget": {"steps": 50}}) for run in (first, second)]
    further = go_on(first, operator, {"budget": {"steps": 60}})

    assert first.config_hash == second.config_hash
    assert len({run.config_hash for run in continued}) == 1
    assert len({longer.config_hash, first.config_hash, continued[0].config_hash, further.config_hash}) == 4


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        ({"steps": 20}, "budget: must be larger than it was, 20 steps; got 20 steps."),
        ({"steps": 19}, "budget: must be larger than it was, 20 steps; got 19 steps."),
        ({"steps": 90, "seconds": 5.0}, "budget: must be larger than it was, 20 steps; got 90 steps and at most 5 seconds."),
        ({"steps": 0}, "budget.steps: must be at least 1; got 0."),
        ({}, "budget: must have either steps or epochs; got neither."),
    ],
)
def test_a_budget_that_is_not_larger_is_refused(budget: dict[str, Any], sentence: str, ended: Any, operator: User) -> None:
    run = ended()

    with pytest.raises(SpecError) as refused:
        go_on(run, operator, {"budget": budget})

    assert str(refused.value) == sentence
    assert Run.objects.count() == 1


def test_more_seconds_alone_are_a_larger_budget(ended: Any, operator: User) -> None:
    run = ended(budget={"steps": 20, "seconds": 3.0})

    made = [go_on(run, operator, {"budget": {"steps": 20, **more}}) for more in ({"seconds": 9.0}, {})]

    assert [one.spec["budget"]["seconds"] for one in made] == [9.0, None]


def test_what_can_not_be_continued_says_why(ended: Any, operator: User, running_run: RunMaker) -> None:
    running, bare, trashed = running_run(), ended(checkpoint=False), ended()
    lifecycle.trash(trashed, "otto")
    sentences = []

    for run in (running, bare, trashed):
        with pytest.raises(Conflict) as refused:
            go_on(run, operator, {"budget": {"steps": 50}})
        sentences.append(str(refused.value))

    assert sentences == [
        "The run is running, so it can't be continued; a run is continued when it has ended.",
        "The run kept no checkpoint, so nothing can go on from it; launch it anew with the larger budget.",
        "The run is in the trash; restore it first.",
    ]


def test_it_has_no_start_of_its_own_to_be_retried_from(ended: Any, operator: User) -> None:
    made = go_on(ended(), operator, {"budget": {"steps": 50}})
    lifecycle.request_stop(made, operator)

    with pytest.raises(Conflict) as refused:
        actions.retry(operator, made.pk)
    resumed = actions.resume(operator, made.pk)

    assert str(refused.value) == "The run began with the checkpoint of another one, so it has no start of its own; continue that one again."
    assert (resumed.state, resumed.checkpoint_step) == (State.QUEUED, 20)


def test_a_viewer_continues_nothing(ended: Any, viewer: User) -> None:
    with pytest.raises(PermissionDenied):
        go_on(ended(), viewer, {"budget": {"steps": 50}})


def test_the_api_answers_with_the_new_run(ended: Any, operator: User, stranger: User) -> None:
    run = ended()
    path = reverse("api:continue", args=[run.pk])

    made = signed_in(operator).post(path, {"budget": {"epochs": 9}}, format="json")
    strange = signed_in(stranger).post(path, {"budget": {"epochs": 9}}, format="json")
    wrong = signed_in(operator).post(path, {"steps": 50}, format="json")

    assert (made.status_code, made.json()["continued_from"]) == (201, str(run.pk))
    assert strange.status_code == 404
    assert wrong.status_code == 400 and {each["field"] for each in wrong.json()["errors"]} == {"budget", "steps"}


def test_the_page_of_an_ended_run_asks_for_the_budget_and_leads_to_the_new_run(ended: Any, operator: User, viewer: User) -> None:
    run = ended()
    page = reverse("run-detail", args=[run.pk])
    asked = text_of(as_(operator).get(page))

    answer = as_(operator).post(reverse("run-continue", args=[run.pk]), {"budget.steps": "50", "budget.epochs": "", "budget.seconds": ""})
    refused = as_(operator).post(reverse("run-continue", args=[run.pk]), {"budget.steps": "5"}, follow=True)

    made = Run.objects.get(continued_from=run)
    assert 'id="continue-run"' in asked and 'name="budget.steps" inputmode="numeric" autocomplete="off" value="20"' in asked
    assert 'id="continue-run"' not in text_of(as_(viewer).get(page))
    assert answer["Location"] == reverse("run-detail", args=[made.pk])
    assert "continues after step 20" in text_of(as_(operator).get(answer["Location"]))
    assert "must be larger than it was, 20 steps; got 5 steps." in text_of(refused)


def test_neither_a_running_run_nor_one_without_a_checkpoint_offers_it(
    ended: Any, operator: User, running_run: RunMaker, project: Project
) -> None:
    for run in (running_run(), ended(checkpoint=False)):
        assert 'id="continue-run"' not in text_of(as_(operator).get(reverse("run-detail", args=[run.pk])))
