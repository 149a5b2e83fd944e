"""execute(spec, emit, workdir) → Outcome: walks a method's phases, step by step, and sees to everything that is the same for all methods.

The order within a step is fixed, and a checkpoint at step n holds what was after it:

    batch → the method's step → its terms checked and emitted → evaluation, when due → checkpoint, when due → stop, when asked

A resumed run does exactly what the uninterrupted one would have done from there, bit for bit on the CPU.
"""

import dataclasses
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import torch

from engine import lineage, seeds
from engine.errors import CheckpointError, NonFiniteError, StorageError
from engine.events import STEPS, Activity, Artifact, Checkpoint, Event, Log, Outcome, PhaseStarted, Progress
from engine.method import Batch, Logs, Method, Phase
from engine.run import checkpoint, export, memory, state, storage
from engine.run.artifacts import ArtifactWriter
from engine.run.assembly import Assembly, assemble, device_of
from engine.run.failures import CurrentStep, failure
from engine.run.judge import Judge
from engine.run.loader import Loader
from engine.run.metric_buffer import MetricBuffer
from engine.run.process_group import is_main_process
from engine.run.resume import check_same_run, is_larger, length_of
from engine.run.serializer import StateSerializer, unpack
from engine.run.teacher_outputs import TeacherOutputs
from engine.spec.budgets import in_words
from engine.spec.run_spec import Budget, RunSpec
from engine.tasks.task import Task

logger = logging.getLogger(__name__)

Emit = Callable[[Event], None]
CHECKPOINT_SECONDS: Final = 10.0
PROGRESS_SECONDS: Final = 0.25
EVALUATIONS: Final = 20


def execute(
    spec: RunSpec,
    emit: Emit,
    workdir: Path,
    *,
    models: Mapping[str, Path] | None = None,
    resume: Path | None = None,
    stop: Callable[[], bool] | None = None,
    memory_limit: int | None = None,
    method_class: type[Method] | None = None,
    task_class: type[Task] | None = None,
) -> Outcome:
    """Makes the run that a parsed spec describes, in `workdir`, and returns how it ended, which is the last event as well.

    `workdir` is made, in a folder that is there. `models` maps `run:<uuid>` to the folder of an exported student. `resume` is a checkpoint's
    folder. `stop` is asked once a step. What needs more than `memory_limit` bytes is refused. Nothing is raised: the run ends as failed.
    """
    emit = emit if is_main_process() else _discard
    current, artifacts, threads = CurrentStep(), ArtifactWriter(workdir, emit), torch.get_num_threads()
    try:
        emit(Activity("the preparation"))
        with seeds.undisturbed(device_of(spec)):
            if spec.threads is not None:  # to set what is set already would change the bits
                torch.set_num_threads(spec.threads)
            memory.check(spec, models or {}, memory_limit)
            run = assemble(
                spec,
                models or {},
                method_class=method_class,
                task_class=task_class,
                log=lambda text: emit(Log("info", text)),
                save_table=artifacts.save_table,
                save_tensors=artifacts.save_tensors,
            )
            outcome = _TrainingLoop(run, emit, workdir, current, artifacts, stop or (lambda: False)).run_to_end(resume)
    except Exception as error:  # whatever a method, a model or the disk does, the run ends with a sentence
        logger.info("run failed", exc_info=True)
        emit(Log("error", traceback.format_exc()))
        outcome = failure(error, current)
    finally:
        torch.set_num_threads(threads)
    emit(outcome)
    return outcome


def _discard(event: Event) -> None:
    """Where the events of all processes but the main one go."""


class _TrainingLoop:
    """One run in one process: its phases, their steps, and the clock."""

    def __init__(
        self, run: Assembly, emit: Emit, workdir: Path, current: CurrentStep, artifacts: ArtifactWriter, stop: Callable[[], bool]
    ) -> None:
        self.run, self.method, self.spec, self.position, self.process_group = run, run.method, run.spec, run.position, run.process_group
        self.emit, self.workdir, self.current, self.artifacts, self.stop = emit, workdir, current, artifacts, stop
        self.judge = Judge(run, emit)
        self.metric_buffer = MetricBuffer(emit, every=self.spec.cadence.log, waits=run.device.type != "cpu")
        self.evaluate_every = self.spec.cadence.evaluate or max(1, self.method.budget.steps // EVALUATIONS)
        self.autocast = (
            torch.autocast(run.device.type, dtype=self.method.precision) if self.method.precision is not torch.float32 else nullcontext()
        )
        self.teacher_outputs = TeacherOutputs(self.method, self.spec.teachers)
        self.phase_index, self.begun = 0, False
        self.phase_steps: int | None = None  # of the phase that a resumed run comes back to
        self.seconds_before, self.clock = 0.0, time.perf_counter()
        self.stopped = self.out_of_time = self.ending = False
        self.budgets = [{"from_step": 0, **self.spec.model_dump(mode="json", include={"budget"})["budget"]}]
        self.unwritten: Exception | None = None  # why the newest checkpoint is not there

    def run_to_end(self, resume: Path | None) -> Outcome:
        """From the first step, or from a checkpoint, to the end."""
        if self.process_group.is_main_process:
            storage.try_out(self.workdir)
        if resume is not None:
            self._restore(resume)
        if self.process_group.is_main_process:
            checkpoint.delete_after(self.workdir, self.position.step)
        with checkpoint.Writer(self.workdir / checkpoint.FOLDER) as self.writer:
            self.clock = self.checkpoint_clock = time.perf_counter()
            try:
                self._train_or_blame()
                self.ending = True
                self._await_last_checkpoint()
                return self._stopped() if self.stopped else self._succeeded()
            finally:
                self.ending = True
                self.writer.flush()
                self._report_checkpoints()

    # The loop

    def _train_or_blame(self) -> None:
        try:
            self._train()
        except NonFiniteError as error:
            self.teacher_outputs.blame(error)
            raise

    def _train(self) -> None:
        phases = list(self.method.phases())
        while self.phase_index < len(phases) and not self.stopped and not self.out_of_time:
            phase = phases[self.phase_index]
            if self.phase_steps is not None:
                phase, self.phase_steps = dataclasses.replace(phase, steps=self.phase_steps), None
            total = (
                self.position.step - self.position.phase_step + phase.steps + sum(later.steps for later in phases[self.phase_index + 1 :])
            )
            self._run_phase(phase, len(phases), total)
            phases = list(self.method.phases())  # a later phase may depend on what this one found

    def _run_phase(self, phase: Phase, count: int, total: int) -> None:
        self.current.phase = phase.name
        self.emit(PhaseStarted(phase.name, self.phase_index, count, self.position.step, phase.steps))
        if phase.begin is not None and not self.begun:
            self.emit(Activity(f"the preparation of {phase.name}"))
            phase.begin()
            self.teacher_outputs.keep()
        self.begun = True
        self.emit(Activity(STEPS))
        self._run_steps(phase, total)
        self.emit(Activity(f"the end of {phase.name}"))
        if self.stopped:
            self._save(phase, wait=True)
            return
        last = self.out_of_time or self.phase_index + 1 == count
        if last:
            self._save(phase, wait=False)  # before its end: from here a run with a larger budget goes on within the phase
        if phase.end is not None:
            phase.end()
        self.phase_index, self.begun, self.position.phase_step = (count if self.out_of_time else self.phase_index + 1), False, 0
        if not last:
            self._save(phase, wait=False)

    def _run_steps(self, phase: Phase, total: int) -> None:
        """The hot loop: what is done here is paid at every step."""
        position, metrics, cadence = self.position, self.metric_buffer, self.spec.cadence
        loader = Loader(
            phase,
            self.phase_index,
            splits=self.run.task.splits,
            batch_size=phase.batch_size or self.run.batch_size,
            seed=self.spec.seed,
            device=self.run.device,
            process_group=self.process_group,
            augment=self.run.task.augmentation(),
        )
        limit = self.spec.budget.seconds if self.spec.budget is not None else None
        evaluate_every = self.evaluate_every if phase.evaluate else 0
        started = reported = time.perf_counter()
        steps_before = position.step
        while position.phase_step < phase.steps:
            now = time.perf_counter()
            if limit is not None and self.process_group.broadcast(self._seconds(now) >= limit):
                self.out_of_time = True
                break
            if self.process_group.broadcast(self.stop()):
                self.stopped = True
                break
            if now - reported >= PROGRESS_SECONDS:
                self._progress(phase, total, (position.step - steps_before) / (now - started))
                reported = now
            self.current.step = position.step + 1
            if not metrics.waiting:
                self.teacher_outputs.forget()
            terms = self._step(phase, loader.batch(position), loader.share)
            position.step += 1
            position.phase_step += 1
            if not self.process_group.is_main_process:
                continue
            metrics.add(position.step, terms)
            if evaluate_every and position.step % evaluate_every == 0 and position.step < total:
                metrics.flush()
                self.judge.validate(position.step)
            if cadence.checkpoint is not None:
                if position.step % cadence.checkpoint == 0 and position.phase_step < phase.steps:  # the end of a phase brings its own
                    self.emit(Activity("a checkpoint"))
                    self._save(phase, wait=True)
                    self.emit(Activity(STEPS))
            elif now - self.checkpoint_clock >= CHECKPOINT_SECONDS and not self.writer.busy:
                self._save(phase, wait=False)
            if self.writer.has_finished:
                self._report_checkpoints()
        metrics.flush()
        rate = (position.step - steps_before) / max(time.perf_counter() - started, 1e-9)
        self._progress(phase, total, rate)

    def _step(self, phase: Phase, batch: Batch, share: float) -> Logs:
        with self.autocast:
            return self._accumulated(phase, batch, share)

    def _accumulated(self, phase: Phase, batch: Batch, share: float) -> Logs:
        """The step on the whole batch, or on one micro-batch after the other; then a term is the mean over rows of the pieces' terms."""
        rows, pieces, micro = len(batch), self.run.gradient_accumulation_steps, self.run.micro
        micro.weight = share
        if pieces == 1 or rows < 2:
            return phase.step(batch)
        size = -(-rows // pieces)
        totals: dict[str, torch.Tensor] = {}
        try:
            for start in range(0, rows, size):
                stop = min(start + size, rows)
                part = (stop - start) / rows
                micro.weight, micro.last = share * part, stop == rows
                for name, term in phase.step(batch.rows(start, stop)).items():
                    weighted = term.detach() * part
                    totals[name] = totals[name] + weighted if name in totals else weighted
        finally:
            micro.weight, micro.last = 1.0, True
        return totals

    def _seconds(self, now: float) -> float:
        return self.seconds_before + now - self.clock

    def _progress(self, phase: Phase, total: int, rate: float) -> None:
        self.emit(Progress(self.position.step, total, phase.name, self._seconds(time.perf_counter()), rate))

    # Checkpoints

    def _save(self, phase: Phase, *, wait: bool) -> None:
        """Copies the state and hands it to the writer; with `wait`, returns when it is durable."""
        if not self.process_group.is_main_process:
            return
        self.metric_buffer.flush()
        serializer = StateSerializer()
        content = {
            "spec": self.spec.model_dump(mode="json"),
            "place": {
                "phase_index": self.phase_index,
                "phase_step": self.position.phase_step,
                "phase_name": phase.name,
                "phase_steps": phase.steps if self.position.phase_step or self.begun else None,
                "begun": self.begun,
                "seconds": self._seconds(time.perf_counter()),
                "teacher_judged": self.judge.teacher_judged,
                "tables": self.artifacts.names,
                "budgets": self.budgets,
            },
            "random": serializer.pack(seeds.global_state(self.run.device), "random"),
            "method": state.capture(self.method, serializer),
        }
        state.check_finite(self.method, step=self.position.step)
        self.writer.submit(checkpoint.Snapshot(self.position.step, content, serializer.tensors))
        self.checkpoint_clock = time.perf_counter()
        if wait:
            self.writer.flush()
            self._report_checkpoints()

    def _report_checkpoints(self) -> None:
        """What became of the snapshots. One that could not be written is made good by the next, as long as an older one holds."""
        for step, result in self.writer.finished():
            if isinstance(result, Path):
                self.unwritten = None
                self.emit(Checkpoint(step, result.relative_to(self.workdir).as_posix()))
                continue
            self.unwritten = result
            if self.stopped or self.ending:
                continue  # how the run ends says it
            if not isinstance(result, StorageError) or checkpoint.newest(self.workdir) is None:
                raise result
            self.emit(Log("warning", f"{result} The run goes on; the checkpoint before it is kept, and the next will be tried."))

    def _await_last_checkpoint(self) -> None:
        """No run ends well without the checkpoint of its last step."""
        self.writer.flush()
        self._report_checkpoints()
        if self.unwritten is not None:
            raise self.unwritten

    def _restore(self, folder: Path) -> None:
        snapshot = checkpoint.read(folder)
        try:
            card, task = self.method.card, type(self.run.task).card
            before = check_same_run(self.spec, snapshot.state["spec"], card=card, task=task, folder=folder).budget
            place, device = snapshot.state["place"], self.run.device
            state.restore(self.method, snapshot.state["method"], snapshot.tensors)
            seeds.restore_global_state(unpack(snapshot.state["random"], snapshot.tensors, device), device)
            self.phase_index, self.begun, self.phase_steps = place["phase_index"], place["begun"], place["phase_steps"]
            self.position.step, self.position.phase_step = snapshot.step, place["phase_step"]
            self.seconds_before = place["seconds"]
            self.judge.teacher_judged = list(place["teacher_judged"])
            self.artifacts.take_over(place["tables"], folder.parent.parent)
            if before is not None:
                self.budgets = place.get("budgets") or [{"from_step": 0, **before.model_dump(mode="json")}]
                self._lengthen(before, folder)
        except KeyError as error:
            raise CheckpointError(f"The checkpoint at {folder} has no {error}; it was written by another program.") from None

    def _lengthen(self, before: Budget, folder: Path) -> None:
        """Where the budget is larger than the checkpoint's: back into the phase that was the last one, which now has the steps that it has
        under the new budget. Raises CheckpointError where an earlier phase would have more as well: it is over."""
        now, position = self.spec.budget, self.position
        assert now is not None, "a parsed spec has a budget"
        if not is_larger(now, before, steps_per_epoch=self.method.budget.steps_per_epoch, folder=folder):
            return
        former = length_of(before, self.method.budget.steps_per_epoch)
        self.method.lengthened(former)
        phases = list(self.method.phases())
        if self.phase_index == len(phases) == 1 and phases[0].end is None:  # earlier code kept the last checkpoint behind the phase
            self.phase_index, self.begun, position.phase_step = 0, True, position.step
        if self.phase_index == len(phases):
            raise CheckpointError(f"The checkpoint at {folder} is of a run that has ended; go on from the one before it, or start anew.")
        if self.method.budget.steps > former.steps:
            if sum(phase.steps for phase in phases[: self.phase_index]) != position.step - position.phase_step:
                raise CheckpointError(
                    f"The checkpoint at {folder} is behind a phase of {self.method.card.id} that a larger budget makes longer; go on from an "
                    f"earlier one, or start anew with {in_words(now)}."
                )
            self.phase_steps = max(self.phase_steps or 0, phases[self.phase_index].steps)
        self.budgets = [*self.budgets, {"from_step": position.step, **now.model_dump(mode="json")}]
        self.emit(
            Log(
                "info",
                f"Goes on after step {position.step} with a budget of {in_words(now)}; it was {in_words(before)}. "
                f"From here on the learning rate and all other schedules are those of a run of the new length.",
            )
        )

    # The end

    def _stopped(self) -> Outcome:
        return Outcome("stopped", self.position.step, f"Stopped as asked after step {self.position.step}; its checkpoint is kept.")

    def _succeeded(self) -> Outcome:
        step = self.position.step
        self.current.phase = "final evaluation"
        self.emit(Activity("the final evaluation"))
        self.method.finish()
        if self.process_group.is_main_process:
            self._export()
            self.judge.evaluate_at_end(step)
        seconds = self._seconds(time.perf_counter())
        if self.out_of_time:
            return Outcome("succeeded", step, f"The limit of {self.spec.budget.seconds:g} seconds ended training after step {step}.")  # type: ignore[union-attr]
        return Outcome("succeeded", step, f"Finished {step} steps in {seconds:.1f} seconds.")

    def _export(self) -> None:
        card = self.run.task.card
        meta = {
            "kind": card.kind_of(self.method.card),
            "task": card.id,
            **(self.method.blueprint() or self.run.blueprint),
            "classes": card.classes,
            "input_shape": list(card.input_shape),
            "method": self.method.card.id,
            "spec": self.spec.model_dump(mode="json"),
            **({"budgets": self.budgets} if len(self.budgets) > 1 else {}),
            **lineage.facts(self.method),
        }
        content = export.save_model(self.workdir / "student", self.method.product(), meta)
        size = (self.workdir / "student" / "model.safetensors").stat().st_size
        self.emit(Artifact("student", "model", "student", size, content["sha256"], content))
