"""How much a project and a person may have at a time, and how much they have. Launching asks before it makes a run, a worker before it takes one.

A limit is a row's (`Quota`), else the operator's default, else none. A person's limits count their runs in all projects.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from engine.errors import Problem
from webapp.accounts.models import Project, User
from webapp.runs.models import HELD, Artifact, Quota, Run, State


@dataclass(frozen=True)
class Allowance:
    """The limits of a project or a person; None is no limit."""

    queued_runs: int | None = None
    running_runs: int | None = None
    steps: int | None = None
    seconds: int | None = None
    store_bytes: int | None = None


@dataclass(frozen=True)
class Usage:
    """What counts against an allowance now."""

    queued_runs: int
    running_runs: int
    store_bytes: int


def allowance_of(whose: Project | User) -> Allowance:
    """One statement."""
    row = Quota.objects.filter(project=whose.pk).first() if isinstance(whose, Project) else Quota.objects.filter(person=whose.pk).first()
    return _allowance(row, _defaults(whose))


def usage_of(whose: Project | User) -> Usage:
    """Runs in the trash count while their files are there, and of its checkpoints a run's last. Two statements."""
    runs = _runs_of(whose)
    there = Q(deleted_at=None)
    counted = runs.aggregate(
        queued=Count("pk", filter=there & Q(state=State.QUEUED)),
        running=Count("pk", filter=there & Q(state__in=HELD)),
        checkpoints=Coalesce(Sum("checkpoint_bytes"), 0),
    )
    artifacts = Artifact.objects.filter(run__in=runs.values("pk")).aggregate(total=Coalesce(Sum("bytes"), 0))["total"]
    return Usage(counted["queued"], counted["running"], artifacts + counted["checkpoints"])


def problems(project: Project, person: User, *, runs: int, steps: int, seconds: int | None) -> list[Problem]:
    """Why so many new runs of so many steps each, with this time limit, are refused; empty when they are not.

    Inside the launch's transaction.
    """
    found: list[Problem] = []
    for whose, name, have in ((project, f"the project {project.name}", "has"), (person, "you", "have")):
        allowed = allowance_of(whose)
        found += _of_each_run(allowed, f"{name} {have}", steps=steps, seconds=seconds)
        found += _of_all(allowed, whose, f"{name[0].upper()}{name[1:]} {have}", runs=runs)
    return found


def seconds_limit(project: Project, person: User, asked: int | None) -> int | None:
    """The time limit that a run gets: the one asked for, else the shortest that the operator, the project or the person sets; None is never."""
    if asked is not None:
        return asked
    limits = (settings.RUN_SECONDS or None, allowance_of(project).seconds, allowance_of(person).seconds)
    return min((limit for limit in limits if limit is not None), default=None)


@dataclass(frozen=True)
class UsedUp:
    """The projects and the people that have as many runs running as they may, each with how many that is."""

    projects: Mapping[int, int]
    people: Mapping[int, int]

    def runs(self) -> Q:
        """For a query of queued runs: theirs."""
        return Q(project__in=self.projects) | Q(created_by__in=self.people)

    def why(self, run: Run) -> str:
        """Why a queued run waits, in one sentence; empty when it is not for a quota."""
        if run.project_id in self.projects:
            who, most = "The project", self.projects[run.project_id]
        elif run.created_by_id is not None and run.created_by_id in self.people:
            who, most = "Who launched it", self.people[run.created_by_id]
        else:
            return ""
        if most == 0:
            return f"{who} may have no run running now; an administrator can change that."
        return f"{who} has as many runs running as allowed ({most:,}); this one waits until one ends."


def used_up() -> UsedUp:
    """One statement, and one more each for projects and for people where any of them has a limit."""
    rows: Any = list(Quota.objects.filter(running_runs__isnull=False).values_list("project", "person", "running_runs"))
    return UsedUp(
        projects=_full("project", {project: most for project, _, most in rows if project is not None}, settings.PROJECT_QUOTA),
        people=_full("created_by", {person: most for _, person, most in rows if person is not None}, settings.PERSON_QUOTA),
    )


def _of_each_run(allowed: Allowance, who_has: str, *, steps: int, seconds: int | None) -> Iterator[Problem]:
    if allowed.steps is not None and steps > allowed.steps:
        yield Problem("budget", f"comes to {steps:,} steps; {who_has} at most {allowed.steps:,} for a run.")
    if allowed.seconds is not None and seconds is not None and seconds > allowed.seconds:
        yield Problem("seconds_limit", f"must be at most {allowed.seconds}, the longest that {who_has} for a run; got {seconds}.")


def _of_all(allowed: Allowance, whose: Project | User, who_has: str, *, runs: int) -> Iterator[Problem]:
    if allowed.queued_runs is None and allowed.store_bytes is None:
        return
    rows = Project.objects if isinstance(whose, Project) else User.objects
    rows.select_for_update(no_key=True).get(pk=whose.pk)  # launches at the same moment are counted one after the other
    used = usage_of(whose)
    if allowed.queued_runs is not None and used.queued_runs + runs > allowed.queued_runs:
        waiting = f"{used.queued_runs:,} of {allowed.queued_runs:,} runs waiting"
        yield Problem("", f"{who_has} {waiting}, so {runs:,} more can't be queued; wait, or stop some.")
    if allowed.store_bytes is not None and used.store_bytes >= allowed.store_bytes:
        full = f"{used.store_bytes:,} bytes of files of runs, of {allowed.store_bytes:,} at most"
        yield Problem("", f"{who_has} {full}; delete runs for good, or ask an administrator for more.")


def _full(whose: str, limits: Mapping[int, int], defaults: Mapping[str, int]) -> dict[int, int]:
    """Those with as many held runs as they may have, or who may have none."""
    default = defaults.get("running_runs")
    if not limits and default is None:
        return {}
    rows = Run.objects.filter(state__in=HELD, **{f"{whose}__isnull": False}).order_by()
    held: dict[int, int] = dict(rows.values_list(whose).annotate(Count("pk")))
    most = {key: limits.get(key, default) for key in {*limits, *held}}
    return {key: limit for key, limit in most.items() if limit is not None and held.get(key, 0) >= limit}


def _allowance(row: Quota | None, defaults: Mapping[str, int]) -> Allowance:
    given = {} if row is None else {name: value for name in settings.QUOTA_NAMES if (value := getattr(row, name)) is not None}
    return Allowance(**{**defaults, **given})


def _defaults(whose: Project | User) -> Mapping[str, int]:
    defaults: Mapping[str, int] = settings.PROJECT_QUOTA if isinstance(whose, Project) else settings.PERSON_QUOTA
    return defaults


def _runs_of(whose: Project | User) -> QuerySet[Run]:
    return Run.objects.filter(project=whose.pk) if isinstance(whose, Project) else Run.objects.filter(created_by=whose.pk)
