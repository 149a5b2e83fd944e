"""A run's state at a glance."""

from typing import Any

import pytest
from django.template.loader import render_to_string
from django.utils import timezone

from webapp.fleet.models import Worker
from webapp.runs.models import Attempt, Run
from webapp.runs.progress import Status, Supply, status_of
from webapp.runs.quotas import UsedUp

NOW = timezone.now()
RUNNING: dict[str, Any] = {"state": "running", "step": 25, "total_steps": 100, "steps_per_second": 5.0, "phase": "train", "phase_index": 0}


def status(attempt: Attempt | None = None, **about: Any) -> Status:
    return status_of(Run(**RUNNING | about), attempt)


def test_what_is_left_is_told_by_the_pace() -> None:
    found = status()

    assert (found.percent, found.left, found.rate) == (25.0, 15.0, 5.0)


@pytest.mark.parametrize(
    "about",
    [
        {"state": "stopped"},
        {"state": "starting"},
        {"steps_per_second": None},
        {"steps_per_second": 0.0},
        {"step": 100},
        {"step": 101},
    ],
    ids=["ended", "not begun", "no pace yet", "standing still", "at the end", "beyond the end"],
)
def test_nothing_is_said_of_the_time_left_where_it_is_not_known(about: dict[str, Any]) -> None:
    assert status(**about).left is None


@pytest.mark.parametrize("state", ["queued", "starting", "stopped", "failed", "succeeded"])
def test_only_a_running_run_has_a_pace(state: str) -> None:
    assert status(state=state).rate is None


def test_a_run_whose_length_is_not_known_is_at_zero_percent() -> None:
    assert status(step=7, total_steps=0).percent == 0.0


@pytest.mark.parametrize(
    ("about", "silent", "word"),
    [
        ({}, False, "running"),
        ({}, True, "silent"),
        ({"stop_requested_at": NOW}, False, "stopping"),
        ({"stop_requested_at": NOW}, True, "stopping"),
        ({"state": "starting", "stop_requested_at": NOW}, False, "stopping"),
        ({"state": "starting"}, True, "silent"),
        ({"state": "queued"}, True, "queued"),
        ({"state": "failed", "stop_requested_at": NOW}, True, "failed"),
    ],
)
def test_the_word_is_what_matters_most_at_the_moment(about: dict[str, Any], silent: bool, word: str) -> None:
    attempt = Attempt(number=1, worker="worker-1", silent_since=NOW if silent else None)

    found = status(attempt, **about)

    assert (found.word, found.tone, found.state) == (word, word, about.get("state", "running"))
    assert (found.silent_since is not None) == (silent and found.held)


@pytest.mark.parametrize("quiet", ["silent_since", "stalled_since"])
def test_a_run_that_is_silent_or_stalled_has_neither_pace_nor_time_left(quiet: str) -> None:
    found = status(Attempt(number=1, worker="worker-1", stall="Made no step for 2 min.", **{quiet: NOW}))

    assert (found.word, found.tone, found.rate, found.left) == (quiet.removesuffix("_since"), quiet.removesuffix("_since"), None, None)
    assert (found.step, found.percent) == (25, 25.0)


def test_a_run_that_is_to_stop_and_silent_has_no_pace_either() -> None:
    found = status(Attempt(number=1, worker="worker-1", silent_since=NOW), stop_requested_at=NOW)

    assert (found.word, found.rate, found.left) == ("stopping", None, None)


@pytest.mark.parametrize(
    ("workers", "unserved", "reason"),
    [
        (None, "", "Submitted."),
        ([], "No worker is running.", "No worker is running. Submitted."),
        (
            [Worker(name="box:1", gpu_count=1, store_problem="")],
            "No running worker trains on the CPU.",
            "No running worker trains on the CPU. Submitted.",
        ),
        ([Worker(name="box:1", cpu_slots=1, store_problem="")], "", "Submitted."),
    ],
    ids=["not asked", "none", "none that fits", "one"],
)
def test_a_run_that_no_worker_would_take_says_why_it_waits(workers: list[Worker] | None, unserved: str, reason: str) -> None:
    supply = None if workers is None else Supply(workers, UsedUp({}, {}))

    found = status_of(Run(state="queued", reason="Submitted.", device_kind="cpu"), None, supply)

    assert (found.unserved, found.reason, found.word) == (unserved, reason, "queued")


def test_only_a_waiting_run_waits_for_a_worker() -> None:
    assert status_of(Run(**RUNNING), None, Supply([], UsedUp({}, {}))).unserved == ""


def test_a_run_that_a_worker_would_take_says_whose_quota_it_waits_for() -> None:
    supply = Supply([Worker(name="box:1", cpu_slots=1, store_problem="")], UsedUp({7: 2}, {}))

    found, other = (status_of(Run(state="queued", device_kind="cpu", project_id=project), None, supply) for project in (7, 8))

    assert found.unserved == "The project has as many runs running as allowed (2); this one waits until one ends."
    assert other.unserved == ""


@pytest.mark.parametrize(
    ("about", "attempt", "reason"),
    [
        ({"state": "queued", "reason": "Submitted."}, None, "Submitted."),
        (
            {"state": "queued", "reason": "Its process was killed."},
            {"exit": "crashed"},
            "Attempt 3 on worker-1 was crashed; the run waits for a worker to go on from its last checkpoint.",
        ),
        (
            {"state": "queued", "reason": "worker-1 was silent."},
            {"exit": "lost"},
            "Attempt 3 on worker-1 was lost; the run waits for a worker to go on from its last checkpoint.",
        ),
        ({"state": "queued", "reason": "Its worker is shutting down."}, {"exit": "stopped"}, "Its worker is shutting down."),
        ({"state": "failed", "reason": "loss became nan."}, {"exit": "crashed"}, "loss became nan."),
        (
            {"reason": "Runs on CPU."},
            {"silent_since": NOW},
            "Nothing was heard from worker-1 for a while. If it stays quiet, another worker goes on from the last checkpoint.",
        ),
        ({"state": "stopped", "reason": "Stopped as asked."}, {"silent_since": NOW}, "Stopped as asked."),
        ({"reason": "Runs on CPU."}, {"stalled_since": NOW, "stall": "Made no step for 2 min."}, "Made no step for 2 min."),
    ],
)
def test_the_reason_is_said_in_one_sentence(about: dict[str, Any], attempt: dict[str, Any] | None, reason: str) -> None:
    newest = None if attempt is None else Attempt(number=3, worker="worker-1", **attempt)

    assert status(newest, **about).reason == reason


@pytest.mark.parametrize(
    ("phase", "index", "count", "words"),
    [("", None, None, ""), ("KD warmup", 0, 1, "KD warmup"), ("eVAL", 0, 2, "Phase 1 of 2 (eVAL)"), ("train", None, 5, "Train")],
)
def test_a_phases_own_capitals_are_kept(phase: str, index: int | None, count: int | None, words: str) -> None:
    assert status(phase=phase, phase_index=index, phase_count=count).activity == words


@pytest.mark.parametrize(
    ("about", "title"),
    [
        ({"state": "draft"}, "Not queued yet"),
        ({"state": "queued"}, "Waiting for a worker"),
        ({"state": "starting"}, "Starting"),
        ({"phase": ""}, "Running"),
        ({}, "Train"),
        ({"stop_requested_at": NOW}, "Stopping after this step"),
        ({"state": "failed"}, "Failed"),
    ],
)
def test_the_line_of_progress_begins_with_what_happens(about: dict[str, Any], title: str) -> None:
    page = render_to_string("runs/page/_progress.html", {"status": status(**about)})

    assert f"<strong>{title}</strong>" in page


def test_the_line_of_progress_says_steps_pace_time_left_and_time_trained() -> None:
    page = render_to_string("runs/page/_progress.html", {"status": status(step=1234, total_steps=5000, train_seconds=90.0)})

    assert "step 1,234 of 5,000" in page and "5 steps/s" in page and "12 min 33 s left" in page and "trained for 1 min 30 s" in page
    assert '<span class="percent">25 %</span>' in page and 'value="24.68"' in page


@pytest.mark.parametrize(("state", "said"), [("failed", True), ("queued", True), ("succeeded", False)])
def test_why_a_run_is_in_its_state_is_escaped_and_left_out_where_all_is_well(state: str, said: bool) -> None:
    page = render_to_string("runs/page/_progress.html", {"status": status(state=state, reason="<b>nan</b> & more")})

    assert ("&lt;b&gt;nan&lt;/b&gt; &amp; more" in page) == said
    assert ("progress-reason bad" in page) == (state == "failed")
    assert "<b>nan" not in page
