"""What holds for every method in the catalog. A new method gets all of this without a line here."""

import functools
import importlib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import SpecError
from engine.events import Evaluation, Outcome, PhaseStarted
from engine.evidence import experiment
from engine.evidence.consistency import problems_of
from engine.evidence.tiny_runs import TinyRuns, fewer
from engine.metrics.cards import METRICS
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.cards import MethodCard, TrainingSettings
from engine.spec.run_spec import Budget, RunSpec
from engine.tasks.task import Task
from tests.engine.tiny import Killed, Watcher, kill, student_bytes

PARTS = ("Idea", "Equations", "Settings", "Differs from the paper", "Results")
CLOCKS = ("ms", "s", "1/s")
"""Units of what differs from run to run."""
RARELY = {"evaluate": 1000}
METHODS = list(catalog.methods().values())

every_method = pytest.mark.parametrize("card", METHODS, ids=lambda card: card.id)


class Bench(TinyRuns):
    """Makes tiny runs of one method on few rows, watched."""

    def __init__(self, card: MethodCard, folder: Path) -> None:
        super().__init__(card, folder, options=fewer(catalog.tasks()[card.task]))

    def spec(self, *, settings: Mapping[str, Any] | None = None, **fields: Any) -> RunSpec:
        return super().spec(settings=settings, **{"cadence": {"evaluate": 4, "checkpoint": 2}, **fields})

    def run(self, workdir: Path, spec: RunSpec, watcher: Watcher | None = None, **options: Any) -> Outcome:
        outcome = execute(spec, watcher or Watcher(), workdir, models=self.models, **options)
        assert outcome.status != "failed", outcome.reason
        return outcome


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("methods")


def first_checkpoint(bench: Bench, workdir: Path) -> Path:
    """The state of a run after its first step."""
    watcher = Watcher()
    bench.run(workdir, bench.spec(), watcher, stop=watcher.stop_after(1))
    return workdir / "checkpoints/step-000000001"


@dataclass(frozen=True)
class Made:
    """A run that several tests look at: what it was asked, where it is, and what it reported. One that draws from a secret can be repeated only
    from a checkpoint that holds it: `began_with`, after `steps_before` steps."""

    spec: RunSpec
    workdir: Path
    watcher: Watcher
    began_with: Path | None = None

    @property
    def steps_before(self) -> int:
        return 0 if self.began_with is None else 1


@pytest.fixture
def bench(card: MethodCard, folder: Path) -> Bench:
    return Bench(card, folder)


@pytest.fixture(scope="module")
def made_once(folder: Path) -> Callable[[str, str], Made]:
    @functools.cache
    def secret_of(method_id: str) -> Path:
        return first_checkpoint(Bench(catalog.methods()[method_id], folder), folder / f"{method_id}-first")

    @functools.cache
    def make(method_id: str, how_often: str) -> Made:
        card, workdir, watcher = catalog.methods()[method_id], folder / f"{method_id}-{how_often}", Watcher()
        bench = Bench(card, folder)
        spec = bench.spec() if how_often == "often" else bench.spec(cadence=RARELY)
        began_with = secret_of(method_id) if card.secret_randomness else None
        bench.run(workdir, spec, watcher, resume=began_with)
        return Made(spec, workdir, watcher, began_with)

    return make


@pytest.fixture
def whole(card: MethodCard, made_once: Callable[[str, str], Made]) -> Made:
    """An undisturbed run that is evaluated and writes checkpoints every few steps."""
    return made_once(card.id, "often")


@pytest.fixture
def plain(card: MethodCard, made_once: Callable[[str, str], Made]) -> Made:
    """The same run, evaluated at its end alone."""
    return made_once(card.id, "rarely")


def final_metrics(watcher: Watcher) -> dict[str, float | None]:
    """Those of the test split, without what is measured with a clock."""
    found = next(event for event in watcher.of(Evaluation) if event.final and event.subject == "student" and event.split == "test")
    return {name: value for name, value in found.metrics.items() if name not in METRICS or METRICS[name].unit not in CLOCKS}


def steps_to_interrupt(watcher: Watcher) -> list[int]:
    """One step inside each phase, in the middle of an epoch where there are epochs."""
    chosen = []
    for phase in watcher.of(PhaseStarted):
        middle = phase.steps // 2
        inside = middle if middle % 3 else middle + 1
        if 0 < inside < phase.steps:
            chosen.append(phase.step + inside)
    assert chosen, "no phase is long enough to be interrupted; give the tiny preset more steps"
    return chosen


@every_method
def test_a_run_stopped_in_each_phase_and_resumed_equals_the_uninterrupted_one(
    card: MethodCard, bench: Bench, whole: Made, tmp_path: Path
) -> None:
    logged: list[Any] = []
    checkpoint = whole.began_with

    for step in steps_to_interrupt(whole.watcher):
        part = Watcher()
        stop = part.stop_after(step - whole.steps_before - len(logged))
        bench.run(tmp_path / f"{step}", bench.spec(), part, stop=stop, resume=checkpoint)
        logged += part.terms()
        assert logged == whole.watcher.terms()[: step - whole.steps_before]
        checkpoint = tmp_path / f"{step}/checkpoints/step-{step:09d}"
    last = Watcher()
    bench.run(tmp_path / "last", bench.spec(), last, resume=checkpoint)

    assert logged + last.terms() == whole.watcher.terms()
    assert final_metrics(last) == final_metrics(whole.watcher)
    assert student_bytes(tmp_path / "last") == student_bytes(whole.workdir)


ENDED = {"progressive-radiance", "teacher-guidance", "x-ecomla"}
"""Methods with phases behind, or beside, the one that the budget makes longer; the runs of others go on when they have ended."""


@every_method
def test_a_run_that_has_ended_goes_on_with_a_larger_budget_or_says_why_not(
    card: MethodCard, bench: Bench, whole: Made, tmp_path: Path
) -> None:
    steps = whole.spec.total_steps
    longer = whole.spec.model_copy(update={"budget": Budget(steps=steps + 5)})
    last = max(whole.workdir.glob("checkpoints/step-*"))
    watcher = Watcher()

    outcome = execute(longer, watcher, tmp_path, models=bench.models, resume=last)

    if card.id in ENDED:
        assert outcome.reason == (
            f"The checkpoint at {last} is behind a phase of {card.id} that a larger budget makes longer; go on from an earlier one, or start "
            f"anew with {steps + 5} steps."
        )
    else:
        assert outcome.status == "succeeded", outcome.reason
        made = int(last.name.removeprefix("step-"))
        assert [step for step, _ in watcher.terms()] == list(range(made + 1, made + 6))
        assert student_bytes(tmp_path) != student_bytes(whole.workdir)


@every_method
def test_a_run_killed_in_each_phase_and_resumed_equals_the_uninterrupted_one(
    card: MethodCard, bench: Bench, whole: Made, tmp_path: Path
) -> None:
    def newest() -> Path | None:
        return max(tmp_path.glob("checkpoints/step-*"), default=whole.began_with)

    for step in steps_to_interrupt(whole.watcher):
        part = Watcher({step: kill})
        with pytest.raises(Killed):
            bench.run(tmp_path, bench.spec(), part, resume=newest())
        assert part.terms() == whole.watcher.terms()[: step - whole.steps_before][-len(part.terms()) :]
    last = Watcher()
    bench.run(tmp_path, bench.spec(), last, resume=newest())

    assert last.terms() == whole.watcher.terms()[-len(last.terms()) :]
    assert final_metrics(last) == final_metrics(whole.watcher)
    assert student_bytes(tmp_path) == student_bytes(whole.workdir)


@every_method
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    card: MethodCard, bench: Bench, whole: Made, plain: Made, tmp_path: Path
) -> None:
    """But where all that is drawn comes from a secret: there the seed decides nothing, and the checkpoint that holds the secret decides."""
    bench.run(tmp_path / "other", bench.spec(seed=plain.spec.seed + 1, cadence=RARELY))

    assert student_bytes(whole.workdir) == student_bytes(plain.workdir)
    assert student_bytes(tmp_path / "other") != student_bytes(plain.workdir)
    if card.secret_randomness:
        bench.run(tmp_path / "again", bench.spec(cadence=RARELY))
        assert student_bytes(tmp_path / "again") != student_bytes(plain.workdir)


@every_method
def test_two_micro_batches_learn_the_same_as_one_batch(card: MethodCard, bench: Bench, tmp_path: Path) -> None:
    """By SGD: Adam divides by the gradient's size, so where that is rounding it makes a step of what differs in the last bit."""
    trained = {}
    if not issubclass(card.settings, TrainingSettings):
        assert "gradient_accumulation_steps" not in card.settings.model_fields
        return

    for pieces in (1, 2):
        settings = {"gradient_accumulation_steps": pieces, "optimizer": "sgd", "learning_rate": 0.01}
        bench.run(tmp_path / f"{pieces}", bench.spec(settings=settings, cadence=RARELY))
        trained[pieces] = torch.cat([parameter.flatten() for parameter in load_model(tmp_path / f"{pieces}/student")[0].parameters()])

    assert torch.allclose(trained[1], trained[2], rtol=0, atol=1e-5)


@every_method
def test_the_saved_student_loads_and_is_judged_as_at_the_end_of_the_run(card: MethodCard, bench: Bench, plain: Made) -> None:
    model, meta = load_model(plain.workdir / "student", card=bench.task)
    task: Task = catalog.load_task(bench.task.id)(bench.task.options.model_validate(plain.spec.task_options), torch.device("cpu"))
    with torch.no_grad():
        judged = task.judge(model.eval(), "test", teacher=None, final=False).metrics

    at_the_end = final_metrics(plain.watcher)
    assert judged
    assert {name: at_the_end[name] for name in judged} == judged
    assert RunSpec.model_validate(meta["spec"]) == plain.spec


@every_method
def test_its_loss_is_logged_at_every_step(card: MethodCard, plain: Made) -> None:
    steps = [step for step, _ in plain.watcher.terms()]

    assert steps == list(range(1 + plain.steps_before, plain.steps_before + len(steps) + 1))
    assert all(terms for _, terms in plain.watcher.terms())


def models_of(card: MethodCard) -> dict[str, Any]:
    """As many models as the method asks for, by references that nobody opens."""
    teachers = card.teachers.at_least if card.teachers is not None else 0
    student = {"student": f"run:{uuid.UUID(int=2)}"} if card.student.trained_weights else {}
    return {"teachers": [f"run:{uuid.UUID(int=1)}"] * teachers, **student}


@every_method
@pytest.mark.parametrize("preset", ["small", "paper", "tiny"])
def test_its_presets_are_specs(card: MethodCard, preset: str) -> None:
    chosen = card.presets[preset]
    fields: dict[str, Any] = {"method": card.id, "task": card.task, "settings": dict(chosen.settings)}
    fields |= {"budget": dict(chosen.budget)} if chosen.budget else {}

    spec = RunSpec.parse({**fields, **models_of(card)})

    assert chosen.description.endswith(".")
    assert spec.total_steps > 0


@every_method
def test_its_small_preset_is_what_one_gets_without_choosing(card: MethodCard) -> None:
    assert card.settings.model_validate(dict(card.presets["small"].settings)) == card.settings()


@every_method
def test_every_setting_is_described_in_a_sentence(card: MethodCard) -> None:
    for name, field in card.settings.model_fields.items():
        assert field.description, f"{card.id}: {name} has no description"
        assert field.description.endswith("."), f"{card.id}: the description of {name} is no sentence"


def bad_values(schema: dict[str, Any]) -> list[Any]:
    """Values that a field's JSON schema rules out, one for each of its bounds."""
    choices = [schema, *schema.get("anyOf", [])]
    bad: list[Any] = []
    for choice in choices:
        bad += [
            choice[bound] + (-1 if "inimum" in bound else 1)
            for bound in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
            if bound in choice
        ]
        bad += ["no such choice"] if "enum" in choice else []
        bad += ["text"] if choice.get("type") in ("boolean", "integer", "number", "array") else []
    return bad


@every_method
def test_a_bad_setting_is_refused_with_its_field_its_value_and_a_remedy(card: MethodCard) -> None:
    fields = {"method": card.id, "task": card.task, **models_of(card)}
    tried = 0

    for name, schema in card.settings.model_json_schema()["properties"].items():
        for value in bad_values(schema):
            with pytest.raises(SpecError) as refusal:
                RunSpec.parse({**fields, "settings": {name: value}})
            [problem] = [each for each in refusal.value.problems if each.field.startswith(f"settings.{name}")]
            assert problem.message.startswith("must be "), f"{name}={value!r}: {problem}"
            assert problem.message.endswith(f"; got {value!r}."), f"{name}={value!r}: {problem}"
            tried += 1

    assert tried > 0


@every_method
def test_its_page_has_all_parts(card: MethodCard) -> None:
    text = catalog.readme(card.id)

    title, *rest = text.split("\n## ")
    parts = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in rest}
    assert title.startswith(f"# {card.title}")
    assert [part for part in PARTS if not parts.get(part)] == []
    assert "$" in parts["Equations"]
    assert re.search(r"^1\. ", parts["Differs from the paper"], re.MULTILINE)
    assert f"python -m engine evidence {card.id}" in parts["Results"]


@every_method
def test_its_page_names_every_setting_of_its_own(card: MethodCard) -> None:
    text = catalog.readme(card.id)
    own = set(card.settings.model_fields) - set(TrainingSettings.model_fields)

    assert [name for name in sorted(own) if f"`{name}`" not in text] == []


@every_method
def test_it_is_measured_against_a_baseline_that_exists(card: MethodCard) -> None:
    module = importlib.import_module(f"engine.methods.{catalog.folder(card.id)}.evidence")

    assert module.evidence is not None
    assert card.baseline is None or card.baseline in catalog.methods()
    assert card.version >= 1


@every_method
def test_its_evidence_runs_it(card: MethodCard) -> None:
    """A folder that began as the copy of another method's measures that one until its evidence is changed."""
    problems = problems_of(experiment.load(card.id), card.id)

    assert not problems, "\n".join(problems)
