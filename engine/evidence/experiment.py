"""Evidence that a method works: a small experiment as data, run over seeds, and each claim held against the numbers.

An `Evidence` names arms (what is run), metrics (what is read from the final evaluation on the test split), and claims (what must come out).
A claim says how it is tested: by the paired differences of two arms over the seeds, with a direction and a margin, or as an identity that must
hold in every seed. `engine.statistics` has the rule by which it is shown, leaning, not shown or contradicted; whatever comes out is reported with
its numbers. The table of results has the mean over seeds, and the standard deviation with divisor n − 1.
"""

import hashlib
import importlib
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from engine.errors import EngineError, SpecError
from engine.spec import catalog
from engine.statistics import Difference, Verdict, mean_of, paired_differences, seeds_in_favor, t_interval, verdict_of, weakest

if TYPE_CHECKING:
    from torch import nn

    from engine.events import Event

Say = Callable[[str], None]

# Nothing in between is looked at: validation at the end is enough, and a run of seconds needs no checkpoint.
ONLY_AT_THE_END = {"evaluate": 100_000_000, "checkpoint": 100_000_000}
CHOSEN_BY = "validation/accuracy"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One thing that is run with every seed. `spec` makes the run's spec of a seed, without its teachers.

    `teachers` are arms or changed models, of the same seed, and so is `student`, where the arm goes on from one. `fidelity_to` names one for
    an arm that learns from nobody, so that its agreement can be reported as well. What is no run (a closed form, a reference value, the data
    itself) has `measured` instead of `spec`: its metrics, from the seed and the folders of the arms that have run. An arm with `best_of` has the
    metrics of one of the arms before it, in each seed that with the highest accuracy on validation, the first of equals: a baseline whose
    settings were chosen without the test split.
    """

    id: str
    title: str
    spec: Callable[[int], dict[str, Any]] | None = None
    teachers: tuple[str, ...] = ()
    student: str | None = None
    fidelity_to: str | None = None
    measured: "Callable[[int, Mapping[str, Path]], Mapping[str, float | None]] | None" = None
    best_of: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChangedModel:
    """A copy of an arm's student with changed weights, to be a teacher. `change` works on the module in place."""

    id: str
    of: str
    title: str
    change: "Callable[[nn.Module], None]"


@dataclass(frozen=True)
class Results:
    """What was measured: `values[arm][metric]` has one entry a seed, None where a metric is undefined."""

    seeds: tuple[int, ...]
    values: Mapping[str, Mapping[str, Sequence[float | None]]]

    def of(self, arm: str, metric: str) -> list[float]:
        """The defined values, in the seeds' order."""
        return [value for value in self.values[arm].get(metric, ()) if value is not None]

    def mean(self, arm: str, metric: str) -> float | None:
        found = self.of(arm, metric)
        return statistics.fmean(found) if found else None

    def std(self, arm: str, metric: str) -> float | None:
        """With divisor n − 1; None below two values."""
        found = self.of(arm, metric)
        return statistics.stdev(found) if len(found) > 1 else None

    def of_seed(self, index: int) -> dict[str, dict[str, float]]:
        """The numbers of the seed at this place, by arm and metric. Undefined ones are NaN."""

        def number(value: float | None) -> float:
            return math.nan if value is None else value

        return {arm: {name: number(values[index]) for name, values in metrics.items()} for arm, metrics in self.values.items()}


# Tests of claims


@dataclass(frozen=True)
class JudgedTest:
    """A test with what came out. `differences` has one entry a seed, positive where the seed speaks for the claim if its margin is 0, None where
    a metric is undefined; empty for an identity. `low` and `high` are the 95 % interval of their mean, None where there is none.
    """

    test: "Test"
    verdict: Verdict
    seeds: int
    in_favor: int
    differences: tuple[Difference, ...] = ()
    mean: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def pairs(self) -> int:
        """Seeds in which the difference is defined."""
        return sum(value is not None for value in self.differences)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The difference of two arms in the claim's direction is greater than the margin: arm − times · other if the arm is to be higher,
    times · other − arm if it is to be lower. `other_metric` is read from the other arm, where that is another number than `metric`.
    """

    metric: str
    arm: str
    other: str
    direction: Literal["higher", "lower"]
    margin: float = 0.0
    other_metric: str
    times: float = 1.0

    def judged(self, results: Results) -> JudgedTest:
        theirs = [None if value is None else self.times * value for value in results.values[self.other][self.other_metric]]
        differences = paired_differences(results.values[self.arm][self.metric], theirs)
        return _held_against(self, _toward(self.direction, differences), above=self.margin)


@dataclass(frozen=True, kw_only=True)
class AgainstValue:
    """An arm is higher, or lower, than a constant. The difference is arm − value, or value − arm."""

    metric: str
    arm: str
    direction: Literal["higher", "lower"]
    value: float

    def judged(self, results: Results) -> JudgedTest:
        ours = results.values[self.arm][self.metric]
        differences = paired_differences(ours, [self.value] * len(ours))
        return _held_against(self, _toward(self.direction, differences), above=0.0)


@dataclass(frozen=True, kw_only=True)
class Within:
    """Two arms differ by less than `by`, whichever is higher. The difference is arm − other."""

    metric: str
    arm: str
    other: str
    by: float

    def judged(self, results: Results) -> JudgedTest:
        differences = paired_differences(results.values[self.arm][self.metric], results.values[self.other][self.metric])
        return _held_against(self, differences, above=-self.by, below=self.by)


OneSeed = Mapping[str, Mapping[str, float]]
"""One seed's numbers by arm and metric; an undefined one is NaN, for which no comparison holds."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What is true by construction, and is checked in every seed: one seed without it contradicts the claim."""

    asserted: str
    holds: Callable[[OneSeed], bool]

    def judged(self, results: Results) -> JudgedTest:
        holding = sum(bool(self.holds(results.of_seed(index))) for index in range(len(results.seeds)))
        return JudgedTest(self, "identity" if holding == len(results.seeds) else "contradicted", len(results.seeds), holding)


Test = Paired | AgainstValue | Within | Identity


def higher(metric: str, arm: str, other: str, *, margin: float = 0.0, other_metric: str | None = None, times: float = 1.0) -> Paired:
    """arm − times · other > margin. A negative margin claims that the arm is not lower by so much."""
    other_metric = other_metric or metric
    return Paired(metric=metric, arm=arm, other=other, direction="higher", margin=margin, other_metric=other_metric, times=times)


def lower(metric: str, arm: str, other: str, *, margin: float = 0.0, other_metric: str | None = None, times: float = 1.0) -> Paired:
    """times · other − arm > margin. A negative margin claims that the arm is not higher by so much."""
    other_metric = other_metric or metric
    return Paired(metric=metric, arm=arm, other=other, direction="lower", margin=margin, other_metric=other_metric, times=times)


def higher_than(metric: str, arm: str, value: float) -> AgainstValue:
    """arm > value, over the seeds."""
    return AgainstValue(metric=metric, arm=arm, direction="higher", value=value)


def lower_than(metric: str, arm: str, value: float) -> AgainstValue:
    """arm < value, over the seeds."""
    return AgainstValue(metric=metric, arm=arm, direction="lower", value=value)


def within(metric: str, arm: str, other: str, *, by: float) -> Within:
    """−by < arm − other < by, over the seeds. Raises ValueError unless `by` is greater than 0."""
    if not by > 0:
        raise ValueError(f"by must be greater than 0; got {by}.")
    return Within(metric=metric, arm=arm, other=other, by=by)


def identity(asserted: str, holds: Callable[[OneSeed], bool]) -> Identity:
    """What holds by construction, of the numbers of one seed."""
    return Identity(asserted=asserted, holds=holds)


def _toward(direction: Literal["higher", "lower"], differences: Sequence[Difference]) -> tuple[Difference, ...]:
    return tuple(differences) if direction == "higher" else tuple(None if value is None else -value for value in differences)


def _held_against(test: Test, differences: tuple[Difference, ...], *, above: float, below: float = math.inf) -> JudgedTest:
    low, high = t_interval(differences) or (None, None)
    return JudgedTest(
        test,
        verdict_of(differences, above=above, below=below),
        seeds=len(differences),
        in_favor=seeds_in_favor(differences, above=above, below=below),
        differences=differences,
        mean=mean_of(differences),
        low=low,
        high=high,
    )


@dataclass(frozen=True, init=False)
class Claim:
    """What must come out, and the tests that say whether it did: the weakest of them is the claim's verdict."""

    text: str
    tests: tuple[Test, ...]

    def __init__(self, text: str, *tests: Test) -> None:
        assert tests, f"the claim {text!r} is not tested"
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "tests", tests)

    def judged(self, results: Results) -> "JudgedClaim":
        return JudgedClaim(self.text, tuple(test.judged(results) for test in self.tests))


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with what became of it."""

    text: str
    tests: tuple[JudgedTest, ...]

    @property
    def verdict(self) -> Verdict:
        return weakest([test.verdict for test in self.tests])


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A method's small experiment. Texts are Markdown: `protocol` says data, splits, seeds and settings, `published` what the paper reports,
    `notes` how the numbers are to be read.

    Metrics are those of the final evaluation on the test split; the same on the validation split are named `validation/…`, the method's own
    diagnostics among them. `read` takes further ones from all that a run reported: a value half-way, the number of a kind of step.
    """

    method: str
    protocol: str
    arms: tuple[Arm, ...]
    changed: tuple[ChangedModel, ...] = ()
    baseline: str
    metrics: tuple[str, ...]
    claims: tuple[Claim, ...]
    published: str
    notes: str = ""
    read: "Mapping[str, Callable[[Sequence[Event]], float | None]]" = field(default_factory=dict)


# Running


def load(method_id: str) -> Evidence:
    """The evidence of a method. Raises SpecError when there is no such method."""
    if method_id not in catalog.methods():
        raise SpecError.at("method", f"there is no method {method_id!r:.80}; choose one of {', '.join(catalog.methods())}.")
    found = importlib.import_module(f"engine.methods.{catalog.folder(method_id)}.evidence").evidence
    assert isinstance(found, Evidence), f"{method_id}: evidence.evidence is a {type(found).__name__}"
    return found


def measure(evidence: Evidence, seeds: Sequence[int], workdir: Path, *, say: Say = lambda text: None) -> Results:
    """Runs every arm with every seed, in folders below `workdir`. A model that several arms need is made once.

    Raises EngineError with the run's own sentence when a run does not succeed.
    """
    values: dict[str, dict[str, list[float | None]]] = {arm.id: {metric: [] for metric in evidence.metrics} for arm in evidence.arms}
    for seed in seeds:
        bench = _Bench(evidence, seed, workdir / f"seed-{seed}")
        bench.workdir.mkdir(parents=True, exist_ok=True)
        for arm in evidence.arms:
            metrics = bench.numbers(arm)
            say(f"seed {seed}, {arm.title}: {', '.join(f'{name} {_short(metrics.get(name))}' for name in evidence.metrics[:3])}")
            for metric in evidence.metrics:
                values[arm.id][metric].append(metrics.get(metric))
    return Results(tuple(seeds), values)


@dataclass
class _Bench:
    """One seed's models, by arm or changed model."""

    evidence: Evidence
    seed: int
    workdir: Path
    folders: dict[str, Path] = field(default_factory=dict)
    metrics: dict[str, Mapping[str, float | None]] = field(default_factory=dict)

    def numbers(self, arm: Arm) -> Mapping[str, float | None]:
        """An arm's metrics, which are kept for the arms after it."""
        self.metrics[arm.id] = self.metrics[self.best(arm.best_of)] if arm.best_of else self.run(arm)
        return self.metrics[arm.id]

    def best(self, arms: Sequence[str]) -> str:
        return max(arms, key=lambda name: self.metrics[name][CHOSEN_BY] or 0.0)

    def run(self, arm: Arm) -> Mapping[str, float | None]:
        """The final test evaluation of one arm's student."""
        from engine.events import Evaluation, Event
        from engine.run.runner import execute
        from engine.spec.run_spec import RunSpec

        if arm.measured is not None:
            return arm.measured(self.seed, self.folders)
        assert arm.spec is not None, f"{arm.id} has neither a spec nor a measurement"
        teachers = {self.ref(name): self.folder(name) for name in arm.teachers}
        data = {"cadence": ONLY_AT_THE_END, "threads": 1, **arm.spec(self.seed), "teachers": list(teachers)}
        models = dict(teachers)
        if arm.student is not None:
            data["student"] = self.ref(arm.student)
            models[data["student"]] = self.folder(arm.student)
        spec, events = RunSpec.parse(data), list[Event]()

        outcome = execute(spec, events.append, self.workdir / arm.id, models=models)
        if outcome.status != "succeeded":
            raise EngineError(f"The arm {arm.id} ended as {outcome.status} with seed {self.seed}: {outcome.reason}")
        judged = [event for event in events if isinstance(event, Evaluation) and event.subject == "student"]
        on_test, final = [one for one in judged if one.split == "test"], [one for one in judged if one.final and one.split == "validation"]
        assert len(on_test) == 1 and on_test[0].final, f"{arm.id}: the test split was read {len(on_test)} times"
        self.folders[arm.id] = self.workdir / arm.id / "student"
        metrics = {f"validation/{name}": value for one in final for name, value in one.metrics.items()} | dict(on_test[0].metrics)
        metrics |= {name: read(events) for name, read in self.evidence.read.items()}
        return metrics if arm.fidelity_to is None else {**metrics, **self.fidelity(spec, arm)}

    def folder(self, name: str) -> Path:
        """Where a model is: an arm's student that has run, or a changed copy of one, made at the first use."""
        if name not in self.folders:
            self.folders[name] = self.change(next(model for model in self.evidence.changed if model.id == name))
        return self.folders[name]

    def ref(self, name: str) -> str:
        """The same name for the same model, so that the runs' specs can be repeated."""
        digest = hashlib.sha256(f"{self.evidence.method}/{name}/{self.seed}".encode()).digest()
        return f"run:{UUID(bytes=digest[:16], version=4)}"

    def change(self, changed: ChangedModel) -> Path:
        from engine.run.export import load_model, save_model

        model, meta = load_model(self.folder(changed.of))
        changed.change(model)
        folder = self.workdir / changed.id / "student"
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_model(folder, model, {name: value for name, value in meta.items() if name not in ("format", "parameters", "sha256")})
        return folder

    def fidelity(self, spec: Any, arm: Arm) -> Mapping[str, float | None]:
        """How close an arm's student is to a model that did not teach it, on the test split."""
        import torch

        from engine.metrics.fidelity import fidelity_report
        from engine.run.export import load_model

        assert arm.fidelity_to is not None, f"{arm.id} names no model to compare with"
        task = catalog.load_task(spec.task)(spec.task_card.options.model_validate(spec.task_options), torch.device("cpu"))
        (student, _), (teacher, _) = load_model(self.folders[arm.id]), load_model(self.folder(arm.fidelity_to))
        logits = {"student_logits": task.logits(student, "test"), "teacher_logits": task.logits(teacher, "test")}  # type: ignore[attr-defined]
        return fidelity_report(**logits, labels=task.splits["test"].targets)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
