"""Launching: from what a person sent, by form or by API, to runs in the queue."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.http import Http404
from pydantic import Field

from engine.errors import Problem, SpecError
from engine.spec.cards import StrictModel
from engine.spec.completion import examined
from engine.spec.earlier_names import upgraded
from engine.spec.run_spec import RunSpec
from engine.spec.sentences import problems_of
from webapp.accounts import audit
from webapp.accounts.models import Project, Role, User
from webapp.accounts.permissions import project_for
from webapp.api.body import unstorable
from webapp.catalog.models import Method, ModelRecord, Task
from webapp.conflict import Conflict
from webapp.gate import limits
from webapp.launching.baseline import baseline_of, refused
from webapp.launching.fitting import model_problems
from webapp.runs import lifecycle, quotas
from webapp.runs.actions import MOST_TAGS, Name, Notes, Priority, Tag, priority_problems
from webapp.runs.models import IdempotencyKey, Run

if TYPE_CHECKING:
    from webapp.accounts.permissions import ProjectOfMine

KEY_LENGTH = 200


class LaunchOptions(StrictModel):
    """What a launch says beside the spec. None of it changes a run's weights."""

    name: Name = Field("", description="Name of the run; made from method, student and seed when empty.")
    tags: list[Tag] = Field(default_factory=list, max_length=MOST_TAGS, description="Words to find runs by.")
    notes: Notes = Field("", description="What the run is for, as plain text.")
    seeds: int = Field(1, ge=1, le=100, description="How many runs to launch, with seed, seed + 1, … They form one group.")
    with_baseline: bool = Field(
        False, description="Also run the method's baseline with the same student, task, seed, budget and training settings."
    )
    priority: Priority = Field(0, description="Higher goes first; above 0 for the project's owners alone.")
    seconds_limit: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="Seconds of work after which the run is stopped, with a checkpoint; the operator's limit when empty.",
    )
    keep_checkpoints: bool = Field(False, description="Keep the checkpoints after the run has succeeded.")


class LaunchBody(RunSpec, LaunchOptions):
    """A run's spec, and how to launch it."""


class CloneBody(LaunchBody):
    """What a clone has otherwise than its origin: any field of a launch, and none that a launch has not."""

    method: str = Field("", description="Another method; settings that are left out have its defaults then.")
    task: str = Field("", description="Another task; options that are left out have its defaults then.")


class KeyReused(Conflict):
    """An idempotency key came again with another body."""


def launch(project: Project, user: User, body: Any, idempotency_key: str | None = None) -> list[Run]:
    """The queued runs that the body asks for: one a seed, followed by their baselines when it asks for those.

    `body` is a RunSpec's JSON with the fields of LaunchOptions beside it. With an idempotency key the same body gives the same runs however
    often it comes, also at the same moment. Raises SpecError with every refused field, KeyReused, PermissionDenied for a viewer, NotNow beyond
    STILLHOUSE_LAUNCH_RATE.
    """
    return launch_or_repeat(project, user, body, idempotency_key)[0]


@transaction.atomic
def launch_or_repeat(project: Project, user: User, body: Any, idempotency_key: str | None) -> tuple[list[Run], bool]:
    """As `launch`, and whether the runs are new."""
    project = project_for(user, project.slug, at_least=Role.OPERATOR)
    limits.spend("launch", str(user.pk))
    if idempotency_key is None:
        return _launch(project, user, body), True

    key = _checked_key(idempotency_key)
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    # A second request with the key waits here, at the unique index, until the first one has committed or rolled back.
    record, is_new = IdempotencyKey.objects.get_or_create(project=project, user=user, key=key, defaults={"body_sha256": digest})
    if is_new:
        runs = _launch(project, user, body)
        IdempotencyKey.objects.filter(pk=record.pk).update(run_ids=[run.pk for run in runs])
        return runs, True
    if record.body_sha256 != digest:
        raise KeyReused(f"The idempotency key {key!r:.80} was used with another body; send a new key, or the same body.")
    return _fresh(record.run_ids), False


@transaction.atomic
def clone(run: Run, user: User, changes: Any = None) -> Run:
    """A new queued run with the spec, tags and notes of `run`, and what `changes` replaces: top-level fields of a launch's body.

    Inside `settings` and `task_options` only the named fields are replaced, unless the method or the task changes. Raises SpecError, PermissionDenied.
    """
    project = project_for(user, run.project.slug, at_least=Role.OPERATOR)
    limits.spend("launch", str(user.pk))
    if not isinstance(changes, Mapping | None):
        raise SpecError.at("", "the body must be a JSON object with the fields to change.")
    options, spec, _ = _understood(project, user, _changed(body_of(run), upgraded(changes or {})), one_run=True)
    (number,) = take_numbers(project)
    clone = _create(project, user, spec, options, name=_name(spec, _student_name(project, spec), spec.seed, options), number=number)
    Run.objects.filter(pk=clone.pk).update(cloned_from=run)
    _submit(clone, user, "cloned", origin=str(run.pk))
    return _fresh([clone.pk])[0]


def launch_continued(project: Project, user: User, origin: Run, spec: RunSpec, *, config_hash: str) -> Run:
    """A queued run with this spec that begins with the last checkpoint of `origin`, under its name, tags and notes."""
    (number,) = take_numbers(project)
    about = body_of(origin)
    options = _options(project, user, {name: about[name] for name in LaunchOptions.model_fields if name in about})
    run = _create(project, user, spec, options, name=f"{origin.name[:188]} · continued", number=number)
    place = {"checkpoint_step": origin.checkpoint_step, "checkpoint_path": origin.checkpoint_path, "began_after": origin.checkpoint_step}
    Run.objects.filter(pk=run.pk).update(continued_from=origin, config_hash=config_hash, step=origin.checkpoint_step or 0, **place)
    _submit(run, user, "continued", origin=str(origin.pk))
    return _fresh([run.pk])[0]


def body_of(run: Run) -> dict[str, Any]:
    """The body that would launch the run again, under a default name: what the launch form is filled with."""
    return {
        **upgraded(run.spec),
        "method_version": 0,
        "tags": list(run.tags),
        "notes": run.notes,
        "priority": min(run.priority, 0),
        "seconds_limit": run.seconds_limit,
        "keep_checkpoints": run.keep_checkpoints,
    }


def take_numbers(project: Project, count: int = 1) -> range:
    """The project's next `count` numbers of runs. Launches at the same moment wait here for one another, until the first has committed.

    Only inside a transaction: one that is rolled back gives its numbers back. Raises Http404 when the project was deleted meanwhile.
    """
    if not Project.objects.filter(pk=project.pk, deleted_at=None).update(last_run_number=F("last_run_number") + count):
        raise Http404("There is no such project, or you are not a member of it.")
    last = Project.objects.values_list("last_run_number", flat=True).get(pk=project.pk)
    return range(last - count + 1, last + 1)


def default_name(spec: RunSpec, student: str) -> str:
    """`vanilla-kd mlp-16 seed 0`, with the student's name for people."""
    end = f" seed {spec.seed}"
    return f"{spec.method} {student}"[: 200 - len(end)] + end


def _student_name(project: Project, spec: RunSpec) -> str:
    """The student by what people call it: an architecture, a run by its name, a model of Hugging Face by the last part of its own."""
    ref = spec.student
    assert ref is not None, "a parsed spec has a student"
    if ref.source == "run":
        return f"from {Run.objects.filter(project=project).values_list('name', flat=True).get(pk=ref.name)}"
    return PurePosixPath(ref.name).name or ref.name


def _launch(project: "ProjectOfMine", user: User, body: Any) -> list[Run]:
    options, spec, baseline_spec = _understood(project, user, body)
    seeds = range(spec.seed, spec.seed + options.seeds)
    numbers = iter(take_numbers(project, len(seeds) * (1 if baseline_spec is None else 2)))

    student = _student_name(project, spec)

    def create(one: RunSpec, seed: int, name: str) -> Run:
        return _create(project, user, one.model_copy(update={"seed": seed}), options, name=name, number=next(numbers))

    runs = [create(spec, seed, _name(spec, student, seed, options)) for seed in seeds]
    baselines = []
    if baseline_spec is not None:
        for run, seed in zip(runs, seeds, strict=True):
            name = f"{_name(baseline_spec, student, seed, options)[:188]}{' · baseline' if options.name else ''}"
            run.baseline = create(baseline_spec, seed, name)
            run.save(update_fields=["baseline"])
            baselines.append(run.baseline)
    for run in [*runs, *baselines]:
        _submit(run, user, "launched")
    return _fresh([run.pk for run in [*runs, *baselines]])


def _fresh(run_ids: Sequence[UUID]) -> list[Run]:
    """The runs as they are in the database, in this order; those that are gone for good are left out."""
    by_id = Run.objects.select_related("project", "method", "task", "created_by", "baseline").in_bulk(run_ids)
    return [by_id[run_id] for run_id in run_ids if run_id in by_id]


def _changed(body: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with `changes` over it. A method's settings and a task's options go when the method or the task does."""
    merged = {**body, **changes}
    for field, chooser in (("settings", "method"), ("task_options", "task")):
        new = changes.get(field, {})
        if isinstance(new, Mapping):
            kept = body[field] if merged[chooser] == body[chooser] else {}
            merged[field] = {**kept, **new}
    return merged


def _understood(project: "ProjectOfMine", user: User, body: Any, *, one_run: bool = False) -> tuple[LaunchOptions, RunSpec, RunSpec | None]:
    """Options, a complete spec whose models exist, and its baseline's when it is asked for. Raises SpecError with all that is wrong in any."""
    if not isinstance(body, Mapping):
        raise SpecError.at("", "the body must be a JSON object with at least method and task.")
    if problems := unstorable(body):
        raise SpecError(problems)
    given = {name: body[name] for name in LaunchOptions.model_fields if name in body}
    found = examined({name: value for name, value in body.items() if name not in LaunchOptions.model_fields})
    problems = problems_of(LaunchOptions, given) + found.problems
    problems += priority_problems(user, project, Role(project.my_role), given.get("priority"))
    baseline = None
    if found.spec is not None:
        said = {one.field for one in problems}
        further = _catalog_problems(found.spec) + model_problems(project, found.spec) + _seed_problems(found.spec, given, one_run=one_run)
        problems += [one for one in further if one.field not in said]
        problems += _quota_problems(project, user, found.spec, given)
        if given.get("with_baseline") is True and not one_run:
            baseline, refused_baseline = _baseline_of(project, found.spec, alone=bool(problems))
            problems += refused_baseline
    if problems or found.spec is None:
        raise SpecError(problems)
    return _options(project, user, given), found.spec, baseline


def _options(project: Project, user: User, given: Mapping[str, Any]) -> LaunchOptions:
    """Checked options, complete: with the time limit that their runs get."""
    options = LaunchOptions.model_validate(given)
    return options.model_copy(update={"seconds_limit": quotas.seconds_limit(project, user, options.seconds_limit)})


def _quota_problems(project: Project, user: User, spec: RunSpec, given: Mapping[str, Any]) -> list[Problem]:
    """What the project's or the person's quota refuses of the runs asked for."""
    seeds, seconds = given.get("seeds", 1), given.get("seconds_limit")
    runs = (seeds if isinstance(seeds, int) else 1) * (2 if given.get("with_baseline") is True else 1)
    return quotas.problems(project, user, runs=runs, steps=spec.total_steps, seconds=seconds if isinstance(seconds, int) else None)


def _seed_problems(spec: RunSpec, given: Mapping[str, Any], *, one_run: bool) -> list[Problem]:
    """How many runs there are, and with which seeds."""
    seeds = given.get("seeds", 1)
    if one_run and (seeds != 1 or given.get("with_baseline", False) is not False):
        return [Problem("seeds" if seeds != 1 else "with_baseline", "a clone is one run; launch the spec anew for more.")]
    if isinstance(seeds, int) and spec.seed + seeds > 2**63:
        return [Problem("seeds", f"{seeds} seeds from {spec.seed} on pass the largest seed, 2⁶³ − 1; start lower.")]
    return []


def _catalog_problems(spec: RunSpec) -> list[Problem]:
    """Methods and tasks that this code knows but the database doesn't: the catalog was not synchronized after an upgrade."""
    problems = []
    if not Method.objects.filter(pk=spec.method, available=True).exists():
        problems.append(Problem("method", f"{spec.method} is not in the catalog here; an administrator runs manage.py sync_catalog."))
    if not Task.objects.filter(pk=spec.task, available=True).exists():
        problems.append(Problem("task", f"{spec.task} is not in the catalog here; an administrator runs manage.py sync_catalog."))
    return problems


def _baseline_of(project: Project, spec: RunSpec, *, alone: bool) -> tuple[RunSpec | None, list[Problem]]:
    """As `baseline_of`, and why there is none; its models must fit it too. `alone`: the spec has problems of its own, so nobody can say more of
    its baseline than whether it has one."""
    try:
        baseline = baseline_of(spec)
    except SpecError as error:
        return None, [] if alone and spec.card.baseline is not None else error.problems
    problems = [] if alone else [*_catalog_problems(baseline), *model_problems(project, baseline)]
    return baseline, refused(baseline.method, problems)


def _name(spec: RunSpec, student: str, seed: int, options: LaunchOptions) -> str:
    if not options.name.strip():
        return default_name(spec.model_copy(update={"seed": seed}), student)
    return options.name if options.seeds == 1 else f"{options.name[:170]} · seed {seed}"


def _create(project: Project, user: User, spec: RunSpec, options: LaunchOptions, *, name: str, number: int) -> Run:
    run = Run.objects.create(
        project=project,
        number=number,
        name=name,
        notes=options.notes,
        tags=list(dict.fromkeys(options.tags)),
        created_by=user,
        method_id=spec.method,
        task_id=spec.task,
        spec=spec.model_dump(mode="json"),
        config_hash=spec.config_hash(),
        seed=spec.seed,
        priority=options.priority,
        keep_checkpoints=options.keep_checkpoints,
        seconds_limit=options.seconds_limit,
        device_kind="any" if spec.device == "auto" else spec.device,
        device_count=spec.devices,
        total_steps=spec.total_steps,
    )
    teachers = [UUID(teacher.name) for teacher in spec.teachers if teacher.source == "run"]
    if teachers:
        run.teachers.add(*ModelRecord.objects.filter(project=project, run__in=teachers))
    return run


def _submit(run: Run, user: User, verb: str, **detail: Any) -> None:
    lifecycle.submit(run, who=user)
    audit.record(user, run.project, verb, f"run {run.pk}", name=run.name, **detail)


def _checked_key(key: str) -> str:
    key = key.strip()
    if not 1 <= len(key) <= KEY_LENGTH or not key.isprintable():
        raise SpecError.at("Idempotency-Key", f"must be 1 to {KEY_LENGTH} printable characters; got {len(key)}.")
    return key
