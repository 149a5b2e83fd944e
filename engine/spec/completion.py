"""From what a person gave to a complete spec, and to every problem of it at once. No torch.

A problem in one field hides none in another: what was refused is taken for left out, and the rest is examined on. Only what follows from a
refused field itself is not said, since nobody knows what was meant by it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from engine.errors import Problem
from engine.models.configs import CONFIGS, sizes_of_task
from engine.spec import catalog
from engine.spec.cards import MethodCard, Needs, TaskCard
from engine.spec.run_spec import Budget, ModelRef, RunSpec
from engine.spec.sentences import problems_in, problems_of


@dataclass(frozen=True)
class Examined:
    """Every problem of what was given, and the complete spec: as far as it was understood where there are problems, None where it is not."""

    spec: RunSpec | None
    problems: list[Problem]

    def allows(self, problem: Problem) -> bool:
        """Whether a further problem can be said of a spec in which these fields are not as they were given."""
        refused = {name for one in self.problems for name in _names(one.field)}
        return not refused & {*_names(problem.field)[:1], *re.findall(r"\w+", problem.message)} or not self.problems


def examined(data: Mapping[str, Any]) -> Examined:
    """What is wrong with a spec's JSON, and what it comes to."""
    problems: list[Problem] = []
    try:
        spec = RunSpec.model_validate(data)
    except ValidationError as error:
        problems = problems_in(error)
        refused = {one.field.partition(".")[0] for one in problems}
        kept = {name: value for name, value in data.items() if name not in refused}
        spec = RunSpec.model_validate({"method": "", "task": ""} | kept)
    return _completed(spec, problems)


def _completed(spec: RunSpec, problems: list[Problem]) -> Examined:
    refused = {one.field.partition(".")[0] for one in problems}
    method, task = catalog.methods().get(spec.method), catalog.tasks().get(spec.task)
    found: list[Problem] = []
    if method is None:
        found.append(Problem("method", f"there is no method {spec.method!r:.80}; choose one of {', '.join(catalog.methods())}."))
    if task is None:
        found.append(Problem("task", f"there is no task {spec.task!r:.80}; choose one of {', '.join(catalog.tasks())}."))
    found += problems_of(method.settings, spec.settings, at="settings") if method is not None else []
    found += problems_of(task.options, spec.task_options, at="task_options") if task is not None else []
    if method is not None and task is not None:
        task = task.under(_options(spec, task, found))
        found += _version_problems(spec, method) + _fit_problems(spec, method, task)
    problems = problems + [one for one in found if one.field.partition(".")[0] not in refused]
    if method is None or task is None:
        return Examined(None, problems)
    return _checked(_mended(spec, method, task, problems), method, task, problems)


def _mended(spec: RunSpec, method: MethodCard, task: TaskCard, problems: list[Problem]) -> RunSpec | None:
    """The complete spec, with defaults for what was refused; None where there is none, because a setting without a default is missing."""
    refused = {one.field.partition(".")[0] for one in problems}
    plain: dict[str, Any] = {name: RunSpec.model_fields[name].default for name in ("device", "devices", "precision") if name in refused}
    try:
        settings = _settings(_without(spec.settings, "settings", problems), method, task)
    except ValidationError:
        return None
    return spec.model_copy(
        update={
            **plain,
            "method_version": method.version,
            "settings": settings,
            "task_options": _options(spec, task, problems),
            "student": spec.student if spec.student and "student" not in refused else ModelRef(name=task.student_of(method)),
            "budget": spec.budget if spec.budget and "budget" not in refused else _usual_budget(method),
        }
    )


def _checked(spec: RunSpec | None, method: MethodCard, task: TaskCard, problems: list[Problem]) -> Examined:
    """With what the method's own check refuses of fields that are each right by themselves."""
    so_far = Examined(spec, problems)
    if spec is None or method.check is None or task.kind_of(method) is None:
        return so_far
    return Examined(spec, problems + [one for one in method.check(spec) if so_far.allows(one)])


def _options(spec: RunSpec, task: TaskCard, problems: Iterable[Problem]) -> dict[str, Any]:
    """All options of the task: those given that are right, and the defaults."""
    refused = any(one.field == "task_options" for one in problems)
    return task.options.model_validate({} if refused else _without(spec.task_options, "task_options", problems)).model_dump(mode="json")


def _usual_budget(method: MethodCard) -> Budget:
    return Budget(steps=method.steps) if method.steps is not None else Budget(epochs=method.epochs)


def _without(given: Mapping[str, Any], at: str, problems: Iterable[Problem]) -> dict[str, Any]:
    """What was given without the fields that are refused."""
    refused = [f"{one.field}." for one in problems]
    return {name: value for name, value in given.items() if not any(field.startswith(f"{at}.{name}.") for field in refused)}


def _names(path: str) -> list[str]:
    """A problem's field by the names that sentences use for it: of `settings.levels.0`, `levels`; of `teachers.0`, `teachers`."""
    parts = path.split(".")
    return parts[1:2] if parts[0] in {"settings", "task_options"} and len(parts) > 1 else parts[:1]


def _settings(given: Mapping[str, Any], method: MethodCard, task: TaskCard) -> dict[str, Any]:
    """All settings of the method: those given, the defaults, and what follows from the task where a setting was left empty."""
    settings: dict[str, Any] = method.settings.model_validate(given).model_dump(mode="json")
    return settings | {name: value for name, value in method.left_empty(task).items() if settings[name] is None}


def _version_problems(spec: RunSpec, method: MethodCard) -> list[Problem]:
    if spec.method_version in (0, method.version):
        return []
    return [
        Problem(
            "method_version",
            f"{spec.method} is at version {method.version} here, this spec asks for {spec.method_version}; leave the field out.",
        )
    ]


def _fit_problems(spec: RunSpec, method: MethodCard, task: TaskCard) -> list[Problem]:
    """Method against task, and models against both, as far as it can be known without opening a model."""
    problems = []
    if task.kind_of(method) is None:
        problems.append(
            Problem(
                "method",
                f"{method.id} trains a {' or '.join(method.student.kinds)}; the task {task.id} judges a {' or '.join(task.kinds)}. Choose a task of that kind.",
            )
        )
    if spec.budget is not None and spec.budget.epochs is not None and task.train_rows == 0:
        problems.append(Problem("budget.epochs", f"the task {task.id} has no training rows to pass over; give steps."))
    problems += _count_problems(spec, method)
    if method.teachers is not None:
        for index, teacher in enumerate(spec.teachers):
            problems += _model_problems(teacher, f"teachers.{index}", task, needs=method.teachers)
    if spec.student is not None:
        problems += _model_problems(spec.student, "student", task, needs=method.student)
    elif method.student.trained_weights:
        problems.append(Problem("student", f"{method.id} goes on from a trained model; name one as run:<id of a finished run>."))
    if spec.device == "cpu" and spec.devices > 1:
        problems.append(Problem("devices", f"a run on the CPU has one device; got {spec.devices}."))
    if spec.devices > 1 and not method.data_parallel:
        problems.append(Problem("devices", f"{method.id} runs on one device; got {spec.devices}."))
    if spec.device == "cpu" and spec.precision == "float16":
        problems.append(Problem("precision", "float16 needs a GPU; choose float32 or bfloat16 on the CPU."))
    return problems


def _count_problems(spec: RunSpec, method: MethodCard) -> list[Problem]:
    count, needs = len(spec.teachers), method.teachers
    if needs is None:
        return [Problem("teachers", f"{method.id} takes no teacher; got {count}.")] if count else []
    if count < needs.at_least:
        return [
            Problem(
                "teachers",
                f"{method.id} needs at least {needs.at_least} teacher{'s' * (needs.at_least > 1)}, for example run:<id of a finished run>; got {count}.",
            )
        ]
    if needs.at_most is not None and count > needs.at_most:
        return [Problem("teachers", f"{method.id} takes at most {needs.at_most} teacher{'s' * (needs.at_most > 1)}; got {count}.")]
    return []


def _model_problems(ref: ModelRef, field: str, task: TaskCard, *, needs: Needs) -> list[Problem]:
    if ref.source == "builtin":
        if ref.name not in task.architectures:
            return [
                Problem(field, f"the task {task.id} has no architecture {ref.name!r:.80}; choose one of {', '.join(task.architectures)}.")
            ]
        if needs.trained_weights:
            return [
                Problem(
                    field, f"{ref.name} is an architecture without trained weights; name a trained model as run:<id of a finished run>."
                )
            ]
        unknown = set(ref.config) - set(task.architectures[ref.name].config)
        if unknown:
            return [
                Problem(
                    f"{field}.config",
                    f"{ref.name} has no option {min(unknown)!r:.80}; it has {', '.join(task.architectures[ref.name].config)}.",
                )
            ]
        architecture = task.architectures[ref.name]
        refused = problems_of(CONFIGS[architecture.builder], {**architecture.config, **ref.config}, at=f"{field}.config")
        return refused or _size_problems(ref, f"{field}.config", task)
    elif ref.config:
        return [Problem(f"{field}.config", "only a built-in architecture can be configured.")]
    if ref.source == "hf" and not catalog.kinds()[task.kind].from_hub:
        return [Problem(field, _headless(ref, task))]
    return []


def _headless(ref: ModelRef, task: TaskCard) -> str:
    """Why a task whose kind of student does not come from the hub takes no `hf:` model, and what does take it."""
    if task.words is not None:
        for other in (task, *catalog.tasks().values()):
            for name, architecture in other.architectures.items():
                if architecture.pretrained == ref.name:
                    return (
                        f"{ref} is an encoder with no layer for classes: train the architecture {name} of the task {other.id}, which begins "
                        f"as it, by supervised, and name that run as run:<id>."
                    )
    takers = " and ".join(f"{kind.title}s" for kind in catalog.kinds().values() if kind.from_hub)
    return f"the task {task.id} takes built-in architectures and run:<id>; hf: models are for {takers}."


def _size_problems(ref: ModelRef, field: str, task: TaskCard) -> list[Problem]:
    """Where a changed configuration contradicts the task's examples and classes."""
    sizes = sizes_of_task(task.input_shape, task.classes, task.words)
    return [
        Problem(f"{field}.{name}", f"must be {sizes[name]} for the task {task.id}; got {given}. Leave it out.")
        for name, given in ref.config.items()
        if name in sizes and given != sizes[name]
    ]
