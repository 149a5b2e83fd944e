"""Continuing: a new run that goes on from another's last checkpoint with a larger budget."""

import hashlib
from typing import Any

from django.db import transaction
from pydantic import Field

from engine.errors import SpecError
from engine.spec.budgets import growth, in_words
from engine.spec.cards import StrictModel
from engine.spec.run_spec import Budget, RunSpec
from engine.spec.sentences import problems_of
from webapp.accounts.models import Role, User
from webapp.accounts.permissions import project_for
from webapp.gate import limits
from webapp.launching.launch import LaunchOptions, body_of, launch_continued
from webapp.runs import lifecycle, quotas
from webapp.runs.models import Run


class ContinueBody(StrictModel):
    """What a run is continued with."""

    budget: Budget = Field(description="The budget of the whole, with the steps that were made: larger than it was.")


@transaction.atomic
def go_on(run: Run, user: User, body: Any) -> Run:
    """A new queued run with the spec of `run` and a larger budget, which begins with its last checkpoint. The run itself, its student and its
    numbers stay as they are.

    Raises SpecError, NotAllowed where the run has not ended or kept no checkpoint, PermissionDenied.
    """
    project = project_for(user, run.project.slug, at_least=Role.OPERATOR)
    limits.spend("launch", str(user.pk))
    if problems := problems_of(ContinueBody, body):
        raise SpecError(problems)
    run = lifecycle.held_for_continuing(run)
    before = RunSpec.parse(body_spec(run))
    spec = RunSpec.parse({**body_spec(run), "budget": body["budget"]})
    _check_larger(spec, before)
    if refused := quotas.problems(project, user, runs=1, steps=spec.total_steps, seconds=None):
        raise SpecError(refused)
    return launch_continued(project, user, run, spec, config_hash=_config_hash(run, spec))


def body_spec(run: Run) -> dict[str, Any]:
    """The run's spec as it would be launched again."""
    return {name: value for name, value in body_of(run).items() if name not in LaunchOptions.model_fields}


def _check_larger(spec: RunSpec, before: RunSpec) -> None:
    now, then = spec.budget, before.budget
    assert now is not None and then is not None, "a parsed spec has a budget"
    found = growth(steps=spec.total_steps, seconds=now.seconds, steps_before=before.total_steps, seconds_before=then.seconds)
    if found != "larger":
        raise SpecError.at("budget", f"must be larger than it was, {in_words(then)}; got {in_words(now)}.")


def _config_hash(run: Run, spec: RunSpec) -> str:
    """Of another group than the runs that were as long from the start: their schedules were others. Runs of one group that were continued from
    the same step in the same way are one group again."""
    return hashlib.sha256(f"{run.config_hash} {run.checkpoint_step} {spec.config_hash()}".encode()).hexdigest()[:16]
