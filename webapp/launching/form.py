"""The launch page's form as a whole: which method, task and models, and the fields that follow from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from django.http import QueryDict

from engine.errors import Problem
from engine.spec import catalog
from engine.spec.cards import MethodCard, TaskCard, TrainingSettings
from engine.spec.reference import reference_text, run_named_by
from engine.spec.run_spec import Budget, Cadence, RunSpec
from engine.spec.sentences import problems_of
from webapp.launching.fields import BUDGET, CADENCE, PLACE, Field, fields_of, preset_values, show_problems, text_of
from webapp.launching.launch import LaunchOptions

ABOUT = ("name", "tags", "notes", "seeds", "with_baseline", "priority", "seconds_limit", "keep_checkpoints")
"""What a launch says beside the spec (LaunchOptions)."""


HUB = "hf:"
"""What the name of a model of Hugging Face begins with."""

LONG = 20
"""Times the steps of a task's default teacher; a budget of more epochs than that was hardly meant."""

DEFAULT_PRESET = "small"
"""Equal to the defaults, by the rule that every card keeps."""


@dataclass
class LaunchForm:
    """All that the launch page shows. Made by `first` from a spec (defaults, a preset, a clone) or by `typed` from what was sent."""

    method: MethodCard
    task: TaskCard
    preset: str
    student: str
    teachers: list[str]
    about: list[Field]
    seed: list[Field]
    settings: list[Field]
    options: list[Field]
    budget: list[Field]
    cadence: list[Field]
    place: list[Field]
    problems: list[Problem] = field(default_factory=list)
    errors: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def first(cls, spec: Mapping[str, Any], about: Mapping[str, Any] | None = None, *, preset: str = "") -> Self:
        """A form filled from a spec that may be incomplete: what it does not say has its default."""
        method, task = _chosen(spec.get("method"), spec.get("task"))
        settings, budget = preset_values(method.presets.get(preset))
        return cls._with(
            method, task, None,
            preset=preset,
            settings=settings | dict(spec.get("settings") or {}),
            budget=budget or dict(spec.get("budget") or {}),
            spec=spec,
            about=about or {},
            student=_reference(spec.get("student")) or task.student_of(method),
            teachers=[_reference(one) for one in spec.get("teachers") or []],
        )  # fmt: skip

    @classmethod
    def typed(cls, data: QueryDict, *, changed: str = "") -> Self:
        """A form as a person has sent it. `changed` is the choice just made: a new preset replaces settings and budget; a new method keeps
        what was typed over the former one's defaults."""
        method, task = _chosen(data.get("method"), data.get("task"))
        preset = data.get("preset", "")
        typed: dict[str, str] = {key: value for key, value in data.items() if isinstance(value, str)}
        student = _hub_reference(data.get("student_hf", "")) or data.get("student", "")
        settings: dict[str, Any] = {}
        budget: dict[str, Any] = {}
        if changed == "method":
            typed = _without_defaults(typed, data.get("shown_method", ""))
            preset = DEFAULT_PRESET
        if changed == "preset":
            settings, budget = preset_values(method.presets.get(preset))
            typed = {key: value for key, value in typed.items() if not key.startswith(("settings.", "budget."))}
        former = catalog.methods().get(data.get("shown_method", ""))
        if changed == "method" and former is not None and student == task.student_of(former):
            student = task.student_of(method)
        from_hub = student.startswith(HUB) and catalog.kinds()[task.kind].from_hub
        if student not in task.architectures and run_named_by(student) is None and not from_hub:
            student = task.student_of(method)
        return cls._with(
            method, task, typed,
            preset=preset, settings=settings, budget=budget, spec={}, about={}, student=student, teachers=_teachers(method, data),
        )  # fmt: skip

    @classmethod
    def _with(
        cls, method: MethodCard, task: TaskCard, typed: Mapping[str, str] | None, *,
        preset: str, settings: Mapping[str, Any], budget: Mapping[str, Any], spec: Mapping[str, Any], about: Mapping[str, Any],
        student: str, teachers: list[str],
    ) -> Self:  # fmt: skip
        return cls(
            method, task, preset, student, [one for one in teachers if one],
            about=_about(typed, about),
            seed=fields_of(RunSpec, at="", typed=typed, values=spec, only=["seed"]),
            settings=_settings(method, task, typed, settings),
            options=fields_of(task.options, at="task_options", typed=typed, values=spec.get("task_options") or {}),
            budget=_budget(method, typed, budget),
            cadence=fields_of(Cadence, at="cadence", typed=typed, values=spec.get("cadence") or {}, only=CADENCE),
            place=fields_of(RunSpec, at="", typed=typed, values=spec, only=PLACE),
        )  # fmt: skip

    @property
    def fields(self) -> list[Field]:
        return [*self.about, *self.seed, *self.settings, *self.options, *self.budget, *self.cadence, *self.place]

    def by_name(self) -> dict[str, Field]:
        """For templates that place a field by hand."""
        return {one.path: one for one in [*self.about, *self.seed]}

    @property
    def main_settings(self) -> list[Field]:
        """The method's own first, then those that every method has."""
        return sorted((one for one in self.settings if not one.folded), key=lambda one: one.name in TrainingSettings.model_fields)

    @property
    def budget_hint(self) -> str:
        """What the budget as it is typed comes to in steps, or an empty one; nothing where it makes no sense, which a launch says then."""
        budget = {one.name: one.value() for one in self.budget if one.raw.strip()}
        start = "" if {"steps", "epochs"} & budget.keys() else "All empty: "
        if start:
            budget |= {"steps": self.method.steps} if self.method.steps is not None else {"epochs": self.method.epochs}
        found = self._epoch()
        if found is None or problems_of(Budget, budget):
            return ""
        (words, length), steps, epochs = found, budget.get("steps"), budget.get("epochs")
        if epochs is not None and length:
            return f"{start}{epochs:,} epoch{'s' * (epochs != 1)} of {words} = {epochs * length:,} steps.{self._warning(epochs * length)}"
        if steps is not None:
            of = f" = {steps / length:.3g} epoch{'s' * (steps != length)} of {words}" if length and self.method.steps is None else ""
            return f"{start}{steps:,} step{'s' * (steps != 1)}{of}."
        return ""

    def _epoch(self) -> tuple[str, int] | None:
        """One pass over the training rows: `1,200 rows in batches of 64`, and its steps, 0 without rows; None where a field makes no sense."""
        settings, options = ({one.name: one.value() for one in fields} for fields in (self.settings, self.options))
        batch = settings.get("batch_size")
        if problems_of(self.task.options, options) or not (batch is None or (isinstance(batch, int) and batch > 0)):
            return None
        spec = RunSpec.model_construct(
            method=self.method.id, task=self.task.id, settings={} if batch is None else {"batch_size": batch}, task_options=options
        )
        rows = spec.rows_per_epoch
        return (f"{rows:,} rows{'' if batch is None else f' in batches of {batch:,}'}", spec.steps_per_epoch) if rows else ("", 0)

    def _warning(self, steps: int) -> str:
        """For far more steps than the task's own teacher gets."""
        usual = self.task.teacher_preset.budget.get("steps") if self.task.teacher_preset is not None else None
        return f" That is long: the task's default teacher has {usual:,}." if usual is not None and steps > LONG * usual else ""

    @property
    def length_fields(self) -> str:
        """What the budget's length in steps depends on, as a selector of the page."""
        on = [*self.budget, *(one for one in [*self.settings, *self.options] if one.name in {"batch_size", "train_limit"})]
        return ", ".join(f"#{one.html_id}" for one in on)

    @property
    def folded_settings(self) -> list[Field]:
        return [one for one in self.settings if one.folded]

    @property
    def folded_open(self) -> bool:
        return any(one.errors or one.raw != one.default for one in self.folded_settings)

    @property
    def advanced_open(self) -> bool:
        return any(one.errors or one.raw != one.default for one in [*self.cadence, *self.place, *self.options])

    @property
    def takes_teachers(self) -> bool:
        return self.method.teachers is not None

    @property
    def takes_hub_models(self) -> bool:
        """Whether the task's models may be ones of Hugging Face."""
        return catalog.kinds()[self.task.kind].from_hub

    @property
    def student_hf(self) -> str:
        """The name after `hf:` where the student is one of Hugging Face."""
        return self.student.removeprefix(HUB) if self.student.startswith(HUB) else ""

    @property
    def student_empty(self) -> str:
        """What the list of students says where the student is none of it."""
        return "the Hugging Face model below" if self.student_hf else ""

    @property
    def teachers_hf(self) -> str:
        """The same of the teachers, with commas between several."""
        return ", ".join(one.removeprefix(HUB) for one in self.teachers if one.startswith(HUB))

    @property
    def task_as_set(self) -> TaskCard:
        """The task's card under the options as they are typed, where they make sense."""
        options = {one.name: one.value() for one in self.options}
        return (
            self.task
            if problems_of(self.task.options, options)
            else self.task.under(self.task.options.model_validate(options).model_dump())
        )

    def settle(self, students: Sequence[str], teachers: Sequence[str]) -> None:
        """Chooses among what is offered where what was chosen is not: after another method or task."""
        if self.student not in students and not self.student_hf:
            self.student = students[0] if self.method.student.trained_weights and students else self.task.student_of(self.method)
        self.teachers = [one for one in self.teachers if one in teachers or one.startswith(HUB)]

    @property
    def misfit(self) -> str:
        """Why the method can't be launched on the task, where a person has chosen both; empty where it can."""
        return (
            f"{self.method.title} does not fit this task: {misfit_of(self.method, self.task)}."
            if self.task.kind_of(self.method) is None
            else ""
        )

    @property
    def baseline_label(self) -> str:
        """What is ticked to run the method's baseline as well; empty where it has none."""
        baseline = self.method.baseline
        return f"Also run its baseline: {catalog.methods()[baseline].title}" if baseline is not None else ""

    @property
    def many_teachers(self) -> bool:
        return self.method.teachers is not None and self.method.teachers.at_most != 1

    def body(self) -> dict[str, Any]:
        """The body of a launch as the API takes it. An empty budget is left to the method."""
        about = {one.path: one.value() for one in self.about}
        about["tags"] = [tag.strip() for tag in about["tags"].split(",") if tag.strip()]
        if self.method.baseline is None:
            about["with_baseline"] = False
        budget = {one.name: one.value() for one in self.budget if one.raw.strip()}
        return {
            **about,
            "method": self.method.id,
            "task": self.task.id,
            "settings": {one.name: one.value() for one in self.settings},
            "task_options": {one.name: one.value() for one in self.options},
            "teachers": self.teachers if self.takes_teachers else [],
            "student": self.student or None,
            "budget": budget or None,
            "cadence": {one.name: one.value() for one in self.cadence},
            **{one.path: one.value() for one in [*self.seed, *self.place]},
        }

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Shows problems beside their fields; `self.errors` has those of the choices, `self.problems` those of no field."""
        for problem in show_problems(self.fields, problems):
            head = problem.field.split(".")[0]
            if head in {"method", "task", "student", "teachers"}:
                self.errors.setdefault(head, []).append(problem.message)
            elif head == "budget":
                self.budget[0].errors.append(problem.message)
            else:
                self.problems.append(problem)


def misfit_of(method: MethodCard, task: TaskCard) -> str:
    """`it trains a generator, not a classifier or data set`."""
    trained, judged = (" or ".join(catalog.kinds()[kind].title for kind in kinds) for kinds in (method.student.kinds, task.kinds))
    return f"it trains a {trained}, not a {judged}"


def _about(typed: Mapping[str, str] | None, values: Mapping[str, Any]) -> list[Field]:
    """Tags are typed with commas between them, not as JSON."""
    fields = fields_of(LaunchOptions, at="", typed=typed, values={**values, "tags": ", ".join(values.get("tags", []))}, only=ABOUT)
    tags = next(one for one in fields if one.path == "tags")
    tags.kind, tags.help = "text", "Words to find runs by, with commas between them."
    return fields


def _settings(method: MethodCard, task: TaskCard, typed: Mapping[str, str] | None, values: Mapping[str, Any]) -> list[Field]:
    """A setting that follows from the task when it is left empty says in gray what it is then."""
    fields = fields_of(method.settings, at="settings", typed=typed, values=values)
    follows = method.left_empty(task)
    for one in fields:
        if follows.get(one.name) is not None:
            one.placeholder = f"{text_of(follows[one.name])} unless set"
    return fields


def budget_fields(typed: QueryDict) -> list[Field]:
    """A budget alone, as it was typed."""
    return fields_of(
        Budget,
        at="budget",
        typed={name: str(typed.get(name, "")) for name in (f"budget.{each}" for each in BUDGET)},
        values={},
        only=BUDGET,
    )


def _budget(method: MethodCard, typed: Mapping[str, str] | None, values: Mapping[str, Any]) -> list[Field]:
    """An empty budget is the method's own number of steps or epochs, which its field says in gray."""
    fields = fields_of(Budget, at="budget", typed=typed, values=values, only=BUDGET)
    name, usual = ("steps", method.steps) if method.steps is not None else ("epochs", method.epochs)
    length = next(one for one in fields if one.name == name)
    length.placeholder = f"{usual} {name} unless set"
    return fields


def _chosen(method_id: Any, task_id: Any) -> tuple[MethodCard, TaskCard]:
    """The cards of these ids. Where one is missing or unknown, a first choice that fits the other."""
    methods, tasks = catalog.methods(), catalog.tasks()
    method, task = methods.get(str(method_id)), tasks.get(str(task_id))
    if method is None:
        usual = methods["vanilla-kd"]
        fitting = [usual, *methods.values()] if task is None else [one for one in (usual, *methods.values()) if task.kind_of(one)]
        method = fitting[0] if fitting else usual
    return method, task or tasks[method.task]


def _hub_reference(typed: str) -> str:
    """`org/name` or `hf:org/name` as a reference; empty for nothing."""
    name = typed.strip().removeprefix(HUB).strip()
    return f"{HUB}{name}" if name else ""


def _teachers(method: MethodCard, data: QueryDict) -> list[str]:
    """Those that were chosen and those that were typed; of one teacher what was typed, if anything was."""
    typed = [ref for part in data.get("teachers_hf", "").split(",") if (ref := _hub_reference(part))]
    one = method.teachers is not None and method.teachers.at_most == 1
    return typed if typed and one else [*data.getlist("teachers"), *typed]


def _reference(value: Any) -> str:
    """A ModelRef, as JSON or text, as text."""
    return reference_text(value) if isinstance(value, Mapping) else str(value or "")


def _without_defaults(typed: Mapping[str, str], method_id: str) -> dict[str, str]:
    """What a person has changed from the defaults of the method that the form showed."""
    former = catalog.methods().get(method_id)
    if former is None:
        return dict(typed)
    defaults = {
        f"settings.{name}": text_of(info.get_default(call_default_factory=True)) for name, info in former.settings.model_fields.items()
    }
    return {key: value for key, value in typed.items() if defaults.get(key) != value}
