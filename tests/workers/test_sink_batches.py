"""What the sink makes of a batch: when it is due, what is limited, and what it tells those who listen."""

import time
from pathlib import Path
from typing import Any

import pytest

from engine.events import Activity, Artifact, Checkpoint, Evaluation, Event, Log, Metrics, Outcome, PhaseStarted, Progress
from tests.waiting import wait_for
from tests.workers.test_sink import evaluation, held, losses, say
from webapp.runs import lifecycle, models
from webapp.runs.history import points
from webapp.runs.lifecycle import ClaimedRun
from workers import wire
from workers.sink import CALM_SECONDS, EAGER_SECONDS, FULL, LINE_LENGTH, Sink

__all__ = ["held"]

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def added(sink: Sink, *events: Event) -> None:
    sink.add(wire.decode(wire.encode(events)))


def test_the_first_points_are_due_at_once_and_what_follows_may_wait(held: ClaimedRun) -> None:
    sink = Sink(held)
    due = [sink.is_due()]
    added(sink, Log("info", "no points yet"))
    due.append(sink.is_due())
    added(sink, *losses(1, 1))
    due.append(sink.is_due())
    sink.flush()
    added(sink, *losses(2, 2))
    due.append(sink.is_due())

    assert due == [False, False, True, False]
    assert 0 < sink.seconds_until_due() <= CALM_SECONDS


def test_a_full_sink_is_due_however_young(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *losses(1, 1))
    values = {f"series {number}": 1.0 for number in range(FULL // 10)}

    added(sink, *[Metrics(step, values) for step in range(1, 10)])
    before = sink.is_due()
    added(sink, Metrics(10, values))

    assert (before, sink.is_due(), sink.seconds_until_due()) == (False, True, 0.0)


def test_a_sink_that_holds_nothing_is_never_due_so_that_its_worker_waits_and_does_not_ask_without_a_pause(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, *losses(1, 1))
    wait_for(lambda: time.monotonic() - sink._flushed > CALM_SECONDS, what="the pace to pass")

    assert not sink.is_due()
    assert sink.seconds_until_due() >= EAGER_SECONDS


def test_what_a_child_does_is_its_supervisors_affair_and_no_row(held: ClaimedRun) -> None:
    sink = Sink(held)

    added(sink, Activity("an evaluation"))

    assert not sink.is_due()


def test_what_holds_nothing_writes_nothing(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, Metrics(1, {}))
    sink.flush()
    sink.flush(last=True)

    assert (points.newest_batch(held.run_id), models.MetricSeries.objects.count()) == (0, 0)


def test_a_batch_of_lines_alone_has_a_number_too_and_one_with_points_has_one_and_no_more(held: ClaimedRun) -> None:
    sink = Sink(held)
    say(sink, Log("info", "one"))
    say(sink, Log("info", "two"), *losses(1, 2))
    say(sink, Progress(3, 20, "train", 1.0, 2.0))
    say(sink, Log("info", "three"))

    rows = models.MetricBatch.objects.order_by("pk").values_list("number", "attempt", "series__name", "points")
    assert list(rows) == [(1, 1, None, 0), (2, 1, "loss", 2), (3, 1, None, 0)]


def test_texts_are_cut_to_what_their_columns_hold(held: ClaimedRun) -> None:
    say(
        Sink(held),
        Log("warning", "l" * (LINE_LENGTH + 5)),
        Progress(3, 20, "p" * 100, 1.0, 2.0),
        Artifact("a" * 250, "other", "x", 1, "0" * 64),
    )

    assert models.LogLine.objects.get().text == "l" * LINE_LENGTH
    assert models.Run.objects.get().phase == "p" * 60
    assert models.Artifact.objects.get().name == "a" * 200


def test_lines_keep_their_order_and_are_never_made_one(held: ClaimedRun) -> None:
    say(Sink(held), *[Log("info", text) for text in ("b", "a", "a")])

    assert list(models.LogLine.objects.order_by("pk").values_list("text", "attempt")) == [("b", 1), ("a", 1), ("a", 1)]


def test_characters_that_the_database_lacks_are_replaced_wherever_a_child_says_them(held: ClaimedRun) -> None:
    odd, shown = "a\x00b\ud800c", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"
    sink = Sink(held)
    say(
        sink,
        Log("info", odd),
        Evaluation(1, "student", "test", True, {odd: 1.0}, {"said": [{"text": odd, odd: [odd, float("nan"), 1]}]}),
        Artifact("t", "table", "t.json", 1, "0" * 64, {"title": odd}),
        Outcome("failed", 1, odd),
    )
    assert sink.outcome is not None
    lifecycle.settle(held.token, sink.outcome)

    judged = models.Evaluation.objects.get()
    assert models.LogLine.objects.get().text == shown
    assert (judged.metrics, judged.tables) == ({shown: 1.0}, {"said": [{"text": shown, shown: [shown, None, 1]}]})
    assert models.Artifact.objects.get().meta == {"title": shown}
    assert models.Run.objects.get().reason == shown


def test_of_several_words_on_one_thing_in_a_batch_the_last_one_counts(held: ClaimedRun) -> None:
    say(
        Sink(held),
        evaluation(10, 0.5),
        evaluation(10, 0.75),
        Artifact("table", "table", "old.json", 1, "0" * 64, {"nan": float("nan")}),
        Artifact("table", "table", "new.json", 2, "1" * 64, {"nan": float("nan")}),
        Progress(5, 20, "train", 1.0, 2.0),
        PhaseStarted("distill", 1, 2, 5, None),
    )

    assert models.Evaluation.objects.get().metrics["accuracy"] == 0.75
    artifact = models.Artifact.objects.get()
    assert (artifact.path, artifact.bytes, artifact.meta) == (f"{held.folder}/new.json", 2, {"nan": None})
    run = models.Run.objects.get()
    assert (run.step, run.phase, run.phase_index, run.phase_count, run.steps_per_second) == (5, "distill", 1, 2, None)


def test_an_artifact_that_is_said_again_replaces_the_first_of_its_attempt_alone(held: ClaimedRun) -> None:
    models.Artifact.objects.create(run_id=held.run_id, attempt=0, name="table", kind="table", path="earlier", bytes=1, sha256="0" * 64)
    sink = Sink(held)
    say(sink, Artifact("table", "table", "one.json", 1, "0" * 64))

    say(sink, Artifact("table", "other", "two.json", 2, "1" * 64))

    rows = models.Artifact.objects.order_by("attempt").values_list("attempt", "path", "kind", "bytes", "sha256")
    assert list(rows) == [(0, "earlier", "table", 1, "0" * 64), (1, f"{held.folder}/two.json", "other", 2, "1" * 64)]


def checkpointed(folder: Path, step: int) -> Checkpoint:
    path = f"checkpoints/step-{step:09}"
    (folder / path).mkdir(parents=True)
    (folder / path / "state.json").write_text(str(step))
    (folder / path / "tensors.safetensors").touch()
    return Checkpoint(step, path)


def test_the_newest_checkpoint_of_a_batch_is_kept_and_those_before_it_are_forgotten(held: ClaimedRun, tmp_path: Path) -> None:
    folder, sink = tmp_path / held.folder, Sink(held)
    say(sink, checkpointed(folder, 5))
    say(sink, checkpointed(folder, 10), checkpointed(folder, 15))

    run = models.Run.objects.get()
    assert (run.checkpoint_step, run.checkpoint_path) == (15, f"{held.folder}/kept/step-000000015")
    assert run.checkpoint_bytes == len("15")
    assert [path.name for path in (folder / "kept").iterdir()] == ["step-000000015"]
    assert len(list((folder / "checkpoints").iterdir())) == 3


def test_a_batch_that_was_refused_is_still_there_for_the_next_time(held: ClaimedRun, tmp_path: Path) -> None:
    sink = Sink(held)
    added(sink, *losses(1, 3), Artifact("out", "other", "out/../../../x", 1, "0" * 64))

    for _ in range(2):
        with pytest.raises(ValueError, match="is not within the attempt's folder"):
            sink.flush()

    assert (points.newest_batch(held.run_id), models.MetricSeries.objects.count()) == (0, 0)
    assert sink.is_due()


def test_those_who_listen_are_told_once_what_kinds_of_things_are_new(held: ClaimedRun, django_capture_on_commit_callbacks: Any) -> None:
    sink = Sink(held)
    news = []
    for batch in (
        [*losses(1, 2), Log("info", "line"), evaluation(2, 0.5), Artifact("t", "table", "t.json", 1, "0" * 64)],
        [PhaseStarted("train", 0, 1, 0, 9), Progress(2, 20, "train", 1.0, 2.0)],
        [Outcome("stopped", 3, "Stopped.")],
    ):
        with django_capture_on_commit_callbacks() as callbacks:
            say(sink, *batch)
        news.append([callback.args[1] for callback in callbacks])

    assert news == [
        [{"batch": 1, "kinds": ["artifact", "evaluation", "log", "points"], "project": None}],
        [{"batch": 2, "kinds": ["progress"], "project": None}],
        [],
    ]


def test_an_outcome_is_kept_though_more_is_said_after_it(held: ClaimedRun) -> None:
    sink = Sink(held)
    added(sink, Outcome("failed", 3, "It failed."), Log("info", "after"))
    added(sink, Log("info", "later"))

    assert sink.outcome == Outcome("failed", 3, "It failed.")
    assert models.Run.objects.get().state == "running"
