"""How a run can end: as its budget says, stopped, or failed with a sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from engine.events import Checkpoint, Evaluation, Event, Log, Outcome
from engine.method import Batch, Logs
from engine.spec.run_spec import Budget, Cadence, ModelRef
from tests.engine.tiny import Plain, Taught, Watcher, run_tiny, tiny_card, tiny_spec

TEACHER = "run:00000000-0000-4000-8000-000000000001"


class Broken(Plain):
    """Its second term becomes what `value` says at step 6."""

    card = tiny_card("broken")
    value = float("nan")

    def step(self, batch: Batch) -> Logs:
        terms = super().step(batch)
        bad = torch.tensor(self.value if self.position.step == 5 else 0.0)
        return {**terms, "loss/bad": bad}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_loss_that_is_not_finite_fails_the_run_and_names_step_and_term(value: str, tmp_path: Path) -> None:
    watcher, method = Watcher(), type("Broken", (Broken,), {"value": float(value)})

    outcome = run_tiny(tmp_path, method, watcher=watcher, spec=tiny_spec(method, cadence=Cadence(checkpoint=2)))

    sentence = f"loss/bad became {value} at step 6. The last good checkpoint is kept; try a lower learning rate or gradient clipping."
    assert outcome == Outcome("failed", 6, sentence, "loss/bad")
    assert [event.step for event in watcher.of(Checkpoint)] == [2, 4]
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-000000002", "step-000000004"]
    assert not (tmp_path / "student").exists()


class Exploding(Plain):
    """The loss is finite, its gradient is not: d√x/dx at 0."""

    card = tiny_card("exploding")

    def step(self, batch: Batch) -> Logs:
        loss = F.cross_entropy(self.student(batch.inputs), batch.targets)
        if self.position.step == 3:
            loss = loss + (self.student(batch.inputs).sum() * 0).sqrt()
        self.update(self.optimizer, loss)
        return {"loss": loss.detach()}


def test_weights_that_are_not_finite_are_not_kept_though_the_loss_was(tmp_path: Path) -> None:
    watcher = Watcher()

    outcome = run_tiny(tmp_path, Exploding, watcher=watcher, spec=tiny_spec(Exploding, cadence=Cadence(checkpoint=1)))

    assert (outcome.status, outcome.step, outcome.error) == ("failed", 4, "the weight student.1.weight")
    assert [event.step for event in watcher.of(Checkpoint)] == [1, 2, 3]


class Failing(Plain):
    card = tiny_card("failing")

    def step(self, batch: Batch) -> Logs:
        assert self.position.step < 2, "the third step is one too many"
        return super().step(batch)


def test_a_method_that_raises_fails_the_run_with_a_sentence_and_its_traceback_in_the_log(tmp_path: Path) -> None:
    watcher = Watcher()

    outcome = run_tiny(tmp_path, Failing, watcher=watcher)

    assert outcome == Outcome("failed", 3, "The method failed at step 3 of phase train: AssertionError: the third step is one too many")
    [log] = watcher.of(Log)
    assert log.level == "error"
    assert log.text.startswith("Traceback")


@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_stop_is_obeyed_within_the_step_and_leaves_a_checkpoint(step: int, tmp_path: Path) -> None:
    watcher = Watcher()

    outcome = run_tiny(tmp_path, watcher=watcher, stop=watcher.stop_after(step))

    assert outcome == Outcome("stopped", step, f"Stopped as asked after step {step}; its checkpoint is kept.")
    assert watcher.of(Checkpoint) == [Checkpoint(step, f"checkpoints/step-{step:09d}")]
    assert len(watcher.terms()) == step


def test_a_budget_of_seconds_ends_the_run_like_its_last_step(tmp_path: Path) -> None:
    watcher = Watcher()

    outcome = run_tiny(tmp_path, watcher=watcher, spec=tiny_spec(budget=Budget(steps=10_000_000, seconds=0.2)))

    assert outcome.status == "succeeded"
    assert outcome.reason == f"The limit of 0.2 seconds ended training after step {outcome.step}."
    assert 0 < outcome.step < 10_000_000
    assert watcher.of(Evaluation)[-1].final
    assert (tmp_path / "student/model.json").exists()


def test_a_model_that_was_not_handed_over_is_named(tmp_path: Path) -> None:
    spec = tiny_spec(Taught, teachers=[ModelRef.model_validate(TEACHER)])

    outcome = run_tiny(tmp_path, Taught, spec=spec)

    sentence = f"teachers.0: no folder was given for {TEACHER}; the command line takes it as --model {TEACHER}=FOLDER."
    assert outcome == Outcome("failed", 0, sentence, "teachers.0", refused=True)


def test_a_teacher_that_is_a_pickle_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    torch.save({"weight": torch.zeros(1)}, folder / "model.pt")
    spec = tiny_spec(Taught, teachers=[ModelRef.model_validate(TEACHER)])

    outcome = run_tiny(tmp_path / "run", Taught, spec=spec, models={TEACHER: folder})

    sentence = (
        "teachers.0: model.pt is a pickle, which can run code when it is opened; export the model as model.safetensors with model.json."
    )
    assert outcome == Outcome("failed", 0, sentence, refused=True)


def test_an_emit_that_raises_ends_the_run_at_once(tmp_path: Path) -> None:
    def lost(event: Event) -> None:
        raise BrokenPipeError("nobody listens")

    with pytest.raises(BrokenPipeError):
        run_tiny(tmp_path, watcher=lost)  # type: ignore[arg-type]


@pytest.mark.parametrize("stop", [False, True])
def test_a_folder_of_checkpoints_that_can_not_be_made_ends_the_run_at_the_first_of_them(stop: bool, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")

    outcome = run_tiny(tmp_path, spec=tiny_spec(cadence=Cadence(checkpoint=6)), stop=lambda: stop)

    step = 0 if stop else 6
    assert outcome == Outcome("failed", step, f"The checkpoint of step {step} could not be written: File exists.", machine=True)


@pytest.mark.parametrize(
    ("moment", "what", "where"),
    [("step", "The checkpoint of step 6", "checkpoints"), ("finish", "The table left", ""), ("export", "The trained model", "")],
)
def test_a_folder_that_goes_away_is_not_made_anew(moment: str, what: str, where: str, tmp_path: Path) -> None:
    """What an unmounted disk looks like: the same path, and nothing there. Whatever is written then is lost when it comes back."""
    workdir, hidden = tmp_path / "run", tmp_path / "hidden"

    class Leaver(Plain):
        card = tiny_card("leaver")

        def step(self, batch: Batch) -> Logs:
            self.hide("step", self.position.step == 5)
            return super().step(batch)

        def finish(self) -> None:
            self.hide("finish")
            self.save_table("left", [1])

        def blueprint(self) -> Any:
            self.hide("export")
            return super().blueprint()

        def hide(self, now: str, when: bool = True) -> None:
            if moment == now and when and not hidden.exists():
                workdir.rename(hidden)

    outcome = run_tiny(workdir, Leaver, spec=tiny_spec(Leaver, cadence=Cadence(checkpoint=6)))

    gone = workdir / where if where else workdir
    assert outcome == Outcome(
        "failed", outcome.step, f"{what} could not be written: the folder {gone} has gone; is its disk still mounted?", machine=True
    )
    assert not workdir.exists()


def test_a_folder_that_can_not_be_written_fails_the_run_before_its_first_step(tmp_path: Path) -> None:
    watcher, workdir = Watcher(), tmp_path / "run"
    nowhere = tmp_path / "unmounted" / "run"
    workdir.write_text("a file where the folder should be")

    outcome = run_tiny(workdir, watcher=watcher)

    hidden = run_tiny(nowhere, watcher=watcher)

    assert outcome == Outcome("failed", 0, f"The run's folder {workdir} could not be written: File exists.", machine=True)
    sentence = f"The run's folder {nowhere} could not be written: the folder {nowhere.parent} has gone; is its disk still mounted?"
    assert hidden == Outcome("failed", 0, sentence, machine=True)
    assert watcher.terms() == []


def test_a_cuda_run_on_a_machine_without_one_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        return

    outcome = run_tiny(tmp_path, spec=tiny_spec(device="cuda"))

    assert outcome == Outcome("failed", 0, "device: there is no CUDA device on this machine; choose auto or cpu.", "device", refused=True)


class Forgetful(Plain):
    card = tiny_card("forgetful")

    def step(self, batch: Batch) -> Logs:
        self.last_loss = 1.0
        return super().step(batch)


def test_state_that_no_checkpoint_holds_fails_the_run_by_name(tmp_path: Path) -> None:
    outcome = run_tiny(tmp_path, Forgetful)

    sentence = "Forgetful.last_loss is first assigned after build(), so no checkpoint holds it; give it a first value in build()."
    assert outcome == Outcome("failed", 1, sentence)
