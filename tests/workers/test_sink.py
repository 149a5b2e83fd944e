"""Events → rows: what a reader finds after a batch was written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection

from engine.events import Artifact, Checkpoint, Evaluation, Event, Log, Metrics, Outcome, PhaseStarted, Progress
from tests.runs import claim, history_of, running_claim
from webapp.runs import lifecycle, models
from webapp.runs.history import points
from webapp.runs.history.envelope import Envelope
from webapp.runs.lifecycle import ClaimedRun, LeaseLost
from workers import wire
from workers.sink import Sink

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture
def held(settings: Any, tmp_path: Path) -> ClaimedRun:
    """A run that this worker holds, in a store of its own."""
    settings.STORE = tmp_path
    held = running_claim()
    (tmp_path / held.folder).mkdir(parents=True)
    return held


def say(sink: Sink, *events: Event) -> None:
    """What the child said at once arrives and is written."""
    sink.add(wire.decode(wire.encode(events)))
    sink.flush()


def losses(first: int, last: int, value: float = 1.0) -> list[Event]:
    return [Metrics(step, {"loss": value * step}) for step in range(first, last + 1)]


def series(run_id: Any, name: str = "loss") -> models.MetricSeries:
    return models.MetricSeries.objects.get(run_id=run_id, name=name)


def evaluation(step: int, accuracy: float, *, split: Any = "validation", subject: Any = "student", final: bool = False) -> Evaluation:
    return Evaluation(step, subject, split, final, {"accuracy": accuracy, "auroc": None}, {"reliability": {"n": 3}})


def test_points_arrive_with_their_series_newest_value(held: ClaimedRun) -> None:
    say(Sink(held), Metrics(1, {"loss": 2.0, "loss/labels": 1.5}), Metrics(2, {"loss": 1.0, "loss/labels": 0.5}))

    assert history_of(held.run_id) == {"loss": ([1, 2], [2.0, 1.0]), "loss/labels": ([1, 2], [1.5, 0.5])}
    row = series(held.run_id)
    assert (row.points, row.last_step, row.last_value) == (2, 2, 1.0)


def test_each_batch_says_which_steps_it_brought(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *losses(1, 3))
    before = points.newest_batch(held.run_id)

    say(sink, *losses(4, 6))

    news = points.since(held.run_id, before)
    assert (news.number, news.cut_after, dict(news.ranges)) == (before + 1, None, {series(held.run_id).pk: (4, 6)})


def test_a_step_that_is_said_again_replaces_the_first_and_counts_once(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *losses(1, 3))

    say(sink, Metrics(3, {"loss": 9.0}), Metrics(4, {"loss": 4.0}), Metrics(4, {"loss": 5.0}))

    assert history_of(held.run_id) == {"loss": ([1, 2, 3, 4], [1.0, 2.0, 9.0, 5.0])}
    row = series(held.run_id)
    assert (row.points, row.last_value) == (4, 5.0)


def test_steps_may_come_in_any_order(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, Metrics(5, {"loss": 5.0}))

    say(sink, Metrics(2, {"loss": 2.0}))

    row = series(held.run_id)
    assert (row.points, row.last_step, row.last_value) == (2, 5, 5.0)


def test_nothing_of_a_batch_is_written_without_the_lease(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *losses(1, 3))
    lifecycle.crashed(held.token, "Taken away.")
    sink.add(
        wire.decode(wire.encode([*losses(4, 6), Log("info", "late"), evaluation(4, 0.5), Artifact("t", "table", "t.json", 1, "0" * 64)]))
    )

    with pytest.raises(LeaseLost):
        sink.flush()

    assert history_of(held.run_id)["loss"][0] == [1, 2, 3]
    assert (models.LogLine.objects.count(), models.Evaluation.objects.count(), models.Artifact.objects.count()) == (0, 0, 0)


def test_a_long_series_gets_an_outline_and_the_end_completes_it(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *losses(1, 2500))
    say(sink, *losses(2501, 2600))
    tail = series(held.run_id)

    sink.flush(last=True)

    whole = series(held.run_id)
    assert (tail.points, tail.overview_step, whole.overview_step) == (2600, 2500, 2600)
    assert whole.overview is not None
    expected = Envelope.of(np.arange(1, 2601), np.arange(1.0, 2601.0))
    assert bytes(whole.overview) == expected.to_bytes()


def test_an_outline_and_its_tail_show_the_same_extremes_as_all_points(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *losses(1, 3000))
    say(sink, Metrics(3001, {"loss": -7.0}))

    steps, values = points.outlines([series(held.run_id)])[series(held.run_id).pk]

    assert (steps[-1], values.min(), values.max()) == (3001, -7.0, 3000.0)
    assert len(steps) < 2000


def test_a_point_that_comes_late_is_in_the_outline_at_once(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *[event for event in losses(1, 3000) if isinstance(event, Metrics) and event.step != 100])

    say(sink, Metrics(100, {"loss": -7.0}))

    overview = series(held.run_id).overview
    assert overview is not None
    assert Envelope.from_bytes(overview).low.min() == -7.0


def test_an_extreme_that_was_replaced_is_no_longer_in_the_outline(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *losses(1, 3000), Metrics(3001, {"loss": 1e9}))

    say(sink, Metrics(3001, {"loss": 3001.0}))

    overview = series(held.run_id).overview
    assert overview is not None
    assert Envelope.from_bytes(overview).high.max() == 3001.0


def test_a_new_attempt_cuts_what_lies_beyond_its_first_step_and_says_so(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *losses(1, 3000), evaluation(1000, 0.5), evaluation(2900, 0.9))
    lifecycle.checkpointed(held.token, 2500, f"{held.folder}/kept/step-2500")
    say(sink, Metrics(2600, {"rare": 1.0}))
    lifecycle.crashed(held.token, "It died.")
    before = points.newest_batch(held.run_id)

    again = claim()
    assert again is not None
    lifecycle.started(again.token, pid=1, device="CPU")
    say(Sink(again), Metrics(2501, {"loss": 0.5}))

    assert history_of(held.run_id) == {"loss": ([*range(1, 2502)], [*map(float, range(1, 2501)), 0.5])}
    row = series(held.run_id)
    assert (row.points, row.last_step, row.last_value, row.overview_step) == (2501, 2501, 0.5, 2500)
    news = points.since(held.run_id, before)
    assert (news.cut_after, dict(news.ranges)) == (2500, {row.pk: (2501, 2501)})
    assert models.LatestMetric.objects.get(run=held.run_id, name="accuracy").value == 0.5


def test_the_latest_values_are_the_last_validations_until_the_final_test(held: ClaimedRun) -> None:
    sink = Sink(held)
    seen = []
    for event in (
        evaluation(10, 0.5),
        evaluation(20, 0.6),
        evaluation(20, 0.99, subject="teacher"),
        evaluation(30, 0.7, final=True),
        evaluation(30, 0.65, split="test", final=True),
        evaluation(30, 0.98, split="test", subject="teacher", final=True),
    ):
        say(sink, event)
        row = models.LatestMetric.objects.get(run=held.run_id, name="accuracy")
        seen.append((row.value, row.split))

    assert seen == [(0.5, "validation"), (0.6, "validation"), (0.6, "validation"), (0.7, "validation"), (0.65, "test"), (0.65, "test")]
    assert models.LatestMetric.objects.get(run=held.run_id, name="auroc").value is None


def test_an_evaluation_that_is_said_again_replaces_the_first(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, evaluation(10, 0.5))

    say(sink, evaluation(10, 0.75))

    assert models.Evaluation.objects.get().metrics == {"accuracy": 0.75, "auroc": None}


def test_a_number_that_json_cannot_say_becomes_null(held: ClaimedRun) -> None:
    say(Sink(held), Evaluation(10, "student", "validation", False, {"nll": float("inf")}, {"bins": [float("nan"), 1.0]}))

    row = models.Evaluation.objects.get()
    assert (row.metrics, row.tables) == ({"nll": None}, {"bins": [None, 1.0]})


def test_a_checkpoint_is_registered_under_a_name_that_the_child_does_not_delete(held: ClaimedRun, tmp_path: Path) -> None:
    folder = tmp_path / held.folder / "checkpoints" / "step-000000010"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    (folder / "tensors.safetensors").touch()

    say(Sink(held), *losses(1, 10), Checkpoint(10, "checkpoints/step-000000010"))

    run = models.Run.objects.get()
    assert (run.checkpoint_step, run.checkpoint_path) == (10, f"{held.folder}/kept/step-000000010")
    assert (tmp_path / run.checkpoint_path / "state.json").exists()


def test_a_checkpoint_that_is_gone_already_leaves_the_registered_one(held: ClaimedRun) -> None:
    lifecycle.checkpointed(held.token, 5, f"{held.folder}/kept/step-000000005")

    say(Sink(held), Checkpoint(10, "checkpoints/step-000000010"))

    assert models.Run.objects.get().checkpoint_step == 5


def test_an_artifact_stands_under_its_attempts_folder(held: ClaimedRun) -> None:
    say(Sink(held), Artifact("student", "model", "student", 12, "a" * 64, {"parameters": 3}))

    row = models.Artifact.objects.get()
    assert (row.path, row.attempt, row.bytes, row.meta) == (f"{held.folder}/student", 1, 12, {"parameters": 3})


def test_an_artifact_outside_its_attempts_folder_is_refused(held: ClaimedRun) -> None:
    with pytest.raises(ValueError, match="is not within the attempt's folder"):
        say(Sink(held), Artifact("passwords", "other", "../../../etc/passwd", 1, "a" * 64))

    assert models.Artifact.objects.count() == 0


def test_a_run_says_where_it_is(held: ClaimedRun) -> None:
    say(Sink(held), PhaseStarted("distill", 0, 1, 0, 100), Progress(7, 100, "distill", 1.5, 4.5), Log("info", "A line\x00."))

    run = models.Run.objects.get()
    assert (run.phase, run.step, run.total_steps, run.train_seconds, run.steps_per_second) == ("distill", 7, 100, 1.5, 4.5)
    assert models.LogLine.objects.get().text == "A line\N{REPLACEMENT CHARACTER}."


def test_a_run_says_in_which_of_its_phases_it_is_and_tells_no_pace_of_another(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, PhaseStarted("train", 0, 3, 0, 100), Progress(100, 300, "train", 1.5, 4.5))
    say(sink, PhaseStarted("distill", 1, 3, 100, 100))

    run = models.Run.objects.get()
    assert (run.phase, run.phase_index, run.phase_count, run.steps_per_second) == ("distill", 1, 3, None)


def test_the_outcome_is_kept_for_the_supervisor(held: ClaimedRun) -> None:
    sink = Sink(held)

    say(sink, Outcome("failed", 3, "loss became nan at step 3.", "loss"))

    assert sink.outcome == Outcome("failed", 3, "loss became nan at step 3.", "loss")


@pytest.mark.django_db(transaction=True)
def test_a_batch_whose_connection_broke_is_written_once(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *losses(1, 3))
    sink.add(wire.decode(wire.encode([*losses(4, 6), Log("info", "once")])))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    connection.close()

    broken = connection.copy()
    try:
        with broken.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    finally:
        broken.close()
    sink.flush()
    sink.flush()

    assert history_of(held.run_id)["loss"][0] == [1, 2, 3, 4, 5, 6]
    assert models.LogLine.objects.count() == 1
