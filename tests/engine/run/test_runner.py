"""What the runner does for every method."""

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.events import STEPS, Activity, Artifact, Evaluation, Metrics, PhaseStarted, Progress
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.spec.cards import Needs
from engine.spec.run_spec import Budget, Cadence, ModelRef
from tests.engine.tiny import BATCH, ROWS, Everything, Plain, Taught, TinySettings, Watcher, run_tiny, student_bytes, tiny_card, tiny_spec

TEACHER = "run:00000000-0000-4000-8000-000000000001"


def test_the_outcome_is_returned_and_is_the_last_event(tmp_path: Path) -> None:
    watcher = Watcher()

    outcome = run_tiny(tmp_path, watcher=watcher)

    assert outcome.status == "succeeded"
    assert outcome.step == 12
    assert outcome.reason.startswith("Finished 12 steps in ")
    assert watcher.events[-1] is outcome


def test_every_step_is_reported_once_in_order_counted_from_one(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, watcher=watcher)

    assert [step for step, _ in watcher.terms()] == list(range(1, 13))
    assert all(list(values) == ["loss"] and isinstance(values["loss"], float) for _, values in watcher.terms())


def test_the_log_cadence_keeps_the_first_and_every_nth_step(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, watcher=watcher, spec=tiny_spec(cadence=Cadence(log=5)))

    assert [step for step, _ in watcher.terms()] == [1, 5, 10]


def test_the_student_is_exported_with_what_is_needed_to_load_it(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, watcher=watcher)

    [artifact] = watcher.of(Artifact)
    weights = student_bytes(tmp_path)
    assert artifact == Artifact("student", "model", "student", len(weights), hashlib.sha256(weights).hexdigest(), artifact.meta)
    assert artifact.meta == json.loads((tmp_path / "student/model.json").read_text())
    assert artifact.meta["parameters"] == 4 * 5 + 5 + 5 * 3 + 3
    assert artifact.meta["input_shape"] == [4]


def test_by_default_a_run_is_evaluated_twenty_times_and_the_test_rows_are_seen_only_at_the_end(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, watcher=watcher, spec=tiny_spec(steps=40))

    judged = [(event.step, event.subject, event.split, event.final) for event in watcher.of(Evaluation)]
    watched = [(step, "student", "validation", False) for step in range(2, 40, 2)]
    assert judged == [*watched, (40, "student", "validation", True), (40, "student", "test", True)]


def test_validation_is_also_a_series_with_the_learning_rate(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(
        tmp_path, watcher=watcher, spec=tiny_spec(cadence=Cadence(evaluate=6), settings={"schedule": "constant", "learning_rate": 0.02})
    )

    series = [event for event in watcher.of(Metrics) if "validation/accuracy" in event.values]
    assert [event.step for event in series] == [6, 12]
    assert all(set(event.values) == {"validation/accuracy", "learning_rate"} for event in series)
    assert series[0].values["learning_rate"] == 0.02


def test_the_teacher_is_judged_once_per_split_and_the_student_against_it(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, Taught, watcher=watcher, spec=tiny_spec(Taught, teachers=[ModelRef(name="net")], cadence=Cadence(evaluate=4)))

    teacher = [(event.step, event.split) for event in watcher.of(Evaluation) if event.subject == "teacher"]
    student = [event for event in watcher.of(Evaluation) if event.subject == "student"]
    assert teacher == [(4, "validation"), (12, "test")]
    assert all("agreement" in event.metrics for event in student)


def test_judging_more_often_does_not_change_what_is_learned(tmp_path: Path) -> None:
    run_tiny(tmp_path / "often", spec=tiny_spec(cadence=Cadence(evaluate=1)))
    run_tiny(tmp_path / "never", spec=tiny_spec(cadence=Cadence(evaluate=1000)))

    assert student_bytes(tmp_path / "often") == student_bytes(tmp_path / "never")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    run_tiny(tmp_path / "a", spec=tiny_spec(seed=1))
    run_tiny(tmp_path / "b", spec=tiny_spec(seed=1))
    run_tiny(tmp_path / "c", spec=tiny_spec(seed=2))

    assert student_bytes(tmp_path / "a") == student_bytes(tmp_path / "b")
    assert student_bytes(tmp_path / "a") != student_bytes(tmp_path / "c")


def test_the_initial_weights_have_a_seed_of_their_own(tmp_path: Path) -> None:
    spec = {"settings": {"learning_rate": 1e-30}, "steps": 1}
    run_tiny(tmp_path / "a", spec=tiny_spec(**spec, seed=1, student=ModelRef(name="net", init_seed=9)))
    run_tiny(tmp_path / "b", spec=tiny_spec(**spec, seed=2, student=ModelRef(name="net", init_seed=9)))
    run_tiny(tmp_path / "c", spec=tiny_spec(**spec, seed=9))

    assert student_bytes(tmp_path / "a") == student_bytes(tmp_path / "b") == student_bytes(tmp_path / "c")


def test_a_run_leaves_the_generators_and_threads_of_its_process_alone(tmp_path: Path) -> None:
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    threads = torch.get_num_threads()
    expected = (torch.rand(1).item(), random.random(), np.random.rand())
    torch.manual_seed(5), random.seed(5), np.random.seed(5)

    run_tiny(tmp_path, spec=tiny_spec(threads=threads + 1))

    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected
    assert torch.get_num_threads() == threads


def test_two_micro_batches_learn_the_same_as_one_batch(tmp_path: Path) -> None:
    watchers = Watcher(), Watcher()
    for pieces, watcher in zip((1, 3), watchers, strict=True):
        run_tiny(
            tmp_path / f"{pieces}", watcher=watcher, spec=tiny_spec(settings={"gradient_accumulation_steps": pieces, "optimizer": "sgd"})
        )

    (_, first), (_, second) = watchers[0].terms()[-1], watchers[1].terms()[-1]
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-5)


class Recorder(Method):
    """Notes which rows it was given, and where."""

    card = tiny_card("recorder")
    settings: TinySettings
    seen: list[tuple[int, int, list[int]]]

    def build(self) -> None:
        self.rows: list[list[int]] = []

    def phases(self) -> Iterator[Phase]:
        yield Phase("shuffled", self.step, 6)
        yield Phase("in order", self.step, 3, shuffle=False, end=self.end)

    def step(self, batch: Batch) -> Logs:
        assert torch.equal(batch.inputs, self.task.splits["train"].inputs[batch.index])
        self.rows.append([self.position.epoch, self.position.step_in_epoch, *batch.index.tolist()])
        return {"loss": torch.zeros(())}

    def end(self) -> None:
        self.save_table("rows", self.rows)


def test_an_epoch_has_every_row_once_in_a_new_order_with_the_last_partial_batch(tmp_path: Path) -> None:
    run_tiny(tmp_path, Recorder)

    rows = json.loads((tmp_path / "tables/rows.json").read_text())
    epochs = [[row for entry in rows[start : start + 3] for row in entry[2:]] for start in (0, 3, 6)]
    assert [len(entry) - 2 for entry in rows[:3]] == [BATCH, BATCH, ROWS - 2 * BATCH]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(ROWS))
    assert epochs[0] != epochs[1] != list(range(ROWS))
    assert epochs[2] == list(range(ROWS))
    assert [entry[:2] for entry in rows] == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [0, 0], [0, 1], [0, 2]]


def test_phases_are_announced_with_their_place_in_the_run(tmp_path: Path) -> None:
    watcher = Watcher()

    outcome = run_tiny(tmp_path, Recorder, watcher=watcher)

    assert watcher.of(PhaseStarted) == [PhaseStarted("shuffled", 0, 2, 0, 6), PhaseStarted("in order", 1, 2, 6, 3)]
    assert [(event.step, event.total, event.phase) for event in watcher.of(Progress)] == [(6, 9, "shuffled"), (9, 9, "in order")]
    assert outcome.step == 9


def test_whoever_watches_is_told_what_brings_no_steps_before_it_begins_and_when_steps_follow(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, spec=tiny_spec(steps=12, cadence=Cadence(evaluate=6, checkpoint=4)), watcher=watcher)

    told = [event for event in watcher.events if isinstance(event, Activity | Evaluation)]
    assert [event.name if isinstance(event, Activity) else type(event).__name__ for event in told] == [
        *("the preparation", STEPS),
        *("a checkpoint", STEPS),
        *("an evaluation", "Evaluation", STEPS),
        *("a checkpoint", STEPS),
        "the end of train",
        *("the final evaluation", "Evaluation", "Evaluation"),
    ]


def test_a_phase_that_prepares_is_told_from_its_steps(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, Everything, watcher=watcher, spec=tiny_spec(Everything, steps=15))

    names = [event.name for event in watcher.of(Activity)]
    assert names[:3] == ["the preparation", "the preparation of warm", STEPS]
    assert [name for name in names if name.startswith("the preparation of")] == ["the preparation of warm", "the preparation of train"]


def test_a_budget_of_epochs_counts_the_last_partial_batch(tmp_path: Path) -> None:
    outcome = run_tiny(tmp_path, spec=tiny_spec(budget=Budget(epochs=2)))

    assert outcome.step == 6


def test_a_student_of_one_run_teaches_the_next(tmp_path: Path) -> None:
    run_tiny(tmp_path / "teacher")
    spec = tiny_spec(Taught, teachers=[ModelRef.model_validate(TEACHER)])

    outcome = run_tiny(tmp_path / "student", Taught, spec=spec, models={TEACHER: tmp_path / "teacher/student"})

    assert outcome.status == "succeeded", outcome.reason


class Frozen(Taught):
    """Looks at its teacher."""

    card = tiny_card("frozen", teachers=Needs("classifier", trained_weights=False))

    def build(self) -> None:
        super().build()
        assert not self.teacher.training
        assert not any(parameter.requires_grad for parameter in self.teacher.parameters())


def test_a_teacher_is_frozen_and_not_in_the_checkpoint(tmp_path: Path) -> None:
    outcome = run_tiny(tmp_path, Frozen, spec=tiny_spec(Frozen, teachers=[ModelRef(name="net")]))

    state = json.loads(json.loads((tmp_path / "checkpoints/step-000000012/state.json").read_text())["body"])
    assert outcome.status == "succeeded", outcome.reason
    assert set(state["method"]) == {"student", "generator", "optimizer"}


class TrainedTeacher(Plain):
    """Trains its teacher, so the teacher belongs to the run's state."""

    card = tiny_card("trained-teacher", teachers=Needs("classifier", access="trained", trained_weights=False))

    def build(self) -> None:
        super().build()
        assert self.teacher.training
        self.teacher_optimizer = self.make_optimizer(self.teacher)

    def step(self, batch: Batch) -> Logs:
        loss = F.cross_entropy(self.teacher(batch.inputs), batch.targets)
        self.update(self.teacher_optimizer, loss)
        return {**super().step(batch), "loss/teacher": loss}


def test_a_teacher_that_is_trained_is_in_the_checkpoint(tmp_path: Path) -> None:
    spec = tiny_spec(TrainedTeacher, teachers=[ModelRef(name="net")])
    whole, first, second = Watcher(), Watcher(), Watcher()
    run_tiny(tmp_path / "whole", TrainedTeacher, watcher=whole, spec=spec)

    run_tiny(tmp_path / "a", TrainedTeacher, watcher=first, spec=spec, stop=first.stop_after(7))
    run_tiny(tmp_path / "b", TrainedTeacher, watcher=second, spec=spec, resume=tmp_path / "a/checkpoints/step-000000007")

    assert first.terms() + second.terms() == whole.terms()


class Averaged(Plain):
    """Ships another network than the one that it trains, and reports numbers of its own."""

    card = tiny_card("averaged")

    def build(self) -> None:
        super().build()
        self.shipped = nn.Sequential(nn.Linear(4, 3))

    def product(self) -> nn.Module:
        return self.shipped

    def diagnostics(self) -> Diagnostics:
        return Diagnostics({"norm": float(self.student[1].weight.norm()), "unknown": None}, {"rows": [1]})


def test_a_methods_product_is_what_is_judged_and_shipped(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, Averaged, watcher=watcher, spec=tiny_spec(Averaged, cadence=Cadence(evaluate=6)))

    [artifact] = watcher.of(Artifact)
    first = watcher.of(Evaluation)[0]
    assert artifact.meta["parameters"] == 15
    assert first.metrics["norm"] > 0
    assert first.metrics["unknown"] is None
    assert first.tables == {"split": "validation", "rows": [1]}


@pytest.mark.parametrize("precision", ["bfloat16"])
def test_a_run_in_low_precision_trains_weights_of_full_precision(precision: str, tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, watcher=watcher, spec=tiny_spec(steps=60, precision=precision))

    losses = [values["loss"] for _, values in watcher.terms()]
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])
    assert all(dtype == "F32" for dtype in stored_dtypes(tmp_path))


def stored_dtypes(workdir: Path) -> set[str]:
    data = student_bytes(workdir)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
