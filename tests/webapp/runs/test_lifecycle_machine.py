"""Random verbs from random people, workers and watchdogs, with tokens good and stale: what must hold whatever happens."""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from engine.events import Outcome
from tests.runs import claim, history_of, new_project, new_run
from webapp.runs import lifecycle
from webapp.runs.history import points
from webapp.runs.lifecycle import ALLOWED, ClaimedRun, LeaseLost, NotAllowed
from webapp.runs.models import HELD, Artifact, Attempt, HistoryLine, Run, State
from workers.metric_history import HistoryWriter
from workers.wire import MetricBlock


@dataclass
class Expected:
    """What the machine believes of one run."""

    state: State = State.DRAFT
    attempt: int = 0
    begun: bool = False
    to_stop: bool = False
    trashed: bool = False
    tries: int = 0
    late: bool = False
    checkpoint: int = 0
    from_step: int = 0
    steps: set[int] = field(default_factory=set)

    def held_by(self, held: ClaimedRun) -> bool:
        return self.state in HELD and self.attempt == held.attempt


class Life(RuleBasedStateMachine):
    runs: Bundle[UUID] = Bundle("runs")
    claims: Bundle[ClaimedRun] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        Run.objects.all().delete()
        self.project = new_project()
        self.expected: dict[UUID, Expected] = {}
        self.queue: list[UUID] = []

    @rule(target=runs)
    def draft(self) -> UUID:
        run = new_run(self.project)
        self.expected[run.pk] = Expected()
        return run.pk

    @rule(run_id=runs)
    def submit(self, run_id: UUID) -> None:
        run = self.expected[run_id]
        if run.state == State.DRAFT and not run.trashed:
            lifecycle.submit(Run.objects.get(pk=run_id), who="ann")
            self._wait(run_id, back=True)
        else:
            with pytest.raises(NotAllowed):
                lifecycle.submit(Run.objects.get(pk=run_id), who="ann")

    @rule(target=claims, worker=st.sampled_from(["worker-1", "worker-2"]))
    def claim(self, worker: str) -> object:
        held = claim(worker)
        if not self.queue:
            assert held is None
            return multiple()
        assert held is not None
        run = self.expected[held.run_id]
        assert held.run_id == self.queue.pop(0)
        assert (held.attempt, held.from_step) == (run.attempt + 1, run.checkpoint)
        run.state, run.attempt, run.begun, run.late, run.from_step = State.STARTING, held.attempt, False, False, run.checkpoint
        return held

    @rule(held=claims)
    def start(self, held: ClaimedRun) -> None:
        run = self.expected[held.run_id]
        if not run.held_by(held):
            with pytest.raises(LeaseLost):
                lifecycle.started(held.token, pid=1, device="CPU")
        elif run.begun:
            with pytest.raises(NotAllowed):
                lifecycle.started(held.token, pid=1, device="CPU")
        else:
            lifecycle.started(held.token, pid=1, device="CPU")
            run.state, run.begun = State.RUNNING, True
            run.steps = {step for step in run.steps if step <= run.from_step}

    @rule(held=claims, count=st.integers(1, 5))
    def write(self, held: ClaimedRun, count: int) -> None:
        run = self.expected[held.run_id]
        if run.held_by(held) and not run.begun:
            return  # a worker writes after it has started
        first = max(run.steps, default=0) + 1
        try:
            with lifecycle.fenced(held.token):
                block = MetricBlock(("loss",), np.arange(first, first + count), np.full((count, 1), float(held.attempt)))
                HistoryWriter(held.run_id, held.attempt).write([block], points.newest_batch(held.run_id) + 1)
                artifact = {"name": f"table-{first}", "kind": "table", "path": "x", "bytes": 1, "sha256": "0" * 64}
                Artifact.objects.get_or_create(run_id=held.run_id, attempt=held.attempt, **artifact)
            wrote = True
        except LeaseLost:
            wrote = False
        assert wrote == run.held_by(held)
        if wrote:
            run.steps |= set(range(first, first + count))

    @rule(held=claims)
    def checkpoint(self, held: ClaimedRun) -> None:
        run = self.expected[held.run_id]
        step = max(run.steps, default=0)
        if not run.held_by(held):
            with pytest.raises(LeaseLost):
                lifecycle.checkpointed(held.token, step, "x")
        elif run.begun and step > run.checkpoint:
            lifecycle.checkpointed(held.token, step, f"{held.folder}/{step}")
            run.checkpoint = step

    @rule(held=claims, status=st.sampled_from(["succeeded", "failed", "stopped"]))
    def settle(self, held: ClaimedRun, status: str) -> None:
        run = self.expected[held.run_id]
        outcome = Outcome(status, 1, "Ended.")  # type: ignore[arg-type]
        if not run.held_by(held):
            with pytest.raises(LeaseLost):
                lifecycle.settle(held.token, outcome)
        elif status == "succeeded" and not run.begun:
            with pytest.raises(NotAllowed):
                lifecycle.settle(held.token, outcome)
        else:
            lifecycle.settle(held.token, outcome)
            run.tries = 0
            if status == "stopped" and not run.to_stop:
                self._wait(held.run_id, back=False)
            else:
                self._end(run, State(status))

    @rule(held=claims)
    def crash(self, held: ClaimedRun) -> None:
        if not self.expected[held.run_id].held_by(held):
            with pytest.raises(LeaseLost):
                lifecycle.crashed(held.token, "It died.")
        else:
            lifecycle.crashed(held.token, "It died.")
            self._without_answer(held.run_id)

    @rule(held=claims)
    def fall_silent(self, held: ClaimedRun) -> None:
        if self.expected[held.run_id].held_by(held):
            Attempt.objects.filter(run_id=held.run_id, number=held.attempt).update(heartbeat_at=Now() - timedelta(hours=1))
            self.expected[held.run_id].late = True

    @rule(held=claims)
    def renew(self, held: ClaimedRun) -> None:
        run = self.expected[held.run_id]
        if run.held_by(held):
            assert lifecycle.renew(held.token).stop == run.to_stop
            run.late = False
        else:
            with pytest.raises(LeaseLost):
                lifecycle.renew(held.token)

    @rule()
    def watch(self) -> None:
        late = {run_id for run_id, run in self.expected.items() if run.late and run.state in HELD}
        assert set(lifecycle.mark_silent()) <= late
        assert set(lifecycle.requeue_expired()) == late
        assert lifecycle.requeue_expired() == []
        for run_id in sorted(late, key=self._queued_at):
            self._without_answer(run_id)

    @rule(run_id=runs)
    def stop(self, run_id: UUID) -> None:
        run = self.expected[run_id]
        if run.state in HELD:
            lifecycle.request_stop(Run.objects.get(pk=run_id), "ann")
            run.to_stop = True
        elif run.state in (State.DRAFT, State.QUEUED):
            lifecycle.request_stop(Run.objects.get(pk=run_id), "ann")
            self._end(run, State.STOPPED)
        else:
            with pytest.raises(NotAllowed):
                lifecycle.request_stop(Run.objects.get(pk=run_id), "ann")
        self._tidy_queue()

    @rule(run_id=runs, from_scratch=st.booleans())
    def again(self, run_id: UUID, from_scratch: bool) -> None:
        run = self.expected[run_id]
        if run.state not in (State.STOPPED, State.FAILED) or run.trashed:
            with pytest.raises(NotAllowed):
                lifecycle.requeue(Run.objects.get(pk=run_id), "ann", from_scratch=from_scratch)
            return
        lifecycle.requeue(Run.objects.get(pk=run_id), "ann", from_scratch=from_scratch)
        run.tries, run.checkpoint = 0, 0 if from_scratch else run.checkpoint
        self._wait(run_id, back=True)

    @rule(run_id=runs)
    def trash_or_restore(self, run_id: UUID) -> None:
        run = self.expected[run_id]
        if run.trashed:
            lifecycle.restore(Run.objects.get(pk=run_id), "ann")
            run.trashed = False
        elif run.state in HELD:
            with pytest.raises(NotAllowed):
                lifecycle.trash(Run.objects.get(pk=run_id), "ann")
        else:
            lifecycle.trash(Run.objects.get(pk=run_id), "ann")
            run.trashed = True
            if run.state in (State.DRAFT, State.QUEUED):
                self._end(run, State.STOPPED)
        self._tidy_queue()

    @invariant()
    def the_rows_say_the_same(self) -> None:
        for run in Run.objects.all():
            expected = self.expected[run.pk]
            assert (run.state, run.attempt, run.checkpoint_step or 0) == (expected.state, expected.attempt, expected.checkpoint)
            assert (run.stop_requested_at is not None) == expected.to_stop
            assert Attempt.objects.filter(run=run, ended_at=None).count() == (expected.state in HELD)

    @invariant()
    def each_step_is_there_once_and_none_that_a_stale_worker_wrote(self) -> None:
        for run_id, expected in self.expected.items():
            steps, _ = history_of(run_id).get("loss", ([], []))
            assert steps == sorted(expected.steps)

    @invariant()
    def history_tells_every_change_in_order(self) -> None:
        for run_id, expected in self.expected.items():
            state = State.DRAFT
            for line in HistoryLine.objects.filter(run_id=run_id).order_by("id"):
                assert line.before == state
                assert line.after == state or State(line.after) in ALLOWED[state]
                state = State(line.after)
            assert state == expected.state

    def _wait(self, run_id: UUID, *, back: bool) -> None:
        run = self.expected[run_id]
        run.state, run.to_stop, run.late = State.QUEUED, False, False
        self.queue.append(run_id)
        if not back:
            self.queue.sort(key=self._queued_at)

    def _queued_at(self, run_id: UUID) -> float:
        moment = Run.objects.values_list("queued_at", flat=True).get(pk=run_id)
        return moment.timestamp() if moment else 0.0

    def _end(self, run: Expected, state: State) -> None:
        run.state, run.to_stop, run.late = state, False, False

    def _tidy_queue(self) -> None:
        self.queue = [run_id for run_id in self.queue if self.expected[run_id].state == State.QUEUED]

    def _without_answer(self, run_id: UUID) -> None:
        run = self.expected[run_id]
        run.tries = run.tries + 1 if run.from_step == run.checkpoint else 0
        if run.to_stop:
            self._end(run, State.STOPPED)
        elif run.tries >= lifecycle.TRIES_WITHOUT_PROGRESS:
            self._end(run, State.FAILED)
        else:
            self._wait(run_id, back=False)


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_no_order_of_events_breaks_a_runs_life() -> None:
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(Life, settings=settings(max_examples=25, stateful_step_count=40, suppress_health_check=checks))  # type: ignore[no-untyped-call]
