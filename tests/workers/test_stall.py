"""When a child stands still: by a clock and a processor that the test holds."""

import pytest

from engine.events import STEPS, Activity, Evaluation, Event, Log, PhaseStarted, Progress
from workers.stall import Limits, Watch

LIMITS = Limits(seconds=120, steps=20, patience=5)


class Child:
    """A child whose time passes second by second, with a look each second. `busy` is the share of a processor that it uses."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.now = self.used = self.busy = 0.0
        self.watch = Watch(limits, clock=lambda: self.now, used=lambda: self.used)

    def passes(self, seconds: float, *, looks: bool = True) -> str:
        """What the last look said."""
        said = ""
        for _ in range(round(seconds)):
            self.now += 1.0
            self.used += self.busy
            if looks:
                said = self.watch.look()
        return said

    def says(self, *events: Event) -> float:
        return self.watch.hear(events, metrics=False)

    def steps(self, count: int, *, seconds: float) -> None:
        for step in range(count):
            self.passes(seconds)
            self.says(Progress(step, 100, "train", 1.0, 1.0))


@pytest.fixture
def training() -> Child:
    """A child that makes a step a second."""
    child = Child()
    child.says(PhaseStarted("train", 0, 1, 0, 100), Activity(STEPS))
    child.steps(3, seconds=1)
    return child


def test_a_child_that_makes_no_step_is_still_after_two_minutes_and_over_after_ten(training: Child) -> None:
    before, at = training.passes(119), training.passes(1)
    over = [training.watch.is_over, bool(training.passes(479)), training.watch.is_over, bool(training.passes(1)), training.watch.is_over]

    assert (before, at) == ("", "Made no step for 2 min; its slowest took 1.0 s.")
    assert over == [False, True, False, True, True]
    assert training.watch.ends_after == "10 min"


def test_a_busy_child_that_makes_no_step_is_still_all_the_same(training: Child) -> None:
    training.busy = 1.0

    assert training.passes(120) == "Made no step for 2 min; its slowest took 1.0 s."


def test_twenty_times_the_slowest_step_is_waited_for_where_that_is_longer(training: Child) -> None:
    training.steps(1, seconds=10)
    training.steps(5, seconds=1)

    assert (training.passes(199), training.passes(1)) == ("", "Made no step for 3 min 20 s; its slowest took 10 s.")


def test_a_step_is_news_and_so_is_a_line(training: Child) -> None:
    training.passes(110)

    still = training.says(Log("info", "a word"))

    assert (still, training.passes(119)) == (110.0, "")
    assert training.passes(1).startswith("Made no step")


def test_what_has_no_steps_may_take_as_long_as_it_uses_its_processor(training: Child) -> None:
    training.says(Activity("an evaluation"))
    training.busy = 0.02

    busy = training.passes(3600)
    training.busy = 0.001
    still = [training.passes(115), training.passes(15)]
    training.says(Evaluation(3, "student", "validation", False, {}), Activity(STEPS))

    assert busy == ""
    assert still == ["", "Stood still in an evaluation for 2 min 10 s, using no processor."]
    assert training.passes(119) == ""


def test_an_evaluation_is_no_slow_step(training: Child) -> None:
    training.says(Activity("an evaluation"))
    training.busy = 1.0
    training.passes(1000)
    training.says(Activity(STEPS))

    assert training.passes(120) == "Made no step for 2 min; its slowest took 1.0 s."


def test_nobody_knows_how_long_a_phases_first_step_takes(training: Child) -> None:
    training.says(PhaseStarted("refine", 1, 2, 3, 100), Activity(STEPS))
    training.busy = 1.0
    busy = training.passes(3600)
    training.busy = 0.0

    assert busy == ""
    assert training.passes(130).startswith("Stood still in its first step for 2 min")


def test_a_child_that_never_says_anything_stood_still_in_the_preparation() -> None:
    child = Child()

    assert child.passes(120) == "Stood still in the preparation for 2 min, using no processor."


def test_a_worker_that_slept_blames_nobody(training: Child) -> None:
    training.now += 3600

    assert (training.watch.look(), training.passes(114), training.passes(1)[:17]) == ("", "", "Made no step for ")


def test_what_the_worker_itself_did_is_not_the_childs_time(training: Child) -> None:
    training.passes(100, looks=False)
    training.watch.pause()

    assert (training.passes(119), training.passes(1)[:12]) == ("", "Made no step")


def test_nobody_looks_where_the_operator_says_so() -> None:
    child = Child(Limits(seconds=0, steps=20, patience=5))

    assert child.passes(100_000) == ""
